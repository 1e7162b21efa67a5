//! The lease desk's questions: which leases there are, what became of one, how many will be asked for. Operators ask about any, and everybody about
//! their own, with a token of the same holder; somebody else's lease is answered like one that never was.

use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Archive, InquiryRefusal, LeaseForecast, LeaseHistory, LeaseSeen, Leases, PATIENCE, Reader, turn};
use crate::audit::Origin;
use crate::audit::question::{BadQuestion, Cursor, Given, HolderOnly, LeaseFilter, LeasesQuestion};
use crate::lease::LeaseId;
use crate::token::Unverified;

/// Which question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseKind {
    /// Which leases there are.
    List,
    /// What became of one.
    One(Uuid),
    /// How many will be asked for in the next hour.
    Forecast,
}

impl LeaseKind {
    /// The word in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "leases",
            Self::One(_) => "lease",
            Self::Forecast => "forecast",
        }
    }

    /// Whether everybody may ask it of their own leases.
    pub(super) fn is_own_too(self) -> bool {
        match self {
            Self::List | Self::One(_) => true,
            Self::Forecast => false,
        }
    }
}

/// What a door parsed. Nothing in it has been believed yet.
#[derive(Debug)]
pub struct LeaseInquiry {
    /// The bearer token.
    pub token: Unverified,
    /// Which question.
    pub kind: LeaseKind,
    /// Its parameters.
    pub given: Given,
    /// Where the request came from.
    pub origin: Origin,
}

/// An answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum LeaseAnswer {
    /// A page of leases.
    Leases(Leases),
    /// One lease.
    Lease(Box<LeaseHistory>),
    /// What is expected.
    Forecast(LeaseForecast),
}

impl Archive {
    /// Reads the question, records that it was asked, and answers it.
    pub async fn leases(&self, reader: &Reader, kind: LeaseKind, given: Given) -> Result<LeaseAnswer, InquiryRefusal> {
        let now = self.parts.clock.now();
        given.check()?;
        if let Some(own) = &reader.own
            && !self.own_readings.take(own, self.parts.clock.elapsed())
        {
            return Err(InquiryRefusal::TooOften);
        }
        // Holders wait for one another first, and then like everybody.
        let _holders = match &reader.own {
            Some(_) => Some(turn(&self.holders).await?),
            None => None,
        };
        match kind {
            LeaseKind::List => self.list(reader, given, now).await,
            LeaseKind::One(id) => self.one(reader, given, LeaseId::from_uuid(id), now).await,
            LeaseKind::Forecast => self.forecast(reader, given, now).await,
        }
    }

    async fn list(&self, reader: &Reader, given: Given, now: OffsetDateTime) -> Result<LeaseAnswer, InquiryRefusal> {
        let (mut question, cursor) = read_list(given, now)?;
        let named = (question.filter.issuer.take(), question.filter.subject.take());
        let Some((issuer, subject)) = within(reader.own.as_ref(), named) else {
            let detail = LeaseKind::List.as_str().to_owned();
            return Err(self.turn_away(reader, detail, InquiryRefusal::NotPermitted).await);
        };
        (question.filter.issuer, question.filter.subject) = (issuer, subject);
        // After the holder is part of the filter: a cursor is bound to it.
        question.after = cursor.map(|cursor| Cursor::of_leases(&question).read(&cursor)).transpose()?;
        let _turn = turn(&self.turns).await?;
        self.record(reader, "read", told(&question, reader.own.is_some())).await?;
        let page = within_patience(self.parts.questions.leases(&question)).await??;
        let next = page.next.map(|place| Cursor::of_leases(&question).at(&place));
        let own = reader.own.is_some();
        let leases = page.rows.into_iter().map(|lease| LeaseSeen::of(lease, now, own)).collect();
        Ok(LeaseAnswer::Leases(Leases { leases, next }))
    }

