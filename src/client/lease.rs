//! A lease as the service hands it out, with the moment it was answered. All times are the service's: this machine's
//! clock may be wrong, so its age here is what counts, and the end that a local SDK is told is put into its own clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::{Duration, OffsetDateTime, UtcOffset};
use uuid::Uuid;

use super::fault::Fault;
use crate::clock::Clock;

/// boto asks at every S3 request in the last quarter of an hour of a lease; a minute before that, the agent has the next.
const BEFORE_BOTO: Duration = Duration::minutes(16);
/// Leases no longer than this are renewed when the service says, and no earlier.
const SHORT: Duration = Duration::minutes(32);
/// Clocks that differ by less are taken to agree: the `Date` header has whole seconds, and answers take time.
const TOLERATED: Duration = Duration::seconds(5);

/// When an answer came, by three clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The service's wall clock.
    pub server: OffsetDateTime,
    /// This machine's wall clock.
    pub wall: OffsetDateTime,
    /// This process's clock that never steps back.
    pub elapsed: StdDuration,
}

impl Moment {
    /// Before an answer is asked for: then no lease seems longer than it is.
    pub(super) fn local(clock: &dyn Clock) -> Self {
        let wall = clock.now();
        Self { server: wall, wall, elapsed: clock.elapsed() }
    }

    /// The same moment by the service's clock, as its `Date` header tells it; without one, clocks are taken to agree.
    pub(super) fn told(self, date: Option<&str>) -> Self {
        let server = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok()).unwrap_or(self.wall);
        Self { server, ..self }
    }

    /// How far this machine's clock is ahead of the service's.
    pub(super) fn skew(&self) -> Duration {
        self.wall - self.server
    }

    /// What the service's clock shows now. Age is the larger of what both local clocks say: one of them stands still
    /// while a machine sleeps, the other can be set back.
    fn server_now(&self, clock: &dyn Clock) -> OffsetDateTime {
        let steady = clock.elapsed().saturating_sub(self.elapsed);
        let steady = Duration::try_from(steady).unwrap_or(Duration::MAX);
        self.server.saturating_add(steady.max(clock.now() - self.wall))
    }
}

/// Credentials with their terms. It cannot be printed.
pub struct Lease {
    id: Uuid,
    role: String,
    access_key_id: String,
    secret_access_key: SecretString,
    session_token: SecretString,
    expiration: OffsetDateTime,
    refresh_after: OffsetDateTime,
    length: Duration,
    answered: Moment,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("id", &self.id).field("role", &self.role).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Wire {
    lease_id: Uuid,
    role: String,
    credentials: WireCredentials,
    refresh_after: String,
    ttl_seconds: u32,
}

#[derive(Deserialize)]
struct WireCredentials {
    access_key_id: String,
    secret_access_key: SecretString,
    session_token: SecretString,
    expiration: String,
}

impl Lease {
    /// Reads `POST /v1/leases`' answer. Everything is checked that goes into a header, a line or a file later.
    pub(super) fn read(body: &[u8], answered: Moment) -> Result<Self, Fault> {
        let Wire { lease_id: id, role, credentials, refresh_after, ttl_seconds } =
            serde_json::from_slice(body).map_err(|_| Fault::Nonsense("it is not the JSON of a lease"))?;
        let WireCredentials { access_key_id, secret_access_key, session_token, expiration } = credentials;
        // A line break in one of them would write lines of its own into a credentials file.
        for text in [&access_key_id, &role, secret_access_key.expose_secret(), session_token.expose_secret()] {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Fault::Nonsense("a member is empty or holds characters that it never has"));
            }
        }
        let instant = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        let (Some(expiration), Some(refresh_after)) = (instant(&expiration), instant(&refresh_after)) else {
            return Err(Fault::Nonsense("a time is not RFC 3339"));
        };
        if expiration <= answered.server {
            return Err(Fault::Nonsense("it has ended already"));
        }
        let length = Duration::seconds(i64::from(ttl_seconds));
        Ok(Self {
            id,
            role,
            access_key_id,
            secret_access_key,
            session_token,
            expiration,
            refresh_after,
            length,
            answered,
        })
    }

    /// Finds the lease in the service's log.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The role granted.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    pub(super) fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    pub(super) fn secret_access_key(&self) -> &str {
        self.secret_access_key.expose_secret()
    }

    pub(super) fn session_token(&self) -> &str {
        self.session_token.expose_secret()
    }

    /// The whole advertised length.
    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// How far this machine's clock was ahead of the service's.
    pub(super) fn skew(&self) -> Duration {
        self.answered.skew()
    }

    /// How long it may still be used; nothing once it has ended.
    #[must_use]
    pub fn left(&self, clock: &dyn Clock) -> Duration {
        (self.expiration - self.answered.server_now(clock)).max(Duration::ZERO)
    }

    /// It has not ended.
    #[must_use]
    pub fn is_live(&self, clock: &dyn Clock) -> bool {
        self.left(clock).is_positive()
    }

    /// How long until it should be renewed; negative when that is over.
    pub(super) fn renewal_in(&self, clock: &dyn Clock) -> Duration {
        self.renewal() - self.answered.server_now(clock)
    }

    fn renewal(&self) -> OffsetDateTime {
        if self.length > SHORT {
            self.refresh_after.min(self.expiration.saturating_sub(BEFORE_BOTO))
        } else {
            self.refresh_after
        }
    }

    /// The service would hand out this very lease again: a new one must be asked for in so many words.
    pub(super) fn would_be_reused(&self, clock: &dyn Clock) -> bool {
        self.answered.server_now(clock) < self.refresh_after
    }

    /// The end by this machine's clock, for programs that compare it with that clock: RFC 3339, UTC, whole seconds.
    pub(super) fn expiration(&self, clock: &dyn Clock) -> String {
        timestamp(self.local_end(clock))
    }

    /// The end by this machine's clock.
    pub(super) fn local_end(&self, clock: &dyn Clock) -> OffsetDateTime {
        let ahead = clock.now() - self.answered.server_now(clock);
        if ahead.abs() < TOLERATED { self.expiration } else { self.expiration.saturating_add(ahead) }
    }

    /// When to renew it, by this machine's clock.
    pub(super) fn local_renewal(&self, clock: &dyn Clock) -> OffsetDateTime {
        self.local_end(clock).saturating_sub(self.expiration - self.renewal())
    }

    /// Until when the service hands out this very lease, by this machine's clock.
    pub(super) fn local_refresh_after(&self, clock: &dyn Clock) -> OffsetDateTime {
        self.local_end(clock).saturating_sub(self.expiration - self.refresh_after)
    }
}

