//! A custodian's private key: Ed25519 in PKCS#8, encrypted with a passphrase (PBES2 with scrypt and AES-256), as
//! `openssl pkey` reads it. It is never written in clear.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use pkcs8::der::pem::{LineEnding, PemLabel};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{CeremonyError, Envelope};
use crate::policy::{CustodianKey, CustodianName};

/// What an Ed25519 key in PKCS#8 version 1 begins with (RFC 8410 section 7): only its 32 bytes follow.
const PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// Fewer characters are guessed by whoever has the file: scrypt slows them down, and does not stop them.
const SHORTEST_PASSPHRASE: usize = 12;
/// Far more than a key in PEM.
const LARGEST: usize = 16 * 1024;

/// The private half. Not `Clone`, not printable, zeroized when dropped.
pub struct CustodianSecret {
    key: SigningKey,
    public: CustodianKey,
}

impl CustodianSecret {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Result<Self, CeremonyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self::of(&bytes)
    }

    /// Reads `-----BEGIN ENCRYPTED PRIVATE KEY-----`.
    pub fn from_encrypted_pem(pem: &str, passphrase: &SecretString) -> Result<Self, CeremonyError> {
        let malformed = CeremonyError::KeyMalformed;
        if pem.len() > LARGEST {
            return Err(malformed("it is too long"));
        }
        let (label, encrypted) =
            SecretDocument::from_pem(pem).map_err(|_| malformed("an encrypted private key in PEM is wanted"))?;
        if label != EncryptedPrivateKeyInfoRef::PEM_LABEL {
            return Err(malformed("it is not encrypted; a custodian's key never lies in clear"));
        }
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(encrypted.as_bytes()).map_err(|_| {
            malformed("it is encrypted in a way that is not known: `stint break-glass keygen` makes one")
        })?;
        let plain = encrypted.decrypt(passphrase.expose_secret()).map_err(|_| CeremonyError::PassphraseWrong)?;
        let key = PrivateKeyInfoRef::try_from(plain.as_bytes()).ok();
        let key = key.and_then(|key| SigningKey::try_from(key).ok());
        Self::of(key.ok_or(malformed("it is no Ed25519 key"))?.as_bytes())
    }

    /// The key, encrypted with a passphrase of at least 12 characters.
    pub fn to_encrypted_pem(
        &self,
        passphrase: &SecretString,
        rng: &mut impl CryptoRng,
    ) -> Result<Zeroizing<String>, CeremonyError> {
        if passphrase.expose_secret().chars().count() < SHORTEST_PASSPHRASE {
            return Err(CeremonyError::PassphraseShort);
        }
        let der = Zeroizing::new([PREFIX.as_slice(), self.key.as_bytes()].concat());
        let plain = PrivateKeyInfoRef::try_from(der.as_slice());
        let encrypted = plain.ok().and_then(|plain| plain.encrypt_with_rng(rng, passphrase.expose_secret()).ok());
        let pem = encrypted.and_then(|der| der.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).ok());
        pem.ok_or(CeremonyError::KeyMalformed("it could not be encrypted"))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &CustodianKey {
        &self.public
    }

    /// Signs the document of an envelope under this name, and puts the signature in.
    pub fn sign(&self, envelope: &mut Envelope, name: CustodianName) {
        let signature = self.key.sign(&envelope.signing_input(&name)).to_bytes();
        envelope.sign(name, signature);
    }

    fn of(bytes: &[u8; 32]) -> Result<Self, CeremonyError> {
        let key = SigningKey::from_bytes(bytes);
        let public = CustodianKey::from_bytes(key.verifying_key().as_bytes());
        public.map(|public| Self { key, public }).map_err(|_| CeremonyError::KeyMalformed("it is no Ed25519 key"))
    }
}

impl fmt::Debug for CustodianSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustodianSecret").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::fixture::{draft, name, policy, secret, signed_request};
    use super::super::verified_signers;
    use super::*;

    fn passphrase(text: &str) -> SecretString {
        SecretString::from(text)
    }

    fn pem() -> Zeroizing<String> {
        let mut rng = StdRng::seed_from_u64(1);
        secret("alice").to_encrypted_pem(&passphrase("correct horse"), &mut rng).unwrap()
    }

    #[test]
    fn a_key_survives_its_file_and_signs_as_before() {
        let read = CustodianSecret::from_encrypted_pem(&pem(), &passphrase("correct horse")).unwrap();
        assert_eq!(read.public(), secret("alice").public());
        let mut envelope = signed_request(draft(), &[]);
        read.sign(&mut envelope, name("alice"));
        assert_eq!(verified_signers(&envelope, &policy().0), [name("alice")]);
        assert_eq!(envelope, signed_request(draft(), &["alice"]));
    }

    #[test]
    fn another_passphrase_does_not_open_it_and_a_short_one_makes_no_file() {
        let wrong = CustodianSecret::from_encrypted_pem(&pem(), &passphrase("Correct horse")).unwrap_err();
        assert_eq!(wrong, CeremonyError::PassphraseWrong);
        let mut rng = StdRng::seed_from_u64(1);
        let short = secret("alice").to_encrypted_pem(&passphrase("elevenchars"), &mut rng).unwrap_err();
        assert_eq!(short, CeremonyError::PassphraseShort);
    }

    #[test]
    fn a_file_in_clear_or_of_another_kind_is_refused_without_being_repeated() {
        let clear = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIO4yn+A53sCFyv6/JDtYlljAza5CsOePpTDv34cO5VBm\n-----END PRIVATE KEY-----\n";
        let cut = pem().replacen('\n', "\nAAAA", 1);
        for text in ["", "planted", clear, &cut, &"x".repeat(LARGEST + 1)] {
            let error = CustodianSecret::from_encrypted_pem(text, &passphrase("correct horse")).unwrap_err();
            assert_eq!(error.code(), "key_malformed", "{text:.40}");
            assert!(!error.to_string().contains("planted"));
        }
    }

    #[test]
    fn a_key_is_never_in_clear_in_its_file_or_printed() {
        let bytes = secret("alice").key.to_bytes();
        assert!(pem().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        assert!(!format!("{:?}", secret("alice")).contains(&hex::encode(&bytes[..4])));
    }
}
