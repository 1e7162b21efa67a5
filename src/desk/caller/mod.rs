//! Who a leased key belongs to: a request signed with it (AWS Signature Version 4), checked against the credentials that this
//! process holds in memory. It says whose lease it is and nothing else, asks nobody, and writes no row: junk is only counted.

mod signed_request;

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::ExposeSecret;

use super::HeldCredentials;
use crate::clock::Clock;

pub use signed_request::SignedRequest;

/// A lease as its holder is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The role's name, or `any`.
    pub role: String,
    /// The name the object server sees.
    pub session_name: String,
}

/// Why nobody is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallerRefusal {
    /// It is not signed.
    #[error("the request is not signed")]
    Unsigned,
    /// It is signed twice, in another way than version 4 for STS, or what must be signed is not.
    #[error("the signature is malformed")]
    Malformed,
    /// No lease of this process has the key, or it comes with another session token.
    #[error("the key is of no lease that is known here")]
    UnknownKey,
    /// It was signed more than a quarter of an hour ago, or is from the future, or a presigned URL has ended.
    #[error("the signature is out of its time")]
    OutOfTime,
    /// It was signed with another secret key, or something was changed since.
    #[error("the signature does not match")]
    WrongSignature,
    /// The lease has ended.
    #[error("the lease has ended")]
    Ended,
}

impl CallerRefusal {
    /// The stable reason code for counters.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unsigned => "caller_unsigned",
            Self::Malformed => "caller_malformed",
            Self::UnknownKey => "caller_unknown_key",
            Self::OutOfTime => "caller_out_of_time",
            Self::WrongSignature => "caller_wrong_signature",
            Self::Ended => "caller_ended",
        }
    }
}

/// Names the holders of leased keys.
#[derive(Debug)]
pub struct Callers {
    held: Arc<HeldCredentials>,
    clock: Arc<dyn Clock>,
}

impl Callers {
    /// Looks into `held`.
    #[must_use]
    pub fn new(held: Arc<HeldCredentials>, clock: Arc<dyn Clock>) -> Self {
        Self { held, clock }
    }

    /// Whose key signed this. The cheap checks come first: a key that is not known costs one look into a map.
    pub fn identify(&self, request: &SignedRequest) -> Result<CallerIdentity, CallerRefusal> {
        let lease = self.held.by_key(request.access_key_id()).ok_or(CallerRefusal::UnknownKey)?;
        let now = self.clock.now();
        // A key without its token is a different credential: the object server would refuse it too.
        let token = lease.credentials.session_token.expose_secret();
        verify_slices_are_equal(request.session_token().as_bytes(), token.as_bytes())
            .map_err(|_| CallerRefusal::UnknownKey)?;
        if !request.is_in_time(now) {
            return Err(CallerRefusal::OutOfTime);
        }
        if !request.is_signed_with(&lease.credentials.secret_access_key) {
            return Err(CallerRefusal::WrongSignature);
        }
        if lease.credentials.expiration <= now {
            return Err(CallerRefusal::Ended);
        }
        Ok(CallerIdentity { role: lease.role, session_name: lease.session_name })
    }
}

#[cfg(test)]
mod tests {
    use super::signed_request::tests::{Signing, TOKEN};
    use super::*;
    use crate::audit::FingerprintKey;
    use crate::desk::MintedLease;
    use crate::lease::{AssumeRole, Holder, LeaseId};
    use crate::object_server::{AccessKeyId, TemporaryCredentials};
    use std::time::Duration;
    use time::OffsetDateTime;
    use time::macros::datetime;
    use uuid::Uuid;

    const SIGNED_AT: OffsetDateTime = datetime!(2026-11-22 10:00:00 UTC);

    #[derive(Debug)]
    struct At(OffsetDateTime);

    impl Clock for At {
        fn now(&self) -> OffsetDateTime {
            self.0
        }

        fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
    }

    const LEASE: u128 = 1;

    fn lease() -> LeaseId {
        LeaseId::from_uuid(Uuid::from_u128(LEASE))
    }

