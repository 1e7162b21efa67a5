//! What custodians sign, and the quorum of them. Pure: no disk, no network, no clock.
//!
//! A document ([`RequestDocument`], [`ReviewDocument`], [`CancellationDocument`]) stands in an [`Envelope`] with the
//! signatures over its very bytes; [`approve_request`] and its siblings are the only way to an [`ApprovedRequest`], an
//! [`ApprovedReview`] or an [`ApprovedCancellation`]. What an approved request is answered with is [`EmergencyCredentials`],
//! sealed for the [`RecipientKey`] that the custodians signed.

mod approval;
mod cancellation;
mod credentials;
mod custodian_secret;
mod document;
mod envelope;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod moment;
mod quorum;
mod recipient;
mod request;
mod review;
mod sealing;
#[cfg(test)]
mod tests;
mod wording;

pub use approval::{
    ApprovedCancellation, ApprovedRequest, ApprovedReview, REVIEWERS, WINDOW, approve_cancellation, approve_request,
    approve_review,
};
pub use cancellation::CancellationDocument;
pub use credentials::EmergencyCredentials;
pub use custodian_secret::CustodianSecret;
pub use document::{Document, LARGEST_DOCUMENT, Nonce};
pub use envelope::{Envelope, LARGEST_ENVELOPE};
pub use error::CeremonyError;
pub use quorum::verified_signers;
pub use recipient::{RecipientKey, RecipientSecret};
pub use request::{RequestDocument, RequestDraft, UseKind};
pub use review::ReviewDocument;
