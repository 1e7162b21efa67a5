//! Who signed: every signature of an envelope against the keys of the policy in force. A custodian counts once, however often
//! they signed, and one signature that does not hold spoils the whole: nobody has to guess which part was honest.

use std::collections::BTreeSet;

use super::{CeremonyError, Envelope};
use crate::policy::{BreakGlass, CustodianName};

/// The custodians who signed, at least `needed` of them.
pub(super) fn quorum(
    envelope: &Envelope,
    policy: &BreakGlass,
    needed: usize,
) -> Result<BTreeSet<CustodianName>, CeremonyError> {
    let mut signers = BTreeSet::new();
    for claimed in envelope.signatures() {
        let name = &claimed.custodian;
        let custodian = policy.custodian(name).ok_or_else(|| CeremonyError::CustodianUnknown(name.clone()))?;
        if !custodian.key().verifies(&envelope.signing_input(name), &claimed.signature) {
            return Err(CeremonyError::SignatureInvalid(name.clone()));
        }
        signers.insert(name.clone());
    }
    if signers.len() < needed {
        return Err(CeremonyError::QuorumNotMet { signed: signers.len(), needed });
    }
    Ok(signers)
}

/// The custodians whose signature holds, whatever else is in the envelope: says whether a refusal is worth a row, and
/// approves nothing.
#[must_use]
pub fn verified_signers(envelope: &Envelope, policy: &BreakGlass) -> Vec<CustodianName> {
    let holds = envelope.signatures().iter().filter(|claimed| {
        let custodian = policy.custodian(&claimed.custodian);
        custodian.is_some_and(|custodian| {
            custodian.key().verifies(&envelope.signing_input(&claimed.custodian), &claimed.signature)
        })
    });
    let names: BTreeSet<&CustodianName> = holds.map(|claimed| &claimed.custodian).collect();
    names.into_iter().cloned().collect()
}
