//! The parameters of a question, from a query string, a form or the command line. Each is taken once, by name; what is
//! left over is refused, for a misspelt filter that is ignored would answer another question.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// More than any question has.
const MOST: usize = 40;
/// Longest value: an object's key has at most 1,024 bytes.
const LONGEST: usize = 1_024;

/// Why a question cannot be read. Nothing that was sent is repeated: an access key may be among it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    /// One parameter twice: which one would count?
    #[error("a parameter was sent more than once")]
    Repeated,
    /// Not a parameter of this question.
    #[error("an unknown parameter was sent")]
    Unknown,
    /// More parameters than any question has.
    #[error("too many parameters")]
    TooMany,
    /// A value that is not one.
    #[error("{parameter} must be {wanted}")]
    Value {
        /// Whose.
        parameter: &'static str,
        /// What would be good.
        wanted: &'static str,
    },
    /// A parameter that this question needs.
    #[error("{wanted} is missing")]
    Missing {
        /// What is missing.
        wanted: &'static str,
    },
    /// Parameters that exclude each other.
    #[error("{wanted}")]
    Together {
        /// Which go together.
        wanted: &'static str,
    },
    /// A cursor that was not made by the page before.
    #[error("cursor must be the next of the page before, with the same filters and order")]
    Cursor,
}

/// What was given: one value per name. Its `Debug` shows names only: an access key may be among the values.
pub struct Given {
    values: BTreeMap<String, String>,
    fault: Option<BadQuestion>,
}

