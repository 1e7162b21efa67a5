//! One RSA public key that may verify RS256. A JSON Web Key (RFC 7517) is narrowed to it once, by every eligibility
//! rule; jsonwebtoken itself looks at none of `use`, `key_ops` and `alg`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

/// A `kid`: 1 to 256 bytes, used only as an exact map key. Printed escaped.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// Accepts 1 to 256 bytes.
    #[must_use]
    pub fn parse(kid: &str) -> Option<Self> {
        (1..=256).contains(&kid.len()).then(|| Self(kid.to_owned()))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({:?})", self.0)
    }
}

/// One RSA public key that passed every eligibility rule.
#[derive(Clone)]
pub struct VerificationKey(DecodingKey);

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerificationKey(RSA)")
    }
}

impl VerificationKey {
    /// Whether `signature` (base64url) is this key's RS256 signature over `signing_input`. Any fault is a plain no.
    pub(super) fn verifies(&self, signing_input: &str, signature: &str) -> bool {
        let verdict = jsonwebtoken::crypto::verify(signature, signing_input.as_bytes(), &self.0, Algorithm::RS256);
        matches!(verdict, Ok(true))
    }
}

/// Why a published key is not used. Never an error of the set: providers publish encryption and EC keys side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeyFault {
    /// Not a strict JSON object.
    #[error("not a JSON object without duplicate members")]
    Malformed,
    /// `kty` is not `RSA`. `oct` above all: a shared secret in a public document verifies whatever anyone signs.
    #[error("not an RSA key")]
    NotRsa,
    /// `use`, `key_ops` or `alg` is for something else than verifying RS256.
    #[error("not for verifying RS256 signatures")]
    OtherUse,
    /// `kid` is present and not a string of 1 to 256 bytes.
    #[error("the kid is not a string of 1 to 256 bytes")]
    KeyIdInvalid,
    /// Private members are published: whoever reads the document can sign. Worth an alarm.
    #[error("the PRIVATE key is published")]
    Private,
    /// `n` is not a minimal, odd number of 2048 to 8192 bits.
    #[error("the modulus is not one of 2048 to 8192 bits")]
    Modulus,
    /// `e` is not odd and of 17 to 33 bits.
    #[error("the exponent is too small, too large or even")]
    Exponent,
}

/// Members of a JWK that only a private (or symmetric) key has (RFC 7518 sections 6.3.2 and 6.4).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Narrows one JWK to a verification key with its `kid`, if it has one.
pub(super) fn eligible(jwk: &Map<String, Value>) -> Result<(Option<KeyId>, VerificationKey), KeyFault> {
    let text = |name: &str| jwk.get(name).map(|value| value.as_str().unwrap_or_default());
    if text("kty") != Some("RSA") {
        return Err(KeyFault::NotRsa);
    }
    if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
        return Err(KeyFault::Private);
    }
    let verifies = jwk
        .get("key_ops")
        .is_none_or(|ops| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op.as_str() == Some("verify"))));
    if !verifies || text("use").is_some_and(|u| u != "sig") || text("alg").is_some_and(|alg| alg != "RS256") {
        return Err(KeyFault::OtherUse);
    }
    let kid = text("kid").map(|kid| KeyId::parse(kid).ok_or(KeyFault::KeyIdInvalid)).transpose()?;
    let n = text("n").and_then(|n| URL_SAFE_NO_PAD.decode(n).ok()).ok_or(KeyFault::Modulus)?;
    let e = text("e").and_then(|e| URL_SAFE_NO_PAD.decode(e).ok()).ok_or(KeyFault::Exponent)?;
    if !is_odd(&n) || !(2048..=8192).contains(&bits(&n)) {
        return Err(KeyFault::Modulus);
    }
    // 65537 is the least exponent of FIPS 186-5 and what every provider here generates; 3 is what forged PKCS#1
    // paddings need (Bleichenbacher 2006), 1 makes every message its own signature. Above 33 bits AWS-LC refuses.
    if !is_odd(&e) || !(17..=33).contains(&bits(&e)) {
        return Err(KeyFault::Exponent);
    }
    Ok((kid, VerificationKey(DecodingKey::from_rsa_raw_components(&n, &e))))
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|byte| byte % 2 == 1)
}

