//! The files that tools read credentials from. A lease's values hold neither white space nor line breaks, which was
//! checked when it was read; names and addresses are checked here, for they stand in lines of their own.

use zeroize::Zeroizing;

use super::lease::Lease;
use crate::clock::Clock;

/// One kind of file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// `credentials`: a profile of AWS's shared credentials file.
    Aws {
        /// The profile's name.
        profile: String,
    },
    /// `rclone.conf`: a remote.
    Rclone {
        /// The remote's name.
        remote: String,
        /// The S3 endpoint.
        endpoint: Option<String>,
        /// The region.
        region: String,
    },
    /// `access-key`, `secret-key`, `session-token`, and `expiration` (RFC 3339): the bare values.
    Plain,
}

/// A file's name and content, wiped when dropped.
pub(super) type Content = (&'static str, Zeroizing<String>);

impl Form {
    /// Whether a text can stand in a line, or between the brackets of a section.
    #[must_use]
    pub fn is_name(text: &str) -> bool {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    }

    /// Whether a text can stand as the value of a line.
    #[must_use]
    pub fn is_value(text: &str) -> bool {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// The files of this lease.
    pub(super) fn render(&self, lease: &Lease, clock: &dyn Clock) -> Vec<Content> {
        let (id, secret, token) = (lease.access_key_id(), lease.secret_access_key(), lease.session_token());
        let file = |name, content: String| (name, Zeroizing::new(content));
        match self {
            Self::Aws { profile } => vec![file(
                "credentials",
                format!(
                    "[{profile}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\naws_session_token = {token}\n"
                ),
            )],
            Self::Rclone { remote, endpoint, region } => {
                let endpoint = endpoint.as_ref().map(|endpoint| format!("endpoint = {endpoint}\n")).unwrap_or_default();
                vec![file(
                    "rclone.conf",
                    format!(
                        "[{remote}]\ntype = s3\nprovider = Other\nenv_auth = false\naccess_key_id = {id}\nsecret_access_key = \
                         {secret}\nsession_token = {token}\n{endpoint}region = {region}\n"
                    ),
                )]
            }
            Self::Plain => vec![
                file("access-key", id.to_owned()),
                file("secret-key", secret.to_owned()),
                file("session-token", token.to_owned()),
                file("expiration", lease.expiration(clock)),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::lease::tests::{Hands, NOON, lease};

    #[test]
    fn each_form_is_what_its_tool_reads() {
        let clock = Hands::at(NOON);
        let lease = lease(60, 33, &clock);
        let rendered = |form: Form| -> String {
            let files = form.render(&lease, &clock);
            let shown: Vec<String> = files.iter().map(|(name, text)| format!("{name}:\n{}\n", text.as_str())).collect();
            shown.concat()
        };
        insta::assert_snapshot!(rendered(Form::Aws { profile: "default".to_owned() }), @r"
        credentials:
        [default]
        aws_access_key_id = AKIAPLANTED
        aws_secret_access_key = planted/secret+key=
        aws_session_token = planted.session.token
        ");
        let endpoint = Some("https://storage.example".to_owned());
        insta::assert_snapshot!(
            rendered(Form::Rclone { remote: "stint".to_owned(), endpoint, region: "us-east-1".to_owned() }), @r"
        rclone.conf:
        [stint]
        type = s3
        provider = Other
        env_auth = false
        access_key_id = AKIAPLANTED
        secret_access_key = planted/secret+key=
        session_token = planted.session.token
        endpoint = https://storage.example
        region = us-east-1
        ");
        insta::assert_snapshot!(rendered(Form::Plain), @r"
        access-key:
        AKIAPLANTED
        secret-key:
        planted/secret+key=
        session-token:
        planted.session.token
        expiration:
        2026-11-22T13:00:00Z
        ");
    }

    #[test]
    fn a_name_that_would_write_a_line_of_its_own_is_none() {
        for text in ["", "a]", "a b", "a\n[b]", "ä", "a/b"] {
            assert!(!Form::is_name(text), "{text:?}");
        }
        assert!(Form::is_name("studio-1.a_B"));
        assert!(Form::is_value("https://storage.example:9000/") && !Form::is_value("a\nb"));
    }
}
