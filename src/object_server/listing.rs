//! What a server's list of temporary credentials says. Access key ids are in it, so it stays in memory, for as long as it
//! takes to make fingerprints of them.

use time::OffsetDateTime;

use super::AccessKeyId;
use crate::lease::LeaseId;

/// What a list says of a credential that is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// It is not there: the list is of all that the server keeps.
    Gone,
    /// It is gone only if the list had it before: the server lists what it has in memory, and keeps more on its disk. A
    /// credential that nobody has used since the server started is not listed, not found by a revocation, and good.
    GoneIfListedBefore,
}

/// The temporary credentials of one parent, as the server lists them.
#[derive(Debug)]
pub struct ParentListing {
    /// The parent's access key id.
    pub parent: AccessKeyId,
    /// What it says of those that are not in it.
    pub absence: Absence,
    /// Its temporary credentials.
    pub credentials: Vec<ListedCredential>,
}

/// One temporary credential at the server.
#[derive(Debug)]
pub struct ListedCredential {
    /// Its access key id.
    pub access_key_id: AccessKeyId,
    /// When it ends, if the server tells.
    pub ends_at: Option<OffsetDateTime>,
    /// The lease it was minted for, if the server tells: MinIO keeps it inside the token and does not.
    pub lease: Option<LeaseId>,
}
