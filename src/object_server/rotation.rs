//! The parent users of a rotation, on MinIO: a new one with exactly the rights of the old, and the end of the old. It
//! believes no answer: what it did it reads again. It never touches the old user but to end it.

use aws_lc_rs::rand::fill;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

use super::minio_admin::{AdminError, MinioAdmin, UserInfo};
use super::s3::{S3Client, S3Key};

/// What an access key is spelt with: 5 bits each.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Characters drawn for an access key; with `STINT` before them it is as long as those that MinIO makes.
const DRAWN: usize = 15;

/// The system has no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source failed")]
pub struct NoRandomness;

/// A key pair for a new parent.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its access key: 20 characters, 75 bits of them drawn.
    pub access_key: SecretString,
    /// Its secret key: 40 characters, 240 bits.
    pub secret_key: SecretString,
}

impl NewKey {
    /// Draws one.
    pub fn draw() -> Result<Self, NoRandomness> {
        let (mut name, mut secret) = ([0_u8; DRAWN], [0_u8; 30]);
        fill(&mut name).and_then(|()| fill(&mut secret)).map_err(|_| NoRandomness)?;
        let letters = name.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32)).copied().map(char::from));
        let access_key: String = "STINT".chars().chain(letters).collect();
        Ok(Self {
            access_key: SecretString::from(access_key),
            secret_key: SecretString::from(URL_SAFE_NO_PAD.encode(secret)),
        })
    }
}

/// Why a step of a rotation came to nothing. No text holds a key.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The admin API, or the network.
    #[error("{0}")]
    Admin(String),
    /// There is no such user.
    #[error("it is no built-in user of this server: nothing can be rotated")]
    NoUser,
    /// Somebody cut it off.
    #[error("its user is disabled: every lease under it is cut. Enable it first, or make a parent anew")]
    Disabled,
    /// It has rights that come from elsewhere.
    #[error(
        "its user is in the groups {0}, whose rights a new user would not have: give the user policies of its own, take it \
         out of the groups, and run this again"
    )]
    InGroups(String),
    /// It has none.
    #[error("its user has no policy: there is nothing to copy")]
    NoPolicies,
    /// The name in the files is the administrator's.
    #[error("the key in the files is the administrator's own: name another directory")]
    Administrator,
    /// The name in the files is a user's that no rotation of this parent left.
    #[error(
        "the key in the files names a user that is there, and is not this parent's successor: it is disabled, in a group, or \
         has other policies. Nothing of it was changed; name another directory"
    )]
    SomebodyElses,
    /// The server does not say what was written.
    #[error("read back, the new user is not as it was made: {0}")]
    NotAsWritten(String),
}

impl From<AdminError> for RotationError {
    fn from(error: AdminError) -> Self {
        Self::Admin(error.to_string())
    }
}

/// What a user is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    Gone,
    /// It and all its sessions are refused.
    Disabled,
    /// As a user is.
    Enabled,
}

/// The users of a server, as an administrator.
#[derive(Debug)]
pub struct ParentUsers {
    /// How to reach it.
    pub client: S3Client,
    /// The administrator's key.
    pub key: S3Key,
}

impl ParentUsers {
    /// The policies of a parent that can be rotated, separated by commas.
    pub async fn policies(&self, access_key: &SecretString) -> Result<String, RotationError> {
        let user = self.admin().user(access_key.expose_secret()).await?.ok_or(RotationError::NoUser)?;
        if user.status != "enabled" {
            return Err(RotationError::Disabled);
        }
        if !user.groups.is_empty() {
            return Err(RotationError::InGroups(user.groups.join(", ")));
        }
        if user.policies.is_empty() {
            return Err(RotationError::NoPolicies);
        }
        Ok(user.policies)
    }

    /// Makes the new user with these policies alone, and reads it back. Can run again: a user that is there already is taken
    /// for the new one only if it could be what a run that broke off has left. Any other keeps its secret and its policies.
    pub async fn make(&self, new: &NewKey, policies: &str) -> Result<(), RotationError> {
        let name = new.access_key.expose_secret();
        if name == self.key.access_key() {
            return Err(RotationError::Administrator);
        }
        if self.admin().user(name).await?.is_some_and(|there| !is_left_over(&there, policies)) {
            return Err(RotationError::SomebodyElses);
        }
        self.admin().put_user(name, &new.secret_key).await?;
        self.admin().set_policies(name, policies).await?;
        let made = self.admin().user(name).await?.ok_or_else(|| not_as_written("it is not there"))?;
        if made.status != "enabled" {
            return Err(not_as_written("it is disabled"));
        }
        if sorted(&made.policies) != sorted(policies) || !made.groups.is_empty() {
            return Err(not_as_written("it has other policies"));
        }
        Ok(())
    }

    /// What the user is now.
    pub async fn standing(&self, access_key: &SecretString) -> Result<Standing, RotationError> {
        Ok(match self.admin().user(access_key.expose_secret()).await? {
            None => Standing::Gone,
            Some(user) if user.status == "enabled" => Standing::Enabled,
            Some(_) => Standing::Disabled,
        })
    }

