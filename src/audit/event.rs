//! The event: one closed shape for everything the log says, built only of types that cannot carry a secret.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use time::OffsetDateTime;
use uuid::Uuid;

use super::key::KeyId;
use super::{Emergency, KeyFingerprint, StreamHead};
use crate::lease::{FreezeId, Frozen, LeaseId};
use crate::token::{Group, SignedIdentity, VerifiedToken};

/// One event, as it becomes one row of `audit_event`.
#[derive(Debug, Clone)]
pub struct Event {
    /// A version 7 UUID.
    pub id: Uuid,
    /// When it was said, by the service's clock, whole microseconds: what a row can hold. Order is by `seq`, never by this.
    pub occurred_at: OffsetDateTime,
    /// What happened.
    pub kind: EventKind,
    /// The decision.
    pub effect: RecordedEffect,
    /// The stable reason code of a refusal or failure; `granted` or `loaded` where there is none.
    pub reason: &'static str,
    /// The request that led here, if one did.
    pub request: Option<Request>,
    /// Whom a valid signature named.
    pub identity: Option<Identity>,
    /// The role decided on, or `any`.
    pub role: Option<String>,
    /// Every role combined into the grant.
    pub roles: Vec<String>,
    /// The rules that matched.
    pub matched_rule: Option<String>,
    /// Hash of the policy set decided under, hex.
    pub policy_hash: Option<String>,
    /// The lease spoken of.
    pub lease: Option<LeaseFacts>,
    /// What an aggregated refusal stands for.
    pub refusals: Option<Refusals>,
    /// In `stream.opened`: the heads of the streams before.
    pub heads: Vec<StreamHead>,
    /// In `stream.opened`: the key that seals the stream.
    pub key_id: Option<KeyId>,
    /// The rest, for people: never anything a caller chose without bound.
    pub detail: Option<String>,
    /// Who had it done, where that is not [`Event::identity`]: the operator who revokes somebody's lease.
    pub actor: Option<String>,
    /// In `orphan.found`: the credential.
    pub orphan: Option<Orphan>,
    /// In `lease.revoked`: from asking the object server to its first refusal.
    pub refused_after: Option<Duration>,
    /// The freeze of the installation that is set or lifted, or that refused.
    pub freeze: Option<FreezeFacts>,
}

/// Event types of DESIGN 3.5 that exist so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A validly signed token, or a verified identity, was refused.
    ExchangeRefused,
    /// A credential is about to be minted.
    LeaseIntended,
    /// It was minted, and may now leave.
    LeaseIssued,
    /// It was not minted.
    LeaseFailed,
    /// It was handed out again, to the same holder.
    LeaseReused,
    /// It was intended, or even minted, and never left: whatever exists was ended, or has ended.
    LeaseAbandoned,
    /// It was ended before its time, or is to be: said before the object server is asked, and again with what it did.
    LeaseRevoked,
    /// A credential at the object server belongs to no lease.
    OrphanFound,
    /// Nothing more is granted to somebody, or under a role, until lifted.
    FreezeSet,
    /// It is granted again.
    FreezeLifted,
    /// A policy directory took effect.
    PolicyLoaded,
    /// Somebody asked the log, or was refused to.
    AuditRead,
    /// What happened in an emergency.
    BreakGlass(Emergency),
    /// A stream begins.
    StreamOpened,
    /// A stream ends in good order.
    StreamClosed,
}

impl EventKind {
    /// The name in rows and counters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExchangeRefused => "exchange.refused",
            Self::LeaseIntended => "lease.intended",
            Self::LeaseIssued => "lease.issued",
            Self::LeaseFailed => "lease.failed",
            Self::LeaseReused => "lease.reused",
            Self::LeaseAbandoned => "lease.abandoned",
            Self::LeaseRevoked => "lease.revoked",
            Self::OrphanFound => "orphan.found",
            Self::FreezeSet => "freeze.set",
            Self::FreezeLifted => "freeze.lifted",
            Self::PolicyLoaded => "policy.loaded",
            Self::AuditRead => "audit.read",
            Self::BreakGlass(emergency) => emergency.as_str(),
            Self::StreamOpened => "stream.opened",
            Self::StreamClosed => "stream.closed",
        }
    }
}

