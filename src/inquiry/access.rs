//! Who could read or write an object: those who held a lease that allowed it, by the very text that was sent, and those
//! whom the policies then in force would have given one. A text that is missing, or is not the text its hash names, is said
//! to be unknown; it is never taken for a "no".

use time::OffsetDateTime;

use super::answer::{Entitled, EntitledRole, Held, ObjectAccess, Rights, UnknownPolicies};
use crate::audit::question::{LivePolicy, PolicyInForce, Questions};
use crate::audit::{Digest, StoreError};
use crate::policy::{Asked, BreakGlass, Document, PolicyFiles, PolicySet, hindsight};

/// Most session policies named as unknown.
const MOST_UNKNOWN: usize = 20;

pub(super) async fn object(
    questions: &dyn Questions,
    bucket: String,
    object: String,
    at: OffsetDateTime,
    now: OffsetDateTime,
    limit: u16,
) -> Result<ObjectAccess, StoreError> {
    let mut judged = Judged::default();
    for policy in questions.live_policies(at).await? {
        judged.judge(policy, &bucket, &object);
    }
    let hashes: Vec<String> = judged.allowing.iter().map(|(hash, _, _)| hash.clone()).collect();
    let records = if hashes.is_empty() { Vec::new() } else { questions.live_leases(at, &hashes, limit).await? };
    let leases: i64 = judged.allowing.iter().map(|(_, _, leases)| leases).sum();
    let truncated = i64::try_from(records.len()).is_ok_and(|told| told < leases);
    let holders = records.into_iter().map(|record| {
        let sent = record.session_policy_sha256.clone();
        let rights =
            judged.allowing.iter().find(|(hash, _, _)| Some(hash) == sent.as_ref()).map(|(_, rights, _)| *rights);
        Held { rights, ..Held::of(record, at, now) }
    });
    let holders = holders.collect();
    let entitled = entitled(questions.policy_in_force(at).await?, &bucket, &object);
    Ok(ObjectAccess { bucket, object, at, holders, truncated, unknown: judged.unknown, entitled })
}

/// What is known of the session policies of live leases.
#[derive(Default)]
struct Judged {
    /// Hash, rights, number of leases: of those that allow something.
    allowing: Vec<(String, Rights, i64)>,
    unknown: Option<UnknownPolicies>,
}

impl Judged {
    fn judge(&mut self, policy: LivePolicy, bucket: &str, object: &str) {
        let LivePolicy { sha256, text, leases } = policy;
        // The text beside the log is not sealed, its hash in the event is.
        let genuine = text.filter(|text| sha256.as_deref() == Some(Digest::of(text.as_bytes()).to_string().as_str()));
        let document = genuine.and_then(|text| Document::parse(text.as_bytes()).ok());
        match (document, sha256) {
            (Some(document), Some(sha256)) => {
                let rights = rights(&document, bucket, object);
                if rights.any() {
                    self.allowing.push((sha256, rights, leases));
                }
            }
            (_, sha256) => {
                let unknown = self.unknown.get_or_insert(UnknownPolicies { leases: 0, session_policies: Vec::new() });
                unknown.leases += leases;
                if unknown.session_policies.len() < MOST_UNKNOWN {
                    unknown.session_policies.extend(sha256);
                }
            }
        }
    }
}

fn entitled(in_force: Option<PolicyInForce>, bucket: &str, object: &str) -> Entitled {
    let unknown =
        |policy_hash, loaded_at, why| Entitled { policy_hash, loaded_at, unknown: Some(why), roles: Vec::new() };
    let Some(PolicyInForce { hash, loaded_at, files }) = in_force else {
        return unknown(None, None, "no policy set is on record as loaded before that time");
    };
    let loaded_at = Some(loaded_at);
    let Some(files) = files else {
        return unknown(hash, loaded_at, "the text of the policy set is not kept");
    };
    let compiled = PolicyFiles::from_json(&files).and_then(|files| PolicySet::compile_again(&files).ok());
    let Some(policies) = compiled else {
        return unknown(hash, loaded_at, "the text of the policy set cannot be compiled by this version");
    };
    if hash.as_deref() != Some(policies.hash().to_hex().as_str()) {
        return unknown(hash, loaded_at, "the text kept under this hash is not the text that was loaded");
    }
    let roles = policies.roles().filter_map(|(role, document, _)| {
        let rights = rights(document, bucket, object);
        let given_to = || policies.rules(role).into_iter().map(Into::into).collect();
        rights.any().then(|| EntitledRole { role: role.as_str().to_owned(), rights, given_to: given_to() })
    });
    let emergencies = policies.break_glass().into_iter().flat_map(BreakGlass::roles).filter_map(|role| {
        let rights = rights(role.document(), bucket, object);
        let quorum = || Asked::by_quorum().into();
        let role = role.name().as_str().to_owned();
        rights.any().then(|| EntitledRole { role, rights, given_to: vec![quorum()] })
    });
    Entitled { policy_hash: hash, loaded_at, unknown: None, roles: roles.chain(emergencies).collect() }
}

