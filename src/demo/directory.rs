//! The demo's place on disk: everything it writes, and the sweep of what a crashed run left behind.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use include_dir::{Dir, include_dir};
use secrecy::{ExposeSecret, SecretString};

use super::database::PrivatePostgres;
use super::object_server::ParentKey;
use crate::audit::{SigningKey, VerifyingKey};
use crate::command::Failure;

/// The shipped policy directory, so that the demo needs nothing but its binary.
static POLICIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/policies");
const PREFIX: &str = "stint-demo-";

/// Held by the run that uses a directory, and let go by the kernel however that run ends.
const LOCK: &str = "lock";

/// One run's directory.
#[derive(Debug)]
pub struct DemoDirectory {
    path: PathBuf,
    kept: bool,
    _lock: fs::File,
}

impl DemoDirectory {
    /// Uses `data`, or makes a directory named after this process; either way, what an earlier run left running in it
    /// is stopped, and temporary directories of processes that are gone are swept away.
    pub async fn prepare(data: Option<&Path>) -> Result<Self, Failure> {
        let temporary = std::env::temp_dir();
        sweep(&temporary).await.map_err(about("looking through", &temporary))?;
        // Others may pass through (PostgreSQL runs as another user than root), but not look around.
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o711);
        let wanted = data.map_or_else(|| temporary.join(format!("{PREFIX}{}", std::process::id())), Path::to_owned);
        let made = match data {
            Some(data) => builder.recursive(true).create(data),
            None => claim(&wanted, &builder),
        };
        made.map_err(about("making", &wanted))?;
        let path = wanted.canonicalize().map_err(about("finding", &wanted))?;
        // Before anything is stopped: what runs here may belong to somebody who still looks at it.
        let lock = lock(&path).map_err(about("locking", &path))?;
        let in_use = || Failure(format!("another stint demo uses {}: choose another --data", path.display()));
        let lock = lock.ok_or_else(in_use)?;
        let directory = Self { path, kept: data.is_some(), _lock: lock };
        PrivatePostgres::stop_stale(&directory.postgres()).await.map_err(|error| Failure(error.to_string()))?;
        let objects = directory.objects();
        let private = fs::Permissions::from_mode(0o700);
        let made = fs::create_dir_all(&objects).and_then(|()| fs::set_permissions(&objects, private));
        made.map_err(about("making", &objects))?;
        Ok(directory)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where PostgreSQL lives.
    #[must_use]
    pub fn postgres(&self) -> PathBuf {
        self.path.join("postgres")
    }

    /// Where the objects are.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// Writes the shipped policies, unless a kept directory has some already: those may be the newcomer's own.
    pub fn write_policies(&self) -> io::Result<()> {
        let target = self.path.join("policies");
        if target.exists() {
            return Ok(());
        }
        fs::create_dir_all(&target)?;
        POLICIES.extract(&target)
    }

    /// Writes `break-glass.toml` and its documents among the policies.
    pub fn write_break_glass(&self, policy: &str, documents: &[(&str, String)]) -> io::Result<()> {
        let policies = self.path.join("policies");
        for (name, text) in documents {
            fs::write(policies.join(format!("documents/{name}.json")), text)?;
        }
        fs::write(policies.join("break-glass.toml"), policy)
    }

    /// Adds to the configuration.
    pub fn append_config(&self, path: &Path, more: &str) -> io::Result<()> {
        let text = fs::read_to_string(path)?;
        write_private(path, format!("{text}{more}").as_bytes())
    }

    /// The key that seals the log, made on the first run: a kept directory's log stays under one key. Beside it the public
    /// half, for whoever verifies.
    pub fn write_signing_key(&self) -> Result<VerifyingKey, Failure> {
        let (path, public_path) = (self.signing_key(), self.path.join("audit.pub"));
        if !path.exists() {
            let unmade = |_| Failure("no Ed25519 key could be made".to_owned());
            let pair = Ed25519KeyPair::generate().map_err(unmade)?;
            let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(unmade)?;
            let pem =
                format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
            write_private(&path, pem.as_bytes()).map_err(about("writing", &path))?;
        }
        let pem = fs::read(&path).map_err(about("reading", &path))?;
        let key = SigningKey::from_pem(&pem).map_err(|error| Failure(format!("{} {error}", path.display())))?;
        write_private(&public_path, key.public().to_pem().as_bytes()).map_err(about("writing", &public_path))?;
        Ok(*key.public())
    }

    fn signing_key(&self) -> PathBuf {
        self.path.join("audit.pem")
    }

