//! The plan: how long, under which policy, by which names. The only maker of [`AssumeRole`], and every one of them
//! carries a session policy.

use std::num::NonZeroU32;
use std::time::Duration;

use rand::{Rng, RngExt};
use time::OffsetDateTime;

use super::lengths::{LengthRange, shortest_length};
use super::smoothing::{Drawn, Smoothing};
use super::terms::{LeaseTerms, Shortening};
use super::{Beyond, Capabilities, GoesBy, LeaseId, ParentId, RoleSessionName, SelfTesting, SessionPolicy};
use crate::clock::time_ordered_id;
use crate::policy::{BreakGlass, Document, EmergencyRole, Grant, PolicySet, RoleName};
use crate::token::{Subject, VerifiedToken};

/// No lease is shorter: stock SDKs would ask at every call, and no server but Ceph mints less.
pub(super) const SHORTEST: Duration = Duration::from_mins(15);
/// No lease is longer: a credential that leaked or whose holder was dismissed ends within the hour.
pub(super) const LONGEST: Duration = Duration::from_hours(1);
/// boto3 asks again at every call once 15 minutes are left, so an advertised life of 20 minutes is the floor for comfort.
const COMFORTABLE: Duration = Duration::from_mins(20);
/// How far the end that the server says may lie from what it may be: clocks differ, and it writes whole seconds.
const TOLERANCE: Duration = Duration::from_mins(1);

/// `[lease]` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeaseRules {
    /// Length where the role sets none; 15 to 60 minutes.
    pub ttl: Duration,
    /// Share of the length that may be drawn away, 0 to 1: spreads refreshes of clients that started together.
    pub jitter: f64,
    /// How long before the real end the advertised one is; under 15 minutes.
    pub grace: Duration,
    /// How often a credential is tried before it is handed out.
    pub self_test: SelfTesting,
    /// Whether equal holders are handed the same lease until its `refresh_after`.
    pub reuse: bool,
    /// Mints that lengths are drawn to stay under, a second; none: lengths are drawn without regard to others.
    pub mints_per_second: Option<NonZeroU32>,
}

/// One fully decided request to the object server's STS. What it says is what the intent row says.
#[derive(Debug, Clone)]
pub struct AssumeRole {
    lease_id: LeaseId,
    subject: Subject,
    role_session_name: RoleSessionName,
    session_policy: SessionPolicy,
    duration: Duration,
    longest: Duration,
    lengths: LengthRange,
    requested: Option<Duration>,
    ceiling: Duration,
    grace: Duration,
    refresh_draw: f64,
    issued_at: OffsetDateTime,
    parent: Option<ParentId>,
}

impl AssumeRole {
    /// The lease this request is for.
    #[must_use]
    pub fn lease_id(&self) -> LeaseId {
        self.lease_id
    }

    /// Whom it is for.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The session name for the server's log.
    #[must_use]
    pub fn role_session_name(&self) -> &RoleSessionName {
        &self.role_session_name
    }

    /// The policy that bounds the session.
    #[must_use]
    pub fn session_policy(&self) -> &SessionPolicy {
        &self.session_policy
    }

    /// The real length asked of the server, whole seconds, 15 to 60 minutes.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// The length that the one asked of the server was drawn below: the role's, or what the caller asked for, if that is less.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// What the caller asked for.
    #[must_use]
    pub fn requested(&self) -> Option<Duration> {
        self.requested
    }

    /// When the plan was made.
    #[must_use]
    pub fn issued_at(&self) -> OffsetDateTime {
        self.issued_at
    }

    /// The parent that mints it; none where the server has one parent that needs no name.
    #[must_use]
    pub fn parent(&self) -> Option<ParentId> {
        self.parent
    }

    /// The same request, to be minted by this parent: part of the plan, before the intent is committed.
    #[must_use]
    pub fn under(self, parent: Option<ParentId>) -> Self {
        Self { parent, ..self }
    }

    /// The same request, its session policy sharing the memory of one with the same text.
    #[must_use]
    pub fn sharing(self, same: &SessionPolicy) -> Self {
        Self { session_policy: self.session_policy.sharing(same), ..self }
    }

