//! Which access keys were handed out and have not ended: a server that gives one key to two leases, or its parent's own to
//! any, lies. Ending one such lease would end the other, and a fingerprint in the log would name two holders.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;

use super::AccessKeyId;

/// The longest lease, and the minute by which its end may be off. A server that says a longer life is not believed in the
/// end, and must not be able to fill the memory until then.
const LONGEST: Duration = Duration::from_mins(61);
/// Below this many nothing is tidied.
const FEW: usize = 1024;

/// The keys of one parent's open leases, as digests. What other instances handed out is not known here.
pub(super) struct KeysInUse {
    parent: SecretString,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    until: HashMap<[u8; 32], OffsetDateTime>,
    tidy_at: usize,
}

impl fmt::Debug for KeysInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeysInUse")
    }
}

impl KeysInUse {
    /// None but the parent's.
    pub(super) fn of_parent(access_key: &str) -> Self {
        Self { parent: SecretString::from(access_key), open: Mutex::default() }
    }

    /// Takes a key for a lease that ends then, or says why it cannot be the lease's own.
    pub(super) fn take(
        &self,
        key: &AccessKeyId,
        ends_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<(), &'static str> {
        if key.expose() == self.parent.expose_secret() {
            return Err("the parent's own access key");
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.until.len() >= open.tidy_at.max(FEW) {
            open.until.retain(|_, until| *until > now);
            open.tidy_at = open.until.len() * 2;
        }
        let until = ends_at.min(now + LONGEST);
        match open.until.insert(fingerprint(key), until) {
            Some(other) if other > now => Err("an access key that another lease has"),
            Some(_) | None => Ok(()),
        }
    }
}

fn fingerprint(key: &AccessKeyId) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.iter_mut().zip(digest(&SHA256, key.expose().as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: OffsetDateTime = time::macros::datetime!(2026-11-22 12:00 UTC);
    const QUARTER: Duration = Duration::from_mins(15);

    fn key(id: &str) -> AccessKeyId {
        AccessKeyId::parse(id).unwrap()
    }

    #[test]
    fn the_parents_own_key_is_nobodys_lease() {
        let keys = KeysInUse::of_parent("minter");
        assert!(keys.take(&key("minter"), NOON + QUARTER, NOON).is_err());
        assert_eq!(keys.take(&key("minters"), NOON + QUARTER, NOON), Ok(()));
    }

    #[test]
    fn a_key_is_one_leases_until_that_has_ended() {
        let keys = KeysInUse::of_parent("minter");
        let take = |id, now| keys.take(&key(id), now + QUARTER, now);
        assert_eq!(take("AK1", NOON), Ok(()));
        assert!(take("AK1", NOON + Duration::from_mins(14)).is_err());
        assert_eq!(take("AK2", NOON), Ok(()));
        assert_eq!(take("AK1", NOON + Duration::from_mins(30)), Ok(()));
    }

    #[test]
    fn what_a_lying_server_makes_us_remember_ends_within_the_hour() {
        let keys = KeysInUse::of_parent("minter");
        for n in 0..3 * FEW {
            let now = NOON + u32::try_from(n).unwrap() * Duration::from_secs(10);
            keys.take(&key(&format!("AK{n}")), NOON + Duration::from_hours(9000), now).unwrap();
        }
        let kept = keys.open.lock().unwrap().until.len();
        assert!(kept <= 2 * FEW, "{kept} kept, 366 of them open");
    }
}
