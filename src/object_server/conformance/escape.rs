//! Ways out of a lease: into a key that does not end, or into a session without its policy.

use super::super::escape::{SessionAttempt, try_new_session};
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
        let id = lease.lease.to_string();
        let marker = self.subject.traits.role_arn.as_deref().map_or(("TokenRevokeType", &*id), |arn| ("RoleArn", arn));
        match try_new_session(&self.subject.client, &lease.key, marker).await {
            Ok(SessionAttempt::Refused(told)) => Verdict::passed(format!("assuming a role again is refused ({told})")),
            Ok(SessionAttempt::Minted) => Verdict::failed("it assumed a role again", ADVICE),
            Ok(SessionAttempt::Neither(told)) => Verdict::failed(format!("neither minted nor refused: {told}"), ADVICE),
            Err(error) => Verdict::failed(error.to_string(), ADVICE),
        }
    }
}
