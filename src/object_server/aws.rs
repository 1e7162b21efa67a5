//! AWS: `AssumeRole` at a regional endpoint of the STS, not at S3. Session tags and the source identity put the lease and
//! its holder into every line of `CloudTrail`; each needs a right in the role's trust policy, so each is sent only when
//! configured. Not run against AWS.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::StatusCode;

use super::minting::Minting;
use super::sts_call::{StsCaller, deny_statements, refusal};
use super::{ConfigError, LeaseToEnd, ObjectServer, ObjectServerError, ServerSettings, TemporaryCredentials, wire};
use crate::audit::AuditReceipt;
use crate::clock::Clock;
use crate::lease::{
    AssumeRole, Beyond, Capabilities, Conditions, Durations, OnUnknownAction, PolicyLanguage, Revocation, Rights,
    RoleArn, SessionName, SizeLimit, SizeUnit,
};

/// Longest value of a session tag, and longest source identity, in characters.
const LONGEST_TAG: usize = 256;
const LONGEST_IDENTITY: usize = 64;

/// Other servers' actions. AWS passes over a name that it does not know.
const UNKNOWN_ACTIONS: &[&str] = &[
    "s3:DeleteBucketCors",
    "s3:ForceDeleteBucket",
    "s3:GetBucketCors",
    "s3:GetBucketQOS",
    "s3:HeadBucket",
    "s3:HeadObject",
    "s3:ListenBucketNotification",
    "s3:ListenNotification",
    "s3:PutBucketCors",
    "s3:PutBucketQOS",
    "s3:PutObjectFanOut",
    "s3:ResetBucketReplicationState",
];

/// The role at AWS, and what its trust policy allows to be said of a session.
#[derive(Debug)]
pub struct AwsRole {
    /// The role.
    pub arn: RoleArn,
    /// Send the tags `stint:lease` and `stint:subject`; the trust policy allows `sts:TagSession`.
    pub session_tags: bool,
    /// Send the subject as the source identity; the trust policy allows `sts:SetSourceIdentity`.
    pub source_identity: bool,
}

/// AWS.
#[derive(Debug)]
pub struct AwsServer {
    caller: StsCaller,
    role: AwsRole,
    capabilities: Capabilities,
}

impl AwsServer {
    /// Prepares the client; connects to nothing. The endpoint is the regional one of the STS.
    pub fn new(settings: ServerSettings, role: AwsRole, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        Ok(Self { caller: StsCaller::new(settings, clock)?, role, capabilities: capabilities() })
    }

    async fn mint(&self, minting: &Minting<'_>) -> Result<TemporaryCredentials, ObjectServerError> {
        let (lease, subject) = (minting.lease.to_string(), fitting(minting.subject, " _.:/=+-@", LONGEST_TAG));
        let identity = fitting(minting.subject, "_+=,.@-", LONGEST_IDENTITY);
        let mut fields = vec![("RoleArn", self.role.arn.as_str())];
        if self.role.session_tags {
            fields.extend([
                ("Tags.member.1.Key", "stint:lease"),
                ("Tags.member.1.Value", lease.as_str()),
                ("Tags.member.2.Key", "stint:subject"),
                ("Tags.member.2.Value", subject.as_str()),
            ]);
        }
        // AWS wants two characters at least.
        if self.role.source_identity && identity.len() > 1 {
            fields.push(("SourceIdentity", &identity));
        }
        self.caller.mint(minting, &fields).await
    }
}

#[async_trait]
impl ObjectServer for AwsServer {
    async fn assume_role(
        &self,
        receipt: &AuditReceipt,
        request: &AssumeRole,
    ) -> Result<TemporaryCredentials, ObjectServerError> {
        self.mint(&Minting::on_record(receipt, request)?).await
    }

    /// AWS ends sessions by role, with a Deny by `aws:TokenIssueTime`; that is an operator's act.
    async fn revoke(&self, _: &LeaseToEnd) -> Result<(), ObjectServerError> {
        Err(ObjectServerError::NotRevocable { smallest: Revocation::Role })
    }