    /// Refuses the user and its sessions from now on, or no more.
    pub async fn set_enabled(&self, access_key: &SecretString, enabled: bool) -> Result<(), RotationError> {
        self.admin().set_status(access_key.expose_secret(), enabled).await?;
        let wanted = if enabled { Standing::Enabled } else { Standing::Disabled };
        let now = self.standing(access_key).await?;
        if now == wanted { Ok(()) } else { Err(RotationError::Admin(format!("read back, its user is {now:?}"))) }
    }

    /// Deletes the user.
    pub async fn remove(&self, access_key: &SecretString) -> Result<(), RotationError> {
        self.admin().delete_user(access_key.expose_secret()).await?;
        match self.standing(access_key).await? {
            Standing::Gone => Ok(()),
            Standing::Disabled | Standing::Enabled => {
                Err(RotationError::Admin("read back, its user is still there".to_owned()))
            }
        }
    }

    fn admin(&self) -> MinioAdmin<'_> {
        MinioAdmin { client: &self.client, key: &self.key }
    }
}

/// A run breaks off before its user has policies, or after it has them all.
fn is_left_over(there: &UserInfo, policies: &str) -> bool {
    let fits = there.policies.is_empty() || sorted(&there.policies) == sorted(policies);
    there.status == "enabled" && there.groups.is_empty() && fits
}

fn not_as_written(what: &str) -> RotationError {
    RotationError::NotAsWritten(what.to_owned())
}

fn sorted(policies: &str) -> Vec<&str> {
    let mut names: Vec<&str> = policies.split(',').map(str::trim).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::s3::S3Settings;
    use super::super::scripted::{Reply, ScriptedObjectServer};
    use super::*;
    use crate::clock::SystemClock;

    async fn users(replies: Vec<Reply>) -> (ParentUsers, ScriptedObjectServer) {
        let server = ScriptedObjectServer::start(replies).await;
        let settings = S3Settings {
            endpoint: server.endpoint().to_owned(),
            region: "us-east-1".to_owned(),
            timeout: Duration::from_secs(5),
        };
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = S3Client::new(settings, Arc::new(SystemClock::start())).unwrap();
        let key = S3Key::long_lived(SecretString::from("administrator"), SecretString::from("administrators-secret"));
        (ParentUsers { client, key }, server)
    }

    fn user(policies: &str, status: &str, groups: &[&str]) -> Reply {
        let user = serde_json::json!({"policyName": policies, "status": status, "memberOf": groups});
        Reply::http(200, "application/json", &user.to_string())
    }

    fn named(name: &str) -> NewKey {
        NewKey { access_key: SecretString::from(name), secret_key: SecretString::from("a-new-secret") }
    }

    #[tokio::test]
    async fn the_administrator_is_nobodys_successor() {
        let (users, server) = users(Vec::new()).await;
        let made = users.make(&named("administrator"), "stint").await;
        assert!(matches!(made, Err(RotationError::Administrator)), "{made:?}");
        assert_eq!(server.received().len(), 0);
    }

    #[tokio::test]
    async fn a_user_that_is_somebody_elses_keeps_its_secret_and_its_policies() {
        for theirs in [
            user("consoleAdmin", "enabled", &[]),
            user("stint,consoleAdmin", "enabled", &[]),
            user("stint", "disabled", &[]),
            user("", "enabled", &["admins"]),
        ] {
            let (users, server) = users(vec![theirs]).await;
            let made = users.make(&named("STINTNEW"), "stint").await;
            assert!(matches!(made, Err(RotationError::SomebodyElses)), "{made:?}");
            let asked: Vec<_> = server.received().into_iter().map(|request| request.line).collect();
            assert!(asked.len() == 1 && asked[0].starts_with("GET "), "{asked:?}");
        }
    }

    #[tokio::test]
    async fn what_a_run_that_broke_off_has_left_is_gone_on_with() {
        let done = || Reply::http(200, "text/plain", "");
        for left in [user("", "enabled", &[]), user("b,a", "enabled", &[])] {
            let (users, _server) = users(vec![left, done(), done(), user("a,b", "enabled", &[])]).await;
            users.make(&named("STINTNEW"), "a,b").await.unwrap();
        }
    }

    #[test]
    fn a_key_is_drawn_as_long_as_the_server_makes_its_own_and_never_shown() {
        let (one, other) = (NewKey::draw().unwrap(), NewKey::draw().unwrap());
        assert_eq!((one.access_key.expose_secret().len(), one.secret_key.expose_secret().len()), (20, 40));
        assert_ne!(one.access_key.expose_secret(), other.access_key.expose_secret());
        assert_ne!(one.secret_key.expose_secret(), other.secret_key.expose_secret());
        // MinIO refuses `=` and `,` in an access key.
        assert!(one.access_key.expose_secret().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let shown = format!("{one:?}");
        assert!(!shown.contains(one.access_key.expose_secret()) && !shown.contains(one.secret_key.expose_secret()));
    }

    #[test]
    fn policies_are_the_same_in_any_order() {
        assert_eq!(sorted("a,b"), sorted("b, a"));
        assert_ne!(sorted("a,b"), sorted("a"));
    }
}
