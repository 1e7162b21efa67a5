//! Which session policies the database has, as far as this process knows: in steady state the same few are sent again and
//! again, and their texts need not go along with every intent.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::audit::SessionPolicyText;

/// How many are remembered. Callers who narrow their policy make new ones without end: when it is full it is forgotten,
/// which costs one text each.
const REMEMBERED: usize = 10_000;

/// SHA-256 of texts that were committed.
#[derive(Debug, Default)]
pub(super) struct KeptPolicies(Mutex<HashSet<String>>);

impl KeptPolicies {
    /// Those that the database may not have yet, each once.
    pub(super) fn unsent<'a>(&self, policies: &'a [SessionPolicyText]) -> Vec<&'a SessionPolicyText> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chosen = HashSet::new();
        policies.iter().filter(|policy| !kept.contains(&policy.sha256) && chosen.insert(&policy.sha256)).collect()
    }

    /// These are committed.
    pub(super) fn note(&self, policies: &[&SessionPolicyText]) {
        if policies.is_empty() {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len().saturating_add(policies.len()) > REMEMBERED {
            kept.clear();
        }
        kept.extend(policies.iter().take(REMEMBERED).map(|policy| policy.sha256.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str) -> SessionPolicyText {
        SessionPolicyText { sha256: name.to_owned(), text: "{}".to_owned() }
    }

    #[test]
    fn a_text_is_sent_until_it_is_known_to_be_kept() {
        let kept = KeptPolicies::default();
        let sent = [policy("a"), policy("b"), policy("a")];
        assert_eq!(kept.unsent(&sent), [&sent[0], &sent[1]]);
        assert_eq!(kept.unsent(&sent).len(), 2, "an append that failed kept nothing");
        kept.note(&[&sent[0]]);
        assert_eq!(kept.unsent(&sent), [&sent[1]]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let kept = KeptPolicies::default();
        for n in 0..=REMEMBERED {
            kept.note(&[&policy(&n.to_string())]);
        }
        let sent = [policy("0"), policy(&REMEMBERED.to_string())];
        assert_eq!(kept.unsent(&sent), [&sent[0]]);
    }
}
