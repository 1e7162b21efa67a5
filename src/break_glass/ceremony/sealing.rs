//! The sealed answer: a JWE in compact serialization (RFC 7516), ECDH-ES over X25519 with A256GCM (RFC 7518, RFC 8037), and
//! in no other form. Every primitive is aws-lc-rs's; what stands here is how they are put together, and what is refused.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce as InitializationVector, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{CeremonyError, EmergencyCredentials, RecipientKey, RecipientSecret};

/// Most bytes of a sealed answer: session tokens of some servers are long.
const LARGEST: usize = 64 * 1024;
const ALGORITHM: &str = "ECDH-ES";
const ENCRYPTION: &str = "A256GCM";
const TYPE: &str = "stint-break-glass+jwe";
const KEY_TYPE: &str = "OKP";
const CURVE: &str = "X25519";
const KEY_BYTES: usize = 32;
/// 128 bits (RFC 7518 section 5.3): a shorter tag would be guessed.
const TAG_BYTES: usize = 16;

/// Every member that the protected header has. `zip`, `crit`, `apu`, a `jku` and whatever else is unknown, and refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Protected {
    alg: String,
    enc: String,
    epk: Ephemeral,
    typ: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ephemeral {
    crv: String,
    kty: String,
    x: String,
}

impl RecipientKey {
    /// Seals credentials so that the private half of this key alone opens them.
    pub fn seal(&self, credentials: &EmergencyCredentials) -> Result<String, CeremonyError> {
        let failed = CeremonyError::SealFailed;
        let mut text = Zeroizing::new(credentials.to_json()?.to_vec());
        let ephemeral = PrivateKey::generate(&X25519).map_err(|_| failed.clone())?;
        let public = ephemeral.compute_public_key().map_err(|_| failed.clone())?;
        let key = content_key(&ephemeral, self).ok_or(failed.clone())?;
        let header = Protected {
            alg: ALGORITHM.to_owned(),
            enc: ENCRYPTION.to_owned(),
            epk: Ephemeral {
                crv: CURVE.to_owned(),
                kty: KEY_TYPE.to_owned(),
                x: URL_SAFE_NO_PAD.encode(public.as_ref()),
            },
            typ: TYPE.to_owned(),
        };
        let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).map_err(|_| failed.clone())?);
        // The key is this answer's alone, so no vector can be used twice under it.
        let mut iv = [0; NONCE_LEN];
        rand::fill(&mut iv).map_err(|_| failed.clone())?;
        let once = InitializationVector::assume_unique_for_key(iv);
        let tag = key.seal_in_place_separate_tag(once, Aad::from(header.as_bytes()), text.as_mut_slice());
        let tag = tag.map_err(|_| failed)?;
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // Two dots: with ECDH-ES the content key is agreed, and none is sent (RFC 7518 section 4.6).
        Ok(format!("{header}..{}.{}.{}", encoded(&iv), encoded(&text), encoded(tag.as_ref())))
    }
}

impl RecipientSecret {
    /// Opens a sealed answer.
    pub fn open(&self, sealed: &str) -> Result<EmergencyCredentials, CeremonyError> {
        let broken = CeremonyError::SealBroken;
        let Sealed { header, ephemeral, iv, text, tag } = Sealed::parse(sealed.trim())?;
        let private = self.to_private_key().ok_or(broken.clone())?;
        let key = content_key(&private, &ephemeral).ok_or(broken.clone())?;
        let iv = InitializationVector::assume_unique_for_key(iv);
        let mut opened = Zeroizing::new([text, tag].concat());
        let opened = key.open_in_place(iv, Aad::from(header.as_bytes()), opened.as_mut_slice()).map_err(|_| broken)?;
        EmergencyCredentials::from_json(opened)
    }
}

/// The content key that both sides agree on: Concat KDF over SHA-256 (RFC 7518 section 4.6.2, NIST SP 800-56C), with the
/// encryption's name and no party's. Nothing where the keys agree on zero.
fn content_key(private: &PrivateKey, public: &RecipientKey) -> Option<LessSafeKey> {
    let length = u32::try_from(ENCRYPTION.len()).ok()?;
    let bits = u32::try_from(KEY_BYTES * 8).ok()?;
    let info = [&length.to_be_bytes(), ENCRYPTION.as_bytes(), &[0; 8], &bits.to_be_bytes()].concat();
    let digest = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256)?;
    let peer = UnparsedPublicKey::new(&X25519, public.as_bytes());
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    agree(private, peer, (), |secret| sskdf_digest(digest, secret, &info, key.as_mut_slice()).map_err(|_| ())).ok()?;
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).ok()?))
}

