//! The only place that reads the environment: where `tests/run` put the servers.

use std::path::{Path, PathBuf};

/// The path in `variable`. Absent means the test fails: a live test that passes without its server says nothing.
#[expect(clippy::disallowed_methods, reason = "the servers are named by tests/run, in the environment")]
pub(crate) fn named_by(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: `tests/run live` installs the servers and sets it"));
    let path = PathBuf::from(path);
    assert!(path.exists(), "{variable} names {}, which is not there", path.display());
    path
}

/// The text in `variable`, on the same terms.
#[expect(clippy::disallowed_methods, reason = "what the servers are is told by tests/run, in the environment")]
pub(crate) fn told(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: `tests/run live` sets it"))
}

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
