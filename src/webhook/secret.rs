//! The secret that signs alerts, and the signature: HMAC-SHA256 over id, timestamp and body, so that a receiver can tell
//! that an alert comes from here, is whole and is not a repetition of an old one.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// What Standard Webhooks writes before a secret.
const PREFIX: &str = "whsec_";
/// How many bytes it takes: fewer can be guessed.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret shared with the receiver.
#[derive(Clone)]
pub struct WebhookSecret(Arc<hmac::Key>);

/// A text that is no such secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be whsec_ and 24 to 64 bytes in base64: `echo whsec_$(openssl rand -base64 32)` makes one")]
pub struct NotASecret;

impl WebhookSecret {
    /// Reads `whsec_` and 24 to 64 bytes in base64.
    pub fn parse(text: &SecretString) -> Result<Self, NotASecret> {
        let encoded = text.expose_secret().strip_prefix(PREFIX).ok_or(NotASecret)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_quotes_the_text| NotASecret)?);
        if BYTES.contains(&bytes.len()) {
            Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))))
        } else {
            Err(NotASecret)
        }
    }

    /// The header's value. The dots keep the parts apart: neither an id nor a timestamp has one.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<WebhookSecret, NotASecret> {
        WebhookSecret::parse(&SecretString::from(text))
    }

    /// The example in the specification's own libraries.
    #[test]
    fn the_known_answer_of_standard_webhooks_is_ours() {
        let secret = parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_short_long_bare_or_no_base64_is_refused() {
        let of = |bytes: usize| format!("{PREFIX}{}", STANDARD.encode(vec![7; bytes]));
        for good in [of(24), of(64)] {
            assert!(parse(&good).is_ok(), "{good}");
        }
        for bad in [of(23), of(65), of(32).replace(PREFIX, ""), format!("{PREFIX}?"), PREFIX.to_owned(), String::new()]
        {
            assert_eq!(parse(&bad).err(), Some(NotASecret), "{bad}");
        }
    }

    #[test]
    fn a_secret_cannot_be_shown() {
        let secret = parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret([redacted])");
    }
}
