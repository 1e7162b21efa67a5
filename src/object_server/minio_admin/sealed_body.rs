//! The form in which MinIO's admin API takes bodies that hold secrets: encrypted with the secret of whoever calls. Written
//! after `madmin-go/encrypt.go` (`EncryptData`, the PBKDF2 form that every server since 2021 reads) and `sio-go` (one final
//! fragment): salt, `0x02`, nonce, then AES-256-GCM.

use std::num::NonZeroU32;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::pbkdf2;
use aws_lc_rs::rand::fill;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

pub(super) const PBKDF2_AES_GCM: u8 = 0x02;
pub(super) const ROUNDS: NonZeroU32 = NonZeroU32::new(8192).unwrap();
/// What fits into one fragment; a body that is sent has a few hundred bytes.
pub(super) const FRAGMENT: usize = 16 * 1024;
/// Marks the last fragment in the data that is authenticated with it.
pub(super) const LAST: u8 = 0x80;

/// The body cannot be encrypted: it is longer than one fragment, or the system has no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the body of an admin call cannot be encrypted")]
pub(in crate::object_server) struct Unsealable;

/// Encrypts `body` under `secret`, with a salt and a nonce of its own.
pub(super) fn seal(secret: &SecretString, body: &[u8]) -> Result<Vec<u8>, Unsealable> {
    let (mut salt, mut nonce) = ([0; 32], [0; 8]);
    fill(&mut salt).and_then(|()| fill(&mut nonce)).map_err(|_| Unsealable)?;
    seal_with(secret, body, salt, nonce)
}

fn seal_with(secret: &SecretString, body: &[u8], salt: [u8; 32], nonce: [u8; 8]) -> Result<Vec<u8>, Unsealable> {
    if body.len() >= FRAGMENT {
        return Err(Unsealable);
    }
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, secret.expose_secret().as_bytes(), key.as_mut());
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| Unsealable)?);
    let fragment = |counter: u32| {
        let mut whole = [0; 12];
        let (start, end) = whole.split_at_mut(8);
        start.copy_from_slice(&nonce);
        end.copy_from_slice(&counter.to_le_bytes());
        Nonce::assume_unique_for_key(whole)
    };
    // The tag of an empty fragment, number 0, goes into what is authenticated with every fragment after it.
    let mut authenticated = vec![LAST];
    let mut empty = Vec::new();
    key.seal_in_place_append_tag(fragment(0), Aad::empty(), &mut empty).map_err(|_| Unsealable)?;
    authenticated.append(&mut empty);
    let mut sealed = body.to_vec();
    key.seal_in_place_append_tag(fragment(1), Aad::from(authenticated), &mut sealed).map_err(|_| Unsealable)?;
    Ok([&salt[..], &[PBKDF2_AES_GCM], &nonce, &sealed].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That a real MinIO reads it is in `tests/live/bootstrap.rs`; here is its shape.
    #[test]
    fn a_body_is_salt_form_nonce_and_ciphertext() {
        let secret = SecretString::from("rootsecret");
        let sealed = seal_with(&secret, b"{}", [7; 32], [9; 8]).unwrap();
        assert_eq!(sealed.len(), 32 + 1 + 8 + 2 + 16);
        assert_eq!((&sealed[..32], sealed[32], &sealed[33..41]), (&[7; 32][..], 2, &[9; 8][..]));
        assert_ne!(sealed, seal_with(&SecretString::from("other"), b"{}", [7; 32], [9; 8]).unwrap());
        assert_ne!(seal(&secret, b"{}").unwrap(), seal(&secret, b"{}").unwrap());
    }

    #[test]
    fn a_body_of_more_than_one_fragment_is_refused() {
        let secret = SecretString::from("rootsecret");
        assert!(seal(&secret, &vec![0; FRAGMENT - 1]).is_ok());
        assert!(seal(&secret, &vec![0; FRAGMENT]).is_err());
    }
}