    /// About what it takes in memory, in bytes, the session policy aside.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.subject.as_str().len() + self.role_session_name.as_str().len()
    }

    /// An hour for `subject` at `issued_at`, for tests of what is done with one.
    #[cfg(test)]
    pub(crate) fn for_tests(id: u128, subject: &str, policy: &str, issued_at: OffsetDateTime) -> Self {
        let (lease_id, subject) = (LeaseId::from_uuid(uuid::Uuid::from_u128(id)), Subject::parse(subject).unwrap());
        Self {
            lease_id,
            role_session_name: RoleSessionName::new(&subject, lease_id),
            subject,
            session_policy: SessionPolicy::for_tests(policy),
            duration: LONGEST,
            longest: LONGEST,
            lengths: LengthRange::new(LONGEST, 0.0, LONGEST),
            requested: None,
            ceiling: LONGEST,
            grace: Duration::from_mins(5),
            refresh_draw: 0.0,
            issued_at,
            parent: None,
        }
    }

    /// The same request, as long as is best for the load to come. It stays within the bounds of any draw; whether its return
    /// fits under the cap is said beside it.
    #[must_use]
    pub fn smoothed(self, smoothing: &Smoothing, by: GoesBy, rng: &mut dyn Rng) -> (Self, bool) {
        let Drawn { length, refresh, fits } = smoothing.draw(self.lengths, self.grace, by, self.issued_at, rng);
        (Self { duration: length, refresh_draw: refresh, ..self }, fits)
    }

    /// The terms to advertise, given the end that the server really set. Only the server's answer counts: RustFS and
    /// SeaweedFS shorten silently, MinIO may ignore the request. `None` if that end leaves nothing to advertise, or lies
    /// more than a minute beyond what was asked or short of the shortest lease: a server that lies about the end of a
    /// lease, or whose clock is wrong, is not believed.
    #[must_use]
    pub fn terms(&self, server_expiration: OffsetDateTime) -> Option<LeaseTerms> {
        let asked_end = self.issued_at + self.duration;
        let shortest = self.duration.min(SHORTEST);
        let (earliest, latest) = (self.issued_at + shortest - TOLERANCE, asked_end + TOLERANCE);
        if server_expiration < earliest || server_expiration > latest {
            return None;
        }
        let end = server_expiration.min(asked_end);
        let shortening = if end + TOLERANCE < asked_end {
            Some(Shortening::ObjectServer)
        } else {
            Shortening::explain(self.requested, self.ceiling, self.duration)
        };
        LeaseTerms::new(self.issued_at, end, self.grace, self.refresh_draw, shortening)
    }
}

/// Why no request can be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The caller asked for less than the shortest lease.
    #[error("a lease lasts at least 900 seconds")]
    TooShort,
    /// The session policy exceeds the server's limit.
    #[error("the session policy takes {size} bytes, the object server's limit is {limit}")]
    PolicyTooLarge {
        /// Its size as the server counts.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// One resource of the session policy exceeds the limit for a single string.
    #[error("one resource takes {size} bytes, the limit for one is {limit}")]
    ResourceTooLarge {
        /// Its length.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The object server would not enforce part of the session policy: the lease would be wider than it says.
    #[error("{server} does not enforce {what}")]
    NotEnforced {
        /// The server's name.
        server: &'static str,
        /// What it would not enforce, and the cure.
        what: String,
    },
    /// The object server does not give sessions of the length that the role has.
    #[error("{server} gives sessions of {shortest} to {longest} seconds, and the role's leases last {ttl}")]
    LengthNotGiven {
        /// The server's name.
        server: &'static str,
        /// The role's length, in seconds.
        ttl: u64,
        /// The server's shortest session, in seconds.
        shortest: u64,
        /// Its longest.
        longest: u64,
    },
    /// Several roles match `any` and do not fit together; the caller must name one of these.
    #[error("the roles that match do not fit into one session policy together")]
    RolesDoNotFit {
        /// The roles to choose from, all of them granted to this caller.
        choices: Vec<RoleName>,
    },
    /// The roles that match have different parents, and there is no default one; the caller must name one of these.
    #[error("the roles that match have different parents, and no default parent is configured")]
    RolesOfSeveralParents {
        /// The roles to choose from, all of them granted to this caller.
        choices: Vec<RoleName>,
    },
    /// No parent mints this role: the policies and the configuration were changed apart from each other.
    #[error("no parent is configured for the role {role}")]
    NoParent {
        /// The role.
        role: RoleName,
    },
}

impl LeaseError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooShort => "duration_too_short",
            Self::PolicyTooLarge { .. } => "session_policy_too_large",
            Self::ResourceTooLarge { .. } => "resource_too_large",
            Self::NotEnforced { .. } => "not_enforced_by_server",
            Self::LengthNotGiven { .. } => "length_not_given_by_server",
            Self::RolesDoNotFit { .. } => "roles_do_not_fit",
            Self::RolesOfSeveralParents { .. } => "roles_of_several_parents",
            Self::NoParent { .. } => "role_without_parent",
        }
    }
}