    /// `GetCallerIdentity` needs no right and proves the key, the endpoint and the clock, not the role.
    async fn ready(&self) -> Result<(), ObjectServerError> {
        let answer = self.caller.get_caller_identity().await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            status => Err(refusal(status, wire::error_code(&answer.body))),
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

/// The text with every character replaced that is neither an ASCII letter, a digit nor in `others`, cut to `longest`.
fn fitting(text: &str, others: &str, longest: usize) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || others.contains(c) { c } else { '_' };
    text.chars().take(longest).map(fit).collect()
}

fn capabilities() -> Capabilities {
    Capabilities {
        server: "AWS",
        rights: Rights::SessionPolicy,
        // It has a second limit, on a packed form that only AWS can measure.
        session_policy: SizeLimit { most: 2048, unit: SizeUnit::Characters },
        resource: 1100,
        durations: Durations {
            shortest: Duration::from_mins(15),
            longest: Duration::from_hours(12),
            beyond: Beyond::Refused,
        },
        revocation: Revocation::Role,
        session_name: SessionName::Identity,
        language: PolicyLanguage {
            admin_actions: false,
            unknown_actions: UNKNOWN_ACTIONS,
            on_unknown_action: OnUnknownAction::Ignores,
            conditions: Conditions::All,
        },
        deny_statements: deny_statements(),
        deny_statements_for_admins: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::minting;
    use super::super::scripted::{Received, Reply, ScriptedObjectServer};
    use super::super::settings::for_double;
    use super::*;
    use crate::clock::SystemClock;

    /// As in the API reference.
    const ANSWER: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <AssumeRoleResult>\n    \
        <SourceIdentity>alice</SourceIdentity>\n    <AssumedRoleUser>\n      \
        <Arn>arn:aws:sts::123456789012:assumed-role/vend/alice-7</Arn>\n      \
        <AssumedRoleId>ARO123EXAMPLE123:alice-7</AssumedRoleId>\n    </AssumedRoleUser>\n    <Credentials>\n      \
        <AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>\n      \
        <SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>\n      \
        <SessionToken>\n       AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI\n      </SessionToken>\n      \
        <Expiration>2999-07-15T23:28:33.359Z</Expiration>\n    </Credentials>\n    \
        <PackedPolicySize>8</PackedPolicySize>\n  </AssumeRoleResult>\n  <ResponseMetadata>\n    \
        <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>\n  </ResponseMetadata>\n</AssumeRoleResponse>";

    async fn mint(
        reply: Reply,
        session_tags: bool,
        source_identity: bool,
        subject: &str,
    ) -> (Result<TemporaryCredentials, ObjectServerError>, Vec<Received>) {
        let double = ScriptedObjectServer::start(vec![reply]).await;
        let arn = RoleArn::parse("arn:aws:iam::123456789012:role/vend").unwrap();
        let role = AwsRole { arn, session_tags, source_identity };
        let server = AwsServer::new(for_double(double.endpoint()), role, Arc::new(SystemClock::start())).unwrap();
        let minted = server.mint(&Minting { subject, ..minting::example() }).await;
        (minted, double.received())
    }

    async fn sent(session_tags: bool, source_identity: bool, subject: &str) -> String {
        let (minted, received) =
            mint(Reply::http(200, "text/xml", ANSWER), session_tags, source_identity, subject).await;
        minted.unwrap();
        received.first().unwrap().body.clone()
    }

    #[tokio::test]
    async fn being_throttled_is_not_being_refused() {
        for (status, code) in [(400, "Throttling"), (400, "ThrottlingException"), (503, "ServiceUnavailable")] {
            let error = mint(Reply::refusal(status, code), false, false, "alice").await.0.unwrap_err();
            assert!(matches!(error, ObjectServerError::NotReady), "{code}");
        }
        for (status, code) in [(403, "AccessDenied"), (400, "PackedPolicyTooLarge"), (403, "RegionDisabledException")] {
            let error = mint(Reply::refusal(status, code), false, false, "alice").await.0.unwrap_err();
            assert!(matches!(error, ObjectServerError::Refused { .. }) && !error.may_have_minted(), "{code}");
        }
    }

    #[tokio::test]
    async fn nothing_that_needs_a_right_is_said_unasked() {
        let body = sent(false, false, "alice").await;
        assert!(body.ends_with("&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fvend"), "{body}");
        assert!(!body.contains("Tags") && !body.contains("SourceIdentity"), "{body}");
    }

    #[tokio::test]
    async fn the_lease_and_its_holder_are_said_where_allowed() {
        let body = sent(true, true, "a#b c@d").await;
        assert!(body.contains(
            "&Tags.member.1.Key=stint%3Alease&Tags.member.1.Value=00000000-0000-0000-0000-000000000007\
             &Tags.member.2.Key=stint%3Asubject&Tags.member.2.Value=a_b%20c%40d"
        ));
        assert!(body.ends_with("&SourceIdentity=a_b_c%40d"), "{body}");
        let long = sent(true, true, &"é".repeat(300)).await;
        assert!(long.contains(&format!("&Tags.member.2.Value={}&", "_".repeat(256))));
        assert!(long.ends_with(&format!("&SourceIdentity={}", "_".repeat(64))));
        assert!(!sent(false, true, "a").await.contains("SourceIdentity"));
    }
}
