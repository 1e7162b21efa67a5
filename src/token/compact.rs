//! The compact serialisation of a JWS (RFC 7515 section 3.1), taken apart under size limits before anything is parsed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::TokenReason;

/// Largest token. Tokens with many groups reach 8 KiB; beyond 16 KiB common proxies refuse the header anyway.
const MAX_TOKEN: usize = 16 * 1024;
/// Largest decoded header: room for `alg`, `typ` and a `kid` of 256 bytes, many times over.
const MAX_HEADER: usize = 2 * 1024;
/// Largest decoded payload.
const MAX_PAYLOAD: usize = 12 * 1024;
/// Largest decoded signature: RSA of 8192 bits.
const MAX_SIGNATURE: usize = 1024;

/// The three parts of a compact JWS, decoded but not believed.
#[derive(Debug)]
pub(super) struct CompactJws<'a> {
    /// The header's bytes.
    pub(super) header: Vec<u8>,
    /// The payload's bytes.
    pub(super) payload: Vec<u8>,
    /// What the signature covers: header and payload as sent, with the dot between.
    pub(super) signing_input: &'a str,
    /// The signature as sent; known to be strict base64url.
    pub(super) signature: &'a str,
}

impl<'a> CompactJws<'a> {
    /// Splits a token into exactly three non-empty parts of strict base64url: no padding, no white space, no stray
    /// trailing bits, so that one token has exactly one spelling (and one digest).
    pub(super) fn split(token: &'a str) -> Result<Self, TokenReason> {
        if token.len() > MAX_TOKEN {
            return Err(TokenReason::TooLarge);
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if token.is_empty() || !token.bytes().all(allowed) {
            return Err(TokenReason::Malformed);
        }
        if token.bytes().filter(|b| *b == b'.').count() == 4 {
            return Err(TokenReason::Encrypted);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(TokenReason::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(TokenReason::Malformed)?;
        let _signature = decode(signature, MAX_SIGNATURE)?;
        Ok(Self {
            header: decode(header, MAX_HEADER)?,
            payload: decode(payload, MAX_PAYLOAD)?,
            signing_input,
            signature,
        })
    }
}

/// Decodes one part; a further dot in it is no base64url and fails here.
fn decode(part: &str, limit: usize) -> Result<Vec<u8>, TokenReason> {
    if part.is_empty() {
        return Err(TokenReason::Malformed);
    }
    if part.len() > limit.div_ceil(3).saturating_mul(4) {
        return Err(TokenReason::TooLarge);
    }
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenReason::Malformed)?;
    if bytes.len() > limit { Err(TokenReason::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(token: &str) -> Option<TokenReason> {
        CompactJws::split(token).err()
    }

    #[test]
    fn three_parts_are_taken_apart() {
        let jws = CompactJws::split("e30.e30.AQID").unwrap();
        assert_eq!((jws.header.as_slice(), jws.payload.as_slice()), (&b"{}"[..], &b"{}"[..]));
        assert_eq!((jws.signing_input, jws.signature), ("e30.e30", "AQID"));
    }

    #[test]
    fn another_number_of_parts_or_an_empty_part_is_refused() {
        let spellings = ["", ".", "..", "e30", "e30.e30", "e30.e30.", ".e30.AQID", "e30..AQID", ".e30.e30.AQID"];
        let more = ["e30.e30.AQID.", "e30.e30.AQID.AQID", "e30.e30.AQID.AQID.AQID.AQID"];
        for token in spellings.into_iter().chain(more) {
            assert_eq!(refused(token), Some(TokenReason::Malformed), "{token}");
        }
        assert_eq!(refused(&".".repeat(1_000_000)), Some(TokenReason::TooLarge));
    }

    #[test]
    fn five_parts_are_named_as_encrypted() {
        assert_eq!(refused("e30.e30.e30.e30.e30"), Some(TokenReason::Encrypted));
    }

    #[test]
    fn a_second_spelling_of_the_same_bytes_is_refused() {
        let spellings = ["e30=.e30.AQID", "e30.e30.AQI=", "e30.e30.AQ+/", "e30.e30.AQ ID", "e30.e30\n.AQID"];
        let more = ["e31.e30.AQID", "e30.e30.AQIC0", "e30.e30.A?ID", "{\"payload\":\"e30\"}", "e30.e30.AQIÐ"];
        for token in spellings.into_iter().chain(more) {
            assert_eq!(refused(token), Some(TokenReason::Malformed), "{token}");
        }
    }

    #[test]
    fn every_part_has_its_own_limit() {
        let part = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![b' '; bytes]);
        let token = |h, p, s| format!("{}.{}.{}", part(h), part(p), part(s));
        assert_eq!(refused(&token(2048, 2, 256)), None);
        assert_eq!(refused(&token(2049, 2, 256)), Some(TokenReason::TooLarge));
        assert_eq!(refused(&token(2, 11_000, 256)), None);
        assert_eq!(refused(&token(2, 12_289, 1)), Some(TokenReason::TooLarge));
        assert_eq!(refused(&token(2, 2, 1024)), None);
        assert_eq!(refused(&token(2, 2, 1025)), Some(TokenReason::TooLarge));
        assert_eq!(refused(&"a".repeat(16 * 1024 + 1)), Some(TokenReason::TooLarge));
    }
}