/// A sealed answer, taken apart. Nothing of it is believed yet.
struct Sealed<'a> {
    header: &'a str,
    ephemeral: RecipientKey,
    iv: [u8; NONCE_LEN],
    text: Vec<u8>,
    tag: Vec<u8>,
}

impl<'a> Sealed<'a> {
    /// Refuses every form but the one that is written.
    fn parse(sealed: &'a str) -> Result<Self, CeremonyError> {
        let malformed = CeremonyError::SealMalformed;
        if sealed.len() > LARGEST {
            return Err(malformed("it is too long"));
        }
        let mut parts = sealed.split('.');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
        let [Some(header), Some(key), Some(iv), Some(text), Some(tag), None] = parts else {
            return Err(malformed("it has not five parts"));
        };
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let protected = decoded(header).and_then(|header| serde_json::from_slice::<Protected>(&header).ok());
        let protected = protected.ok_or(malformed("its header has other members than alg, enc, epk and typ"))?;
        if protected.alg != ALGORITHM || protected.enc != ENCRYPTION || protected.typ != TYPE {
            return Err(malformed("it is not ECDH-ES with A256GCM"));
        }
        let Ephemeral { crv, kty, x } = &protected.epk;
        let ephemeral = RecipientKey::parse(x).ok().filter(|_| kty == KEY_TYPE && crv == CURVE);
        let ephemeral = ephemeral.ok_or(malformed("its ephemeral key is not a sound X25519 key"))?;
        let iv = decoded(iv).and_then(|iv| iv.try_into().ok());
        let tag = decoded(tag).filter(|tag| tag.len() == TAG_BYTES);
        match (key, iv, decoded(text), tag) {
            ("", Some(iv), Some(text), Some(tag)) => Ok(Self { header, ephemeral, iv, text, tag }),
            _ => Err(malformed("its parts have other lengths than ECDH-ES with A256GCM gives")),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::Nonce as Iv;
    use aws_lc_rs::digest::{SHA256, digest};
    use secrecy::{ExposeSecret, SecretString};
    use serde_json::{Value, json};
    use time::macros::datetime;
    use uuid::Uuid;

    use super::super::Nonce;
    use super::super::fixture::recipient;
    use super::*;
    use crate::policy::RoleName;

    /// Sealed by Python's `cryptography` for the secret of 32 bytes of 0x42.
    const BY_PYTHON: &str = "eyJhbGciOiJFQ0RILUVTIiwiZW5jIjoiQTI1NkdDTSIsImVwayI6eyJjcnYiOiJYMjU1MTkiLCJrdHkiOiJPS1AiLCJ4IjoiOFRfdlB2cVZt\
                             S0tpUDhkV3YyaVA2THZYOXMtVktMdXU4N1JFSm9qd3F6RSJ9LCJ0eXAiOiJzdGludC1icmVhay1nbGFzcytqd2UifQ..AAECAwQFBgcICQoL\
                             .mwZPEgLyX76q2PeoDU9_aPdLmXbL0UAf8Huyvp5MKJGHjWQciCafncpluYgQOedUzJwqve5zhF-s_6TOZB2PLGCQ1OYrv_GIWNRz71nLRwF\
                             UrcB_Un60Au4LVUZFkSprrYgfnBRx3vjkaknF79g8mer93gPv0ln5RHqFCfDXglS14B3l56CYqoxsbTomafGHk1PdP1N5GFnPI5RvzciCslq\
                             O8Ep7Ta9e0ckKBIAB6EspJc85FBlp-qcKUFjoxx_u4HsPlMj1UQ2wPpBGwZYBSuvCelrdcgdUxA0zKPqHa3xf46mwirEaQqp3c7Z39BW0TX9\
                             ILMwRlQBVftnL5erKcDTLkaezlKdn8mPgPeCRGNFdsDqqu69wxc_AwWLnkJwYkB5WfAEHo6VT_tvfEunvrZfriG4X5CX5of3ruIXPcG2SQN-\
                             GAO6tCheNSzKWpq6x-8oY94yRefPLZXE__hiFGXP4Nqznie3bq-wKRilfUgXc8Oc.A8kGodlGf3d7_GMZyM586w";

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

    fn sealed() -> String {
        recipient().public().seal(&credentials()).unwrap()
    }

    fn code(sealed: &str) -> &'static str {
        recipient().open(sealed).map_or_else(|error| error.code(), |_| "opened")
    }

    /// The parts of a sealed answer, the header read.
    fn parts(sealed: &str) -> (Value, Vec<String>) {
        let parts: Vec<String> = sealed.split('.').map(str::to_owned).collect();
        (serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[0]).unwrap()).unwrap(), parts)
    }

    /// Z of RFC 7518 section 4.6.
    fn agreed(private: &[u8; 32], public: &[u8]) -> Vec<u8> {
        let private = PrivateKey::from_private_key(&X25519, private).unwrap();
        agree(&private, UnparsedPublicKey::new(&X25519, public), (), |z| Ok(z.to_vec())).unwrap()
    }

    /// The content key by hand: one round of Concat KDF (RFC 7518 section 4.6.2).
    fn content_key_by_hand(z: &[u8], encryption: &str) -> Vec<u8> {
        let length = u32::try_from(encryption.len()).unwrap().to_be_bytes();
        let info = [&1_u32.to_be_bytes(), z, &length, encryption.as_bytes(), &[0; 8], &256_u32.to_be_bytes()].concat();
        digest(&SHA256, &info).as_ref().to_vec()
    }

    /// Seals by hand, under any header.
    fn sealed_elsewhere(header: &Value, content: &[u8]) -> String {
        let z = agreed(&[0x17; 32], recipient().public().as_bytes());
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &content_key_by_hand(&z, "A256GCM")).unwrap());
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let mut text = content.to_vec();
        let tag = key
            .seal_in_place_separate_tag(Iv::assume_unique_for_key([9; 12]), Aad::from(header.as_bytes()), &mut text)
            .unwrap();
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        format!("{header}..{}.{}.{}", encoded(&[9; 12]), encoded(&text), encoded(tag.as_ref()))
    }

    fn header() -> Value {
        let public = PrivateKey::from_private_key(&X25519, &[0x17; 32]).unwrap().compute_public_key().unwrap();
        let x = URL_SAFE_NO_PAD.encode(public.as_ref());
        json!({"alg": "ECDH-ES", "enc": "A256GCM", "epk": {"crv": "X25519", "kty": "OKP", "x": x}, "typ": TYPE})
    }

    /// RFC 7518 appendix C: what Alice and Bob derive, for another length and with names of parties.
    #[test]
    fn the_derivation_is_the_one_of_the_rfc() {
        let z = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218, 128,
            106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let info = [
            0, 0, 0, 7, 65, 49, 50, 56, 71, 67, 77, 0, 0, 0, 5, 65, 108, 105, 99, 101, 0, 0, 0, 3, 66, 111, 98, 0, 0,
            0, 128,
        ];
        let mut key = [0; 16];
        let digest = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256).unwrap();
        sskdf_digest(digest, &z, &info, &mut key).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(key), "VqqN6vgjbSBcIijNcacQGg");
    }

    #[test]
    fn what_is_sealed_for_a_recipient_opens_with_their_secret_and_no_other() {
        let opened = recipient().open(&format!("{}\n", sealed())).unwrap();
        assert_eq!(opened.to_json().unwrap(), credentials().to_json().unwrap());
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIEJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC\n-----END PRIVATE KEY-----\n";
        let other = RecipientSecret::from_pem(pem).unwrap();
        assert_eq!(other.open(&sealed()).unwrap_err(), CeremonyError::SealBroken);
    }

    #[test]
    fn what_another_implementation_sealed_opens() {
        let elsewhere = sealed_elsewhere(&header(), &credentials().to_json().unwrap());
        assert_eq!(recipient().open(&elsewhere).unwrap().to_json().unwrap(), credentials().to_json().unwrap());
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIEJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC\n-----END PRIVATE KEY-----\n";
        let opened = RecipientSecret::from_pem(pem).unwrap().open(BY_PYTHON).unwrap();
        assert_eq!(opened.secret_access_key.expose_secret(), "python-secret");
    }

    #[test]
    fn what_is_sealed_opens_by_hand() {
        let sealed = sealed();
        let (header, parts) = parts(&sealed);
        let members: Vec<&String> = header.as_object().unwrap().keys().collect();
        assert_eq!(members.len(), 4, "{header}");
        let ephemeral = URL_SAFE_NO_PAD.decode(header["epk"]["x"].as_str().unwrap()).unwrap();
        let secret: [u8; 32] = *recipient().secret_bytes();
        let key = content_key_by_hand(&agreed(&secret, &ephemeral), "A256GCM");
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let decoded = |part: usize| URL_SAFE_NO_PAD.decode(&parts[part]).unwrap();
        let mut text = [decoded(3), decoded(4)].concat();
        let iv = Iv::try_assume_unique_for_key(&decoded(2)).unwrap();
        let opened = key.open_in_place(iv, Aad::from(parts[0].as_bytes()), &mut text).unwrap();
        assert_eq!(opened, credentials().to_json().unwrap().as_slice());
    }

    #[test]
    fn any_other_header_is_refused_though_its_seal_would_hold() {
        let content = credentials().to_json().unwrap();
        assert_eq!(code(&sealed_elsewhere(&header(), &content)), "opened");
        let small = URL_SAFE_NO_PAD.encode([0; 32]);
        let changes: [(&str, Value); 10] = [
            ("alg", json!("ECDH-ES+A256KW")),
            ("alg", json!("dir")),
            ("enc", json!("A128GCM")),
            ("enc", json!("A256CBC-HS512")),
            ("zip", json!("DEF")),
            ("crit", json!(["exp"])),
            ("apu", json!("QWxpY2U")),
            ("jku", json!("https://planted.example")),
            ("typ", json!("JWE")),
            ("epk", json!({"crv": "X25519", "kty": "OKP", "x": small})),
        ];
        for (member, value) in changes {
            let mut other = header();
            other[member] = value;
            assert_eq!(code(&sealed_elsewhere(&other, &content)), "seal_malformed", "{other}");
        }
        for (member, value) in [("crv", "P-256"), ("kty", "EC"), ("d", "AA"), ("x", "AA")] {
            let mut other = header();
            other["epk"][member] = json!(value);
            assert_eq!(code(&sealed_elsewhere(&other, &content)), "seal_malformed", "{other}");
        }
    }

    #[test]
    fn a_seal_that_was_changed_cut_or_shortened_is_refused() {
        let sealed = sealed();
        let (_, parts) = parts(&sealed);
        let with = |part: usize, text: &str| {
            let mut parts = parts.clone();
            text.clone_into(&mut parts[part]);
            code(&parts.join("."))
        };
        assert_eq!(with(0, &parts[0].clone()), "opened");
        let cut = |part: usize, bytes: usize| {
            let decoded = URL_SAFE_NO_PAD.decode(&parts[part]).unwrap();
            URL_SAFE_NO_PAD.encode(&decoded[..bytes])
        };
        assert_eq!(with(1, "AAAA"), "seal_malformed");
        assert_eq!(with(2, &cut(2, 8)), "seal_malformed");
        // A tag of four bytes is guessed in 2^32 tries.
        assert_eq!(with(4, &cut(4, 4)), "seal_malformed");
        assert_eq!(with(4, ""), "seal_malformed");
        assert_eq!(with(3, &cut(3, 10)), "seal_broken");
        assert_eq!(with(2, &URL_SAFE_NO_PAD.encode([0; 12])), "seal_broken");
        assert_eq!(with(4, &URL_SAFE_NO_PAD.encode([0; 16])), "seal_broken");
        for text in ["", "....", "a.b.c", &format!("{sealed}.x"), &"x".repeat(LARGEST + 1)] {
            assert_eq!(code(text), "seal_malformed", "{text:.40}");
        }
    }

    #[test]
    fn what_holds_no_credentials_is_refused_though_it_opens() {
        let content = |text: &str| code(&sealed_elsewhere(&header(), text.as_bytes()));
        let whole = String::from_utf8(credentials().to_json().unwrap().to_vec()).unwrap();
        assert_eq!(content(&whole), "opened");
        for other in [
            "{}".to_owned(),
            whole.replace("credentials 1", "credentials 2"),
            whole.replace("planted-token", "a\\nb"),
            whole.replacen('{', "{\"more\":1,", 1),
        ] {
            assert_eq!(content(&other), "seal_malformed", "{other}");
        }
    }

    #[test]
    fn two_seals_of_the_same_share_no_key() {
        assert_ne!(parts(&sealed()).0["epk"], parts(&sealed()).0["epk"]);
    }

    #[test]
    fn neither_credentials_nor_secrets_are_printed() {
        let printed = format!("{:?} {:?} {:?}", credentials(), recipient(), recipient().open("x").unwrap_err());
        assert!(!printed.to_lowercase().contains("planted"), "{printed}");
        let secret = hex::encode(recipient().secret_bytes());
        assert!(!printed.contains(&secret[..8]));
    }

    #[test]
    fn a_recipients_secret_survives_its_file_and_nothing_else_is_one() {
        let pem = recipient().to_pem().unwrap();
        assert_eq!(RecipientSecret::from_pem(&pem).unwrap().public(), recipient().public());
        for other in ["", "planted", &pem.replace("PRIVATE KEY", "PUBLIC KEY"), &pem.replace("MC4C", "MC4D")] {
            let error = RecipientSecret::from_pem(other).unwrap_err();
            assert_eq!(error.code(), "key_malformed");
            assert!(!error.to_string().contains("planted"));
        }
    }
}
