//! The environment of a program that takes its credentials from the agent: what it needs, and what must not be there,
//! because SDKs prefer it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::endpoint::{Imds, PATH};

/// What ranks above container credentials in some SDK, or would be mixed with them.
pub(super) const CLEARED: [&str; 14] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
];

/// The variables of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variables {
    /// Where the endpoint listens.
    pub address: SocketAddr,
    /// Where its token is.
    pub token_file: PathBuf,
    /// Whether it answers metadata clients.
    pub imds: Imds,
}

impl Variables {
    /// Names and values. Both container variables: `object_store` looks for instance metadata where the file is missing.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let address = self.address;
        let mut pairs = vec![
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{address}{PATH}")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", self.token_file.display().to_string()),
        ];
        pairs.push(match self.imds {
            Imds::Off => ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            Imds::On => ("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{address}/")),
        });
        pairs
    }

    /// Lines for a shell and for systemd's `EnvironmentFile=`.
    #[must_use]
    pub fn lines(&self) -> String {
        self.pairs().into_iter().fold(String::new(), |mut lines, (name, value)| {
            // Writing into a string cannot fail.
            let _ = writeln!(lines, "{name}={}", quoted(&value));
            lines
        })
    }

    /// Whether a path can stand in a line at all.
    #[must_use]
    pub fn can_name(path: &Path) -> bool {
        path.to_str().is_some_and(|path| !path.chars().any(char::is_control))
    }
}

/// As it is where nothing in it means anything to a shell, else in single quotes.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:._-@%+=,".contains(&byte);
    if value.bytes().all(plain) { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(token_file: &str, imds: Imds) -> Variables {
        Variables { address: "127.0.0.1:4711".parse().unwrap(), token_file: token_file.into(), imds }
    }

    #[test]
    fn both_container_variables_are_given_and_metadata_is_off() {
        assert_eq!(
            variables("/run/a/token", Imds::Off).lines(),
            "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:4711/credentials\n\
             AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/run/a/token\nAWS_EC2_METADATA_DISABLED=true\n"
        );
        let lines = variables("/run/a/token", Imds::On).lines();
        assert!(lines.ends_with("\nAWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:4711/\n"), "{lines}");
    }

    #[test]
    fn a_path_that_means_something_to_a_shell_is_quoted() {
        let lines = variables("/tmp/a b/$(id)'x", Imds::Off).lines();
        assert!(lines.contains(r"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='/tmp/a b/$(id)'\''x'"), "{lines}");
        assert!(!Variables::can_name(Path::new("/tmp/a\nAWS_PROFILE=x")));
    }
}