impl Given {
    /// Takes the pairs. A name given twice, or too many, is a fault that [`Given::check`] tells: whoever may not ask is to
    /// learn nothing, not even that.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut given = Self { values: BTreeMap::new(), fault: None };
        for (name, value) in pairs {
            if given.values.insert(name, value).is_some() {
                given.fault = Some(BadQuestion::Repeated);
                break;
            }
            if given.values.len() > MOST {
                given.fault = Some(BadQuestion::TooMany);
                break;
            }
        }
        given
    }

    /// Each name was given once.
    pub fn check(&self) -> Result<(), BadQuestion> {
        self.fault.map_or(Ok(()), Err)
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), BadQuestion> {
        self.check()?;
        if self.values.is_empty() { Ok(()) } else { Err(BadQuestion::Unknown) }
    }

    /// A value as it stands: 1 to 1,024 bytes, no control character, no U+FFFD (which stands for what was no UTF-8).
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, BadQuestion> {
        let wanted = "1 to 1024 bytes of UTF-8 without control characters";
        let clean = |text: &String| {
            (1..=LONGEST).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c == '\u{fffd}')
        };
        self.read(name, wanted, |text| Some(text).filter(clean))
    }

    /// One of a closed set of words.
    pub fn word(
        &mut self,
        name: &'static str,
        wanted: &'static str,
        known: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, BadQuestion> {
        self.read(name, wanted, |text| Some(text).filter(|text| known(text)))
    }

    /// RFC 3339 with an explicit offset. `+` in a query string means a space: the commonest mistake gets its own words.
    pub fn instant(&mut self, name: &'static str) -> Result<Option<OffsetDateTime>, BadQuestion> {
        let wanted = "RFC 3339 with an explicit offset, such as 2026-11-22T03:00:00Z or 2026-11-22T04:00:00%2B01:00";
        self.read(name, wanted, |text| {
            let instant = OffsetDateTime::parse(&text, &Rfc3339).ok()?;
            // What a row can hold, and no year that PostgreSQL or UTC cannot: four digits once in UTC.
            let utc = instant.checked_to_offset(time::UtcOffset::UTC)?;
            (1970..=9998).contains(&utc.year()).then_some(utc)
        })
    }

    /// A UUID in its usual form.
    pub fn uuid(&mut self, name: &'static str) -> Result<Option<Uuid>, BadQuestion> {
        self.read(name, "a UUID", |text| Uuid::try_parse(&text).ok().filter(|_| text.len() == 36))
    }

    /// 64 lower-case hex digits.
    pub fn sha256(&mut self, name: &'static str) -> Result<Option<String>, BadQuestion> {
        let hex = |text: &String| text.len() == 64 && is_hex(text);
        self.read(name, "64 lower-case hex digits", |text| Some(text).filter(hex))
    }

    /// An address or a network.
    pub fn network(&mut self, name: &'static str) -> Result<Option<IpNet>, BadQuestion> {
        let wanted = "an IP address, or a network such as 203.0.113.0/24";
        self.read(name, wanted, |text| {
            let address = text.parse::<IpAddr>().ok().map(IpNet::from);
            address.or_else(|| text.parse().ok().map(|network: IpNet| network.trunc()))
        })
    }

    /// 1 to the most rows of a page.
    pub fn limit(&mut self) -> Result<u16, BadQuestion> {
        let limit = self.read("limit", "a number from 1 to 1000", |text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|limit| digits && (1..=super::MOST).contains(limit))
        })?;
        Ok(limit.unwrap_or(super::USUAL))
    }

    /// `true` or `false`; missing: `false`.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, BadQuestion> {
        Ok(self.read(name, "true or false", |text| text.parse().ok())?.unwrap_or(false))
    }

    pub(super) fn read<T>(
        &mut self,
        parameter: &'static str,
        wanted: &'static str,
        read: impl FnOnce(String) -> Option<T>,
    ) -> Result<Option<T>, BadQuestion> {
        let Some(text) = self.values.remove(parameter) else { return Ok(None) };
        read(text).map(Some).ok_or(BadQuestion::Value { parameter, wanted })
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

pub(super) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn given(name: &str, value: &str) -> Given {
        Given::new([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_time_without_an_offset_is_refused_and_with_one_is_told_in_utc() {
        for wrong in [
            "2026-11-22T03:00:00",
            "2026-11-22 03:00:00",
            "2026-11-22",
            "2026-11-22T04:00:00 01:00",
            "now",
            "1763780400",
            "",
            "9999-12-31T23:59:59-23:59",
            "0001-01-01T00:00:00Z",
        ] {
            assert!(matches!(given("at", wrong).instant("at"), Err(BadQuestion::Value { .. })), "{wrong}");
        }
        for right in ["2026-11-22T03:00:00Z", "2026-11-22T04:00:00+01:00", "2026-11-22T02:30:00.000-00:30"] {
            assert_eq!(given("at", right).instant("at"), Ok(Some(datetime!(2026-11-22 03:00 UTC))), "{right}");
        }
    }

    #[test]
    fn a_limit_is_one_to_a_thousand() {
        for wrong in ["0", "1001", "65536", "-1", "+5", "", "ten", "1e2"] {
            assert!(given("limit", wrong).limit().is_err(), "{wrong}");
        }
        assert_eq!(given("limit", "1").limit(), Ok(1));
        assert_eq!(given("limit", "1000").limit(), Ok(1000));
        assert_eq!(given("other", "1").limit(), Ok(super::super::USUAL));
    }

    #[test]
    fn control_characters_and_what_is_no_utf_8_are_refused() {
        for wrong in ["a\nb", "a\0", "\u{7f}", "\u{85}", "a\u{fffd}", "", &"x".repeat(1025)] {
            assert!(given("subject", wrong).text("subject").is_err(), "{wrong:?}");
        }
        assert_eq!(given("subject", "ada löve").text("subject"), Ok(Some("ada löve".to_owned())));
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        assert_eq!(given("subjct", "ada").finish(), Err(BadQuestion::Unknown));
        let twice = ["ada", "eve"].map(|value| ("subject".to_owned(), value.to_owned()));
        assert_eq!(Given::new(twice).finish(), Err(BadQuestion::Repeated));
        let many = (0..=MOST).map(|i| (i.to_string(), String::new()));
        assert_eq!(Given::new(many).finish(), Err(BadQuestion::TooMany));
    }

    #[test]
    fn an_address_is_a_network_of_one() {
        assert_eq!(given("address", "203.0.113.9").network("address"), Ok(Some("203.0.113.9/32".parse().unwrap())));
        assert_eq!(given("address", "203.0.113.9/24").network("address"), Ok(Some("203.0.113.0/24".parse().unwrap())));
        assert!(given("address", "203.0.113").network("address").is_err());
    }

    #[test]
    fn no_value_is_in_the_debug_form() {
        assert_eq!(format!("{:?}", given("key", "AKIAPLANTED")), "{\"key\"}");
    }
}
