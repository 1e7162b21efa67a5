//! Which condition keys MinIO takes with which actions (minio/pkg `policy/action.go`, `createActionConditionKeyMap`, the same
//! in 3.1.0 and 3.1.3). It refuses the whole policy when a statement puts a key beside any other action, at the mint: a role
//! that did so would load and then never work. `tests/live/minio.rs` asks the server for every pair.

/// Keys and the actions that know them; a key that is not here goes with every action. One that ends in `/` stands for every
/// key that it begins.
pub(super) const BOUND_KEYS: &[(&str, &[&str])] = &[
    ("s3:ExistingObjectTag/", TAGGED),
    (
        "s3:RequestObjectTag/",
        &[
            "s3:BypassGovernanceRetention",
            "s3:PutBucketTagging",
            "s3:PutObject",
            "s3:PutObjectTagging",
            "s3:PutObjectVersionTagging",
        ],
    ),
    ("s3:delimiter", LISTING),
    ("s3:max-keys", LISTING),
    ("s3:object-lock-legal-hold", &["s3:BypassGovernanceRetention", "s3:PutObject", "s3:PutObjectLegalHold"]),
    ("s3:object-lock-mode", RETAINING),
    ("s3:object-lock-remaining-retention-days", &["s3:BypassGovernanceRetention", "s3:PutObjectRetention"]),
    ("s3:object-lock-retain-until-date", RETAINING),
    ("s3:prefix", LISTING),
    ("s3:versionid", VERSIONED),
    ("s3:x-amz-copy-source", &["s3:PutObject"]),
    ("s3:x-amz-metadata-directive", &["s3:PutObject"]),
    ("s3:x-amz-server-side-encryption", ENCRYPTED),
    ("s3:x-amz-server-side-encryption-customer-algorithm", ENCRYPTED),
    ("s3:x-amz-storage-class", &["s3:PutObject"]),
];

const LISTING: &[&str] = &["s3:ListBucket", "s3:ListBucketVersions"];
const RETAINING: &[&str] = &["s3:BypassGovernanceRetention", "s3:PutObject", "s3:PutObjectRetention"];
const ENCRYPTED: &[&str] =
    &["s3:GetObject", "s3:GetObjectRetention", "s3:PutObject", "s3:PutObjectLegalHold", "s3:PutObjectRetention"];
const TAGGED: &[&str] = &[
    "s3:DeleteObjectTagging",
    "s3:DeleteObjectVersionTagging",
    "s3:GetObject",
    "s3:GetObjectAttributes",
    "s3:GetObjectTagging",
    "s3:GetObjectVersion",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectVersionForReplication",
    "s3:GetObjectVersionTagging",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionTagging",
    "s3:ReplicateDelete",
    "s3:ReplicateObject",
    "s3:ReplicateTags",
];
const VERSIONED: &[&str] = &[
    "s3:BypassGovernanceRetention",
    "s3:DeleteObject",
    "s3:DeleteObjectTagging",
    "s3:DeleteObjectVersion",
    "s3:DeleteObjectVersionTagging",
    "s3:GetObject",
    "s3:GetObjectRetention",
    "s3:GetObjectTagging",
    "s3:GetObjectVersion",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectVersionForReplication",
    "s3:GetObjectVersionTagging",
    "s3:PutObject",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionTagging",
    "s3:ReplicateDelete",
    "s3:ReplicateObject",
    "s3:ReplicateTags",
];
