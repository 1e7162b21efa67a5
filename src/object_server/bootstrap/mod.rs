//! Buckets as `buckets.toml` says, and the parent user where the server has an API for it: planned from what is there,
//! applied, read back and compared. It believes no answer: what it wrote it reads again, and that a bucket is private it
//! proves by asking without a signature. What was not in the plan is not changed.

mod access;
mod apply;
mod change;
mod lifecycle;
mod parent;
mod plan;
mod proof;
mod scratch;
mod state;

pub use change::Change;
pub use parent::{ParentUser, PolicyFault};
pub use plan::{BucketPlan, Plan};
pub use proof::Proof;

pub use apply::{Report, Step};
pub(super) use scratch::Scratch;

use uuid::Uuid;

use super::s3::{S3Client, S3Key};
use crate::policy::Bucket;

/// How many buckets are worked on at once.
const AT_ONCE: usize = 4;

/// What differs between servers, here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// Whether a lifecycle rule can remove unfinished uploads. MinIO takes none and removes them itself, after a day
    /// (`internal/bucket/lifecycle/rule.go`; `api stale_uploads_expiry`).
    pub removes_uploads_by_rule: bool,
}

/// Everything one run needs.
#[derive(Debug)]
pub struct Bootstrap {
    /// Who is asked.
    pub client: S3Client,
    /// An administrator's key.
    pub key: S3Key,
    /// The buckets wanted.
    pub buckets: Vec<Bucket>,
    /// The parent users wanted, where the server has an API for users and a policy was given.
    pub parents: Vec<ParentUser>,
    /// What the server is known to do.
    pub traits: Traits,
    /// The id of this run: what it writes to try a bucket is named by it.
    pub run: Uuid,
}
