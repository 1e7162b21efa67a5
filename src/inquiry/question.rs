//! The questions, read from their parameters. An access key id becomes its fingerprint here and is kept nowhere.

use std::fmt::Write;

use serde_json::json;
use time::OffsetDateTime;

use crate::audit::question::{
    BadQuestion, Cursor, EventFilter, EventsQuestion, FingerprintRange, Given, GrantsQuestion, Order, Period,
};
use crate::audit::{Checkpoint, FingerprintKey, instant};

/// Which question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Events by any column.
    Events,
    /// The same, all of them, as a stream.
    Export,
    /// Who held a key, or who could reach an object.
    Access,
    /// What a group or a subject got.
    Grants,
    /// Which emergencies there were.
    Emergencies,
    /// Where the log stands, signed.
    Head,
    /// Whether it is whole since then.
    Verify,
}

impl Kind {
    /// The word in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Export => "export",
            Self::Access => "access",
            Self::Grants => "grants",
            Self::Emergencies => "emergencies",
            Self::Head => "head",
            Self::Verify => "verify",
        }
    }
}

/// A question, read whole.
#[derive(Debug)]
pub enum Question {
    /// A page of events.
    Events(Box<EventsQuestion>),
    /// Who held this key at an instant.
    Key {
        /// Its fingerprint, or the beginning of it.
        range: FingerprintRange,
        /// When.
        at: OffsetDateTime,
    },
    /// Who could read or write this object at an instant.
    Object {
        /// The bucket.
        bucket: String,
        /// The object's key.
        object: String,
        /// When.
        at: OffsetDateTime,
        /// Most holders to be named.
        limit: u16,
    },
    /// What a group or a subject got in a period.
    Grants(GrantsQuestion),
    /// The emergencies of a period.
    Emergencies(Period),
    /// A checkpoint, now.
    Head,
    /// Whether the log has only grown since a checkpoint, and is whole since.
    Verify(Box<Checkpoint>),
}

impl Question {
    /// Reads a question and whether key fingerprints are to be shown whole. Nothing may be left over.
    pub fn read(
        kind: Kind,
        mut given: Given,
        fingerprints: &FingerprintKey,
        now: OffsetDateTime,
    ) -> Result<(Self, bool), BadQuestion> {
        given.check()?;
        let reveal = given.flag("reveal")?;
        let question = match kind {
            Kind::Events | Kind::Export => Self::Events(Box::new(events(&mut given)?)),
            Kind::Access => access(&mut given, fingerprints, now)?,
            Kind::Grants => Self::Grants(grants(&mut given, now)?),
            Kind::Emergencies => Self::Emergencies(Period::read(&mut given, now)?),
            Kind::Head => Self::Head,
            Kind::Verify => Self::Verify(Box::new(given.checkpoint()?)),
        };
        given.finish()?;
        Ok((question, reveal))
    }

    /// What is put on record of it: the question whole, but of a key only its first digits.
    #[must_use]
    pub fn told(&self) -> String {
        let told = match self {
            Self::Events(question) => {
                let EventsQuestion { filter, order, after, limit } = question.as_ref();
                json!({
                    "question": "events", "filter": filter, "order": order.as_str(), "limit": limit,
                    "continued": after.is_some(),
                })
            }
            Self::Key { range, at } => {
                json!({"question": "key", "key_fingerprint": range.masked(), "at": instant::format(*at)})
            }
            Self::Object { bucket, object, at, limit } => json!({
                "question": "object", "bucket": bucket, "object": object, "at": instant::format(*at), "limit": limit,
            }),
            Self::Grants(GrantsQuestion { subject, group, issuer, period, after, limit }) => json!({
                "question": "grants", "subject": subject, "group": group, "issuer": issuer, "period": period,
                "limit": limit, "continued": after.is_some(),
            }),
            Self::Emergencies(period) => json!({"question": "emergencies", "period": period}),
            Self::Head => json!({"question": "head"}),
            Self::Verify(since) => json!({"question": "verify", "since": instant::format(since.taken_at())}),
        };
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(text, "{told}");
        text
    }
}

fn events(given: &mut Given) -> Result<EventsQuestion, BadQuestion> {
    let filter = EventFilter::read(given)?;
    let order = match given.word("order", "time or log", |word| matches!(word, "time" | "log"))?.as_deref() {
        Some("log") => Order::Log,
        Some(_) | None => Order::Time,
    };
    let limit = given.limit()?;
    let cursor = given.text("cursor")?;
    let mut question = EventsQuestion { filter, order, after: None, limit };
    question.after = cursor.map(|cursor| Cursor::of_events(&question).read(&cursor)).transpose()?;
    Ok(question)
}

