//! Leases between two runs of `credential-process`: one private file for each question, found by the hash of the whole
//! question and used only if the question inside is the same to the letter. What cannot be read is as good as missing.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration as StdDuration;

use aws_lc_rs::digest::{SHA256, digest};
use rustix::process::geteuid;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::lease::{Lease, timestamp};
use super::lock::{Lock, LockFault};
use super::private_file;
use super::service::{Fresh, Service};
use crate::clock::Clock;

/// How long a lease must still live to be printed when there is no newer one.
const USABLE: Duration = Duration::minutes(1);
/// A file from further in the future was written by another clock: its times mean nothing.
const TOLERATED: Duration = Duration::minutes(1);
/// How long after a failure a lease that lives is used without asking again: boto runs the process at every request then.
const SPARED: Duration = Duration::seconds(10);
/// How long the process that exchanges may take, with an identity provider that hangs.
const PATIENCE: StdDuration = StdDuration::from_secs(40);
/// Who else may touch the directory: nobody.
const OTHERS: u32 = 0o022;
/// Largest file.
const MOST_BYTES: u64 = 256 * 1024;

/// The whole question: service, role, length, session name, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheKey(String);

impl CacheKey {
    /// The question that this service would be asked, by the token's present holder.
    pub async fn of(service: &Service) -> Self {
        let wish = &service.wish;
        let question = json!([
            service.address.to_string(),
            wish.role,
            wish.duration_seconds,
            wish.session_name,
            service.tokens.identity().await
        ]);
        Self(question.to_string())
    }

    fn hash(&self) -> String {
        hex::encode(digest(&SHA256, self.0.as_bytes()))
    }
}

/// A private directory of leases.
#[derive(Debug)]
pub struct Cache(PathBuf);

/// A lease of an earlier run; times are this machine's.
#[derive(Deserialize)]
pub(super) struct Cached {
    key: String,
    written: String,
    renewal: String,
    refresh_after: String,
    end: String,
    pub(super) access_key_id: String,
    pub(super) secret_access_key: SecretString,
    pub(super) session_token: SecretString,
}

/// What a cached lease is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It need not be renewed yet.
    Fresh,
    /// It should be renewed, and lives.
    Live(Fresh),
    /// It has ended, or its times cannot be believed.
    None,
}

impl Cache {
    /// The cache in this directory, which is made if it is missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let found = fs::metadata(path)?;
        if found.uid() != geteuid().as_raw() {
            return Err(io::Error::other("it is another user's, who could put credentials of theirs in place"));
        }
        if found.permissions().mode() & OTHERS != 0 {
            return Err(io::Error::other("others can write there, and could put credentials of theirs in place"));
        }
        Ok(Self(path.to_owned()))
    }

    /// Holds everybody else with this question until it is dropped.
    pub(super) async fn lock(&self, key: &CacheKey) -> Result<Lock, LockFault> {
        Lock::wait(&self.file(key).with_extension("lock"), PATIENCE).await
    }

    /// The lease of an earlier run; `Err` says what is wrong with the file.
    pub(super) fn read(&self, key: &CacheKey) -> Result<Option<Cached>, String> {
        let path = self.file(key);
        let unusable = |why: &str| format!("{} is not used: {why}", path.display());
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(|error| unusable(&error.to_string()))?,
        };
        if !found.is_file() {
            return Err(unusable("it is no regular file"));
        }
        if found.len() > MOST_BYTES {
            return Err(unusable("it is too large"));
        }
        let text = fs::read(&path).map(Zeroizing::new).map_err(|error| unusable(&error.to_string()))?;
        let cached: Cached = serde_json::from_slice(&text).map_err(|_| unusable("it is damaged"))?;
        if cached.key == key.0 { Ok(Some(cached)) } else { Err(unusable("it is the answer to another question")) }
    }

    /// Keeps a lease for the next run.
    pub(super) fn write(&self, key: &CacheKey, lease: &Lease, clock: &dyn Clock) -> io::Result<()> {
        let end = lease.local_end(clock);
        self.put(&Cached {
            key: key.0.clone(),
            written: timestamp(clock.now()),
            renewal: timestamp(lease.local_renewal(clock)),
            refresh_after: timestamp(lease.local_refresh_after(clock)),
            end: timestamp(end),
            access_key_id: lease.access_key_id().to_owned(),
            secret_access_key: SecretString::from(lease.secret_access_key()),
            session_token: SecretString::from(lease.session_token()),
        })
    }

    /// Keeps a lease that could not be renewed for a moment more.
    pub(super) fn spare(&self, cached: Cached, clock: &dyn Clock) -> io::Result<()> {
        self.put(&Cached { renewal: timestamp(clock.now().saturating_add(SPARED)), ..cached })
    }

    fn put(&self, cached: &Cached) -> io::Result<()> {
        let text = json!({
            "key": cached.key, "written": cached.written, "renewal": cached.renewal,
            "refresh_after": cached.refresh_after, "end": cached.end, "access_key_id": cached.access_key_id,
            "secret_access_key": cached.secret_access_key.expose_secret(),
            "session_token": cached.session_token.expose_secret(),
        });
        let text = Zeroizing::new(text.to_string());
        private_file::write(&self.file(&CacheKey(cached.key.clone())), text.as_bytes(), 0o600)
    }

    fn file(&self, key: &CacheKey) -> PathBuf {
        self.0.join(format!("lease-{}.json", key.hash()))
    }
}

