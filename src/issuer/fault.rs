//! What can be wrong between this service and an issuer's keys: the operator's text, with the cure where one is known.
//! Outsiders never see it, and no word of a provider's answer gets into it.

use std::error::Error;
use std::iter::successors;

use crate::token::KeySetError;

/// Why an issuer's keys could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum IssuerFault {
    /// An address does not parse, is neither https nor loopback, or carries credentials.
    #[error("{0} must be an https address without credentials (http only on loopback)")]
    Address(&'static str),
    /// No HTTP client can be built here, for want of trusted certificates perhaps.
    #[error("no HTTP client can be built on this machine")]
    Client,
    /// The request failed.
    #[error("the request failed")]
    Transport(#[source] reqwest::Error),
    /// Not finished within the deadline.
    #[error("no complete answer within 5 seconds")]
    Deadline,
    /// The status is not 200. Redirects are not followed: they could lead to a metadata service.
    #[error("answered status {0} instead of 200")]
    Status(u16),
    /// No discovery document where OIDC puts it.
    #[error(
        "the discovery address answered status {0} instead of 200; an Authentik in global issuer mode has no discovery document at its issuer: use keys = {{ jwks_uri = \"…\" }}"
    )]
    DiscoveryStatus(u16),
    /// The body is compressed though nobody asked for it.
    #[error("answered a compressed body")]
    Encoded,
    /// The body exceeds the cap.
    #[error("answered more than 256 KiB")]
    TooLarge,
    /// Not a discovery document.
    #[error("the discovery document is not one OIDC Discovery 1.0 describes")]
    Discovery,
    /// The discovery document speaks of another issuer.
    #[error(
        "the discovery document names another issuer; an Authentik in global issuer mode does that: use keys = {{ jwks_uri = \"…\" }}, otherwise configure the issuer exactly as the provider writes it"
    )]
    OtherIssuer,
    /// The discovery document sends to another origin.
    #[error(
        "the discovered jwks_uri has another origin than the issuer: if that is meant, use keys = {{ jwks_uri = \"…\" }}"
    )]
    OtherOrigin,
    /// The body is no key set.
    #[error("the key set cannot be used")]
    KeySet(#[from] KeySetError),
    /// The file cannot be read.
    #[error("the key file cannot be read")]
    File(#[source] std::io::Error),
    /// The path is a directory, a pipe or a device.
    #[error("the key file is not a regular file")]
    NotAFile,
}

impl IssuerFault {
    /// The fault with its causes, for the log and for readiness.
    pub(super) fn detail(&self) -> String {
        successors(self.source(), |cause| (*cause).source())
            .fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}
