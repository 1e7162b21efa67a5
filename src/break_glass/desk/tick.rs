//! What time brings: a lease reaches its end, and so does a drill that nobody ended. Said once, by the instance that granted it.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::break_glass_desk::BreakGlassDesk;
use super::state::{EmergencyUse, PASSED};
use crate::audit::{Emergency, EmergencyContext, EmergencyFacts};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

impl BreakGlassDesk {
    /// Looks every few seconds until `stop`; then the journal's stream is closed.
    pub async fn run(&self, stop: CancellationToken) {
        let looking = async {
            loop {
                self.tick().await;
                sleep(EVERY).await;
            }
        };
        stop.run_until_cancelled(looking).await;
    }

    /// One look.
    pub async fn tick(&self) {
        // The cheap look first: most of the time nothing is out.
        let Ok(known) = self.look().await else { return };
        if !known.state.uses().any(|(_, known)| self.is_due(known)) {
            return;
        }
        let _turn = self.turn().lock().await;
        let Ok(known) = self.know().await else { return };
        for (nonce, due) in known.state.uses().filter(|(_, known)| self.is_due(known)) {
            self.expire(nonce, due).await;
        }
    }

    /// A use of another instance is that one's to tell.
    fn is_due(&self, known: &EmergencyUse) -> bool {
        known.is_ours() && known.has_expired_unsaid(self.now())
    }

    async fn expire(&self, nonce: Uuid, due: &EmergencyUse) {
        let facts = EmergencyFacts {
            lease: due.granted().map(|granted| granted.lease.as_uuid()),
            ends_at: due.granted().map(|granted| granted.ends_at),
            ..due.facts().clone()
        };
        // A drill's last word is what its own credential meets after its end.
        let refused = if due.is_undrilled() { Some(self.is_refused(nonce).await) } else { None };
        if let Err(error) = self.say(Emergency::Expired, "expired", &facts, EmergencyContext::default()).await {
            return tracing::error!(%error, "the end of an emergency lease is not on record yet");
        }
        let (outcome, seen) = match refused {
            None => return self.parts().held.forget(nonce),
            Some(Some(true)) => (PASSED, "after its end its credential is refused"),
            Some(Some(false)) => ("failed", "after its end its credential was not seen to be refused"),
            Some(None) => ("failed", "nobody ended it, and its credential is not held any more"),
        };
        self.say_drilled(outcome, seen.to_owned(), &facts).await;
        self.parts().held.forget(nonce);
    }
}