/// The length of a big-endian number in bits; 0 for one written with leading zeros, which RFC 7518 section 2 forbids.
fn bits(number: &[u8]) -> usize {
    match number.first() {
        None | Some(0) => 0,
        Some(first) => {
            number.len().saturating_mul(8).saturating_sub(usize::try_from(first.leading_zeros()).unwrap_or(8))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn jwk(change: impl FnOnce(&mut Map<String, Value>)) -> Map<String, Value> {
        let n = URL_SAFE_NO_PAD.encode([0xc1; 256]);
        let mut jwk =
            json!({"kty":"RSA","use":"sig","alg":"RS256","kid":"k1","n":n,"e":"AQAB"}).as_object().unwrap().clone();
        change(&mut jwk);
        jwk
    }

    fn fault(name: &str, value: Value) -> Option<KeyFault> {
        eligible(&jwk(|jwk| drop(jwk.insert(name.to_owned(), value)))).err()
    }

    fn number(bytes: &[u8]) -> Value {
        json!(URL_SAFE_NO_PAD.encode(bytes))
    }

    #[test]
    fn a_plain_rsa_key_is_eligible_with_and_without_its_optional_members() {
        assert_eq!(eligible(&jwk(|_| ())).unwrap().0, KeyId::parse("k1"));
        let bare = jwk(|jwk| jwk.retain(|name, _| matches!(name.as_str(), "kty" | "n" | "e")));
        assert_eq!(eligible(&bare).unwrap().0, None);
        assert_eq!(fault("key_ops", json!(["verify"])), None);
        assert_eq!(fault("x5c", json!(["MII"])), None);
    }

    #[test]
    fn other_kinds_and_uses_are_refused() {
        for kty in [json!("EC"), json!("oct"), json!("OKP"), json!("AKP"), json!("rsa"), json!(1), json!(null)] {
            assert_eq!(fault("kty", kty), Some(KeyFault::NotRsa));
        }
        for (name, value) in [
            ("use", json!("enc")),
            ("use", json!(1)),
            ("use", json!("")),
            ("key_ops", json!(["encrypt"])),
            ("key_ops", json!([])),
            ("key_ops", json!("verify")),
            ("alg", json!("RSA-OAEP")),
            ("alg", json!("RS512")),
            ("alg", json!(null)),
        ] {
            assert_eq!(fault(name, value.clone()), Some(KeyFault::OtherUse), "{name} {value}");
        }
    }

    #[test]
    fn a_published_private_key_is_refused() {
        for name in PRIVATE_MEMBERS {
            assert_eq!(fault(name, json!("AQ")), Some(KeyFault::Private), "{name}");
        }
    }

    #[test]
    fn a_kid_of_another_type_or_length_is_refused() {
        for kid in [json!(1), json!(""), json!(null), json!(["k1"]), json!("k".repeat(257))] {
            assert_eq!(fault("kid", kid), Some(KeyFault::KeyIdInvalid));
        }
    }

    #[test]
    fn the_modulus_has_2048_to_8192_bits() {
        let modulus = |first: u8, length: usize| {
            let mut bytes = vec![0xff; length];
            bytes[0] = first;
            number(&bytes)
        };
        for (good, value) in [
            (true, modulus(0x80, 256)),
            (false, modulus(0x7f, 256)),
            (false, modulus(0xff, 128)),
            (true, modulus(0xff, 1024)),
            (false, modulus(0x01, 1025)),
            (false, modulus(0x00, 257)),
            (false, number(&[0xfe; 256])),
            (false, json!("")),
            (false, json!(5)),
            (false, json!(format!("{}=", URL_SAFE_NO_PAD.encode([0xc1; 256])))),
        ] {
            assert_eq!(fault("n", value.clone()), (!good).then_some(KeyFault::Modulus), "{value}");
        }
    }

    #[test]
    fn the_exponent_is_odd_and_at_least_65537() {
        for e in [&[0x01, 0x00, 0x01][..], &[0x01, 0x00, 0x03], &[0x01, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(fault("e", number(e)), None, "{e:?}");
        }
        let low: [&[u8]; 6] = [&[], &[0], &[1], &[3], &[17], &[0xff, 0xff]];
        let odd: [&[u8]; 3] = [&[0x01, 0x00, 0x00], &[0x00, 0x01, 0x00, 0x01], &[0x03, 0xff, 0xff, 0xff, 0xff]];
        for e in low.into_iter().chain(odd) {
            assert_eq!(fault("e", number(e)), Some(KeyFault::Exponent), "{e:?}");
        }
    }
}
