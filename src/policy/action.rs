//! Actions: the closed list of S3 actions this service knows, and the words it refuses because a server reads them as
//! more than their author did.

use super::glob::{Case, matches};
use super::problem::quoted;
use super::statement::Effect;

/// Actions on a bucket or on the account. At `MinIO` a bucket is matched as `bucket/`, so `bucket/*`
/// covers it (minio/pkg `policy/statement.go`, minio#20449).
const BUCKET_ACTIONS: &[&str] = &[
    "CreateBucket",
    "DeleteBucket",
    "DeleteBucketCors",
    "DeleteBucketPolicy",
    "DeleteBucketWebsite",
    "ForceDeleteBucket",
    "GetAccelerateConfiguration",
    "GetBucketAcl",
    "GetBucketCORS",
    "GetBucketCors",
    "GetBucketLocation",
    "GetBucketLogging",
    "GetBucketNotification",
    "GetBucketObjectLockConfiguration",
    "GetBucketOwnershipControls",
    "GetBucketPolicy",
    "GetBucketPolicyStatus",
    "GetBucketPublicAccessBlock",
    "GetBucketQOS",
    "GetBucketRequestPayment",
    "GetBucketTagging",
    "GetBucketVersioning",
    "GetBucketWebsite",
    "GetEncryptionConfiguration",
    "GetInventoryConfiguration",
    "GetLifecycleConfiguration",
    "GetReplicationConfiguration",
    "HeadBucket",
    "ListAllMyBuckets",
    "ListBucket",
    "ListBucketMultipartUploads",
    "ListBucketVersions",
    "ListenBucketNotification",
    "ListenNotification",
    "PutAccelerateConfiguration",
    "PutBucketAcl",
    "PutBucketCORS",
    "PutBucketCors",
    "PutBucketLogging",
    "PutBucketNotification",
    "PutBucketObjectLockConfiguration",
    "PutBucketOwnershipControls",
    "PutBucketPolicy",
    "PutBucketPublicAccessBlock",
    "PutBucketQOS",
    "PutBucketRequestPayment",
    "PutBucketTagging",
    "PutBucketVersioning",
    "PutBucketWebsite",
    "PutEncryptionConfiguration",
    "PutInventoryConfiguration",
    "PutLifecycleConfiguration",
    "PutReplicationConfiguration",
    "ResetBucketReplicationState",
];

/// Actions on an object.
const OBJECT_ACTIONS: &[&str] = &[
    "AbortMultipartUpload",
    "BypassGovernanceRetention",
    "DeleteObject",
    "DeleteObjectTagging",
    "DeleteObjectVersion",
    "DeleteObjectVersionTagging",
    "GetObject",
    "GetObjectAcl",
    "GetObjectAttributes",
    "GetObjectLegalHold",
    "GetObjectRetention",
    "GetObjectTagging",
    "GetObjectTorrent",
    "GetObjectVersion",
    "GetObjectVersionAcl",
    "GetObjectVersionAttributes",
    "GetObjectVersionForReplication",
    "GetObjectVersionTagging",
    "HeadObject",
    "ListMultipartUploadParts",
    "PutObject",
    "PutObjectAcl",
    "PutObjectFanOut",
    "PutObjectLegalHold",
    "PutObjectRetention",
    "PutObjectTagging",
    "PutObjectVersionAcl",
    "PutObjectVersionTagging",
    "ReplicateDelete",
    "ReplicateObject",
    "ReplicateTags",
    "RestoreObject",
];

/// Which part of a server an action speaks to. One statement speaks to one (minio/pkg refuses a mixture).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    S3,
    Admin,
}

/// The service of an action that passed [`read`].
pub(super) fn service(action: &str) -> Service {
    match action.get(..6) {
        Some(prefix) if prefix.eq_ignore_ascii_case("admin:") => Service::Admin,
        _ => Service::S3,
    }
}

/// Checks one action and answers it in the servers' own spelling (`MinIO` compares letter case).
pub(super) fn read(action: &str) -> Result<String, String> {
    let shown = quoted(action);
    let Some((service, name)) = action.split_once(':') else {
        return Err(match action {
            "*" => "\"Action\":\"*\" is refused: MinIO counts it as an STS action and ignores the Resource; list the \
                    actions, or write \"s3:*\" on \"arn:aws:s3:::*\""
                .to_owned(),
            _ => format!("{shown} is not an action: write \"s3:GetObject\" or \"admin:ServerInfo\""),
        });
    };
    if !(1..=128).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"*?".contains(&b)) {
        return Err(format!("{shown} is not an action: letters, `*` and `?` after \"{}:\"", service.escape_debug()));
    }
    match service.to_ascii_lowercase().as_str() {
        "s3" => s3(name),
        "admin" => Ok(format!("admin:{name}")),
        "sts" => Err(format!("{shown}: sts actions are refused: a lease never makes another lease")),
        _ => Err(format!("{shown}: only s3: and admin: actions can be leased; remove it")),
    }
}