impl Cached {
    /// What it is good for now.
    pub(super) fn good_for(&self, clock: &dyn Clock) -> Use {
        let instant = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        let times = (instant(&self.written), instant(&self.renewal), instant(&self.refresh_after), instant(&self.end));
        let (Some(written), Some(renewal), Some(refresh_after), Some(end)) = times else { return Use::None };
        let now = clock.now();
        if now.saturating_add(TOLERATED) < written || now.saturating_add(USABLE) >= end {
            Use::None
        } else if now < renewal {
            Use::Fresh
        } else {
            Use::Live(if now < refresh_after { Fresh::Yes } else { Fresh::No })
        }
    }

    /// The end, as it is printed.
    pub(super) fn end(&self) -> &str {
        &self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::lease::tests::{Hands, NOON, lease};

    fn key(text: &str) -> CacheKey {
        CacheKey(text.to_owned())
    }

    struct Kept {
        directory: tempfile::TempDir,
        cache: Cache,
        clock: Hands,
    }

    /// A lease of an hour that is renewed after 33 minutes.
    fn kept() -> Kept {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("stint")).unwrap();
        let clock = Hands::at(NOON);
        cache.write(&key("a"), &lease(60, 33, &clock), &clock).unwrap();
        Kept { directory, cache, clock }
    }

    #[test]
    fn a_lease_is_used_until_its_renewal_and_lives_until_its_end() {
        let Kept { cache, clock, .. } = &kept();
        let good_for = || cache.read(&key("a")).unwrap().unwrap().good_for(clock);
        assert_eq!(good_for(), Use::Fresh);
        clock.pass(Duration::minutes(33));
        assert_eq!(good_for(), Use::Live(Fresh::No));
        clock.pass(Duration::minutes(26));
        assert_eq!(good_for(), Use::None);
    }

    #[test]
    fn a_lease_that_could_not_be_renewed_is_spared_for_a_moment() {
        let Kept { cache, clock, .. } = &kept();
        clock.pass(Duration::minutes(40));
        cache.spare(cache.read(&key("a")).unwrap().unwrap(), clock).unwrap();
        let good_for = || cache.read(&key("a")).unwrap().unwrap().good_for(clock);
        assert_eq!(good_for(), Use::Fresh);
        clock.pass(Duration::seconds(11));
        assert_eq!(good_for(), Use::Live(Fresh::No));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_a_lease_unbelievable() {
        let Kept { cache, clock, .. } = &kept();
        clock.step(Duration::hours(-2));
        assert_eq!(cache.read(&key("a")).unwrap().unwrap().good_for(clock), Use::None);
    }

    #[test]
    fn the_question_inside_is_compared_whole() {
        let Kept { cache, .. } = &kept();
        assert!(cache.read(&key("b")).unwrap().is_none());
        // As if both had the same hash.
        fs::copy(cache.file(&key("a")), cache.file(&key("b"))).unwrap();
        assert!(cache.read(&key("b")).err().unwrap().ends_with("it is the answer to another question"));
    }

    #[test]
    fn a_damaged_file_is_told_and_not_used() {
        let Kept { cache, .. } = &kept();
        let path = cache.file(&key("a"));
        let whole = fs::read(&path).unwrap();
        for damaged in [&b""[..], b"{}", b"null", &whole[..whole.len() / 2], &vec![b'x'; 300_000]] {
            fs::write(&path, damaged).unwrap();
            assert!(cache.read(&key("a")).is_err());
        }
        fs::write(&path, whole).unwrap();
        assert!(cache.read(&key("a")).unwrap().is_some());
    }

    #[test]
    fn files_and_directory_are_private() {
        let Kept { directory, cache, .. } = &kept();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&directory.path().join("stint")), mode(&cache.file(&key("a")))), (0o700, 0o600));
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Cache::open(&open).is_err());
    }
}
