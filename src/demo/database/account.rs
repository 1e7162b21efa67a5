//! As whom the server runs: PostgreSQL refuses root, so root hands it to another user, and what that user needs with it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use tokio::process::Command;

use super::{DatabaseError, io};

/// Who runs the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// Whoever runs us.
    Same,
    /// Somebody else, since we are root.
    Other {
        /// Their user id.
        uid: u32,
        /// Their group id.
        gid: u32,
    },
}

impl Account {
    /// `postgres` where there is one, else `nobody`, if we are root.
    pub(super) fn choose() -> Result<Self, DatabaseError> {
        if !runs_as_root() {
            return Ok(Self::Same);
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(io("reading /etc/passwd"))?;
        let of = |name| entry(&passwd, name);
        of("postgres").or_else(|| of("nobody")).ok_or(DatabaseError::NoAccount)
    }

    /// Gives a file or directory to the account.
    pub(super) fn own(self, path: &Path) -> Result<(), DatabaseError> {
        match self {
            Self::Same => Ok(()),
            Self::Other { uid, gid } => {
                chown(path, Some(uid), Some(gid)).map_err(io(format!("handing over {}", path.display())))
            }
        }
    }

    /// Lets the account pass through `directory`, which is ours, and proves that it gets that far.
    pub(super) fn admit(self, directory: &Path) -> Result<(), DatabaseError> {
        let Self::Other { uid, gid } = self else { return Ok(()) };
        fs::set_permissions(directory, fs::Permissions::from_mode(0o711))
            .map_err(io(format!("opening {}", directory.display())))?;
        for ancestor in directory.ancestors() {
            let about = fs::metadata(ancestor).map_err(io(format!("looking at {}", ancestor.display())))?;
            let needed = match (about.uid() == uid, about.gid() == gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            if about.mode() & needed == 0 {
                return Err(DatabaseError::NotTraversable { directory: ancestor.to_owned() });
            }
        }
        Ok(())
    }

    /// Makes a command run as the account, without our supplementary groups.
    pub(super) fn apply(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
    }
}

/// Our own process directory belongs to our effective user; where there is no /proc, a file we make would tell the same.
fn runs_as_root() -> bool {
    fs::metadata("/proc/self").or_else(|_| fs::metadata("/dev/fd/0")).is_ok_and(|about| about.uid() == 0)
}

/// `name:x:uid:gid:…` (passwd(5)).
fn entry(passwd: &str, name: &str) -> Option<Account> {
    let fields = |line: &str| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let (_password, uid, gid) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (found && uid != 0).then_some(Account::Other { uid, gid })
    };
    passwd.lines().find_map(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\npostgresql:x:7:7::/:\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\nbroken\n";

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        assert_eq!(entry(PASSWD, "postgres"), Some(Account::Other { uid: 101, gid: 104 }));
        assert_eq!(entry(PASSWD, "nobody"), None);
        assert_eq!(entry(PASSWD, "broken"), None);
    }

    #[test]
    fn root_is_never_the_other_account() {
        assert_eq!(entry(PASSWD, "root"), None);
    }

    #[test]
    fn a_closed_directory_above_is_named() {
        let closed = tempfile::tempdir().unwrap();
        let inside = closed.path().join("inside");
        fs::create_dir(&inside).unwrap();
        let somebody = Account::Other { uid: 4_000_001, gid: 4_000_001 };
        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
        match somebody.admit(&inside) {
            Err(DatabaseError::NotTraversable { directory }) => assert_eq!(directory, closed.path()),
            other => panic!("{other:?}"),
        }
        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o711)).unwrap();
        somebody.admit(&inside).unwrap();
    }
}