fn access(given: &mut Given, fingerprints: &FingerprintKey, now: OffsetDateTime) -> Result<Question, BadQuestion> {
    let at = given.instant("at")?.unwrap_or(now);
    let key = given.text("key")?;
    let digits = given.text("key_fingerprint")?;
    let (bucket, object) = (given.text("bucket")?, given.text("object")?);
    match (key, digits, bucket, object) {
        (Some(key), None, None, None) => {
            let range = FingerprintRange::from(&fingerprints.fingerprint(&key));
            Ok(Question::Key { range, at })
        }
        (None, Some(digits), None, None) => {
            let wanted = "the first 8 or all 32 lower-case hex digits";
            let range =
                FingerprintRange::parse(&digits).ok_or(BadQuestion::Value { parameter: "key_fingerprint", wanted })?;
            Ok(Question::Key { range, at })
        }
        (None, None, Some(bucket), Some(object)) if !bucket.contains('/') => {
            Ok(Question::Object { bucket, object, at, limit: given.limit()? })
        }
        (None, None, Some(_), Some(_)) => {
            Err(BadQuestion::Value { parameter: "bucket", wanted: "a bucket's name: it holds no slash" })
        }
        (_, _, _, _) => Err(BadQuestion::Together { wanted: "send key, or key_fingerprint, or bucket and object" }),
    }
}

fn grants(given: &mut Given, now: OffsetDateTime) -> Result<GrantsQuestion, BadQuestion> {
    let (subject, group) = (given.text("subject")?, given.text("group")?);
    if subject.is_none() && group.is_none() {
        return Err(BadQuestion::Missing { wanted: "subject or group" });
    }
    let issuer = given.text("issuer")?;
    let period = Period::read(given, now)?;
    let limit = given.limit()?;
    let cursor = given.text("cursor")?;
    let mut question = GrantsQuestion { subject, group, issuer, period, after: None, limit };
    question.after = cursor.map(|cursor| Cursor::of_grants(&question).read(&cursor)).transpose()?;
    Ok(question)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn read(kind: Kind, pairs: &[(&str, &str)]) -> Result<(Question, bool), BadQuestion> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let now = datetime!(2026-11-22 03:00 UTC);
        Question::read(kind, Given::new(pairs), &FingerprintKey::derive(b"k"), now)
    }

    #[test]
    fn a_key_is_asked_for_by_its_id_or_its_fingerprint_and_never_with_anything_else() {
        assert!(read(Kind::Access, &[]).is_err());
        assert!(read(Kind::Access, &[("key", "AKIA"), ("key_fingerprint", "01234567")]).is_err());
        assert!(read(Kind::Access, &[("key", "AKIA"), ("bucket", "b"), ("object", "o")]).is_err());
        assert!(read(Kind::Access, &[("key", "AKIA"), ("limit", "5")]).is_err());
        assert!(read(Kind::Access, &[("key_fingerprint", "0123456")]).is_err());
        assert!(read(Kind::Access, &[("bucket", "b")]).is_err());
        assert!(read(Kind::Access, &[("bucket", "b/c"), ("object", "o")]).is_err());
        assert!(read(Kind::Access, &[("key", "AKIA")]).is_ok());
        assert!(read(Kind::Access, &[("key_fingerprint", "01234567")]).is_ok());
        assert!(read(Kind::Access, &[("bucket", "b"), ("object", "a/b c")]).is_ok());
    }

    #[test]
    fn an_access_key_id_is_neither_in_what_is_recorded_nor_in_the_debug_form() {
        let (question, reveal) = read(Kind::Access, &[("key", "AKIAPLANTED"), ("reveal", "true")]).unwrap();
        assert!(reveal);
        let text = format!("{} {question:?}", question.told());
        assert!(!text.contains("PLANTED"), "{text}");
        let fingerprint = FingerprintKey::derive(b"k").fingerprint("AKIAPLANTED");
        assert!(!question.told().contains(fingerprint.as_str()), "{text}");
        assert!(question.told().contains(&fingerprint.as_str()[..8]), "{text}");
    }

    #[test]
    fn grants_need_somebody_and_a_beginning() {
        let from = ("from", "2026-11-01T00:00:00Z");
        assert_eq!(read(Kind::Grants, &[from]).unwrap_err(), BadQuestion::Missing { wanted: "subject or group" });
        let nobody = read(Kind::Grants, &[("group", "studio")]).unwrap_err();
        assert_eq!(nobody, BadQuestion::Missing { wanted: "from" });
        assert!(read(Kind::Grants, &[from, ("group", "studio")]).is_ok());
    }

    #[test]
    fn a_cursor_of_another_kind_of_question_is_refused() {
        let from = ("from", "2026-11-01T00:00:00Z");
        let grants = [from, ("subject", "ada")];
        let Question::Grants(question) = read(Kind::Grants, &grants).unwrap().0 else { panic!("grants") };
        let place = crate::audit::question::Place {
            occurred_at: datetime!(2026-11-02 00:00 UTC),
            stream: uuid::Uuid::from_u128(1),
            seq: 1,
        };
        let cursor = Cursor::of_grants(&question).at(&place);
        assert!(read(Kind::Grants, &[from, ("subject", "ada"), ("cursor", &cursor)]).is_ok());
        for kind in [Kind::Events, Kind::Grants] {
            let other = [from, ("subject", "eve"), ("cursor", &cursor)];
            assert_eq!(read(kind, &other).unwrap_err(), BadQuestion::Cursor);
        }
    }
}
