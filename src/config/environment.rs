//! The only place that reads the environment and secret files.

use std::path::Path;

/// The process environment, as a port: a test hands in its own.
pub trait Environment {
    /// Every variable.
    fn variables(&self) -> Vec<(String, String)>;

    /// The text of a secret's file.
    fn read_file(&self, path: &Path) -> std::io::Result<String>;
}

/// The real one.
#[derive(Debug)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variables(&self) -> Vec<(String, String)> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    fn read_file(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// No variables, no files.
pub(super) struct Empty;

impl Environment for Empty {
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn read_file(&self, _path: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}
