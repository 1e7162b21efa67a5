//! Ending all sessions of a role at servers that keep none (Ceph, AWS): a policy on the role that denies everything to
//! sessions issued before an instant. Sessions issued later are not touched. It needs an administrator's key, which the
//! service never holds: this is for the command line.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::s3::{S3Answer, S3Client, S3Error, S3Key, S3Request};
use super::sts_call::refusal;
use super::{LeaseToEnd, ObjectServer, ObjectServerError, TemporaryCredentials};
use crate::audit::{AuditReceipt, KeyFingerprint};
use crate::clock::Clock;
use crate::lease::{AssumeRole, Capabilities, RoleArn};

/// The name of the policy on the role. Putting it again moves the instant on.
const POLICY: &str = "stint-revoked";

/// How the IAM is reached.
#[derive(Debug)]
pub struct RoleDenySettings {
    /// Sends to the IAM: at Ceph the S3 endpoint, at AWS `https://iam.amazonaws.com` in `us-east-1`.
    pub iam: S3Client,
    /// An administrator of roles.
    pub administrator: S3Key,
    /// The role whose sessions are to end.
    pub role: RoleArn,
}

/// Denies what was issued before.
#[derive(Debug)]
pub struct RoleDeny {
    settings: RoleDenySettings,
    clock: Arc<dyn Clock>,
}

impl RoleDeny {
    /// Connects to nothing.
    #[must_use]
    pub fn new(settings: RoleDenySettings, clock: Arc<dyn Clock>) -> Self {
        Self { settings, clock }
    }

    /// Puts the policy on the role, and reads it back: a server that only says yes is not believed. The instant never moves
    /// back: a clock that is behind must not give sessions back that were ended.
    pub async fn deny_older_sessions(&self) -> Result<(), ObjectServerError> {
        let now = first_allowed(self.clock.now());
        let answer = self.call("GetRolePolicy", &[]).await?;
        let present = if answer.is_success() {
            instant_in(&text_of(&answer))
        } else if answer.status() == 404 {
            None
        } else {
            return Err(refused(&answer));
        };
        let document = deny_before(present.map_or(now, |present| present.max(now)));
        let answer = self.call("PutRolePolicy", &[("PolicyDocument", &document)]).await?;
        if !answer.is_success() {
            return Err(refused(&answer));
        }
        let answer = self.call("GetRolePolicy", &[]).await?;
        if !answer.is_success() {
            return Err(refused(&answer));
        }
        let text = text_of(&answer);
        let instant = instant_of(&document);
        let has = !instant.is_empty() && text.contains(&instant);
        if has {
            Ok(())
        } else {
            Err(ObjectServerError::Nonsense { what: "the policy that was put on the role is not there" })
        }
    }

    async fn call(&self, action: &str, more: &[(&str, &str)]) -> Result<S3Answer, ObjectServerError> {
        let RoleDenySettings { iam, administrator, role } = &self.settings;
        let fixed =
            [("Action", action), ("Version", "2010-05-08"), ("RoleName", role_name(role)), ("PolicyName", POLICY)];
        let fields: Vec<_> = fixed.into_iter().chain(more.iter().copied()).collect();
        let request = S3Request::iam(&fields);
        iam.send(administrator, &request).await.map_err(|error| match error {
            S3Error::Unreachable(error) => ObjectServerError::Unreachable(Arc::new(error)),
            S3Error::Interrupted(error) => ObjectServerError::Interrupted(error.map(Arc::new)),
            S3Error::TooLarge { limit: _ } => ObjectServerError::Nonsense { what: "its length" },
            S3Error::Unsendable => ObjectServerError::Unsendable,
        })
    }
}

/// Everything of a session issued up to now. Servers tell the time of issue in whole seconds: what was issued within this one
/// is denied with the others, and so is what is issued in the rest of it.
fn first_allowed(now: OffsetDateTime) -> OffsetDateTime {
    now.replace_nanosecond(0).unwrap_or(now) + Duration::SECOND
}

/// Ceph sends the document as it was put, AWS percent-encoded.
fn text_of(answer: &S3Answer) -> String {
    let text = String::from_utf8_lossy(answer.body());
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().replace("&quot;", "\"")
}

/// The instant of a policy that is there.
fn instant_in(text: &str) -> Option<OffsetDateTime> {
    let (_, after) = text.split_once("aws:TokenIssueTime")?;
    let instant = after.trim_start_matches(['"', ':', ' ', '[']).split('"').next()?;
    OffsetDateTime::parse(instant, &Rfc3339).ok()
}

fn deny_before(after: OffsetDateTime) -> String {
    let after = after.to_offset(time::UtcOffset::UTC);
    let instant = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        after.year(),
        u8::from(after.month()),
        after.day(),
        after.hour(),
        after.minute(),
        after.second()
    );
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Action": ["s3:*"], "Resource": ["*"],
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": instant}},
    }]})
    .to_string()
}

