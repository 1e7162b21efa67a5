//! What the desk owes, for whoever watches that it is not late.

use async_trait::async_trait;

use super::break_glass_desk::BreakGlassDesk;
use super::state::EmergencyState;
use crate::audit::{AuditError, Emergency, EmergencyContext, EmergencyFacts};
use crate::break_glass::watch::{Duties, LastDrill, OpenReview, Overdue, Owed, Terms};

#[async_trait]
impl Duties for BreakGlassDesk {
    fn terms(&self) -> Option<Terms> {
        let policies = self.parts().policies.load();
        let policy = policies.break_glass()?;
        Some(Terms { review_within: policy.review_within(), drill_every: policy.drill_every() })
    }

    async fn owed(&self) -> Owed {
        let known = self.look().await.ok();
        let (state, shared) = known.map(|known| (known.state, known.shared)).unwrap_or_default();
        Owed {
            reviews: reviews(&state),
            last_drill: match (state.last_drill(), shared) {
                (Some(at), _) => LastDrill::At(at),
                (None, true) => LastDrill::Never,
                (None, false) => LastDrill::Unknown,
            },
            drill_told: state.drill_overdue_said_at().is_some_and(|said| state.last_drill().is_none_or(|at| at < said)),
            journal_waits: self.parts().journal.waits(),
        }
    }

    async fn record(&self, overdue: &Overdue) -> Result<(), AuditError> {
        let (what, facts) = match overdue {
            Overdue::Review(review) => {
                let facts = EmergencyFacts {
                    incident: Some(review.incident.clone()),
                    nonce: Some(review.nonce),
                    requester: Some(review.requester.clone()),
                    role: Some(review.role.clone()),
                    ..EmergencyFacts::default()
                };
                (Emergency::ReviewOverdue, facts)
            }
            Overdue::Drill(_) => (Emergency::DrillOverdue, EmergencyFacts::default()),
        };
        self.say(what, "overdue", &facts, EmergencyContext::default()).await.map(|_event| ())
    }
}

fn reviews(state: &EmergencyState) -> Vec<OpenReview> {
    let open = state.unreviewed().filter_map(|(nonce, open)| {
        let known = |text: &Option<String>| text.clone().unwrap_or_default();
        Some(OpenReview {
            nonce,
            incident: known(&open.facts().incident),
            role: known(&open.facts().role),
            requester: known(&open.facts().requester),
            opened_at: open.review_opened_at()?,
            told: open.is_overdue_said(),
        })
    });
    open.collect()
}