fn rights(document: &Document, bucket: &str, object: &str) -> Rights {
    let of_bucket = format!("arn:aws:s3:::{bucket}");
    let of_object = format!("{of_bucket}/{object}");
    let right = |action, resource: &str| hindsight(document, action, resource).into();
    Rights {
        read: right("s3:GetObject", &of_object),
        write: right("s3:PutObject", &of_object),
        delete: right("s3:DeleteObject", &of_object),
        list: right("s3:ListBucket", &of_bucket),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::inquiry::Right;

    const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/${jwt:sub}/*"]}]}"#;

    fn sent(text: &str) -> LivePolicy {
        LivePolicy { sha256: Some(Digest::of(text.as_bytes()).to_string()), text: Some(text.to_owned()), leases: 2 }
    }

    fn judged(policy: LivePolicy) -> (usize, Option<i64>) {
        let mut judged = Judged::default();
        judged.judge(policy, "b", "ada/x");
        (judged.allowing.len(), judged.unknown.map(|unknown| unknown.leases))
    }

    #[test]
    fn a_text_that_is_missing_changed_or_no_policy_is_unknown_and_never_a_no() {
        let filled = DOCUMENT.replace("${jwt:sub}", "ada");
        assert_eq!(judged(sent(&filled)), (1, None));
        assert_eq!(judged(sent(&filled.replace("ada", "eve"))), (0, None));
        assert_eq!(judged(LivePolicy { text: None, ..sent(&filled) }), (0, Some(2)));
        let changed = LivePolicy { text: Some(filled.replace("ada", "eve")), ..sent(&filled) };
        assert_eq!(judged(changed), (0, Some(2)));
        assert_eq!(judged(sent("{}")), (0, Some(2)));
        assert_eq!(judged(LivePolicy { sha256: None, text: None, leases: 1 }), (0, Some(1)));
    }

    #[test]
    fn what_the_policies_gave_is_told_with_its_rules_and_what_is_unknown_is_said() {
        let files = PolicyFiles([("documents/studio.json".to_owned(), DOCUMENT.as_bytes().to_vec())].into());
        let hash = PolicySet::compile_again(&files).unwrap().hash().to_hex();
        let loaded_at = datetime!(2026-11-22 03:00 UTC);
        let in_force = || PolicyInForce { hash: Some(hash.clone()), loaded_at, files: files.to_json() };
        let told = entitled(Some(in_force()), "b", "ada/x");
        assert_eq!((told.unknown, told.roles.len()), (None, 1));
        let role = &told.roles[0];
        assert_eq!((role.rights.read, role.rights.write), (Right::DependsOnClaims, Right::NotAllowed));
        assert_eq!(role.given_to[0].groups, ["studio"]);
        assert!(entitled(Some(in_force()), "c", "ada/x").roles.is_empty());

        let tampered = files.to_json().map(|files| files.replace("s3:GetObject", "s3:PutObject"));
        for in_force in [
            None,
            Some(PolicyInForce { files: None, ..in_force() }),
            Some(PolicyInForce { files: Some("{}".to_owned()), ..in_force() }),
            Some(PolicyInForce { files: tampered, ..in_force() }),
        ] {
            let told = entitled(in_force, "b", "ada/x");
            assert!(told.unknown.is_some() && told.roles.is_empty(), "{told:?}");
        }
    }
}