fn instant_of(document: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(document).unwrap_or_default();
    let instant = value.pointer("/Statement/0/Condition/DateLessThan/aws:TokenIssueTime");
    instant.and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// The last part: what the IAM calls the role.
fn role_name(role: &RoleArn) -> &str {
    role.as_str().rsplit('/').next().unwrap_or_default()
}

fn refused(answer: &S3Answer) -> ObjectServerError {
    let status = reqwest::StatusCode::from_u16(answer.status()).unwrap_or_default();
    refusal(status, answer.code())
}

/// An object server together with the means of an administrator.
#[derive(Debug)]
pub struct WithRoleDeny {
    server: Arc<dyn ObjectServer>,
    deny: RoleDeny,
}

impl WithRoleDeny {
    /// `server` is asked for all else.
    #[must_use]
    pub fn new(server: Arc<dyn ObjectServer>, deny: RoleDeny) -> Self {
        Self { server, deny }
    }
}

#[async_trait]
impl ObjectServer for WithRoleDeny {
    async fn assume_role(
        &self,
        receipt: &AuditReceipt,
        request: &AssumeRole,
    ) -> Result<TemporaryCredentials, ObjectServerError> {
        self.server.assume_role(receipt, request).await
    }

    async fn revoke(&self, lease: &LeaseToEnd) -> Result<(), ObjectServerError> {
        self.server.revoke(lease).await
    }

    async fn revoke_all(&self, _: Option<&KeyFingerprint>) -> Result<(), ObjectServerError> {
        self.deny.deny_older_sessions().await
    }

    async fn ready(&self) -> Result<(), ObjectServerError> {
        self.server.ready().await
    }

    fn capabilities(&self) -> &Capabilities {
        self.server.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use std::time::Duration;
    use time::macros::datetime;

    use super::super::s3::S3Settings;
    use super::super::scripted::{Received, Reply, ScriptedObjectServer};
    use super::*;
    use crate::clock::SystemClock;

    const ROLE: &str = "arn:aws:iam::123456789012:role/path/vend";

    async fn deny(replies: Vec<Reply>) -> (Result<(), ObjectServerError>, Vec<Received>) {
        let double = ScriptedObjectServer::start(replies).await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let endpoint = double.endpoint().to_owned();
        let settings = S3Settings { endpoint, region: "us-east-1".to_owned(), timeout: Duration::from_secs(5) };
        let settings = RoleDenySettings {
            iam: S3Client::new(settings, Arc::clone(&clock)).unwrap(),
            administrator: S3Key::long_lived(SecretString::from("admin"), SecretString::from("planted-secret")),
            role: RoleArn::parse(ROLE).unwrap(),
        };
        (RoleDeny::new(settings, clock).deny_older_sessions().await, double.received())
    }

    #[test]
    fn what_was_issued_within_this_second_is_denied_with_the_rest() {
        let document = deny_before(first_allowed(datetime!(2026-11-22 03:00:59.75 UTC)));
        assert_eq!(instant_of(&document), "2026-11-22T03:01:00Z");
        assert_eq!(
            document,
            r#"{"Statement":[{"Action":["s3:*"],"Condition":{"DateLessThan":{"aws:TokenIssueTime":"2026-11-22T03:01:00Z"}},"Effect":"Deny","Resource":["*"]}],"Version":"2012-10-17"}"#
        );
    }

    #[tokio::test]
    async fn a_yes_without_the_policy_in_place_is_not_believed() {
        let yes = || Reply::http(200, "text/xml", "<PutRolePolicyResponse/>");
        let (denied, received) = deny(vec![Reply::refusal(404, "NoSuchEntity"), yes()]).await;
        assert!(matches!(denied, Err(ObjectServerError::Nonsense { .. })), "{denied:?}");
        assert_eq!(received.len(), 3);
        let body = &received[1].body;
        assert!(
            body.starts_with("Action=PutRolePolicy&Version=2010-05-08&RoleName=vend&PolicyName=stint-revoked&"),
            "{body}"
        );
        assert!(body.contains("aws%3ATokenIssueTime") && body.contains("%22Effect%22%3A%22Deny%22"), "{body}");
        assert!(received[1].headers["authorization"].contains("/us-east-1/iam/aws4_request"), "{received:?}");
        assert!(received[2].body.starts_with("Action=GetRolePolicy&"), "{received:?}");
    }

    #[tokio::test]
    async fn the_instant_never_moves_back() {
        for (present, kept) in [("2999-01-01T00:00:00Z", true), ("2001-01-01T00:00:00Z", false)] {
            let there = deny_before(OffsetDateTime::parse(present, &Rfc3339).unwrap());
            for text in [there.clone(), there.replace('"', "%22").replace(':', "%3A")] {
                let (denied, received) = deny(vec![Reply::http(200, "text/xml", &text)]).await;
                assert_eq!(denied.is_ok(), kept, "read back: {denied:?}");
                assert_eq!(received[1].body.contains(&present.replace(':', "%3A")), kept, "{received:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_code_and_nothing_more_is_sent() {
        let (denied, received) = deny(vec![Reply::refusal(403, "AccessDenied")]).await;
        assert!(matches!(denied, Err(ObjectServerError::Refused { status: 403, code }) if code == "AccessDenied"));
        assert_eq!(received.len(), 1);
    }
}
