//! The sealed answer: a JWE in compact serialization (RFC 7516), ECDH-ES over X25519 with A256GCM (RFC 7518, RFC 8037). The
//! cryptography is josekit's; what an answer may look like is checked here first, for its reader also takes compressed
//! contents, shorter tags, and other algorithms.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwe::{ECDH_ES, JweHeader, deserialize_compact, serialize_compact};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{CeremonyError, EmergencyCredentials, RecipientKey, RecipientSecret};

/// Most bytes of a sealed answer: session tokens of some servers are long.
const LARGEST: usize = 64 * 1024;
const ALGORITHM: &str = "ECDH-ES";
const ENCRYPTION: &str = "A256GCM";
const TYPE: &str = "stint-break-glass+jwe";
const KEY_TYPE: &str = "OKP";
const CURVE: &str = "X25519";
/// 96 and 128 bits (RFC 7518 section 5.3): a shorter tag would be guessed.
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Every member that the protected header has. `zip`, `crit`, `apu`, a `jku` and whatever else is unknown, and refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Protected {
    alg: String,
    enc: String,
    epk: Ephemeral,
    typ: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ephemeral {
    crv: String,
    kty: String,
    x: String,
}

impl RecipientKey {
    /// Seals credentials so that the private half of this key alone opens them.
    pub fn seal(&self, credentials: &EmergencyCredentials) -> Result<String, CeremonyError> {
        let mut header = JweHeader::new();
        header.set_content_encryption(ENCRYPTION);
        header.set_token_type(TYPE);
        let encrypter = ECDH_ES.encrypter_from_der(self.to_spki()).map_err(|_| CeremonyError::SealFailed)?;
        serialize_compact(&credentials.to_json()?, &header, &encrypter).map_err(|_| CeremonyError::SealFailed)
    }
}

impl RecipientSecret {
    /// Opens a sealed answer.
    pub fn open(&self, sealed: &str) -> Result<EmergencyCredentials, CeremonyError> {
        let sealed = sealed.trim();
        check(sealed)?;
        let decrypter =
            ECDH_ES.decrypter_from_der(self.to_pkcs8().as_slice()).map_err(|_| CeremonyError::SealBroken)?;
        let opened = deserialize_compact(sealed, &decrypter).map_err(|_| CeremonyError::SealBroken)?;
        EmergencyCredentials::from_json(&Zeroizing::new(opened.0))
    }
}

/// Refuses every form but the one that is written.
fn check(sealed: &str) -> Result<(), CeremonyError> {
    let malformed = CeremonyError::SealMalformed;
    if sealed.len() > LARGEST {
        return Err(malformed("it is too long"));
    }
    let mut parts = sealed.split('.');
    let parts = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
    let [Some(header), Some(key), Some(iv), Some(_), Some(tag), None] = parts else {
        return Err(malformed("it has not five parts"));
    };
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let header = decoded(header).and_then(|header| serde_json::from_slice::<Protected>(&header).ok());
    let header = header.ok_or(malformed("its header has other members than alg, enc, epk and typ"))?;
    if header.alg != ALGORITHM || header.enc != ENCRYPTION || header.typ != TYPE {
        return Err(malformed("it is not ECDH-ES with A256GCM"));
    }
    if header.epk.kty != KEY_TYPE || header.epk.crv != CURVE || RecipientKey::parse(&header.epk.x).is_err() {
        return Err(malformed("its ephemeral key is not a sound X25519 key"));
    }
    let has = |part: &str, bytes: usize| decoded(part).is_some_and(|part| part.len() == bytes);
    if !key.is_empty() || !has(iv, IV_BYTES) || !has(tag, TAG_BYTES) {
        return Err(malformed("its parts have other lengths than ECDH-ES with A256GCM gives"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use secrecy::{ExposeSecret, SecretString};
    use time::macros::datetime;
    use uuid::Uuid;

    use super::super::Nonce;
    use super::super::fixture::recipient;
    use super::*;
    use crate::policy::RoleName;

    fn credentials() -> EmergencyCredentials {
        EmergencyCredentials {
            access_key_id: SecretString::from("AKPLANTED"),
            secret_access_key: SecretString::from("planted-secret"),
            session_token: SecretString::from("planted-token"),
            expiration: datetime!(2026-11-22 14:20:00 UTC),
            region: "us-east-1".to_owned(),
            endpoint: "http://127.0.0.1:9000".to_owned(),
            role: RoleName::parse("emergency-read").unwrap(),
            lease_id: Uuid::from_u128(9),
            nonce: Nonce::from_random([5; 16]),
            incident: "INC-7".to_owned(),
        }
    }

    #[test]
    fn what_is_sealed_for_a_recipient_opens_with_their_secret() {
        let sealed = recipient().public().seal(&credentials()).unwrap();
        let opened = recipient().open(&sealed).unwrap();
        assert_eq!(opened.to_json().unwrap(), credentials().to_json().unwrap());
        assert_eq!(opened.secret_access_key.expose_secret(), "planted-secret");
    }
}
