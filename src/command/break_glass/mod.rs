//! `stint break-glass`: what custodians do, most of it without a network: make a key, write a request, sign it, open the
//! answer.

mod drill;
mod files;
mod instance;
mod keygen;
mod offered;
mod open;
mod request;
mod sign;
mod status;
mod submit;
mod terminal;
mod write;

use std::io::Write;

use clap::Subcommand;
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};

use super::Failure;
use crate::break_glass::ceremony::CeremonyError;

pub use drill::DrillOptions;
pub use instance::InstanceOptions;
pub use keygen::KeygenOptions;
pub use open::OpenOptions;
pub use request::RequestOptions;
pub use sign::SignOptions;
pub use status::StatusOptions;
pub use submit::SubmitOptions;
pub use write::{CancelOptions, ReviewOptions};

/// What is done in an emergency, and before one.
#[derive(Debug, Subcommand)]
pub enum BreakGlassCommand {
    /// Make a custodian's key, encrypted with a passphrase, and print the block for break-glass.toml.
    ///
    /// The passphrase is asked for twice, or read from a file. The key file is for its owner alone, and one that is there is
    /// never written over. It is PKCS#8: `openssl pkey -in FILE -pubout` reads it.
    Keygen(KeygenOptions),
    /// Write a request for emergency credentials, to be signed.
    ///
    /// With --url an instance is asked for what a request must name: itself, and the policies in force. Without a network,
    /// name them by hand. Makes the key pair that the answer will be sealed for; its private half lies beside the request and
    /// never leaves this machine. A request is used within 30 minutes. Each has a directory of its own: nothing is written over.
    ///
    /// With --policies or --policy-hash, and --instance or --any-instance, an instance that cannot be reached is a warning.
    Request(Box<RequestOptions>),
    /// Show a document in full, and sign it.
    ///
    /// Takes requests, reviews and cancellations. What is shown is what is signed; compare the sha256 with the other
    /// custodians'. A key that is kept elsewhere signs what --digest writes, and its signature comes in with --signature.
    Sign(SignOptions),
    /// Send a signed document to an instance: a request, a review or a cancellation.
    ///
    /// Several files with the same document are brought together. The answer to a request is kept in a file, sealed: it is given
    /// once. A refusal says whether anything was used up; where nothing was, the same files can be submitted again.
    ///
    /// Exit code 0 for a cancellation: nothing can be done with the use any more. 1: that was not seen; it is printed what may
    /// live, and until when.
    Submit(SubmitOptions),
    /// Show what an instance says: whether it sees an emergency, who signs, which roles there are, which reviews are open.
    Status(StatusOptions),
    /// Write a cancellation: it burns a request that is not used yet, and ends the lease of one that is. One custodian signs.
    Cancel(CancelOptions),
    /// Write the review of a use: two custodians other than the requester sign it, and the next use is free again.
    ///
    /// `stint break-glass status` shows the session name, the key's fingerprint and how to find what was done under the lease.
    Review(ReviewOptions),
    /// Walk the whole way with the harmless role, and have it on record as a drill.
    ///
    /// Signs a request with each --key, submits it, opens the answer, ends the lease and waits until its credential is refused.
    /// Exit code 1 where anything of it failed. Custodians who are elsewhere sign first: `request --kind drill`, `sign`, and
    /// then --request here.
    Drill(DrillOptions),
    /// Open the sealed answer: as lines for a shell, for `credential_process`, or for one command.
    ///
    /// `eval "$(stint break-glass open --env answer.json)"`, or `stint break-glass open answer.json -- aws s3 ls`.
    Open(OpenOptions),
}

/// `stint break-glass`; answers with the exit code.
pub fn break_glass(command: BreakGlassCommand, out: &mut dyn Write) -> Result<u8, Failure> {
    match command {
        BreakGlassCommand::Keygen(options) => keygen::keygen(&options, out)?,
        BreakGlassCommand::Request(options) => request::request(&options, out)?,
        BreakGlassCommand::Sign(options) => sign::sign(&options, out)?,
        BreakGlassCommand::Submit(options) => submit::submit(&options, out)?,
        BreakGlassCommand::Status(options) => status::status(&options, out)?,
        BreakGlassCommand::Cancel(options) => write::cancel(&options, out)?,
        BreakGlassCommand::Review(options) => write::review(&options, out)?,
        BreakGlassCommand::Drill(options) => drill::drill(&options, out)?,
        BreakGlassCommand::Open(options) => return open::open(options, out),
    }
    Ok(0)
}

impl From<CeremonyError> for Failure {
    fn from(error: CeremonyError) -> Self {
        Self(error.to_string())
    }
}

/// The machine's randomness.
fn randomness() -> Result<StdRng, Failure> {
    StdRng::try_from_rng(&mut SysRng).map_err(|_| Failure("the system's random source failed".to_owned()))
}
