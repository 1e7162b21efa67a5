//! A proof key (RFC 7636): whoever overhears a code cannot use it without the verifier, which never leaves this process but
//! for the token endpoint.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt;
use rand::rngs::StdRng;
use secrecy::{ExposeSecret, SecretString};

/// Of one login.
#[derive(Debug)]
pub(super) struct Proof {
    verifier: SecretString,
    /// What the provider is told beforehand.
    pub(super) challenge: String,
}

impl Proof {
    pub(super) const METHOD: &str = "S256";

    pub(super) fn draw(rng: &mut StdRng) -> Self {
        let verifier = random_text(rng);
        let challenge = text(digest(&SHA256, verifier.as_bytes()));
        Self { verifier: verifier.into(), challenge }
    }

    pub(super) fn verifier(&self) -> &str {
        self.verifier.expose_secret()
    }
}

/// 256 random bits in 43 characters.
pub(super) fn random_text(rng: &mut StdRng) -> String {
    text(rng.random::<[u8; 32]>())
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
