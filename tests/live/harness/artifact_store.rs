//! artifact-store's way with its bucket, as a child process: `tests/live/artifact_store.py`, configured as artifact-store is.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use super::Keys;
use super::environment::{named_by, repository};

/// Where its artifacts go.
pub(crate) struct Place<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) region: &'a str,
    pub(crate) bucket: &'a str,
    pub(crate) prefix: &'a str,
    /// A bucket that it must not reach.
    pub(crate) foreign: &'a str,
    /// What else its SDK is told by the environment.
    pub(crate) environment: &'a [(&'a str, &'a str)],
}

/// A client at work.
pub(crate) struct ArtifactStore {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    directory: TempDir,
    leases: u32,
}

impl ArtifactStore {
    /// Starts it with a lease.
    pub(crate) fn start(place: &Place<'_>, keys: &Keys) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        put(directory.path(), 1, keys);
        let part = |name: &str| format!("file:{}", directory.path().join("lease").join(name).display());
        let errors = fs::File::create(directory.path().join("errors")).expect("a file of our own");
        let mut command = Command::new(named_by("STINT_LIVE_AIOBOTO3"));
        command
            .arg("-I")
            .arg(repository().join("tests/live/artifact_store.py"))
            .env_clear()
            .env("HOME", directory.path())
            .env("PATH", "/usr/bin:/bin")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        for (name, value) in [
            ("ENDPOINT_URL", place.endpoint),
            ("REGION", place.region),
            ("BUCKET", place.bucket),
            ("KEY_PREFIX", place.prefix),
            ("FOREIGN_BUCKET", place.foreign),
            ("ACCESS_KEY_REF", &part("access_key")),
            ("SECRET_KEY_REF", &part("secret_key")),
            ("SESSION_TOKEN_REF", &part("session_token")),
            ("MULTIPART_THRESHOLD_BYTES", "8388608"),
            ("MULTIPART_CHUNK_BYTES", "8388608"),
        ] {
            command.env(format!("ARTIFACTSTORE_S3_{name}"), value);
        }
        command.envs(place.environment.iter().copied());
        command.current_dir(directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().expect("python runs");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, input, output, directory, leases: 1 }
    }

    /// What held until it awaits another lease.
    pub(crate) fn until_it_awaits_a_lease(&mut self) -> Vec<String> {
        let mut held = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("text");
            assert_ne!(read, 0, "it ended after {held:?}: {}", self.errors());
            match line.trim_end() {
                "renew" => return held,
                what => held.push(what.to_owned()),
            }
        }
    }

    /// Gives it another lease, and says what held until its end.
    pub(crate) fn renewed(mut self, keys: &Keys) -> Vec<String> {
        self.leases += 1;
        put(self.directory.path(), self.leases, keys);
        self.input.write_all(b"\n").expect("it listens");
        let held: Vec<String> = (&mut self.output).lines().map(|line| line.expect("text")).collect();
        let status = self.child.wait().expect("our child");
        assert!(status.success(), "it ended after {held:?}: {}", self.errors());
        held
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("errors")).unwrap_or_default()
    }
}

impl Drop for ArtifactStore {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Three files cannot change at once: a new directory is written, and one link turned to it.
fn put(directory: &Path, number: u32, keys: &Keys) {
    let written: PathBuf = directory.join(format!("lease-{number}"));
    fs::create_dir(&written).expect("our own directory");
    for (name, value) in
        [("access_key", &keys.access_key), ("secret_key", &keys.secret_key), ("session_token", &keys.session_token)]
    {
        fs::write(written.join(name), value).expect("our own directory");
    }
    let link = directory.join("lease.new");
    symlink(&written, &link).expect("our own directory");
    fs::rename(link, directory.join("lease")).expect("our own directory");
}
