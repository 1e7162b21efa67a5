//! Which events: a filter on every column that matters. One of its conditions, the driver, is looked up by index; the
//! others are tested on the bounded number of rows that the driver finds for one page.

use ipnet::IpNet;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::given::is_hex;
use super::period::forward;
use super::{BadQuestion, Given};
use crate::audit::{Digest, Door, KeyFingerprint, RecordedEffect};

/// Every event type of the log, but `break_glass.*`.
const TYPES: [&str; 14] = [
    "exchange.refused",
    "lease.intended",
    "lease.issued",
    "lease.failed",
    "lease.reused",
    "lease.revoked",
    "lease.abandoned",
    "freeze.set",
    "freeze.lifted",
    "policy.loaded",
    "audit.read",
    "orphan.found",
    "stream.opened",
    "stream.closed",
];

/// Fingerprints that begin with these digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FingerprintRange(String);

impl FingerprintRange {
    /// Reads the first 8 or all 32 lower-case hex digits. Fewer would list keys rather than find one; a number in between
    /// would let a reader guess the digits that are masked, one after the other.
    #[must_use]
    pub fn parse(digits: &str) -> Option<Self> {
        (matches!(digits.len(), 8 | 32) && is_hex(digits)).then(|| Self(digits.to_owned()))
    }

    /// The first text of the range, by bytes.
    #[must_use]
    pub fn first(&self) -> &str {
        &self.0
    }

    /// The first text after it: no digit is greater than `f`.
    #[must_use]
    pub fn end(&self) -> String {
        format!("{}g", self.0)
    }

    /// The first eight digits: what may be told of a key to anyone who reads the log.
    #[must_use]
    pub fn masked(&self) -> String {
        masked(&self.0)
    }
}

impl From<&KeyFingerprint> for FingerprintRange {
    fn from(fingerprint: &KeyFingerprint) -> Self {
        Self(fingerprint.as_str().to_owned())
    }
}

/// The first eight digits and an ellipsis.
pub(in crate::audit) fn masked(fingerprint: &str) -> String {
    fingerprint.chars().take(8).chain(['…']).collect()
}

/// The condition that is looked up by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// One lease.
    Lease,
    /// One key, or a few.
    Key,
    /// One token.
    Token,
    /// One subject, in time.
    Subject,
    /// One type, in time.
    Kind,
    /// Nothing but time.
    Time,
}

impl Driver {
    /// The word that the query knows it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Key => "key",
            Self::Token => "token",
            Self::Subject => "subject",
            Self::Kind => "type",
            Self::Time => "time",
        }
    }
}

/// Conditions that an event must all meet; an absent one asks nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EventFilter {
    /// `type`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `effect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// `reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The issuer's configured name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The `sub` claim, exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `azp` or `client_id`, exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// One of the groups, exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The role granted, or one of the roles combined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_id: Option<Uuid>,
    /// The key; told by its first digits only.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "masked_range")]
    pub key_fingerprint: Option<FingerprintRange>,
    /// SHA-256 of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<String>,
    /// `jti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// The policy set decided under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<String>,
    /// The caller's address, or a network that holds it, or that meets the network of aggregated refusals.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub address: Option<IpNet>,
    /// The door.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// The caller's own session name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// The stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<Uuid>,
    /// The first instant.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::audit::instant::option")]
    pub from: Option<OffsetDateTime>,
    /// The first instant after.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::audit::instant::option")]
    pub to: Option<OffsetDateTime>,
}

impl EventFilter {
    /// Takes its parameters, each named as its column.
    pub fn read(given: &mut Given) -> Result<Self, BadQuestion> {
        let filter = Self {
            kind: given.word("type", "an event type of docs/audit.md", is_type)?,
            effect: given.word("effect", "allow, deny or not_applicable", is_effect)?,
            reason: given.text("reason")?,
            issuer: given.text("issuer")?,
            subject: given.text("subject")?,
            client: given.text("client")?,
            group: given.text("group")?,
            role: given.text("role")?,
            lease_id: given.uuid("lease_id")?,
            key_fingerprint: given.read(
                "key_fingerprint",
                "the first 8 or all 32 lower-case hex digits",
                |digits| FingerprintRange::parse(&digits),
            )?,
            token_sha256: given.sha256("token_sha256")?,
            jti: given.text("jti")?,
            request_id: given.uuid("request_id")?,
            policy_hash: given.sha256("policy_hash")?,
            address: given.network("address")?,
            door: given.word("door", "sts, leases, container, audit or cli", is_door)?,
            session_name: given.text("session_name")?,
            stream: given.uuid("stream")?,
            from: given.instant("from")?,
            to: given.instant("to")?,
        };
        forward(filter.from, filter.to)?;
        Ok(filter)
    }

