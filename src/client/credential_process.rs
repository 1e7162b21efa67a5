//! One answer for SDKs that run a program for their credentials: from the cache while that is fresh, else a new lease, of
//! which any number of runs at once fetch one. A lease that lives hides an outage, and says so on stderr.

use serde_json::json;
use zeroize::Zeroizing;

use super::cache::{Cache, CacheKey, Cached, Use};
use super::fault::Fault;
use super::lease::Lease;
use super::renewer::Lessor;
use super::service::{Fresh, Service};
use secrecy::ExposeSecret;

/// The answer to print, with a newline; `warn` is told what did not go as it should.
pub async fn credential_process(
    service: &Service,
    cache: Option<&Cache>,
    warn: &mut (dyn FnMut(String) + Send),
) -> Result<Zeroizing<String>, Fault> {
    let clock = &*service.clock;
    let Some(cache) = cache else {
        return service.lease(Fresh::No).await.map(|lease| printed(&lease, clock));
    };
    let key = CacheKey::of(service).await;
    // A file that somebody is replacing is never half there; without the lock the good case waits for nobody.
    if let Some(cached) = cache.read(&key).ok().flatten().filter(|cached| cached.good_for(clock) == Use::Fresh) {
        return Ok(printed_again(&cached));
    }
    let _lock = cache.lock(&key).await.inspect_err(|fault| warn(format!("the cache is not used: {fault}"))).ok();
    let cached = cache.read(&key).inspect_err(|why| warn(why.clone())).ok().flatten();
    let good_for = cached.as_ref().map_or(Use::None, |cached| cached.good_for(clock));
    let fresh = match (good_for, cached.as_ref()) {
        // Another run has fetched it meanwhile.
        (Use::Fresh, Some(cached)) => return Ok(printed_again(cached)),
        (Use::Live(fresh), _) => fresh,
        (Use::Fresh | Use::None, _) => Fresh::No,
    };
    match service.lease(fresh).await {
        Ok(lease) => {
            if let Err(error) = cache.write(&key, &lease, clock) {
                warn(format!("the lease could not be kept for the next run: {error}"));
            }
            Ok(printed(&lease, clock))
        }
        Err(fault) => match cached.filter(|_| matches!(good_for, Use::Live(_))) {
            Some(cached) => {
                warn(format!("the lease of before is used until it ends at {}: {fault}", cached.end()));
                let again = printed_again(&cached);
                // That it is asked about again at once then is the worst that follows.
                let _ = cache.spare(cached, clock);
                Ok(again)
            }
            None => Err(fault),
        },
    }
}

fn printed(lease: &Lease, clock: &dyn crate::clock::Clock) -> Zeroizing<String> {
    let end = lease.expiration(clock);
    answer(lease.access_key_id(), lease.secret_access_key(), lease.session_token(), &end)
}

fn printed_again(cached: &Cached) -> Zeroizing<String> {
    let (secret, token) = (cached.secret_access_key.expose_secret(), cached.session_token.expose_secret());
    answer(&cached.access_key_id, secret, token, cached.end())
}

/// Version is a number, and the token is not called `Token`: botocore would sign without one.
fn answer(access_key_id: &str, secret: &str, token: &str, end: &str) -> Zeroizing<String> {
    let answer = json!({
        "Version": 1, "AccessKeyId": access_key_id, "SecretAccessKey": secret, "SessionToken": token, "Expiration": end,
    });
    Zeroizing::new(format!("{answer}\n"))
}
