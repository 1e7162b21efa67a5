//! Cursors: where a page ended. Opaque to callers, and bound to the question they were made for: with other filters the
//! rows between would be skipped without a word. They grant nothing, so they are not signed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{BadQuestion, EventsQuestion, GrantsQuestion, LeasesQuestion};
use crate::audit::Digest;

const VERSION: u8 = 1;
/// How much of the question's digest a cursor carries: enough to tell questions apart.
const BINDING: usize = 8;

/// A place between two rows: just after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// `occurred_at`.
    pub occurred_at: OffsetDateTime,
    /// `stream`.
    pub stream: Uuid,
    /// `seq`.
    pub seq: i64,
}

/// Makes and reads the cursors of one question.
#[derive(Debug, Clone, Copy)]
pub struct Cursor([u8; BINDING]);

impl Cursor {
    /// Of a page of events.
    #[must_use]
    pub fn of_events(question: &EventsQuestion) -> Self {
        Self::bound("events", &format!("{}{}", question.order.as_str(), question.filter.digest()))
    }

    /// Of a page of leases.
    #[must_use]
    pub fn of_grants(question: &GrantsQuestion) -> Self {
        let GrantsQuestion { subject, group, issuer, period, after: _, limit: _ } = question;
        Self::bound("grants", &format!("{:?}", (subject, group, issuer, period.from)))
    }

    /// Of a page of listed leases.
    #[must_use]
    pub fn of_leases(question: &LeasesQuestion) -> Self {
        let LeasesQuestion { filter, at: _, after: _, limit: _ } = question;
        Self::bound("leases", &format!("{filter:?}"))
    }

    fn bound(question: &str, told: &str) -> Self {
        let digest = Digest::of(format!("{question} {told}").as_bytes());
        let mut binding = [0; BINDING];
        for (to, from) in binding.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self(binding)
    }

    /// The cursor for a place.
    #[must_use]
    pub fn at(self, place: &Place) -> String {
        let micros = i64::try_from(place.occurred_at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX);
        let parts: [&[u8]; 5] =
            [&[VERSION], &self.0, &micros.to_be_bytes(), place.stream.as_bytes(), &place.seq.to_be_bytes()];
        URL_SAFE_NO_PAD.encode(parts.concat())
    }

    /// The place of a cursor of this very question.
    pub fn read(self, text: &str) -> Result<Place, BadQuestion> {
        self.decode(text).ok_or(BadQuestion::Cursor)
    }

    fn decode(self, text: &str) -> Option<Place> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let rest = bytes.strip_prefix(&[VERSION])?.strip_prefix(&self.0)?;
        let (micros, rest) = rest.split_first_chunk::<8>()?;
        let (stream, rest) = rest.split_first_chunk::<16>()?;
        let seq: [u8; 8] = rest.try_into().ok()?;
        let nanos = i128::from(i64::from_be_bytes(*micros)) * 1_000;
        let occurred_at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
        let place = Place { occurred_at, stream: Uuid::from_bytes(*stream), seq: i64::from_be_bytes(seq) };
        // PostgreSQL's timestamps begin in 4713 BC, and rows in 1970.
        (occurred_at.unix_timestamp() >= 0 && place.seq >= 0).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::super::{EventFilter, Order};
    use super::*;

    fn question(subject: &str, order: Order) -> EventsQuestion {
        let filter = EventFilter { subject: Some(subject.to_owned()), ..EventFilter::default() };
        EventsQuestion { filter, order, after: None, limit: 10 }
    }

    fn place() -> Place {
        Place { occurred_at: datetime!(2026-11-22 03:00:00.123456 UTC), stream: Uuid::from_u128(7), seq: 42 }
    }

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        let cursor = Cursor::of_events(&question("ada", Order::Time));
        assert_eq!(cursor.read(&cursor.at(&place())), Ok(place()));
    }

    #[test]
    fn a_cursor_of_another_question_or_order_is_refused() {
        let text = Cursor::of_events(&question("ada", Order::Time)).at(&place());
        for other in [question("eve", Order::Time), question("ada", Order::Log)] {
            assert_eq!(Cursor::of_events(&other).read(&text), Err(BadQuestion::Cursor));
        }
        let longer = EventsQuestion { limit: 500, after: Some(place()), ..question("ada", Order::Time) };
        assert_eq!(Cursor::of_events(&longer).read(&text), Ok(place()));
    }

    #[test]
    fn a_cursor_cut_lengthened_or_before_1970_is_refused() {
        let cursor = Cursor::of_events(&question("ada", Order::Time));
        let text = cursor.at(&place());
        for wrong in [&text[..text.len() - 2], &format!("{text}AA"), "", "====", &text.to_uppercase()] {
            assert_eq!(cursor.read(wrong), Err(BadQuestion::Cursor), "{wrong}");
        }
        let early = Place { occurred_at: datetime!(1969-12-31 23:00 UTC), ..place() };
        assert_eq!(cursor.read(&cursor.at(&early)), Err(BadQuestion::Cursor));
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_a_cursor_panic(text: String, bytes: Vec<u8>) {
            let cursor = Cursor::of_events(&question("ada", Order::Time));
            let _ = cursor.read(&text);
            let encoded = URL_SAFE_NO_PAD.encode([&[VERSION][..], &cursor.0, &bytes].concat());
            let _ = cursor.read(&encoded);
        }
    }
}