    /// One lease that ends an hour after [`SIGNED_AT`], looked at so much later.
    fn callers(later: time::Duration) -> Callers {
        let credentials = TemporaryCredentials {
            access_key_id: AccessKeyId::parse("ASIAKNOWN").unwrap(),
            secret_access_key: "secret/of+the=key".into(),
            session_token: TOKEN.into(),
            expiration: SIGNED_AT + Duration::from_hours(1),
        };
        let held = HeldCredentials::default();
        let assume_role = AssumeRole::for_tests(LEASE, "ada", "{}", SIGNED_AT);
        let minted = MintedLease {
            holder: Holder::for_tests("ada", "{}"),
            terms: assume_role.terms(credentials.expiration).unwrap(),
            assume_role,
            key_fingerprint: FingerprintKey::derive(b"test").fingerprint("ASIAKNOWN"),
            credentials,
        };
        held.keep(minted, &At(SIGNED_AT));
        Callers::new(Arc::new(held), Arc::new(At(SIGNED_AT + later)))
    }

    fn identified(signing: &Signing, later: time::Duration) -> Result<CallerIdentity, CallerRefusal> {
        callers(later).identify(&signing.request().unwrap())
    }

    fn whole() -> Signing {
        Signing::by("ASIAKNOWN", "secret/of+the=key", SIGNED_AT)
    }

    #[test]
    fn a_key_that_is_out_names_its_lease_in_every_shape_of_the_request() {
        let session_name = AssumeRole::for_tests(LEASE, "ada", "{}", SIGNED_AT).role_session_name().as_str().to_owned();
        let expected = CallerIdentity { role: "team".to_owned(), session_name };
        for signing in [whole(), whole().by_get(), whole().presigned(60), whole().in_region("eu-central-1")] {
            assert_eq!(identified(&signing, time::Duration::ZERO).as_ref(), Ok(&expected), "{signing:?}");
        }
    }

    #[test]
    fn one_wrong_thing_is_one_refusal() {
        let now = time::Duration::ZERO;
        let by = |key: &str, secret: &str| Signing::by(key, secret, SIGNED_AT);
        assert_eq!(identified(&by("ASIAOTHER", "secret/of+the=key"), now), Err(CallerRefusal::UnknownKey));
        assert_eq!(identified(&by("asiaknown", "secret/of+the=key"), now), Err(CallerRefusal::UnknownKey));
        assert_eq!(identified(&by("ASIAKNOWN", "another"), now), Err(CallerRefusal::WrongSignature));
        assert_eq!(identified(&by("ASIAKNOWN", "another").presigned(60), now), Err(CallerRefusal::WrongSignature));
        assert_eq!(identified(&whole().with_token("another"), now), Err(CallerRefusal::UnknownKey));
        assert_eq!(identified(&whole().with_token(""), now), Err(CallerRefusal::UnknownKey));
    }

    #[test]
    fn a_signature_lives_a_quarter_of_an_hour_around_its_time() {
        let seconds = time::Duration::seconds;
        for (later, lives) in [(900, true), (901, false), (-900, true), (-901, false)] {
            let expected = if lives { None } else { Some(CallerRefusal::OutOfTime) };
            assert_eq!(identified(&whole(), seconds(later)).err(), expected, "{later}");
        }
        for (later, lives) in [(60, true), (61, false), (-900, true), (-901, false)] {
            let expected = if lives { None } else { Some(CallerRefusal::OutOfTime) };
            assert_eq!(identified(&whole().presigned(60), seconds(later)).err(), expected, "{later}");
        }
    }

    #[test]
    fn an_ended_lease_is_told_to_who_has_its_secret_and_a_forgotten_one_to_nobody() {
        let hour = time::Duration::HOUR;
        let late = SIGNED_AT + hour;
        let signed_late = |secret: &str| Signing::by("ASIAKNOWN", secret, late);
        assert_eq!(identified(&signed_late("secret/of+the=key"), hour), Err(CallerRefusal::Ended));
        assert_eq!(identified(&signed_late("another"), hour), Err(CallerRefusal::WrongSignature));
        assert!(identified(&signed_late("secret/of+the=key"), hour - time::Duration::SECOND).is_ok());
        let callers = callers(time::Duration::ZERO);
        callers.held.forget(lease());
        assert_eq!(callers.identify(&whole().request().unwrap()), Err(CallerRefusal::UnknownKey));
    }
}
