//! Where the programs of PostgreSQL are installed. Distributions keep the server's out of PATH, so the usual places are
//! looked through, newest version first.

use std::fs;
use std::path::{Path, PathBuf};

/// Directories with one directory per version in them: where, what stands before the version, what follows it.
const VERSIONED: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Library/PostgreSQL", "", "bin"),
];
const PLAIN: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"];

/// The directory they are in; nothing when only PATH may know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Binaries(Option<PathBuf>);

impl Binaries {
    /// The newest, or those of the major version that made the data: another one refuses it.
    pub(super) fn find(data_version: Option<&str>) -> Self {
        let mut versions: Vec<(u32, PathBuf)> = VERSIONED.into_iter().flat_map(versions_in).collect();
        versions.sort_by(|(a, _), (b, _)| b.cmp(a));
        let fits = |version: u32| data_version.is_none_or(|wanted| wanted == version.to_string());
        let versioned = versions.into_iter().filter(|(version, _)| fits(*version)).map(|(_, directory)| directory);
        Self(versioned.chain(PLAIN.map(PathBuf::from)).find(|directory| is_complete(directory)))
    }

    /// The program, or its bare name to be looked up in PATH.
    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.0.as_ref().map_or_else(|| PathBuf::from(program), |directory| directory.join(program))
    }
}

fn versions_in((parent, before, below): (&str, &str, &str)) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let version = |entry: fs::DirEntry| {
        let version = entry.file_name().to_str()?.strip_prefix(before)?.parse().ok()?;
        Some((version, entry.path().join(below)))
    };
    entries.filter_map(version).collect()
}

fn is_complete(directory: &Path) -> bool {
    ["initdb", "postgres", "pg_ctl"].iter().all(|program| directory.join(program).is_file())
}
