//! The sessions that were minted, in memory: who may sign with which key, until when, and under which policy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::fill;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::ParentKey;
use crate::clock::Clock;
use crate::policy::Document;

/// Five bits each, so that a byte's lower half and a bit pick one without bias.
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Expired sessions are swept when this many have gathered, and then when their number has doubled.
const FIRST_SWEEP: usize = 1024;

/// The parent and everything minted for it.
#[derive(Debug)]
pub(super) struct Sessions {
    parent: ParentKey,
    clock: Arc<dyn Clock>,
    live: Mutex<Live>,
}

#[derive(Debug, Default)]
struct Live {
    by_key: HashMap<String, Arc<Session>>,
    next_sweep: usize,
}

/// One minted session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) access_key: String,
    pub(super) secret_key: SecretString,
    pub(super) token: SecretString,
    /// The session policy; without one the session may do what its parent may.
    pub(super) policy: Option<Document>,
    pub(super) expiration: OffsetDateTime,
    revoke_type: Option<String>,
}

/// Whose key signed a request.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// The parent: everything on S3.
    Parent,
    /// A session: what its policy allows.
    Session(Arc<Session>),
}

/// No randomness to be had.
#[derive(Debug)]
pub(super) struct NoRandomness;

impl Sessions {
    pub(super) fn new(parent: ParentKey, clock: Arc<dyn Clock>) -> Self {
        Self { parent, clock, live: Mutex::default() }
    }

    /// Whose access key this is; an expired one is nobody's.
    pub(super) fn caller(&self, access_key: &str) -> Option<Caller> {
        if access_key == self.parent.access_key {
            return Some(Caller::Parent);
        }
        let session = self.live().by_key.get(access_key).cloned()?;
        (self.clock.now() < session.expiration).then_some(Caller::Session(session))
    }

    pub(super) fn secret_key(&self, access_key: &str) -> Option<SecretString> {
        match self.caller(access_key)? {
            Caller::Parent => Some(self.parent.secret_key.clone()),
            Caller::Session(session) => Some(session.secret_key.clone()),
        }
    }

    pub(super) fn is_parent(&self, access_key: &str) -> bool {
        access_key == self.parent.access_key
    }

    pub(super) fn parent_access_key(&self) -> &str {
        &self.parent.access_key
    }

    pub(super) fn mint(
        &self,
        length: Duration,
        policy: Option<Document>,
        revoke_type: Option<String>,
    ) -> Result<Arc<Session>, NoRandomness> {
        let now = self.clock.now();
        let session = Arc::new(Session {
            access_key: letters(20)?,
            secret_key: SecretString::from(letters(40)?),
            token: SecretString::from(letters(52)?),
            policy,
            expiration: (now + length).replace_nanosecond(0).unwrap_or(now),
            revoke_type,
        });
        let mut live = self.live();
        if live.by_key.len() >= live.next_sweep.max(FIRST_SWEEP) {
            live.by_key.retain(|_, session| now < session.expiration);
            live.next_sweep = live.by_key.len().saturating_mul(2);
        }
        live.by_key.insert(session.access_key.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// Ends the sessions minted with this `TokenRevokeType`, or all.
    pub(super) fn revoke(&self, revoke_type: Option<&str>) {
        let spared = |session: &Session| revoke_type.is_some_and(|given| session.revoke_type.as_deref() != Some(given));
        self.live().by_key.retain(|_, session| spared(session));
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// In constant time: the token is all that tells a request of the holder from one of somebody who saw the key id.
    pub(super) fn has_token(&self, token: &str) -> bool {
        self.token.expose_secret().as_bytes().ct_eq(token.as_bytes()).into()
    }
}

pub(super) fn letters(length: usize) -> Result<String, NoRandomness> {
    let mut bytes = vec![0; length];
    fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte & 31))).copied().map(char::from).collect())
}
