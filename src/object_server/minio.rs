//! MinIO (RELEASE.2025-04-22 to 2025-10-15, Silo): AssumeRole as a built-in user.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use super::{ObjectServer, ObjectServerError, TemporaryCredentials};
use crate::audit::AuditReceipt;
use crate::lease::{AssumeRole, LeaseId, ServerLimits};

/// How to reach a MinIO server.
#[derive(Debug)]
pub struct MinioSettings {
    /// `http://host:port` of the S3 endpoint, no path.
    pub endpoint: String,
    /// The server's region.
    pub region: String,
    /// The parent user: built-in, not root, not a service account.
    pub access_key: String,
    /// Its secret.
    pub secret_key: SecretString,
    /// Bound on one call, connection included.
    pub timeout: Duration,
}

/// A MinIO server.
#[derive(Debug)]
pub struct MinioServer {}

impl MinioServer {
    /// Prepares the client; connects to nothing.
    pub fn new(
        _settings: MinioSettings,
        _clock: std::sync::Arc<dyn crate::clock::Clock>,
    ) -> Result<Self, ObjectServerError> {
        todo!()
    }
}

#[async_trait]
impl ObjectServer for MinioServer {
    async fn assume_role(
        &self,
        _receipt: &AuditReceipt,
        _request: &AssumeRole,
    ) -> Result<TemporaryCredentials, ObjectServerError> {
        todo!()
    }

    async fn revoke(&self, _lease: LeaseId) -> Result<(), ObjectServerError> {
        todo!()
    }

    async fn ready(&self) -> Result<(), ObjectServerError> {
        todo!()
    }

    fn limits(&self) -> &ServerLimits {
        todo!()
    }
}
