//! An unmodified client as a child process: an empty home, no way to AWS, and no more said to it than its environment says. It
//! works until its standard input closes, which the kernel does for us even when the test process is killed.

use std::fs::File;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::environment::{named_by, repository};
use super::server::show_with_the_failure;
use super::{Minio, free_port, until};

/// What a client says of itself at its end.
pub(crate) struct Said {
    pub(crate) version: String,
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

/// A client to be.
pub(crate) struct Client {
    command: Command,
    home: TempDir,
}

impl Client {
    /// This program before `minio`, with a bucket to work in.
    pub(crate) fn of(program: &Path, minio: &Minio, bucket: &str) -> Self {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("BUCKET", bucket)])
            .envs([("AWS_REGION", "us-east-1"), ("AWS_DEFAULT_REGION", "us-east-1")])
            .envs([("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_ENDPOINT_URL_S3", &minio.endpoint())])
            .env("FREE_PORT", free_port().to_string())
            .env("HOME", home.path())
            .current_dir(home.path());
        Self { command, home }
    }

    /// A script of `tests/clients/python`, in one of the environments there.
    pub(crate) fn python(environment: &str, script: &str, minio: &Minio, bucket: &str) -> Self {
        let script = repository().join("tests/clients/python").join(script);
        // No byte code beside the sources.
        Self::of(&named_by(environment).join("bin/python"), minio, bucket)
            .with("PYTHONDONTWRITEBYTECODE", "1")
            .argument(script)
    }

    /// One more argument.
    pub(crate) fn argument(mut self, argument: impl Into<PathBuf>) -> Self {
        self.command.arg(argument.into());
        self
    }

    /// One more variable.
    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.command.env(variable, value);
        self
    }

    /// A variable that names a file with this in it, in the client's home.
    pub(crate) fn with_file(self, variable: &str, content: &str) -> Self {
        let file = self.home.path().join(variable);
        std::fs::write(&file, content).expect("our own directory");
        let file = file.to_str().expect("the path is text").to_owned();
        self.with(variable, &file)
    }

    /// A file in the client's home.
    pub(crate) fn with_home_file(self, path: &str, content: &str) -> Self {
        let file = self.home.path().join(path);
        std::fs::create_dir_all(file.parent().expect("below its home")).expect("our own directory");
        std::fs::write(file, content).expect("our own directory");
        self
    }

    /// The same client as the child of another program, after these arguments.
    pub(crate) fn within(self, program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).arg(self.command.get_program()).args(self.command.get_args());
        command.env_clear().current_dir(self.home.path());
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self { command, home: self.home }
    }

    /// Sets it to work.
    pub(crate) fn start(mut self) -> Working {
        let [output, errors] = ["output", "errors"].map(|name| self.home.path().join(name));
        let create = |path: &Path| File::create(path).expect("a file of our own");
        self.command.stdin(Stdio::piped()).stdout(create(&output)).stderr(create(&errors));
        let child = self.command.spawn().expect("the client starts");
        Working { child, home: self.home }
    }
}

/// A client at work.
pub(crate) struct Working {
    child: Child,
    home: TempDir,
}

impl Working {
    /// Tells it to stop, and waits until it has: what it said.
    pub(crate) async fn end(mut self) -> Said {
        drop(self.child.stdin.take());
        until("the client ends", Duration::from_mins(2), || ready(self.child.try_wait().expect("our child").is_some()))
            .await;
        let status = self.child.wait().expect("our child");
        assert!(status.success(), "{status}: {}", self.errors());
        let said = self.output();
        let last = said.lines().last().unwrap_or_default();
        let said: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {said}"));
        let count = |name: &str| said[name].as_u64().expect("a count");
        let version = said["version"].as_str().expect("a version").to_owned();
        Said { version, done: count("done"), failed: count("failed") }
    }

    /// Fails the test when it has ended although nobody told it to.
    pub(crate) fn must_work(&mut self) {
        let ended = self.child.try_wait().expect("our child");
        assert!(ended.is_none(), "{ended:?}: {}", self.errors());
    }

    /// What it has said so far.
    pub(crate) fn output(&self) -> String {
        self.read("output")
    }

    /// What it complained of.
    pub(crate) fn errors(&self) -> String {
        self.read("errors")
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.home.path().join(name)).unwrap_or_default()).into_owned()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        // Its own children end with it when it is asked, not when it is killed.
        drop(self.child.stdin.take());
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            show_with_the_failure("what the client complained of", &self.errors());
        }
    }
}