/// Plans one lease. `requested` longer than allowed is shortened, never refused: `object_store` always asks for 3,600
/// seconds.
pub fn plan(
    grant: &Grant,
    token: &VerifiedToken,
    requested: Option<Duration>,
    rules: &LeaseRules,
    capabilities: &Capabilities,
    now: OffsetDateTime,
    rng: &mut dyn Rng,
) -> Result<AssumeRole, LeaseError> {
    if requested.is_some_and(|requested| requested < SHORTEST) {
        return Err(LeaseError::TooShort);
    }
    let ttl = grant.ttl_or(rules.ttl);
    let Lengths { shortest, ceiling } = if grant.is_emergency() {
        let length = emergency_length(ttl, capabilities)?;
        Lengths { shortest: length, ceiling: length }
    } else {
        lengths(ttl, capabilities)?
    };
    let session_policy =
        SessionPolicy::compose(grant.document(), capabilities).map_err(|error| match (grant.roles(), &error) {
            ([_], _) | (_, LeaseError::NotEnforced { .. }) => error,
            (choices, _) => LeaseError::RolesDoNotFit { choices: choices.to_vec() },
        })?;
    let bound = requested.map_or(ceiling, |requested| requested.min(ceiling).max(shortest));
    // An emergency is as long as it says: nothing is drawn away, and no grace is kept, for nobody renews it.
    let (lengths, grace) = if grant.is_emergency() {
        (LengthRange::exactly(bound), Duration::ZERO)
    } else {
        (LengthRange::new(bound, rules.jitter, shortest), rules.grace)
    };
    let duration = lengths.draw(rng);
    let lease_id = LeaseId::from_uuid(time_ordered_id(now, rng));
    Ok(AssumeRole {
        lease_id,
        subject: token.subject().clone(),
        role_session_name: RoleSessionName::new(token.subject(), lease_id),
        session_policy,
        duration,
        longest: bound,
        lengths,
        requested,
        ceiling,
        grace,
        refresh_draw: rng.random(),
        issued_at: now,
        parent: None,
    })
}

/// Plans the lease that `stint object-server verify` tries: nobody's, under no role, as short as leases get. The document is
/// the command's own, and its session policy carries the same Deny as any other.
pub fn plan_verification(
    document: &Document,
    capabilities: &Capabilities,
    now: OffsetDateTime,
    rng: &mut dyn Rng,
) -> Result<AssumeRole, LeaseError> {
    let (lease_id, subject) = (LeaseId::from_uuid(time_ordered_id(now, rng)), Subject::verification());
    let duration = lengths(SHORTEST, capabilities)?.shortest;
    Ok(AssumeRole {
        lease_id,
        role_session_name: RoleSessionName::new(&subject, lease_id),
        subject,
        session_policy: SessionPolicy::compose(document, capabilities)?,
        duration,
        longest: duration,
        lengths: LengthRange::new(duration, 0.0, duration),
        requested: None,
        ceiling: duration,
        grace: Duration::ZERO,
        refresh_draw: 0.0,
        issued_at: now,
        parent: None,
    })
}

