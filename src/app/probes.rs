//! Whether the issuers and PostgreSQL answer, for the judgement of an emergency. It asks both directly: neither a cache nor
//! a pool may stand between a probe and what it is about.

use std::sync::Arc;

use async_trait::async_trait;

use crate::break_glass::watch::ServiceProbe;
use crate::issuer::IssuerKeys;
use crate::postgres::PostgresReach;

/// Both probes.
#[derive(Debug)]
pub(super) struct OutageProbes {
    pub(super) issuers: Arc<IssuerKeys>,
    pub(super) log: PostgresReach,
}

#[async_trait]
impl ServiceProbe for OutageProbes {
    async fn issuers_answer(&self) -> bool {
        self.issuers.any_answers().await
    }

    async fn log_answers(&self) -> bool {
        self.log.answers().await
    }
}
