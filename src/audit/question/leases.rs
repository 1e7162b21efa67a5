//! Which leases, and how each of them stands. A lease is listed by one event of its own, whatever else is said of it: so it is
//! never counted twice, however often it was handed out again.

use serde::Serialize;
use time::OffsetDateTime;

use super::period::forward;
use super::{BadQuestion, Given, ListedLease, Place};
use crate::audit::EventKind;

/// How a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Issued, and its credential is good as far as the log says: a wish alone ends nothing.
    Open,
    /// It ended by itself.
    Ended,
    /// It was seen to be refused, or gone, before its end.
    Revoked,
    /// Nothing was minted, or nothing was handed out.
    Failed,
    /// Its outcome could not be recorded, so that nobody was handed it.
    Abandoned,
    /// Intended; no fate is on record yet.
    Pending,
}

impl LeaseState {
    /// What can be asked for.
    const LISTED: [Self; 5] = [Self::Open, Self::Ended, Self::Revoked, Self::Failed, Self::Abandoned];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Pending => "pending",
        }
    }

    /// How a lease stands at an instant, by what is on record of it.
    #[must_use]
    pub fn of(lease: &ListedLease, at: OffsetDateTime) -> Self {
        // What was said to have ended after it ended by itself has changed nothing.
        let cut = lease.ended_at.filter(|ended| lease.ends_at.is_none_or(|ends| *ended < ends));
        let abandoned = lease.ended_type.as_deref() == Some(EventKind::LeaseAbandoned.as_str());
        match (cut, lease.ends_at) {
            _ if lease.failed_reason.is_some() => Self::Failed,
            (Some(_), _) if abandoned => Self::Abandoned,
            (Some(_), _) => Self::Revoked,
            (None, Some(ends)) if ends > at => Self::Open,
            (None, Some(_)) => Self::Ended,
            (None, None) => Self::Pending,
        }
    }

    /// The type of the event that leases of this state are listed by, one each.
    fn listed_by(state: Option<Self>) -> EventKind {
        match state {
            Some(Self::Open | Self::Ended) => EventKind::LeaseIssued,
            Some(Self::Revoked) => EventKind::LeaseRevoked,
            Some(Self::Failed) => EventKind::LeaseFailed,
            Some(Self::Abandoned) => EventKind::LeaseAbandoned,
            Some(Self::Pending) | None => EventKind::LeaseIntended,
        }
    }
}

/// Conditions that a lease must all meet; an absent one asks nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LeaseFilter {
    /// How it stands; absent: however.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<LeaseState>,
    /// The issuer's configured name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The `sub` claim, exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `azp` or `client_id`, exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// A group in the token, exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The role granted, or one of the roles combined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The first instant, of the event that it is listed by.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::audit::instant::option")]
    pub from: Option<OffsetDateTime>,
    /// The first instant after.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::audit::instant::option")]
    pub to: Option<OffsetDateTime>,
}

impl LeaseFilter {
    /// Reads it. Without a state, open leases are meant: what can still be used.
    pub fn read(given: &mut Given) -> Result<Self, BadQuestion> {
        let wanted = "open, ended, revoked, failed, abandoned or all";
        let state = given.read("state", wanted, |word| {
            let known = LeaseState::LISTED.into_iter().find(|state| state.as_str() == word);
            known.map(Some).or_else(|| (word == "all").then_some(None))
        })?;
        let filter = Self {
            state: state.unwrap_or(Some(LeaseState::Open)),
            issuer: given.text("issuer")?,
            subject: given.text("subject")?,
            client: given.text("client")?,
            group: given.text("group")?,
            role: given.text("role")?,
            from: given.instant("from")?,
            to: given.instant("to")?,
        };
        forward(filter.from, filter.to)?;
        Ok(filter)
    }

    /// The type of the event that each lease is listed by.
    #[must_use]
    pub fn listed_by(&self) -> EventKind {
        LeaseState::listed_by(self.state)
    }
}

/// One page of leases, the latest first.
#[derive(Debug, Clone)]
pub struct LeasesQuestion {
    /// Which.
    pub filter: LeaseFilter,
    /// When they stand so.
    pub at: OffsetDateTime,
    /// Where the page before ended.
    pub after: Option<Place>,
    /// 1 to [`MOST`](super::MOST).
    pub limit: u16,
}

/// Whose lease may be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderOnly {
    /// The issuer's configured name.
    pub issuer: String,
    /// `sub`: unique only together with the issuer.
    pub subject: String,
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOON: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    fn read(pairs: &[(&str, &str)]) -> Result<LeaseFilter, BadQuestion> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut given = Given::new(pairs);
        let filter = LeaseFilter::read(&mut given)?;
        given.finish()?;
        Ok(filter)
    }

    fn state(change: impl FnOnce(&mut ListedLease)) -> LeaseState {
        let mut lease = ListedLease { ends_at: Some(NOON), ..ListedLease::default() };
        change(&mut lease);
        LeaseState::of(&lease, NOON - time::Duration::minutes(1))
    }

    #[test]
    fn a_state_is_one_of_its_words_and_open_when_nobody_says() {
        for wrong in ["Open", "live", "pending", "", "open,ended"] {
            assert!(matches!(read(&[("state", wrong)]), Err(BadQuestion::Value { .. })), "{wrong}");
        }
        assert_eq!(read(&[]).unwrap().state, Some(LeaseState::Open));
        assert_eq!(read(&[("state", "revoked")]).unwrap().state, Some(LeaseState::Revoked));
        assert_eq!(read(&[("state", "all")]).unwrap().state, None);
    }

    #[test]
    fn a_period_that_runs_backwards_and_an_unknown_filter_are_refused() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        assert!(read(&[("from", late), ("to", early)]).is_err());
        assert!(read(&[("from", early), ("to", late)]).is_ok());
        assert_eq!(read(&[("subjct", "ada")]), Err(BadQuestion::Unknown));
    }

    #[test]
    fn a_lease_stands_as_its_rows_say() {
        let before = NOON - time::Duration::minutes(5);
        assert_eq!(state(|_| ()), LeaseState::Open);
        assert_eq!(state(|lease| lease.ends_at = Some(before)), LeaseState::Ended);
        assert_eq!(state(|lease| lease.ends_at = None), LeaseState::Pending);
        let closed = |kind: &str, at| {
            let kind = kind.to_owned();
            state(|lease| (lease.ended_type, lease.ended_at) = (Some(kind), Some(at)))
        };
        assert_eq!(closed("lease.revoked", before), LeaseState::Revoked);
        assert_eq!(closed("lease.abandoned", before), LeaseState::Abandoned);
        assert_eq!(closed("lease.revoked", NOON), LeaseState::Open, "said of a later instant than its end");
        let failed = |lease: &mut ListedLease| {
            (lease.ends_at, lease.failed_reason) = (None, Some("object_server_refused".to_owned()));
        };
        assert_eq!(state(failed), LeaseState::Failed);
        let closed_later = |lease: &mut ListedLease| {
            failed(lease);
            (lease.ended_type, lease.ended_at) = (Some("lease.abandoned".to_owned()), Some(before));
        };
        assert_eq!(state(closed_later), LeaseState::Failed, "the reconciler closed what had failed");
    }
}