/// The effect of a decision, in flex-auth's vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordedEffect {
    /// Granted.
    Allow,
    /// Refused.
    Deny,
    /// No decision was asked for, or none could be made.
    NotApplicable,
}

impl RecordedEffect {
    /// The name in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::NotApplicable => "not_applicable",
        }
    }
}

/// Which door a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// `POST /` or `GET /`, AWS STS query.
    Sts,
    /// `POST /v1/leases`.
    Leases,
    /// `GET /v1/roles/{role}/credentials`.
    Container,
    /// `POST /v1/token`, RFC 8693.
    TokenExchange,
    /// `/v1/audit/…`.
    Audit,
    /// `GET` and `DELETE` below `/v1/leases`, and what else operators do with leases.
    Desk,
    /// `/v1/break-glass…`.
    BreakGlass,
    /// The command line of somebody who holds the service's own configuration.
    Cli,
}

impl Door {
    /// Every door.
    pub const ALL: [Self; 8] = [
        Self::Sts,
        Self::Leases,
        Self::Container,
        Self::TokenExchange,
        Self::Audit,
        Self::Desk,
        Self::BreakGlass,
        Self::Cli,
    ];

    /// The name in rows and counters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Leases => "leases",
            Self::Container => "container",
            Self::TokenExchange => "token_exchange",
            Self::Audit => "audit",
            Self::Desk => "desk",
            Self::BreakGlass => "break_glass",
            Self::Cli => "cli",
        }
    }

    /// The door of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|door| door.as_str() == name)
    }
}

/// The caller's address, after trusted proxies were peeled off.
pub type Address = IpAddr;

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The door.
    pub door: Door,
    /// The caller's address.
    pub address: Option<Address>,
    /// The request id that the answer carries too.
    pub request_id: Uuid,
}

impl Origin {
    /// The command line.
    #[must_use]
    pub fn console(request_id: Uuid) -> Self {
        Self { door: Door::Cli, address: None, request_id }
    }
}

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where it came from.
    pub origin: Origin,
    /// The role asked for, as a role name or `any`; nothing when it was not a role name.
    pub requested_role: Option<String>,
    /// `DurationSeconds` as asked.
    pub requested_seconds: Option<u64>,
    /// The caller's own session name: recorded, never relied on (SDKs invent one per call).
    pub session_name: Option<String>,
    /// SHA-256 of the token, hex; none where no token was presented, on the command line.
    pub token_sha256: Option<String>,
}

impl Request {
    /// One that asks for no lease: what an operator or a reader sends. `token_sha256` as above.
    #[must_use]
    pub fn for_no_lease(origin: Origin, token_sha256: Option<String>) -> Self {
        Self { origin, requested_role: None, requested_seconds: None, session_name: None, token_sha256 }
    }
}

/// Whom a valid signature named.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The issuer block's name.
    pub issuer: String,
    /// `sub`.
    pub subject: Option<String>,
    /// `azp` or `client_id`.
    pub client: Option<String>,
    /// The groups, exact.
    pub groups: Vec<String>,
    /// `jti`.
    pub jti: Option<String>,
}

impl Identity {
    /// Whoever runs a command, as the operating system tells: issuer `os`.
    #[must_use]
    pub fn at_the_console(user: Option<String>) -> Self {
        Self { issuer: "os".to_owned(), subject: user, client: None, groups: Vec::new(), jti: None }
    }
}

/// What a refused token says of itself, its signature being good.
impl From<SignedIdentity> for Identity {
    fn from(signed: SignedIdentity) -> Self {
        Self {
            issuer: signed.issuer.as_str().to_owned(),
            subject: signed.subject.map(|subject| subject.as_str().to_owned()),
            client: None,
            groups: Vec::new(),
            jti: signed.jti,
        }
    }
}

