//! Whether an approved request may be honoured now: pure, told the time and everything that is known. The order is that of
//! the runbook: where it belongs first, then what was used, then what is open, then whether it is an emergency.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::refusal::BreakGlassRefusal;
use super::state::EmergencyState;
use crate::break_glass::ceremony::{RequestDocument, UseKind};
use crate::break_glass::watch::Judged;
use crate::policy::EmergencyCondition;

/// How far the clock may stand before the last record: what the clocks of several instances differ by.
const TOLERANCE: Duration = Duration::from_mins(1);

/// What a request is judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// The conditions that the policy lists.
    pub(super) conditions: &'a [EmergencyCondition],
    pub(super) state: &'a EmergencyState,
    /// Whether the shared log's rows are among them.
    pub(super) shared: bool,
    /// This instance.
    pub(super) instance: Uuid,
    pub(super) judged: Judged,
    pub(super) now: OffsetDateTime,
}

/// A request that may be honoured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admitted {
    /// The use whose open review it overrides.
    pub(super) overrides: Option<Uuid>,
    /// What was seen, in words: `declared`, `drill`, or each condition that holds.
    pub(super) conditions: Vec<String>,
}

/// A clock that was moved back would bring an old request into its window again.
pub(super) fn clock_holds(state: &EmergencyState, now: OffsetDateTime) -> Result<(), BreakGlassRefusal> {
    match state.latest() {
        Some(latest) if now + TOLERANCE < latest => Err(BreakGlassRefusal::ClockMovedBack),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn admit(asked: &RequestDocument, known: Known<'_>) -> Result<Admitted, BreakGlassRefusal> {
    let Known { conditions, state, shared, instance, judged, now } = known;
    clock_holds(state, now)?;
    match asked.instance() {
        Some(named) if named != instance => return Err(BreakGlassRefusal::OtherInstance(named)),
        // Another instance may have used it, and only a log that both write can say so.
        None if !shared => return Err(BreakGlassRefusal::NeedsSharedLog),
        Some(_) | None => {}
    }
    if state.is_used(asked.nonce().uuid()) {
        return Err(BreakGlassRefusal::NonceUsed);
    }
    let overrides = match asked.kind() {
        // Harmless: it opens no review, and waits for none.
        UseKind::Drill => None,
        UseKind::Outage => match state.blocking().next() {
            Some((open, _)) => return Err(BreakGlassRefusal::ReviewOpen(open)),
            None => None,
        },
        UseKind::Declared => overridden(state)?,
    };
    Ok(Admitted { overrides, conditions: held(asked.kind(), conditions, judged)? })
}

/// The use whose open review a declared request overrides. Each is overridden once, and the review of the use that did is then
/// open beside it: while two are, nothing more is overridden.
fn overridden(state: &EmergencyState) -> Result<Option<Uuid>, BreakGlassRefusal> {
    let mut open = state.blocking().map(|(nonce, _)| nonce);
    match (open.next(), open.next()) {
        (None, _) => Ok(None),
        (Some(only), None) if !state.is_overridden(only) => Ok(Some(only)),
        (Some(first), _) => Err(BreakGlassRefusal::ReviewOverridden(first)),
    }
}

fn held(kind: UseKind, listed: &[EmergencyCondition], judged: Judged) -> Result<Vec<String>, BreakGlassRefusal> {
    match kind {
        // That the policy lists it was part of the approval.
        UseKind::Drill | UseKind::Declared => Ok(vec![kind.as_str().to_owned()]),
        UseKind::Outage => {
            let seen = listed.iter().filter_map(|condition| {
                let outage = match condition {
                    EmergencyCondition::IssuerDown => judged.issuer_down(),
                    EmergencyCondition::LogDown => judged.log_down(),
                    EmergencyCondition::Declared => None,
                };
                outage.map(|outage| format!("{}: {outage}", condition.as_str()))
            });
            let seen: Vec<String> = seen.collect();
            if seen.is_empty() { Err(BreakGlassRefusal::NoEmergency) } else { Ok(seen) }
        }
    }
}
