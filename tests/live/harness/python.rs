//! An unmodified boto3 in a clean environment: an empty home, no proxy, no way to AWS.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::environment::{named_by, repository};
use super::{Keys, Minio};

/// One boto3 session to come, with what its environment will hold.
pub(crate) struct Boto3 {
    variables: Vec<(String, String)>,
    home: TempDir,
}

impl Boto3 {
    /// A session against `minio`, without credentials.
    pub(crate) fn against(minio: &Minio) -> Self {
        Self::at(&minio.endpoint())
    }

    /// The same against any S3 endpoint.
    pub(crate) fn at(endpoint: &str) -> Self {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        Self { variables: Vec::new(), home }
            .with("AWS_ENDPOINT_URL_S3", endpoint)
            .with("AWS_REGION", "us-east-1")
            .with("AWS_DEFAULT_REGION", "us-east-1")
            .with("AWS_EC2_METADATA_DISABLED", "true")
    }

    /// One more variable.
    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Static credentials.
    pub(crate) fn holding(self, keys: &Keys) -> Self {
        self.with("AWS_ACCESS_KEY_ID", &keys.access_key)
            .with("AWS_SECRET_ACCESS_KEY", &keys.secret_key)
            .with("AWS_SESSION_TOKEN", &keys.session_token)
    }

    /// The token in a file, as a projected token is.
    pub(crate) fn with_token_file(self, token: &str) -> Self {
        let file: PathBuf = self.home.path().join("token");
        std::fs::write(&file, token).expect("the token is written");
        let file = text(&file).to_owned();
        self.with("AWS_WEB_IDENTITY_TOKEN_FILE", &file)
    }

    /// Does `steps` in order within one session and says of each what came of it: `ok`, the access key id used, or the
    /// error code. A step is `put:bucket/key`, `get:bucket/key`, `list:bucket`, `delete:bucket/key`,
    /// `url:bucket/key` (what was put, by a presigned URL), `form:bucket/key` (an upload by a presigned form), `key`, or
    /// `whoami` (the ARN that STS says the key belongs to).
    pub(crate) fn walk(&self, steps: &[&str]) -> Vec<String> {
        let output = Command::new(named_by("STINT_LIVE_PYTHON"))
            .arg("-I")
            .arg(repository().join("tests/live/walk.py"))
            .args(steps)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .envs(self.variables.iter().map(|(variable, value)| (variable, value)))
            .current_dir(self.home.path())
            .output()
            .expect("python runs");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}
