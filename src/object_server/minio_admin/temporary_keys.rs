//! MinIO's list of a user's temporary keys. It tells of each its access key and its end, and nothing else: `TokenRevokeType`
//! is inside the session token, which is not shown (`cmd/admin-handlers-users.go`, `ListAccessKeysBulk`). A user lists its
//! own keys unless a Deny on `admin:ListServiceAccounts` stops it; another needs that one right.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;

use super::super::s3::{S3Client, S3Error, S3Key, S3Request, S3Settings};
use super::super::{
    Absence, AccessKeyId, ConfigError, ListedCredential, ObjectServerError, ParentListing, ServerSettings, sts_call,
    wire,
};
use super::{ADMIN, opened_body};
use crate::clock::Clock;

/// An entry takes some 130 bytes, so half a million fit: ten times what makes a MinIO slow to start.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;
/// A listing of 50,000 is found, sealed, sent and opened in a second or two.
const TIMEOUT: Duration = Duration::from_secs(30);

const UNOPENABLE: &str = "its listing cannot be decrypted with the secret of whoever asked";
const NO_LISTING: &str = "its listing is no list of temporary keys";

/// Lists the temporary keys of one parent.
#[derive(Debug)]
pub(in crate::object_server) struct MinioLister {
    client: S3Client,
    parent: String,
    /// Who asks: the parent itself, or somebody with the one right that it takes.
    asker: S3Key,
}

/// What is said of one user.
#[derive(Deserialize)]
struct UsersKeys<'a> {
    #[serde(rename = "stsKeys", borrow, default)]
    temporary: Option<Vec<TemporaryKey<'a>>>,
}

#[derive(Deserialize)]
struct TemporaryKey<'a> {
    #[serde(rename = "accessKey", borrow)]
    access_key: Cow<'a, str>,
    #[serde(borrow, default)]
    expiration: Option<Cow<'a, str>>,
}

impl MinioLister {
    /// As the parent itself; connects to nothing.
    pub(in crate::object_server) fn new(settings: &ServerSettings, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let (endpoint, region) = (settings.endpoint.clone(), settings.region.clone());
        let client = S3Client::new(S3Settings { endpoint, region, timeout: TIMEOUT }, clock)?;
        let parent = settings.access_key.clone();
        let asker = S3Key::long_lived(SecretString::from(parent.as_str()), settings.secret_key.clone());
        Ok(Self { client, parent, asker })
    }

    /// As somebody else.
    pub(in crate::object_server) fn asking_as(self, asker: S3Key) -> Self {
        Self { asker, ..self }
    }

    /// Asks once.
    pub(in crate::object_server) async fn list(&self) -> Result<ParentListing, ObjectServerError> {
        let request = S3Request::path(Method::GET, &format!("{ADMIN}/list-access-keys-bulk"))
            .query(&[("listType", "sts-only"), ("users", &self.parent)])
            .answered_within(ANSWER_LIMIT);
        let answer = self.client.send(&self.asker, &request).await.map_err(unanswered)?;
        if !answer.is_success() {
            return Err(sts_call::refusal(answer.http_status(), answer.code()));
        }
        let (secret, parent) = (self.asker.secret_key().clone(), self.parent.clone());
        // Argon2id over 64 MiB, and perhaps as much to decrypt: not on a thread that serves.
        let opening = tokio::task::spawn_blocking(move || {
            let opened = opened_body::open(&secret, answer.body()).map_err(|_| nonsense(UNOPENABLE))?;
            parse(&opened, &parent)
        });
        opening.await.unwrap_or(Err(nonsense(UNOPENABLE)))
    }
}

fn parse(text: &[u8], parent: &str) -> Result<ParentListing, ObjectServerError> {
    let mut users: BTreeMap<Cow<'_, str>, UsersKeys<'_>> =
        serde_json::from_slice(text).map_err(|_| nonsense(NO_LISTING))?;
    let own = users.remove(parent);
    // Keys of somebody else would look like orphans of ours.
    if !users.is_empty() {
        return Err(nonsense("its listing is of other users than the one asked for"));
    }
    // A user without temporary keys is left out.
    let keys = own.and_then(|own| own.temporary).unwrap_or_default();
    let credentials = keys.into_iter().map(credential).collect::<Option<Vec<_>>>();
    let parent = AccessKeyId::parse(parent).ok_or(ObjectServerError::Unsendable)?;
    let credentials = credentials.ok_or_else(|| nonsense(NO_LISTING))?;
    // `ListAccessKeysBulk` reads `iamSTSAccountsMap`, and `LoadIAMCache` does not fill it (`cmd/iam-store.go`).
    Ok(ParentListing { parent, absence: Absence::GoneIfListedBefore, credentials })
}

