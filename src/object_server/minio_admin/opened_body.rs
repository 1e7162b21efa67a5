//! The same form the other way: what MinIO's admin API answers is encrypted with the secret of whoever asks. Written after
//! `madmin-go/encrypt.go` (`DecryptData`) and `sio-go`: salt, one byte for key derivation and cipher, nonce, then fragments of
//! 16 KiB, each sealed with its number, the last marked as the last, so that none can be cut off, moved or left out.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, MAX_TAG_LEN, Nonce, UnboundKey};
use aws_lc_rs::pbkdf2;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::sealed_body::{FRAGMENT, LAST, PBKDF2_AES_GCM, ROUNDS};

const ARGON2ID_AES_GCM: u8 = 0x00;
const ARGON2ID_CHACHA20_POLY1305: u8 = 0x01;
/// KiB of memory, passes and lanes of Argon2id.
const MEMORY: u32 = 64 * 1024;
const PASSES: u32 = 1;
const LANES: u32 = 4;
/// Marks a fragment that another one follows.
const NOT_LAST: u8 = 0x00;

/// It cannot be opened: another secret, cut short, changed, or no such form at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer of an admin call cannot be decrypted")]
pub(in crate::object_server) struct Unopenable;

/// Decrypts an answer; nothing of it is handed out before all of it has proven true. Takes 64 MiB for a moment, and time.
pub(in crate::object_server) fn open(secret: &SecretString, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopenable> {
    let (salt, sealed) = sealed.split_at_checked(32).ok_or(Unopenable)?;
    let (form, sealed) = sealed.split_first().ok_or(Unopenable)?;
    let (start, sealed) = sealed.split_first_chunk::<8>().ok_or(Unopenable)?;
    // Before the costly derivation: a last fragment that is less than its tag proves nothing.
    if sealed.len() < MAX_TAG_LEN {
        return Err(Unopenable);
    }
    let key = match *form {
        ARGON2ID_AES_GCM => UnboundKey::new(&AES_256_GCM, argon2id(secret, salt)?.as_ref()),
        ARGON2ID_CHACHA20_POLY1305 => UnboundKey::new(&CHACHA20_POLY1305, argon2id(secret, salt)?.as_ref()),
        PBKDF2_AES_GCM => UnboundKey::new(&AES_256_GCM, rounds_of_pbkdf2(secret, salt).as_ref()),
        _ => return Err(Unopenable),
    };
    fragments(&LessSafeKey::new(key.map_err(|_| Unopenable)?), *start, sealed)
}

fn argon2id(secret: &SecretString, salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, Unopenable> {
    let mut key = Zeroizing::new([0; 32]);
    let params = Params::new(MEMORY, PASSES, LANES, Some(key.len())).map_err(|_| Unopenable)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let secret = secret.expose_secret().as_bytes();
    argon2.hash_password_into(secret, salt, key.as_mut()).map_err(|_| Unopenable)?;
    Ok(key)
}

fn rounds_of_pbkdf2(secret: &SecretString, salt: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, secret.expose_secret().as_bytes(), key.as_mut());
    key
}

fn fragments(key: &LessSafeKey, start: [u8; 8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopenable> {
    let nonce = |number: u32| {
        let mut nonce = [0; 12];
        let (first, last) = nonce.split_at_mut(start.len());
        first.copy_from_slice(&start);
        last.copy_from_slice(&number.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    };
    // The tag of an empty fragment, number 0, is authenticated with every fragment after it.
    let mut tag = Vec::with_capacity(MAX_TAG_LEN);
    key.seal_in_place_append_tag(nonce(0), Aad::empty(), &mut tag).map_err(|_| Unopenable)?;
    let mut opened = Zeroizing::new(Vec::with_capacity(sealed.len()));
    let whole = FRAGMENT + MAX_TAG_LEN;
    let mut pieces = sealed.chunks(whole).zip(1_u32..).peekable();
    while let Some((piece, number)) = pieces.next() {
        let mark = if pieces.peek().is_some() { NOT_LAST } else { LAST };
        let authenticated = [&[mark], tag.as_slice()].concat();
        let mut piece = Zeroizing::new(piece.to_vec());
        let plain = key.open_in_place(nonce(number), Aad::from(authenticated), piece.as_mut_slice());
        opened.extend_from_slice(plain.map_err(|_| Unopenable)?);
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};
    use proptest::prelude::*;

    use super::super::sealed_body::seal;
    use super::*;

    /// Made by `madmin.EncryptData("rootsecret", …)` of madmin-go 3.0.109, read back by its `DecryptData`.
    const BY_MADMIN: &str = "4a0e0090a09941881f88ce75cd518671aafec9bc41045e6f6ebb78a7e436668a004ada7a761383181768990970bf13d7\
        2fcbc2657a00a0a25602d66e35ed799f338321b6e147d39680c02abe83b53bd16d9607406a5a4d623f3e13e9a98009d96b8d3bb1f191bc22bdd0e4";
    /// "a listing" under the salt 07…07 and the nonce 09…09, by `sio-go`; each was read back by `madmin.DecryptData`.
    const BY_SIO: [&str; 3] = [
        "1b9272bbad385841b20cd843df0ab7b8d5cb6b14746f5671ea",
        "b06de67f4742672d53b33479844dc60737117fc754a590f8ef",
        "971e4fb3cbd0fb1688916769b64bfb562b83a3a442560d90ae",
    ];
    /// SHA-256 of what `sio-go` makes of so many bytes 0, 1, …, 250, 0, … under the same salt and nonce, form 2.
    const LONG_BY_SIO: [(usize, &str); 6] = [
        (0, "efcbf954afb996924eb8b5f1a558d7397a496a6298fa177b678e07a0604b100e"),
        (16_383, "3d35b264f5f2c23163f9acdb95c511e290f9636ee42f807a8240b738aa348990"),
        (16_384, "662f17b99f594285ab92750a7b2d1378f33d7332a2e940c799fa8f5b7de84a4e"),
        (16_385, "74e0c23d75cb8c2705a88017a2d26fe85fa73233c31d514d8c984a4458951d23"),
        (32_768, "a62b7b1c76a8ec176c12d32c7a1ea6247b649ba844e0daad7ee18421e0b62541"),
        (40_000, "ce0b12611b8177a09398ee1c39fe7785edfa1ea52013d85b5dc6e7012be9a2a4"),
    ];

    fn secret() -> SecretString {
        SecretString::from("rootsecret")
    }

    fn from_sio(form: u8) -> Vec<u8> {
        let sealed = hex::decode(BY_SIO[usize::from(form)]).unwrap();
        [&[7; 32][..], &[form], &[9; 8], &sealed].concat()
    }

    /// What `sio-go` makes of it, of any length: proven by [`LONG_BY_SIO`].
    fn sealed_in_fragments(body: &[u8]) -> Vec<u8> {
        let key = UnboundKey::new(&AES_256_GCM, rounds_of_pbkdf2(&secret(), &[7; 32]).as_ref()).unwrap();
        let key = LessSafeKey::new(key);
        let nonce =
            |number: u32| Nonce::try_assume_unique_for_key(&[&[9; 8][..], &number.to_le_bytes()].concat()).unwrap();
        let mut tag = Vec::new();
        key.seal_in_place_append_tag(nonce(0), Aad::empty(), &mut tag).unwrap();
        let pieces: Vec<&[u8]> = if body.is_empty() { vec![body] } else { body.chunks(FRAGMENT).collect() };
        let mut sealed = [&[7; 32][..], &[PBKDF2_AES_GCM], &[9; 8]].concat();
        for (number, piece) in (1..).zip(&pieces) {
            let mark = if usize::try_from(number).unwrap() == pieces.len() { LAST } else { NOT_LAST };
            let mut piece = piece.to_vec();
            key.seal_in_place_append_tag(nonce(number), Aad::from([&[mark], tag.as_slice()].concat()), &mut piece)
                .unwrap();
            sealed.extend(piece);
        }
        sealed
    }

    fn counted(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    #[test]
    fn what_minio_seals_in_each_of_its_forms_is_opened() {
        let opened = open(&secret(), &hex::decode(BY_MADMIN).unwrap()).unwrap();
        assert_eq!(opened.as_slice(), br#"{"minter":{"serviceAccounts":null,"stsKeys":null}}"#);
        for form in 0..3 {
            assert_eq!(open(&secret(), &from_sio(form)).unwrap().as_slice(), b"a listing", "form {form}");
        }
    }

    #[test]
    fn a_body_of_many_fragments_is_opened_whole() {
        for (length, sha256) in LONG_BY_SIO {
            let sealed = sealed_in_fragments(&counted(length));
            assert_eq!(
                hex::encode(digest(&SHA256, &sealed)),
                sha256,
                "{length} bytes are not sealed as sio-go seals them"
            );
            assert_eq!(*open(&secret(), &sealed).unwrap(), counted(length), "{length} bytes");
        }
    }

    #[test]
    fn what_we_seal_we_open() {
        assert_eq!(open(&secret(), &seal(&secret(), b"{}").unwrap()).unwrap().as_slice(), b"{}");
    }

    #[test]
    fn another_secret_opens_nothing() {
        for form in 0..3 {
            assert_eq!(open(&SecretString::from("othersecret"), &from_sio(form)), Err(Unopenable));
        }
    }

    #[test]
    fn an_unknown_form_is_refused() {
        for form in 3..=255 {
            let mut sealed = from_sio(2);
            sealed[32] = form;
            assert_eq!(open(&secret(), &sealed), Err(Unopenable));
        }
    }

    #[test]
    fn fragments_cannot_be_cut_off_moved_left_out_or_repeated() {
        let sealed = sealed_in_fragments(&counted(40_000));
        let (head, body) = sealed.split_at(41);
        let pieces: Vec<&[u8]> = body.chunks(FRAGMENT + MAX_TAG_LEN).collect();
        let [a, b, c] = pieces.as_slice() else { panic!("{} fragments", pieces.len()) };
        assert!(open(&secret(), &[head, a, b, c].concat()).is_ok());
        for wrong in [vec![a, b], vec![a], vec![b, a, c], vec![a, c], vec![a, b, b, c], vec![a, b, c, c], vec![]] {
            let wrong: Vec<u8> = wrong.into_iter().fold(head.to_vec(), |sealed, piece| [&sealed, *piece].concat());
            assert_eq!(open(&secret(), &wrong), Err(Unopenable));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_prefix_and_no_changed_bit_is_believed(length in 0_usize..20_000, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let sealed = sealed_in_fragments(&counted(length));
            prop_assert_eq!(open(&secret(), &sealed[..at.index(sealed.len())]), Err(Unopenable));
            let mut changed = sealed.clone();
            // The form's byte has a test of its own: two of its changes cost an Argon2id each.
            let at = at.index(sealed.len());
            if at != 32 {
                changed[at] ^= 1_u8 << bit;
                prop_assert_eq!(open(&secret(), &changed), Err(Unopenable));
            }
        }

        #[test]
        fn any_bytes_are_opened_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            if let Some(form) = bytes.get_mut(32) {
                *form |= 2;
            }
            prop_assert_eq!(open(&secret(), &bytes), Err(Unopenable));
        }
    }
}
