//! `stint credential-process`: what `credential_process` of `~/.aws/config` runs.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{Ground, LeaseOptions, block_on, variable};
use crate::client::{Cache, credential_process};
use crate::command::Failure;

/// Which credentials, and where they are kept between runs.
#[derive(Debug, Args)]
pub struct CredentialProcessOptions {
    #[command(flatten)]
    lease: LeaseOptions,
    /// A private directory for leases between runs [default: stint in the user's cache directory].
    #[arg(long, value_name = "DIR", env = "STINT_CACHE_DIR")]
    cache_dir: Option<PathBuf>,
    /// Fetch a lease at every run.
    #[arg(long, conflicts_with = "cache_dir")]
    no_cache: bool,
}

/// `stint credential-process`
pub fn print(options: CredentialProcessOptions, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    block_on(async move {
        let ground = Ground::new()?;
        let service = options.lease.service(ground.clock)?;
        let mut warn = |what: String| {
            // stdout is for the SDK alone; it shows stderr where the program fails.
            let _ = writeln!(std::io::stderr(), "stint: {what}");
        };
        let directory = options.cache_dir.or_else(user_cache).filter(|_| !options.no_cache);
        let cache = directory.and_then(|directory| match Cache::open(&directory) {
            Ok(cache) => Some(cache),
            Err(error) => {
                warn(format!("no cache in {}: {error}", directory.display()));
                None
            }
        });
        let answer = credential_process(&service, cache.as_ref(), &mut warn).await;
        let answer = answer.map_err(|fault| Failure(fault.to_string()))?;
        out.write_all(answer.as_bytes())?;
        Ok(out.flush()?)
    })
}

/// XDG's cache directory; without a home there is none.
fn user_cache() -> Option<PathBuf> {
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".cache"));
    variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).map(|directory| directory.join("stint"))
}