/// Plans the lease of an emergency: as long as it says to the second, at most 15 minutes, and told to the holder as it is.
/// Nothing is drawn and no grace is kept, for it is never renewed. `subject` is whom the object server's log names.
pub fn plan_emergency(
    document: &Document,
    subject: &Subject,
    length: Duration,
    capabilities: &Capabilities,
    now: OffsetDateTime,
    rng: &mut dyn Rng,
) -> Result<AssumeRole, LeaseError> {
    let duration = emergency_length(length, capabilities)?;
    let lease_id = LeaseId::from_uuid(time_ordered_id(now, rng));
    Ok(AssumeRole {
        lease_id,
        role_session_name: RoleSessionName::new(subject, lease_id),
        subject: subject.clone(),
        session_policy: SessionPolicy::compose(document, capabilities)?,
        duration,
        longest: duration,
        lengths: LengthRange::exactly(duration),
        requested: Some(length),
        ceiling: duration,
        grace: Duration::ZERO,
        refresh_draw: 0.0,
        issued_at: now,
        parent: None,
    })
}

/// What a lease of an emergency role is sent with, to be looked at before there is an emergency.
pub fn emergency_session_policy(
    role: &EmergencyRole,
    capabilities: &Capabilities,
) -> Result<SessionPolicy, LeaseError> {
    SessionPolicy::compose(role.document(), capabilities)
}

/// What leases of an emergency role would be refused for at this server.
fn emergency_misfits(role: &EmergencyRole, capabilities: &Capabilities) -> Vec<LeaseError> {
    let document = emergency_session_policy(role, capabilities).err();
    document.into_iter().chain(emergency_length(role.length(), capabilities).err()).collect()
}

/// No emergency is longer than the shortest ordinary lease, and none is lengthened to what a server gives at least.
fn emergency_length(length: Duration, capabilities: &Capabilities) -> Result<Duration, LeaseError> {
    let (given, wanted) = (capabilities.durations, Duration::from_secs(length.min(SHORTEST).as_secs()));
    if wanted.is_zero() || wanted < given.shortest || wanted > given.longest {
        return Err(LeaseError::LengthNotGiven {
            server: capabilities.server,
            ttl: wanted.as_secs(),
            shortest: given.shortest.as_secs(),
            longest: given.longest.as_secs(),
        });
    }
    Ok(wanted)
}

/// Proves at load that every role's document fits the server and is enforced by it, and that the server gives sessions of
/// the role's length: one line for each that is not so.
#[must_use]
pub fn prove_roles_fit(policies: &PolicySet, rules: &LeaseRules, capabilities: &Capabilities) -> Vec<String> {
    let prove = |(name, document, ttl): (&RoleName, _, Option<Duration>)| {
        let document = SessionPolicy::compose(document, capabilities).err();
        let length = lengths(ttl.unwrap_or(rules.ttl), capabilities).err();
        document.into_iter().chain(length).map(move |error| format!("role {name}: {error}")).collect::<Vec<_>>()
    };
    let emergencies = policies.break_glass().into_iter().flat_map(BreakGlass::roles).flat_map(|role| {
        let misfits = emergency_misfits(role, capabilities);
        misfits.into_iter().map(|error| format!("emergency role {}: {error}", role.name()))
    });
    policies.roles().flat_map(prove).chain(emergencies).collect()
}

/// Roles whose leases the server makes shorter than they say: one line each.
#[must_use]
pub fn shortened_roles(policies: &PolicySet, rules: &LeaseRules, capabilities: &Capabilities) -> Vec<String> {
    let warn = |(name, _, ttl): (&RoleName, _, Option<Duration>)| {
        let (ttl, longest) = (ttl.unwrap_or(rules.ttl), capabilities.durations.longest);
        (ttl > longest && lengths(ttl, capabilities).is_ok()).then(|| {
            format!(
                "role {name}: {} gives sessions of {} s at most, so its leases last that and not {} s",
                capabilities.server,
                longest.as_secs(),
                ttl.as_secs()
            )
        })
    };
    policies.roles().filter_map(warn).collect()
}

/// Roles whose shortest advertised lease would make stock boto3 ask again every few seconds: one line each.
#[must_use]
pub fn uncomfortable_roles(policies: &PolicySet, rules: &LeaseRules) -> Vec<String> {
    let warn = |(name, _, ttl): (&RoleName, _, Option<Duration>)| {
        let shortest = shortest_length(ttl.unwrap_or(rules.ttl), rules.jitter).saturating_sub(rules.grace);
        (shortest <= COMFORTABLE).then(|| {
            format!(
                "role {name}: its shortest lease advertises {} s; stock boto3 asks again at every call once 900 s are \
                 left: raise ttl, or lower jitter or grace",
                shortest.as_secs()
            )
        })
    };
    policies.roles().filter_map(warn).collect()
}