    /// It is looked up before the reading is recorded, for nothing is shown where there is nothing: then what is on record is
    /// that somebody was turned away.
    async fn one(
        &self,
        reader: &Reader,
        given: Given,
        lease: LeaseId,
        now: OffsetDateTime,
    ) -> Result<LeaseAnswer, InquiryRefusal> {
        given.finish()?;
        let _turn = turn(&self.turns).await?;
        let own = reader.own.as_ref();
        let events = within_patience(self.parts.questions.lease(lease, own)).await??;
        let Some(history) = LeaseHistory::of(events, now, own.is_some()) else {
            return Err(self.turn_away(reader, format!("lease {lease}"), InquiryRefusal::NoSuchLease).await);
        };
        let detail = json!({"question": "lease", "lease_id": lease, "own": own.is_some()}).to_string();
        self.record(reader, "read", detail).await?;
        Ok(LeaseAnswer::Lease(Box::new(history)))
    }

    async fn forecast(
        &self,
        reader: &Reader,
        given: Given,
        now: OffsetDateTime,
    ) -> Result<LeaseAnswer, InquiryRefusal> {
        given.finish()?;
        let _turn = turn(&self.turns).await?;
        self.record(reader, "read", json!({"question": "forecast"}).to_string()).await?;
        let counts = within_patience(self.parts.questions.open_counts(now)).await??;
        Ok(LeaseAnswer::Forecast(LeaseForecast::of(&counts, &self.parts.lease_rules, now)))
    }
}

async fn within_patience<T>(asking: impl Future<Output = T>) -> Result<T, InquiryRefusal> {
    timeout(PATIENCE, asking).await.map_err(|_elapsed| InquiryRefusal::TooLong)
}

fn read_list(mut given: Given, at: OffsetDateTime) -> Result<(LeasesQuestion, Option<String>), BadQuestion> {
    let filter = LeaseFilter::read(&mut given)?;
    let limit = given.limit()?;
    let cursor = given.text("cursor")?;
    given.finish()?;
    Ok((LeasesQuestion { filter, at, after: None, limit }, cursor))
}

/// The issuer and the subject to ask for: whom the reader named, or the reader alone. Nothing where a holder names another.
fn within(
    own: Option<&HolderOnly>,
    (issuer, subject): (Option<String>, Option<String>),
) -> Option<(Option<String>, Option<String>)> {
    let Some(own) = own else { return Some((issuer, subject)) };
    let is = |named: &Option<String>, mine: &str| named.as_deref().is_none_or(|named| named == mine);
    let mine = is(&issuer, &own.issuer) && is(&subject, &own.subject);
    mine.then(|| (Some(own.issuer.clone()), Some(own.subject.clone())))
}

fn told(question: &LeasesQuestion, own: bool) -> String {
    let LeasesQuestion { filter, at: _, after, limit } = question;
    json!({"question": "leases", "filter": filter, "limit": limit, "continued": after.is_some(), "own": own})
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_asks_for_its_own_whatever_it_leaves_out_and_for_nobody_elses() {
        let ada = HolderOnly { issuer: "authentik".to_owned(), subject: "ada".to_owned() };
        let named = |issuer: Option<&str>, subject: Option<&str>| {
            within(Some(&ada), (issuer.map(str::to_owned), subject.map(str::to_owned)))
        };
        let mine = Some((Some("authentik".to_owned()), Some("ada".to_owned())));
        assert_eq!(named(None, None), mine);
        assert_eq!(named(Some("authentik"), Some("ada")), mine);
        for (issuer, subject) in
            [(None, Some("eve")), (Some("keycloak"), None), (Some("keycloak"), Some("ada")), (Some("Authentik"), None)]
        {
            assert_eq!(named(issuer, subject), None, "{issuer:?} {subject:?}");
        }
        assert_eq!(within(None, (None, Some("eve".to_owned()))), Some((None, Some("eve".to_owned()))));
    }
}