/// RFC 3339 in UTC with `Z` and whole seconds, which every SDK reads.
pub(super) fn timestamp(at: OffsetDateTime) -> String {
    at.to_offset(UtcOffset::UTC).truncate_to_second().format(&Rfc3339).unwrap_or_default()
}

/// A lease that several hold.
pub(super) type Shared = Arc<Lease>;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Mutex;
    use time::macros::datetime;

    pub(in crate::client) const NOON: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    /// Both clocks of a machine, moved by hand.
    #[derive(Debug)]
    pub(in crate::client) struct Hands(Mutex<(OffsetDateTime, StdDuration)>);

    impl Hands {
        pub(in crate::client) fn at(wall: OffsetDateTime) -> Self {
            Self(Mutex::new((wall, StdDuration::from_secs(1000))))
        }

        /// Time passes.
        pub(in crate::client) fn pass(&self, time: Duration) {
            let mut hands = self.0.lock().unwrap();
            hands.0 += time;
            hands.1 += time.unsigned_abs();
        }

        /// The wall clock is set, or the machine slept.
        pub(in crate::client) fn step(&self, by: Duration) {
            self.0.lock().unwrap().0 += by;
        }
    }

    impl Clock for Hands {
        fn now(&self) -> OffsetDateTime {
            self.0.lock().unwrap().0
        }

        fn elapsed(&self) -> StdDuration {
            self.0.lock().unwrap().1
        }
    }

    /// An answer whose lease ends `minutes` after noon at the service.
    pub(in crate::client) fn wire(minutes: i64, refresh_after: i64) -> Value {
        let at = |minutes| timestamp(NOON + Duration::minutes(minutes));
        json!({
            "lease_id": "01935a00-0000-7000-8000-000000000001", "role": "studio", "issued_at": at(0),
            "credentials": {
                "access_key_id": "AKIAPLANTED", "secret_access_key": "planted/secret+key=",
                "session_token": "planted.session.token", "expiration": at(minutes),
            },
            "refresh_after": at(refresh_after), "ttl_seconds": minutes * 60, "shortened_by": "jitter",
        })
    }

    pub(in crate::client) fn lease(minutes: i64, refresh_after: i64, clock: &Hands) -> Lease {
        let answered = Moment { server: NOON, ..Moment::local(clock) };
        Lease::read(wire(minutes, refresh_after).to_string().as_bytes(), answered).unwrap()
    }

    fn changed(pointer: &str, value: Value) -> Result<Lease, Fault> {
        let mut wire = wire(60, 33);
        *wire.pointer_mut(pointer).unwrap() = value;
        Lease::read(wire.to_string().as_bytes(), Moment::local(&Hands::at(NOON)))
    }

    #[test]
    fn what_is_no_lease_is_refused() {
        assert!(changed("/role", json!("studio")).is_ok());
        for (pointer, value) in [
            ("/credentials/access_key_id", json!("")),
            ("/credentials/access_key_id", json!("A\n[other]")),
            ("/credentials/secret_access_key", json!("a b")),
            ("/credentials/session_token", json!("")),
            ("/credentials/session_token", json!(null)),
            ("/credentials/expiration", json!("1795348800")),
            ("/credentials/expiration", json!("2026-11-22T11:59:59Z")),
            ("/refresh_after", json!("soon")),
            ("/role", json!("a\u{1b}[2J")),
            ("/ttl_seconds", json!(-1)),
            ("/lease_id", json!("1")),
        ] {
            assert!(changed(pointer, value.clone()).is_err(), "{pointer} {value}");
        }
        for body in ["", "{}", "null", "<html>"] {
            assert!(Lease::read(body.as_bytes(), Moment::local(&Hands::at(NOON))).is_err(), "{body}");
        }
    }

    #[test]
    fn a_lease_cannot_be_printed() {
        let shown = format!("{:?}", lease(60, 33, &Hands::at(NOON)));
        assert!(!shown.to_lowercase().contains("planted"), "{shown}");
    }

    #[test]
    fn a_long_lease_is_renewed_a_minute_before_boto_would_ask() {
        let clock = Hands::at(NOON);
        assert_eq!(lease(60, 33, &clock).renewal_in(&clock), Duration::minutes(33));
        assert_eq!(lease(60, 55, &clock).renewal_in(&clock), Duration::minutes(44));
        assert_eq!(lease(32, 25, &clock).renewal_in(&clock), Duration::minutes(25));
        assert_eq!(lease(15, 8, &clock).renewal_in(&clock), Duration::minutes(8));
    }

    #[test]
    fn a_renewal_before_the_service_expects_it_must_ask_for_a_new_lease() {
        let clock = Hands::at(NOON);
        let lease = lease(60, 55, &clock);
        clock.pass(Duration::minutes(45));
        assert!(lease.would_be_reused(&clock));
        clock.pass(Duration::minutes(10));
        assert!(!lease.would_be_reused(&clock));
    }

    #[test]
    fn a_wrong_clock_changes_neither_the_life_nor_the_renewal() {
        for wrong in [Duration::ZERO, Duration::hours(-7), Duration::hours(7)] {
            let clock = Hands::at(NOON + wrong);
            let lease = lease(60, 33, &clock);
            assert_eq!(lease.left(&clock), Duration::minutes(60), "{wrong}");
            assert_eq!(lease.renewal_in(&clock), Duration::minutes(33), "{wrong}");
            clock.pass(Duration::minutes(10));
            assert_eq!(lease.left(&clock), Duration::minutes(50), "{wrong}");
            let end = OffsetDateTime::parse(&lease.expiration(&clock), &Rfc3339).unwrap();
            assert_eq!(end - clock.now(), Duration::minutes(50), "{wrong}: SDKs compare with their own clock");
            assert_eq!(lease.local_renewal(&clock) - clock.now(), Duration::minutes(23), "{wrong}");
            clock.pass(Duration::minutes(50));
            assert!(!lease.is_live(&clock), "{wrong}");
        }
    }

    #[test]
    fn clocks_that_nearly_agree_leave_the_expiration_alone() {
        let clock = Hands::at(NOON + Duration::seconds(3));
        let lease = lease(60, 33, &clock);
        assert_eq!(lease.expiration(&clock), "2026-11-22T13:00:00Z");
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_no_lease_alive_and_sleep_counts() {
        let clock = Hands::at(NOON);
        let lease = lease(60, 33, &clock);
        clock.pass(Duration::minutes(59));
        clock.step(Duration::hours(-5));
        assert_eq!(lease.left(&clock), Duration::minutes(1));
        let clock = Hands::at(NOON);
        let slept = super::tests::lease(60, 33, &clock);
        clock.step(Duration::hours(2));
        assert!(!slept.is_live(&clock));
    }

    #[test]
    fn the_date_header_is_the_services_clock() {
        let clock = Hands::at(NOON + Duration::hours(1));
        let told = Moment::local(&clock).told(Some("Sun, 22 Nov 2026 12:00:00 GMT"));
        assert_eq!((told.server, told.skew()), (NOON, Duration::hours(1)));
        for date in [None, Some(""), Some("yesterday")] {
            assert_eq!(Moment::local(&clock).told(date).skew(), Duration::ZERO, "{date:?}");
        }
    }
}
