//! The parent users of a rotation, on MinIO: a new one with exactly the rights of the old, and the end of the old. It
//! believes no answer: what it did it reads again. It never touches the old user but to end it.

use aws_lc_rs::rand::fill;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

use super::minio_admin::{AdminError, MinioAdmin};
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

    /// Makes the new user with these policies alone, and reads it back. Can run again.
    pub async fn make(&self, new: &NewKey, policies: &str) -> Result<(), RotationError> {
        let name = new.access_key.expose_secret();
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
    use super::*;

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