impl From<&VerifiedToken> for Identity {
    fn from(token: &VerifiedToken) -> Self {
        Self {
            issuer: token.issuer().as_str().to_owned(),
            subject: Some(token.subject().as_str().to_owned()),
            client: token.client().map(str::to_owned),
            groups: token.groups().iter().map(Group::as_str).map(str::to_owned).collect(),
            jti: token.jti().map(str::to_owned),
        }
    }
}

/// What is known of a lease.
#[derive(Debug, Clone)]
pub struct LeaseFacts {
    /// Its id.
    pub id: LeaseId,
    /// The name the object server sees.
    pub role_session_name: String,
    /// SHA-256 of the session policy that was sent, hex.
    pub session_policy_sha256: String,
    /// Its text, in an intent: kept beside the log under its hash, not a part of the record.
    pub session_policy: Option<Arc<str>>,
    /// The real length asked of the object server, seconds.
    pub granted_seconds: u64,
    /// The keyed fingerprint of the access key id of the parent that minted it; none in rows from before parents were told
    /// apart.
    pub parent: Option<KeyFingerprint>,
    /// The keyed fingerprint of the access key id, once there is one.
    pub key_fingerprint: Option<KeyFingerprint>,
    /// The real end at the object server, once known.
    pub ends_at: Option<OffsetDateTime>,
}

/// What is known of a freeze of the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeFacts {
    /// Its id.
    pub id: FreezeId,
    /// What is frozen: in the events that set and lift it. A refusal names whom it refused, and not this.
    pub frozen: Option<Frozen>,
}

/// A credential at the object server that belongs to no open lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The keyed fingerprint of its access key id.
    pub key_fingerprint: KeyFingerprint,
    /// That of the parent it was minted under.
    pub parent: KeyFingerprint,
    /// When it ends, if the server tells.
    pub ends_at: Option<OffsetDateTime>,
    /// The lease it was minted for, where that can be told.
    pub lease: Option<LeaseId>,
    /// Why it is one.
    pub why: Orphanhood,
}

/// Why a credential is an orphan: the reason of `orphan.found`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Orphanhood {
    /// No lease is on record with this key.
    NoLease,
    /// Its lease was abandoned or revoked, and the key lives.
    LeaseClosed,
}

impl Orphanhood {
    /// The name in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoLease => "no_lease",
            Self::LeaseClosed => "lease_closed",
        }
    }
}

/// What was done about an orphan: the detail of `orphan.found`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrphanFate {
    /// It was told of, and nothing else: it ends by itself.
    Reported,
    /// The object server was asked to end it, and it is gone from its list.
    Revoked,
}

impl OrphanFate {
    /// The name in rows and counters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Revoked => "revoked",
        }
    }
}

/// Refusals told by one event: of tokens without a valid signature, or of one token again and again. Anyone can send
/// those, and one row each would let them fill the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusals {
    /// How many.
    pub count: u64,
    /// The /24 or /48 they came from; none when too many networks took part to keep them apart.
    pub network: Option<IpNet>,
}

/// How a mint ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Credentials exist.
    Issued {
        /// Fingerprint of their access key id.
        key_fingerprint: KeyFingerprint,
        /// Their real end.
        ends_at: OffsetDateTime,
    },
    /// None exist, as far as the object server says.
    Failed {
        /// The stable reason code.
        reason: &'static str,
    },
}

/// How a lease ended that nobody was handed: the reason of `lease.abandoned`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abandonment {
    /// The object server says that nothing came to be.
    NotMinted,
    /// The object server was asked to end whatever exists under the lease, and says that it did. Nobody was given a credential to
    /// prove it with.
    Revoked,
    /// It could not be asked, or refused: what exists ends by itself. The reconciler asks again.
    RevokeFailed,
    /// It could not be asked until the lease must have ended.
    Expired,
}

impl Abandonment {
    /// The name in rows and counters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotMinted => "not_minted",
            Self::Revoked => "revoked",
            Self::RevokeFailed => "revoke_failed",
            Self::Expired => "expired",
        }
    }
}
