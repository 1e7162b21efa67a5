//! What a sealed answer holds, and the forms in which programs take it. Secrets from the first byte opened to the last byte
//! written: never in a log, zeroized when dropped.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use super::{CeremonyError, Nonce, moment};
use crate::policy::RoleName;

const VERSION: &str = "stint break-glass credentials 1";

/// Emergency credentials, and what they belong to. No `Clone`, no `Serialize`, a redacted `Debug`.
#[derive(Debug)]
pub struct EmergencyCredentials {
    /// The access key id; treated as a secret, as everywhere.
    pub access_key_id: SecretString,
    /// The secret access key.
    pub secret_access_key: SecretString,
    /// The session token.
    pub session_token: SecretString,
    /// When they end; a fraction of a second is dropped.
    pub expiration: OffsetDateTime,
    /// The object server's region.
    pub region: String,
    /// The object server's address.
    pub endpoint: String,
    /// Which role.
    pub role: RoleName,
    /// The lease in the log.
    pub lease_id: Uuid,
    /// The use in the log: what a review or a cancellation names.
    pub nonce: Nonce,
    /// The incident.
    pub incident: String,
}

/// Members in the order of their names. Wiped when dropped.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    access_key_id: String,
    endpoint: String,
    expiration: String,
    incident: String,
    lease_id: Uuid,
    nonce: Uuid,
    region: String,
    role: String,
    secret_access_key: String,
    session_token: String,
    version: String,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.access_key_id.zeroize();
        self.secret_access_key.zeroize();
        self.session_token.zeroize();
    }
}

/// What the AWS CLI and SDKs take from a `credential_process`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialProcess<'a> {
    version: u8,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    session_token: &'a str,
    expiration: String,
}

impl EmergencyCredentials {
    /// What is sealed.
    pub(super) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, CeremonyError> {
        let wire = Wire {
            access_key_id: self.access_key_id.expose_secret().to_owned(),
            endpoint: self.endpoint.clone(),
            expiration: moment::spelled(self.expiration),
            incident: self.incident.clone(),
            lease_id: self.lease_id,
            nonce: self.nonce.uuid(),
            region: self.region.clone(),
            role: self.role.as_str().to_owned(),
            secret_access_key: self.secret_access_key.expose_secret().to_owned(),
            session_token: self.session_token.expose_secret().to_owned(),
            version: VERSION.to_owned(),
        };
        serde_json::to_vec(&wire).map(Zeroizing::new).map_err(|_| CeremonyError::SealFailed)
    }

    /// Reads what was sealed.
    pub(super) fn from_json(opened: &[u8]) -> Result<Self, CeremonyError> {
        let malformed = CeremonyError::SealMalformed("what it holds are no emergency credentials");
        let wire: Wire = serde_json::from_slice(opened).map_err(|_| malformed.clone())?;
        let nonce = Nonce::of(wire.nonce).filter(|_| wire.version == VERSION);
        let (Some(nonce), Some(role), Some(expiration)) =
            (nonce, RoleName::parse(&wire.role), moment::parse(&wire.expiration))
        else {
            return Err(malformed);
        };
        // They go into an environment and onto a terminal.
        let printable = |text: &String| !text.contains(char::is_control);
        let texts = [&wire.access_key_id, &wire.secret_access_key, &wire.session_token, &wire.region, &wire.endpoint];
        if !texts.into_iter().chain([&wire.incident]).all(printable) {
            return Err(malformed);
        }
        Ok(Self {
            access_key_id: SecretString::from(wire.access_key_id.as_str()),
            secret_access_key: SecretString::from(wire.secret_access_key.as_str()),
            session_token: SecretString::from(wire.session_token.as_str()),
            expiration,
            region: wire.region.clone(),
            endpoint: wire.endpoint.clone(),
            role,
            lease_id: wire.lease_id,
            nonce,
            incident: wire.incident.clone(),
        })
    }

    /// Names and values for a program's environment.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, SecretString)> {
        let plain = |text: &str| SecretString::from(text);
        vec![
            ("AWS_ACCESS_KEY_ID", self.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_access_key.clone()),
            ("AWS_SESSION_TOKEN", self.session_token.clone()),
            ("AWS_CREDENTIAL_EXPIRATION", plain(&moment::spelled(self.expiration))),
            ("AWS_REGION", plain(&self.region)),
            ("AWS_DEFAULT_REGION", plain(&self.region)),
            ("AWS_ENDPOINT_URL_S3", plain(&self.endpoint)),
        ]
    }

    /// Lines for a shell to read: `export NAME='value'`.
    #[must_use]
    pub fn shell_lines(&self) -> Zeroizing<String> {
        let mut lines = Zeroizing::new(String::with_capacity(4096));
        for (name, value) in self.variables() {
            let quoted = Zeroizing::new(value.expose_secret().replace('\'', "'\\''"));
            for part in ["export ", name, "='", quoted.as_str(), "'\n"] {
                lines.push_str(part);
            }
        }
        lines
    }

    /// What `credential_process` of `~/.aws/config` wants, on one line.
    pub fn credential_process(&self) -> Result<Zeroizing<String>, CeremonyError> {
        let wire = CredentialProcess {
            version: 1,
            access_key_id: self.access_key_id.expose_secret(),
            secret_access_key: self.secret_access_key.expose_secret(),
            session_token: self.session_token.expose_secret(),
            expiration: moment::spelled(self.expiration),
        };
        let line = serde_json::to_string(&wire).map_err(|_| CeremonyError::SealFailed)?;
        Ok(Zeroizing::new(format!("{line}\n")))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn lines_for_a_shell_keep_every_value_in_its_quotes() {
        let credentials = EmergencyCredentials {
            access_key_id: SecretString::from("AK"),
            secret_access_key: SecretString::from("a'; rm -rf /; '$(x)`y`"),
            session_token: SecretString::from("token"),
            expiration: datetime!(2026-11-22 14:20:00.9 UTC),
            region: "us-east-1".to_owned(),
            endpoint: "http://127.0.0.1:9000".to_owned(),
            role: RoleName::parse("emergency-read").unwrap(),
            lease_id: Uuid::from_u128(9),
            nonce: Nonce::from_random([5; 16]),
            incident: "INC-7".to_owned(),
        };
        let lines = credentials.shell_lines();
        assert!(
            lines.contains("export AWS_SECRET_ACCESS_KEY='a'\\''; rm -rf /; '\\''$(x)`y`'\n"),
            "{}",
            lines.as_str()
        );
        assert!(lines.contains("export AWS_ENDPOINT_URL_S3='http://127.0.0.1:9000'\n"));
        let process: serde_json::Value = serde_json::from_str(&credentials.credential_process().unwrap()).unwrap();
        assert_eq!(process["Version"], 1);
        assert_eq!((&process["AccessKeyId"], &process["Expiration"]), (&"AK".into(), &"2026-11-22T14:20:00Z".into()));
        assert_eq!(process.as_object().unwrap().len(), 5);
    }
}