    /// The condition to look up: the first of those that have an index, the most selective ones first.
    #[must_use]
    pub fn driver(&self) -> Driver {
        let drivers = [
            (self.lease_id.is_some(), Driver::Lease),
            (self.key_fingerprint.is_some(), Driver::Key),
            (self.token_sha256.is_some(), Driver::Token),
            (self.subject.is_some(), Driver::Subject),
            (self.kind.is_some(), Driver::Kind),
        ];
        drivers.into_iter().find(|(given, _)| *given).map_or(Driver::Time, |(_, driver)| driver)
    }

    /// What a cursor is bound to: the same filter, whole.
    pub(super) fn digest(&self) -> Digest {
        let whole = (serde_json::to_string(self), self.key_fingerprint.as_ref().map(FingerprintRange::first));
        Digest::of(format!("{whole:?}").as_bytes())
    }
}

fn is_type(text: &str) -> bool {
    let emergency = |name: &str| {
        (1..=40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    TYPES.contains(&text) || text.strip_prefix("break_glass.").is_some_and(emergency)
}

fn is_effect(text: &str) -> bool {
    [RecordedEffect::Allow, RecordedEffect::Deny, RecordedEffect::NotApplicable].iter().any(|e| e.as_str() == text)
}

fn is_door(text: &str) -> bool {
    Door::parse(text).is_some()
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn as_text<S: serde::Serializer>(network: &Option<IpNet>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&network.map(|network| network.to_string()).unwrap_or_default())
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn masked_range<S: serde::Serializer>(range: &Option<FingerprintRange>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&range.as_ref().map(FingerprintRange::masked).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<EventFilter, BadQuestion> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut given = Given::new(pairs);
        let filter = EventFilter::read(&mut given)?;
        given.finish()?;
        Ok(filter)
    }

    #[test]
    fn closed_columns_take_their_own_words_only() {
        for (name, wrong, right) in [
            ("type", "lease.minted", "lease.issued"),
            ("type", "break_glass.", "break_glass.granted"),
            ("type", "break_glass.A", "break_glass.a_b"),
            ("effect", "ALLOW", "allow"),
            ("door", "window", "sts"),
            ("lease_id", "1", "0199f0c4-0000-7000-8000-000000000001"),
            ("lease_id", "0199f0c4000070008000000000000001", "0199f0c4-0000-7000-8000-000000000001"),
            ("key_fingerprint", "0123456", "01234567"),
            ("key_fingerprint", "0123456G", "0123456f"),
            ("token_sha256", "00", &"0a".repeat(32)),
            ("policy_hash", &"0A".repeat(32), &"0a".repeat(32)),
        ] {
            assert!(matches!(read(&[(name, wrong)]), Err(BadQuestion::Value { .. })), "{name}={wrong}");
            assert!(read(&[(name, right)]).is_ok(), "{name}={right}");
        }
    }

    #[test]
    fn a_period_that_runs_backwards_is_refused() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        assert!(read(&[("from", late), ("to", early)]).is_err());
        assert!(read(&[("from", early), ("to", early)]).is_err());
        assert!(read(&[("from", early), ("to", late)]).is_ok());
    }

    #[test]
    fn the_most_selective_condition_drives() {
        assert_eq!(read(&[("reason", "no_role")]).unwrap().driver(), Driver::Time);
        assert_eq!(read(&[("type", "lease.issued")]).unwrap().driver(), Driver::Kind);
        let filter = read(&[("type", "lease.issued"), ("subject", "ada")]).unwrap();
        assert_eq!(filter.driver(), Driver::Subject);
    }

    #[test]
    fn a_fingerprint_is_told_by_its_first_digits_and_tells_filters_apart_by_all() {
        let filter = |digits: &str| read(&[("key_fingerprint", digits)]).unwrap();
        let (one, other) = (filter("01234567000000000000000000000001"), filter("01234567000000000000000000000002"));
        assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"key_fingerprint":"01234567…"}"#);
        assert_ne!(one.digest(), other.digest());
        assert_ne!(one.digest(), EventFilter::default().digest());
    }

    #[test]
    fn the_masked_digits_of_a_fingerprint_cannot_be_guessed_one_by_one() {
        let whole = "0123456789abcdef0123456789abcdef";
        assert!(FingerprintRange::parse(&whole[..8]).is_some() && FingerprintRange::parse(whole).is_some());
        for length in (0..8).chain(9..32) {
            assert_eq!(FingerprintRange::parse(&whole[..length]), None, "{length}");
        }
    }
}
