//! A document with the signatures over it: JWS in its general JSON serialization (RFC 7515 section 7.2.1), the form of a file
//! and of what is submitted. Who signed is only claimed here; whether they did is `quorum.rs`'s to say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::document::LARGEST_DOCUMENT;
use super::{CeremonyError, Document};
use crate::policy::CustodianName;

/// Most bytes of an envelope.
pub const LARGEST_ENVELOPE: usize = 64 * 1024;
/// More than custodians there can be, each of whom may be there twice when files are brought together.
const MOST_SIGNATURES: usize = 64;
/// What the protected header of every signature says, so that no signature is good for anything but these documents.
const ALGORITHM: &str = "EdDSA";
const TYPE: &str = "stint-break-glass+jws";

/// A document and its signatures, in an order that does not depend on who signed first, none of them twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    document: Document,
    signatures: Vec<ClaimedSignature>,
}

/// A signature and who is said to have made it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClaimedSignature {
    pub(super) custodian: CustodianName,
    pub(super) signature: [u8; 64],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    payload: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    protected: String,
    signature: String,
}

/// Members in the order of their names: one spelling for each custodian.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Protected {
    alg: String,
    kid: String,
    typ: String,
}

impl Envelope {
    /// A document that nobody has signed yet.
    #[must_use]
    pub fn unsigned(document: Document) -> Self {
        Self { document, signatures: Vec::new() }
    }

    /// Reads a file or what was submitted. Every part is checked but the signatures themselves.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        if bytes.len() > LARGEST_ENVELOPE {
            return Err(CeremonyError::DocumentTooLarge);
        }
        let malformed = CeremonyError::EnvelopeMalformed;
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|_| malformed("it must be {\"payload\",\"signatures\":[{\"protected\",\"signature\"}…]}"))?;
        if wire.signatures.len() > MOST_SIGNATURES {
            return Err(malformed("it has more than 64 signatures"));
        }
        if wire.payload.len() > LARGEST_DOCUMENT.saturating_mul(2) {
            return Err(CeremonyError::DocumentTooLarge);
        }
        let payload = URL_SAFE_NO_PAD.decode(&wire.payload).map_err(|_| malformed("the payload is not base64url"))?;
        let document = Document::parse(&payload)?;
        let signatures: Result<Vec<_>, _> = wire.signatures.iter().map(ClaimedSignature::parse).collect();
        Ok(Self { document, signatures: in_order(signatures?) })
    }

    /// One line of JSON with a newline at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let signatures = self.signatures.iter().map(|claimed| WireSignature {
            protected: protected(&claimed.custodian),
            signature: URL_SAFE_NO_PAD.encode(claimed.signature),
        });
        let wire =
            Wire { payload: URL_SAFE_NO_PAD.encode(self.document.canonical()), signatures: signatures.collect() };
        format!("{}\n", serde_json::to_string(&wire).unwrap_or_default())
    }

    /// The same document with the signatures of both.
    pub fn merged(mut self, other: Self) -> Result<Self, CeremonyError> {
        if self.document.canonical() != other.document.canonical() {
            return Err(CeremonyError::EnvelopesDiffer);
        }
        self.signatures.extend(other.signatures);
        self.signatures = in_order(self.signatures);
        if self.signatures.len() > MOST_SIGNATURES {
            return Err(CeremonyError::EnvelopeMalformed("it has more than 64 signatures"));
        }
        Ok(self)
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Who is said to have signed; nothing of it has been verified.
    pub fn claimed_signers(&self) -> impl Iterator<Item = &CustodianName> {
        self.signatures.iter().map(|claimed| &claimed.custodian)
    }

    /// The bytes that a custodian signs: the JWS signing input (RFC 7515 section 5.1), in which their name stands.
    #[must_use]
    pub fn signing_input(&self, custodian: &CustodianName) -> Vec<u8> {
        format!("{}.{}", protected(custodian), URL_SAFE_NO_PAD.encode(self.document.canonical())).into_bytes()
    }

    /// Puts a signature in. It takes the place of another of the same custodian.
    pub fn sign(&mut self, custodian: CustodianName, signature: [u8; 64]) {
        self.signatures.retain(|claimed| claimed.custodian != custodian);
        self.signatures.push(ClaimedSignature { custodian, signature });
        self.signatures.sort();
    }

    pub(super) fn signatures(&self) -> &[ClaimedSignature] {
        &self.signatures
    }
}

impl ClaimedSignature {
    fn parse(wire: &WireSignature) -> Result<Self, CeremonyError> {
        let malformed = CeremonyError::EnvelopeMalformed;
        let header = URL_SAFE_NO_PAD.decode(&wire.protected).ok();
        let header: Option<Protected> = header.and_then(|header| serde_json::from_slice(&header).ok());
        let custodian = header.and_then(|header| CustodianName::parse(&header.kid));
        // Whatever else a header could say (another alg, crit, b64, jwk, …) is not the one spelling, and refused.
        let custodian = custodian.filter(|custodian| protected(custodian) == wire.protected).ok_or(malformed(
            "a protected header is not {\"alg\":\"EdDSA\",\"kid\":…,\"typ\":\"stint-break-glass+jws\"}",
        ))?;
        let signature = URL_SAFE_NO_PAD.decode(&wire.signature).ok();
        let signature = signature.and_then(|signature| signature.try_into().ok());
        let signature = signature.ok_or(malformed("a signature is not 64 bytes in base64url"))?;
        Ok(Self { custodian, signature })
    }
}

fn in_order(mut signatures: Vec<ClaimedSignature>) -> Vec<ClaimedSignature> {
    signatures.sort();
    signatures.dedup();
    signatures
}

/// The protected header of a custodian's signature, in base64url.
fn protected(custodian: &CustodianName) -> String {
    let header = Protected { alg: ALGORITHM.to_owned(), kid: custodian.as_str().to_owned(), typ: TYPE.to_owned() };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).unwrap_or_default())
}
