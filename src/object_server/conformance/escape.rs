//! Ways out of a lease: into a key that does not end, or into a session without its policy.

use super::super::s3::S3Request;
use super::Run;
use super::check::Verdict;
use super::mint::Minted;

impl Run<'_> {
    /// CVE-2025-62506: on MinIO up to 2025-10-15 only an explicit Deny keeps a session from this.
    pub(super) async fn no_permanent_key(&self, lease: &Minted) -> Verdict {
        self.makes_no_keys(&lease.key).await
    }

    pub(super) async fn no_new_session(&self, lease: &Minted) -> Verdict {
        const ADVICE: &str = "DO NOT USE IT: a session that mints is a way around every policy; on Ceph, let the roles' trust \
                              policies deny sessions, as docs/object-servers.md shows";
        // If it should mint, what it mints ends with this lease on servers that can end one.
        let id = lease.lease.to_string();
        let mut form = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("DurationSeconds", "900"),
            ("RoleSessionName", "stint-verify"),
        ];
        match self.subject.traits.role_arn.as_deref() {
            Some(arn) => form.push(("RoleArn", arn)),
            None => form.push(("TokenRevokeType", &id)),
        }
        match self.send(&lease.key, S3Request::sts(&form)).await {
            Ok(answer) if answer.is_success() => {
                Verdict::failed("it assumed a role again, without any session policy", ADVICE)
            }
            Ok(answer) if (400..500).contains(&answer.status()) => {
                Verdict::passed(format!("assuming a role again is refused ({})", answer.told()))
            }
            Ok(answer) => Verdict::failed(format!("neither minted nor refused: {}", answer.told()), ADVICE),
            Err(error) => Verdict::failed(error, ADVICE),
        }
    }
}