/// Between what a lease's length may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lengths {
    shortest: Duration,
    ceiling: Duration,
}

/// What the role's length comes to at this server. A server that refuses what is too long is never asked for it; one that
/// shortens is asked for no more than it gives, so that what is on record is what was given.
fn lengths(ttl: Duration, capabilities: &Capabilities) -> Result<Lengths, LeaseError> {
    let given = capabilities.durations;
    let shortest = given.shortest.max(SHORTEST);
    let wanted = ttl.clamp(SHORTEST, LONGEST);
    let ceiling = match given.beyond {
        Beyond::Refused => wanted,
        Beyond::Shortened => wanted.min(given.longest),
    };
    if ceiling < shortest || ceiling > given.longest {
        return Err(LeaseError::LengthNotGiven {
            server: capabilities.server,
            ttl: wanted.as_secs(),
            shortest: shortest.as_secs(),
            longest: given.longest.as_secs(),
        });
    }
    Ok(Lengths { shortest, ceiling })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Durations;

    fn server(shortest: u64, longest: u64, beyond: Beyond) -> Capabilities {
        let minutes = Duration::from_mins;
        let durations = Durations { shortest: minutes(shortest), longest: minutes(longest), beyond };
        Capabilities { durations, ..super::super::session_policy::example() }
    }

    fn between(shortest: u64, ceiling: u64) -> Lengths {
        let minutes = Duration::from_mins;
        Lengths { shortest: minutes(shortest), ceiling: minutes(ceiling) }
    }

    #[test]
    fn an_emergency_lasts_what_it_says_or_is_refused_and_never_more_than_15_minutes() {
        let minutes = Duration::from_mins;
        let of = |asked, server: Capabilities| emergency_length(asked, &server).ok();
        assert_eq!(of(minutes(15), server(15, 720, Beyond::Refused)), Some(minutes(15)));
        assert_eq!(of(minutes(60), server(15, 720, Beyond::Refused)), Some(minutes(15)));
        assert_eq!(of(minutes(5), server(1, 720, Beyond::Refused)), Some(minutes(5)));
        assert_eq!(of(minutes(5), server(15, 720, Beyond::Refused)), None, "not lengthened");
        assert_eq!(of(minutes(15), server(20, 720, Beyond::Refused)), None);
        assert_eq!(of(minutes(15), server(1, 10, Beyond::Shortened)), None);
        assert_eq!(of(Duration::ZERO, server(0, 10, Beyond::Shortened)), None);
    }

    #[test]
    fn the_terms_of_an_emergency_are_its_real_end() {
        let now = time::macros::datetime!(2026-11-22 03:00 UTC);
        let length = Duration::from_mins(5);
        let assume_role =
            AssumeRole { duration: length, grace: Duration::ZERO, ..AssumeRole::for_tests(1, "alice", "{}", now) };
        assert_eq!(assume_role.terms(now + length).unwrap().expiration, now + length);
        assert!(assume_role.terms(now + length + TOLERANCE * 2).is_none());
        assert!(assume_role.terms(now + length - TOLERANCE * 2).is_none());
    }

    #[test]
    fn a_length_that_the_server_does_not_give_is_refused_or_shortened_as_the_server_would() {
        let minutes = Duration::from_mins;
        for (ttl, server, expected) in [
            (60, server(15, 720, Beyond::Refused), between(15, 60)),
            (60, server(15, 30, Beyond::Shortened), between(15, 30)),
            (30, server(20, 720, Beyond::Refused), between(20, 30)),
            (30, server(1, 720, Beyond::Shortened), between(15, 30)),
        ] {
            assert_eq!(lengths(minutes(ttl), &server), Ok(expected), "{ttl}");
        }
        for (ttl, server) in [
            (60, server(15, 30, Beyond::Refused)),
            (15, server(20, 720, Beyond::Refused)),
            (15, server(20, 720, Beyond::Shortened)),
            (60, server(5, 10, Beyond::Shortened)),
        ] {
            let refused = lengths(minutes(ttl), &server);
            assert!(matches!(refused, Err(LeaseError::LengthNotGiven { server: "Twig", .. })), "{refused:?}");
        }
    }
}
