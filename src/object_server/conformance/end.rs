//! The end of a lease: by itself, and early.

use std::time::Duration;

use reqwest::Method;

use super::Run;
use super::check::{Tried, Verdict, judged};
use super::mint::Minted;

/// How long a revocation may take to be felt at the node that was told.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

impl Minted {
    pub(super) fn expiry(&self) -> Verdict {
        const ADVICE: &str = "the end was not awaited: that would take as long as the shortest lease. That sessions end is the \
                              server's promise; a credential of an earlier run that is refused now shows it";
        let asked_end = self.asked_at + self.asked;
        let late = self.expiration - asked_end;
        let seconds = (self.expiration - self.asked_at).whole_seconds();
        if late > time::Duration::minutes(1) {
            return Verdict::failed(
                format!("{} s were asked for, and it says it ends after {seconds} s", self.asked.as_secs()),
                "the server does not end sessions when asked (MinIO: is MINIO_STS_DURATION set?), and stint refuses them",
            );
        }
        Verdict::noted(
            format!("{} s asked for, {seconds} s given; the end was not awaited", self.asked.as_secs()),
            ADVICE,
        )
    }
}

impl Run<'_> {
    pub(super) async fn revocation(&self, spared: &Minted, doomed: &Minted) -> Verdict {
        if !self.subject.traits.revokes_leases {
            return Verdict::noted(
                "this server cannot end one lease: it ends when it expires",
                "to cut off everybody, disable the parent or its role; docs/object-servers.md says how and how fast",
            );
        }
        judged(self.try_revocation(spared, doomed).await, "a lease that leaked stays good until it expires")
    }

    async fn try_revocation(&self, spared: &Minted, doomed: &Minted) -> Tried<String> {
        let name = self.inside("shared");
        let before = self.send(&doomed.key, self.on(Method::GET, &name)).await?;
        if !before.is_success() {
            return Err(format!("the lease read nothing even before: {}", before.told()));
        }
        let begun = self.subject.clock.elapsed();
        self.subject.server.revoke(&self.to_end(doomed.lease)).await.map_err(|error| error.to_string())?;
        loop {
            let answer = self.send(&doomed.key, self.on(Method::GET, &name)).await?;
            let after = self.subject.clock.elapsed().saturating_sub(begun);
            if answer.is_refusal() {
                let left = self.send(&spared.key, self.on(Method::GET, &name)).await?;
                if !left.is_success() {
                    return Err(format!("another lease ended with it: {}", left.told()));
                }
                return Ok(format!(
                    "refused {} ms after the revocation was asked for ({}); the other lease goes on. Other nodes of a \
                     cluster may take longer",
                    after.as_millis(),
                    answer.told()
                ));
            }
            if after >= PATIENCE {
                return Err(format!("still good {} s after it was revoked", after.as_secs()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