fn s3(name: &str) -> Result<String, String> {
    let known = || BUCKET_ACTIONS.iter().chain(OBJECT_ACTIONS);
    if !name.contains(['*', '?']) {
        let spelled =
            known().find(|action| *action == &name).or_else(|| known().find(|a| a.eq_ignore_ascii_case(name)));
        return match spelled {
            Some(action) => Ok(format!("s3:{action}")),
            None => Err(format!("{} is no S3 action known here: a misspelt Deny would protect nothing", quoted(name))),
        };
    }
    let as_written = known().filter(|action| matches(name, action, Case::Exact)).count();
    match known().filter(|action| matches(name, action, Case::Ignored)).count() {
        0 => Err(format!("{} matches no S3 action known here", quoted(name))),
        any_case if any_case == as_written => Ok(format!("s3:{name}")),
        _ => Err(format!("{}: MinIO compares letter case in actions; write it as in \"s3:Get*\"", quoted(name))),
    }
}

/// Whether an action as a document names it, perhaps a pattern, stands for this one: letter case counts, as at `MinIO`.
#[must_use]
pub fn stands_for(named: &str, action: &str) -> bool {
    matches(named, action, Case::Exact)
}

/// Why an Allow of these actions on these resources is refused, if it is: a wildcard action on objects that takes in
/// bucket actions too.
pub(super) fn widened_by_bucket_match(effect: Effect, actions: &[String], resources: &[String]) -> Option<String> {
    let objects = resources.iter().find(|resource| resource.contains('/'))?;
    let wide = actions.iter().find(|action| reaches_bucket_actions(action))?;
    (effect == Effect::Allow).then(|| {
        format!(
            "{} on {} also grants bucket actions such as PutBucketPolicy at MinIO, which matches a bucket as \
             \"bucket/\": list the object actions (s3:GetObject, s3:PutObject, …)",
            quoted(wide),
            quoted(objects)
        )
    })
}

/// A wildcard that stands for bucket actions. Bucket actions written out are their author's choice.
fn reaches_bucket_actions(action: &str) -> bool {
    action.contains(['*', '?'])
        && action.strip_prefix("s3:").is_some_and(|name| BUCKET_ACTIONS.iter().any(|a| matches(name, a, Case::Ignored)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_star_is_refused_with_its_cure() {
        assert!(read("*").unwrap_err().contains("s3:*"));
        assert_eq!(read("s3:*").as_deref(), Ok("s3:*"));
    }

    #[test]
    fn sts_actions_and_other_services_are_refused() {
        for action in ["sts:*", "STS:AssumeRole", "iam:*", "kms:*", "s*:GetObject", "GetObject", "s3:", "s3:Get Object"]
        {
            assert!(read(action).is_err(), "{action}");
        }
        assert_eq!(read("admin:ServerInfo").as_deref(), Ok("admin:ServerInfo"));
    }

    #[test]
    fn a_misspelt_action_is_refused_and_letter_case_is_mended() {
        assert!(read("s3:DeleteObjct").is_err());
        assert_eq!(read("S3:deleteobject").as_deref(), Ok("s3:DeleteObject"));
        assert_eq!(read("s3:PutBucketCORS").as_deref(), Ok("s3:PutBucketCORS"));
    }

    #[test]
    fn a_wildcard_in_another_letter_case_is_refused() {
        assert!(read("s3:get*").is_err());
        assert_eq!(read("s3:Get*").as_deref(), Ok("s3:Get*"));
    }

    #[test]
    fn a_wildcard_on_objects_that_reaches_buckets_is_refused() {
        let objects = ["arn:aws:s3:::b/*".to_owned()];
        for action in ["s3:*", "s3:Put*", "s3:Get*", "s3:List*", "s3:?etBucketPolicy"] {
            let actions = [action.to_owned()];
            assert!(widened_by_bucket_match(Effect::Allow, &actions, &objects).is_some(), "{action}");
            assert!(widened_by_bucket_match(Effect::Deny, &actions, &objects).is_none(), "{action}");
        }
        for action in ["s3:GetObject*", "s3:PutObject", "s3:ListBucket"] {
            assert!(widened_by_bucket_match(Effect::Allow, &[action.to_owned()], &objects).is_none(), "{action}");
        }
        let everything = ["arn:aws:s3:::*".to_owned()];
        assert!(widened_by_bucket_match(Effect::Allow, &["s3:*".to_owned()], &everything).is_none());
    }
}
