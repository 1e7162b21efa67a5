//! Keeps files of credentials fresh for programs that read nothing else. What cannot be written is tried again while the
//! files that are there are still good.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::directory::{Directory, DirectoryFault};
use super::forms::Form;
use super::hook::Hook;
use super::lease::Lease;
use super::renewer::Leases;
use crate::clock::Clock;

/// When files that could not be written are tried again: a disk is seldom full for less.
const AGAIN: Duration = Duration::from_secs(5);

/// What is written where, and who is told.
#[derive(Debug)]
pub struct Files {
    /// Where.
    pub directory: Directory,
    /// What.
    pub forms: Vec<Form>,
    /// Who is told after.
    pub hooks: Vec<Hook>,
    /// For expirations.
    pub clock: Arc<dyn Clock>,
}

impl Files {
    /// Writes the files of this lease.
    pub fn write(&mut self, lease: &Lease) -> Result<(), DirectoryFault> {
        let clock = &*self.clock;
        let files: Vec<_> = self.forms.iter().flat_map(|form| form.render(lease, clock)).collect();
        self.directory.replace(&files)
    }

    /// Tells everybody, and answers with what went wrong.
    pub async fn tell(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for hook in &self.hooks {
            failures.extend(hook.run(&self.directory.current()).await.err());
        }
        failures
    }
}

/// Writes every new lease, until `shutdown`.
pub async fn keep(mut files: Files, mut leases: Leases, shutdown: CancellationToken) {
    let kept = async {
        let mut written = None;
        loop {
            let unwritten = leases.held().filter(|lease| written != Some(lease.id()));
            let again = unwritten.is_some();
            if let Some(lease) = unwritten {
                match files.write(&lease) {
                    Ok(()) => {
                        written = Some(lease.id());
                        tracing::info!(lease_id = %lease.id(), directory = %files.directory.current().display(), "files written");
                        for failure in files.tell().await {
                            tracing::warn!("{failure}");
                        }
                        continue;
                    }
                    Err(fault) => tracing::error!("the files stay as they were: {fault}"),
                }
            }
            tokio::select! {
                next = leases.next() => if next.is_none() {
                    return;
                },
                () = sleep(AGAIN), if again => {}
            }
        }
    };
    let _ = shutdown.run_until_cancelled(kept).await;
}