    /// Writes `stint.toml`: a second `stint serve --config` with another `STINT_HTTP__LISTEN` works against the same
    /// servers.
    pub fn write_config(
        &self,
        issuer: &str,
        s3: &str,
        parent: &ParentKey,
        database: &SecretString,
    ) -> io::Result<PathBuf> {
        let path = self.path.join("stint.toml");
        let text = format!(
            r#"# Written by `stint demo`. Works for a second instance too:
#   STINT_HTTP__LISTEN=127.0.0.1:8081 stint serve --config {config}
[http]
listen = "127.0.0.1:0"

[postgres]
url = "{database}"

[[issuer]]
name = "authentik"
issuer = "{issuer}"
audiences = ["stint"]
profile = "authentik"
groups_claim = "groups"
keys = {{ discovery = true }}

[object_server]
kind = "minio"
endpoint = "{s3}"
region = "us-east-1"
access_key = "{access_key}"
secret_key = "{secret_key}"

[object_server.reconcile]
# The embedded server keeps no list of its sessions.
every = "off"

[lease]
ttl = "60m"
jitter = 0.2
grace = "5m"

[audit]
signing_key_file = "{signing_key}"

[policies]
directory = "policies"

[telemetry]
# One user for everything: the private server has no other.
log = "warn,stint::postgres::user=error"
log_format = "text"
"#,
            config = path.display(),
            database = database.expose_secret(),
            access_key = parent.access_key,
            secret_key = parent.secret_key.expose_secret(),
            signing_key = self.signing_key().display(),
        );
        write_private(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Writes a client's token where an SDK can read it.
    pub fn write_token(&self, client: &str, token: &SecretString) -> io::Result<PathBuf> {
        let path = self.path.join(format!("{client}.token"));
        write_private(&path, token.expose_secret().as_bytes())?;
        Ok(path)
    }

    /// Removes the directory, unless it was named to be kept.
    pub fn clean(self) -> io::Result<()> {
        if self.kept { Ok(()) } else { fs::remove_dir_all(&self.path) }
    }
}

/// An error with what was done to which path: the system's own words name neither.
pub(super) fn about(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure(format!("{doing} {}: {error}", path.display()))
}

/// The lock of a directory, or nothing if another process holds it.
fn lock(directory: &Path) -> io::Result<Option<fs::File>> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(directory.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Writes a file of mode 600 and renames it into place, so that nobody reads half of it.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    written.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))?;
    fs::rename(&temporary, path)
}

/// Makes a directory in a place where anybody may write, or takes over one of ours: a run in a container may bear the
/// number of the one that crashed before it. One that somebody else made ready, or a link, is refused: they could read the
/// tokens in it, exchange the policies, or have another directory removed at the end.
fn claim(path: &Path, builder: &fs::DirBuilder) -> io::Result<()> {
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_ours(path) => Ok(()),
        created => created,
    }
}

/// Whether this is a directory, not a link to one, of the user who runs us, and nobody else may write into it.
fn is_ours(path: &Path) -> bool {
    let (Ok(about), Ok(us)) = (fs::symlink_metadata(path), fs::metadata("/proc/self")) else { return false };
    about.is_dir() && about.uid() == us.uid() && about.mode() & 0o022 == 0
}

/// A run that crashed could not clean up: its directory bears the number of a process that is gone.
async fn sweep(temporary: &Path) -> io::Result<()> {
    for entry in fs::read_dir(temporary)?.flatten() {
        let name = entry.file_name();
        let Some(pid) =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok())
        else {
            continue;
        };
        let left_behind = pid != std::process::id() && !Path::new(&format!("/proc/{pid}")).exists();
        // Another user's leftovers, or what they want us to take for ours, are not ours to stop or to remove; and a process
        // that is gone from here may live in another container that shares the directory.
        if left_behind && is_ours(&entry.path()) {
            let Ok(Some(_lock)) = lock(&entry.path()) else { continue };
            if PrivatePostgres::stop_stale(&entry.path().join("postgres")).await.is_ok() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_that_somebody_made_ready_is_not_used() {
        let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let builder = fs::DirBuilder::new();
        let path = |name: &str| place.path().join(name);
        assert!(claim(&path("new"), &builder).is_ok());
        fs::set_permissions(path("new"), fs::Permissions::from_mode(0o711)).unwrap();
        assert!(claim(&path("new"), &builder).is_ok(), "one of ours is used again");

        symlink(elsewhere.path(), path("link")).unwrap();
        assert!(claim(&path("link"), &builder).is_err());
        fs::create_dir(path("open")).unwrap();
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(claim(&path("open"), &builder).is_err());
    }
}
