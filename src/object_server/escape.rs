//! Ways out of a lease, tried with its own key: into a key that does not end, or into a session without its policy. What
//! should not have come to be is removed again, and neither attempt is ever worth anything to whoever sees it.

use super::minio_admin::{MinioAdmin, TrialKey};
use super::s3::{S3Client, S3Error, S3Key, S3Request};

/// A policy under which a session may do nothing: what a trial mints is good for nothing.
const NOTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}"#;

/// What became of an attempt to make a permanent key. What the server told is for people.
#[derive(Debug)]
pub(super) enum KeyAttempt {
    /// Refused, as it must be.
    Refused(String),
    /// Answered yes, but there is no such key.
    Imagined(String),
    /// There was a key; and whether it could be deleted.
    Made(String),
    /// Neither made nor refused.
    Neither {
        /// HTTP status.
        status: u16,
        /// Status and code.
        told: String,
    },
    /// It may have been made: no whole answer came. And whether something was deleted.
    Unknown(String),
}

/// CVE-2025-62506: on MinIO up to 2025-10-15 only an explicit Deny keeps a session from making a permanent key of its parent.
/// If one comes to be it is deleted, by its maker or by one of `others`; nobody ever knows its secret.
pub(super) async fn try_permanent_key(client: &S3Client, key: &S3Key, others: &[&S3Key]) -> KeyAttempt {
    let trial = match TrialKey::draw() {
        Ok(trial) => trial,
        Err(error) => return KeyAttempt::Unknown(error.to_string()),
    };
    let removed = async || remove_key(client, key, others, &trial).await;
    match (MinioAdmin { client, key }).try_permanent_key(&trial).await {
        Ok(answer) if answer.is_refusal() => KeyAttempt::Refused(answer.told()),
        Ok(answer) if answer.is_success() => match (trial.is_known_to(client).await, removed().await) {
            // What took it for something else may have kept it as something else, which is removed too.
            (Some(false), _) => KeyAttempt::Imagined(answer.told()),
            (Some(true), removed) => KeyAttempt::Made(removed),
            (None, removed) => KeyAttempt::Unknown(format!("answered {}; {removed}", answer.told())),
        },
        Ok(answer) => KeyAttempt::Neither { status: answer.status(), told: answer.told() },
        // It may exist: whoever could have made it may remove it.
        Err(error) => KeyAttempt::Unknown(format!("{error}; {}", removed().await)),
    }
}

async fn remove_key(client: &S3Client, maker: &S3Key, others: &[&S3Key], trial: &TrialKey) -> String {
    for key in [maker].into_iter().chain(others.iter().copied()) {
        if (MinioAdmin { client, key }).delete_permanent_key(trial.access_key()).await.is_ok() {
            return "it was deleted".to_owned();
        }
    }
    format!("DELETE IT if it is there: {}", trial.access_key())
}

/// What became of an attempt to assume a role again. What the server told is for people.
#[derive(Debug)]
pub(super) enum SessionAttempt {
    /// Refused, as it must be.
    Refused(String),
    /// It minted: without a policy it would have minted one as wide as the role.
    Minted,
    /// Neither.
    Neither(String),
}

/// Whether a session may begin another, and so leave its policy behind. What it should mint could do nothing: it is asked for
/// under a policy that allows nothing. Where leases are ended by an id, it ends with this lease: `marker` is the field that
/// says so.
pub(super) async fn try_new_session(
    client: &S3Client,
    key: &S3Key,
    marker: (&str, &str),
) -> Result<SessionAttempt, S3Error> {
    let form = [
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("DurationSeconds", "900"),
        ("RoleSessionName", "stint-verify"),
        ("Policy", NOTHING),
        marker,
    ];
    let answer = client.send(key, &S3Request::sts(&form)).await?;
    Ok(match answer.status() {
        _ if answer.xml("AssumeRoleResponse").is_ok() => SessionAttempt::Minted,
        400..500 => SessionAttempt::Refused(answer.told()),
        _ => SessionAttempt::Neither(answer.told()),
    })
}
