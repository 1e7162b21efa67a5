//! What is held of each lease that is out, and which lease an equal holder is handed. It keeps its own books of what all of it
//! weighs; when anything may leave is for [`HeldCredentials`](super::HeldCredentials) to say, which holds it under a lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use time::OffsetDateTime;

use super::key_index::KeyIndex;
use crate::audit::KeyFingerprint;
use crate::clock::Clock;
use crate::lease::{AssumeRole, Holder, LeaseId, LeaseTerms, SessionPolicy};
use crate::object_server::TemporaryCredentials;

/// What the maps take for one lease, about, in bytes.
const PLACE: usize = 320;

/// A lease that was minted and is about to leave.
#[derive(Debug)]
pub struct MintedLease {
    /// Whoever may be handed it.
    pub holder: Holder,
    /// What was planned and sent.
    pub assume_role: AssumeRole,
    /// The times.
    pub terms: LeaseTerms,
    /// The fingerprint of its key.
    pub key_fingerprint: KeyFingerprint,
    /// What leaves.
    pub credentials: TemporaryCredentials,
}

/// A lease that may be handed out again, without its credentials: those are had for a [`ReuseReceipt`](crate::audit::ReuseReceipt) alone.
#[derive(Debug, Clone)]
pub struct OnShelf {
    /// What was planned and sent.
    pub assume_role: Arc<AssumeRole>,
    /// The times.
    pub terms: LeaseTerms,
    /// The fingerprint of its key.
    pub key_fingerprint: KeyFingerprint,
    /// Its real end, as the object server said it.
    pub ends_at: OffsetDateTime,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) credentials: Arc<TemporaryCredentials>,
    pub(super) lease: OnShelf,
    pub(super) holder: Arc<Holder>,
    /// On the monotonic clock, the same instant as `refresh_after`: a clock that is set back makes no lease young.
    pub(super) reused_until: Duration,
    /// It is never handed out again; its proof may still need it.
    pub(super) withdrawn: bool,
    /// S3 was seen to allow what it is asked for as a proof.
    pub(super) was_allowed: bool,
    pub(super) weight: usize,
}

#[derive(Default)]
pub(super) struct Shelf {
    /// Ids sort by when they were drawn.
    pub(super) leases: BTreeMap<LeaseId, Kept>,
    pub(super) ends: BTreeSet<(OffsetDateTime, LeaseId)>,
    pub(super) places: HashMap<Arc<Holder>, LeaseId>,
    pub(super) keys: KeyIndex,
    /// Each text once, and how many leases have it.
    pub(super) policies: HashMap<SessionPolicy, usize>,
    pub(super) weight: usize,
}

impl Shelf {
    /// Takes a lease in. It has no place yet.
    pub(super) fn keep(&mut self, minted: MintedLease, clock: &dyn Clock) -> (OnShelf, Arc<TemporaryCredentials>) {
        let MintedLease { holder, assume_role, terms, key_fingerprint, credentials } = minted;
        let fresh_for = Duration::try_from(terms.refresh_after - clock.now()).unwrap_or_default();
        let policy = self.text_of(holder.session_policy());
        let (holder, assume_role) = (holder.sharing(&policy), assume_role.sharing(&policy));
        let weight = PLACE + holder.weight() + assume_role.weight() + weight_of(&credentials);
        let (id, ends_at) = (assume_role.lease_id(), credentials.expiration);
        let lease = OnShelf { assume_role: Arc::new(assume_role), terms, key_fingerprint, ends_at };
        let credentials = Arc::new(credentials);
        let kept = Kept {
            credentials: Arc::clone(&credentials),
            lease: lease.clone(),
            holder: Arc::new(holder),
            reused_until: clock.elapsed() + fresh_for,
            withdrawn: false,
            was_allowed: false,
            weight,
        };
        self.weight += weight;
        self.ends.insert((ends_at, id));
        self.keys.insert(&credentials, id);
        self.leases.insert(id, kept);
        (lease, credentials)
    }

    /// Drops whatever has ended.
    pub(super) fn end(&mut self, now: OffsetDateTime) {
        while let Some((_, id)) = self.ends.first().copied().filter(|(ends_at, _)| *ends_at <= now) {
            self.remove(id);
        }
    }

    pub(super) fn remove_oldest(&mut self) -> bool {
        let oldest = self.leases.keys().next().copied();
        oldest.map(|oldest| self.remove(oldest)).is_some()
    }

    pub(super) fn remove(&mut self, id: LeaseId) {
        let Some(kept) = self.leases.remove(&id) else { return };
        self.weight = self.weight.saturating_sub(kept.weight);
        self.ends.remove(&(kept.credentials.expiration, id));
        self.keys.remove(&kept.credentials, id);
        self.release_text(kept.holder.session_policy());
        if self.places.get(&kept.holder) == Some(&id) {
            self.places.remove(&kept.holder);
        }
    }

    /// The text as it is held already, or this one from now on. One more lease has it.
    fn text_of(&mut self, policy: &SessionPolicy) -> SessionPolicy {
        let held = self.policies.get_key_value(policy).map_or_else(|| policy.clone(), |(held, _)| held.clone());
        let leases = self.policies.entry(held.clone()).or_default();
        *leases += 1;
        if *leases == 1 {
            self.weight += held.as_str().len();
        }
        held
    }

    /// One lease less has it.
    fn release_text(&mut self, policy: &SessionPolicy) {
        let Some(leases) = self.policies.get_mut(policy) else { return };
        *leases = leases.saturating_sub(1);
        if *leases == 0 {
            self.policies.remove(policy);
            self.weight = self.weight.saturating_sub(policy.as_str().len());
        }
    }
}

fn weight_of(credentials: &TemporaryCredentials) -> usize {
    let TemporaryCredentials { access_key_id, secret_access_key, session_token, expiration: _ } = credentials;
    size_of::<TemporaryCredentials>()
        + access_key_id.expose().len()
        + secret_access_key.expose_secret().len()
        + session_token.expose_secret().len()
}