fn credential(key: TemporaryKey<'_>) -> Option<ListedCredential> {
    let ends_at = match key.expiration {
        Some(text) => Some(wire::instant(&text)?),
        None => None,
    };
    Some(ListedCredential { access_key_id: AccessKeyId::parse(&key.access_key)?, ends_at, lease: None })
}

fn nonsense(what: &'static str) -> ObjectServerError {
    ObjectServerError::Nonsense { what }
}

fn unanswered(error: S3Error) -> ObjectServerError {
    match error {
        S3Error::Unreachable(error) => ObjectServerError::Unreachable(Arc::new(error)),
        S3Error::Interrupted(error) => ObjectServerError::Interrupted(error.map(Arc::new)),
        S3Error::TooLarge { .. } => nonsense("its listing is longer than 64 MiB"),
        S3Error::Unsendable => ObjectServerError::Unsendable,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    /// As MinIO RELEASE.2025-04-22 writes it.
    const LISTING: &str = r#"{"minter":{"serviceAccounts":null,"stsKeys":[{"parentUser":"","accountStatus":"",
        "impliedPolicy":false,"accessKey":"QK89Y2ABCJQTKYD80DRD","expiration":"2026-11-22T06:57:17Z"},
        {"parentUser":"","accountStatus":"","impliedPolicy":false,"accessKey":"E13X1JD63YOUGRIN5Z70"}]}}"#;

    fn listed(text: &str) -> Result<ParentListing, ObjectServerError> {
        parse(text.as_bytes(), "minter")
    }

    #[test]
    fn a_listing_tells_access_keys_and_ends() {
        let listing = listed(LISTING).unwrap();
        assert_eq!(listing.parent.expose(), "minter");
        let told: Vec<_> = listing.credentials.iter().map(|key| (key.access_key_id.expose(), key.ends_at)).collect();
        let end = datetime!(2026-11-22 06:57:17 UTC);
        assert_eq!(told, [("QK89Y2ABCJQTKYD80DRD", Some(end)), ("E13X1JD63YOUGRIN5Z70", None)]);
        assert!(!format!("{listing:?}").contains("QK89Y2ABCJQTKYD80DRD"));
    }

    #[test]
    fn an_end_at_the_end_of_time_is_an_end() {
        let last = time::PrimitiveDateTime::MAX.assume_utc();
        for (text, end) in [
            ("9999-12-31T23:59:59Z", datetime!(9999-12-31 23:59:59 UTC)),
            ("9999-12-31T23:59:59-05:00", last),
            ("9999-12-31T23:59:59+05:00", datetime!(9999-12-31 18:59:59 UTC)),
        ] {
            let listing = listed(&LISTING.replace("2026-11-22T06:57:17Z", text)).unwrap();
            assert_eq!(listing.credentials[0].ends_at, Some(end), "{text}");
        }
    }

    #[test]
    fn a_parent_without_temporary_keys_has_an_empty_listing() {
        for none in ["{}", r#"{"minter":{}}"#, r#"{"minter":{"serviceAccounts":null,"stsKeys":null}}"#] {
            assert_eq!(listed(none).unwrap().credentials.len(), 0, "{none}");
        }
    }

    #[test]
    fn keys_of_other_users_and_half_a_listing_are_not_believed() {
        for wrong in [
            "",
            "null",
            "[]",
            r#"{"minter":null}"#,
            &LISTING.replace("minter", "other"),
            &LISTING.replace(r#"{"minter""#, r#"{"other":{},"minter""#),
            &LISTING.replace("E13X1JD63YOUGRIN5Z70", ""),
            &LISTING.replace("E13X1JD63YOUGRIN5Z70", "a key"),
            &LISTING.replace(r#""accessKey":"E13X1JD63YOUGRIN5Z70""#, r#""name":"x""#),
            &LISTING.replace("2026-11-22T06:57:17Z", "soon"),
            &LISTING[..LISTING.len() - 1],
        ] {
            assert!(matches!(listed(wrong), Err(ObjectServerError::Nonsense { .. })), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_cut_listing_is_never_a_shorter_one(at in 0..LISTING.len()) {
            prop_assert!(listed(&LISTING[..at]).is_err());
        }
    }
}
