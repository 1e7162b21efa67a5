//! What a server's list of temporary credentials says. Access key ids are in it, so it stays in memory, for as long as it
//! takes to make fingerprints of them.

use time::OffsetDateTime;

use super::AccessKeyId;
use crate::lease::LeaseId;

/// All temporary credentials that the server keeps for one parent.
#[derive(Debug)]
pub struct ParentListing {
    /// The parent's access key id.
    pub parent: AccessKeyId,
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
