//! Asking, and reading the answer. Servers agree on little but the difference between yes and no: a session that is over
//! has a code of its own at most, and at Ceph none.

use crate::object_server::TemporaryCredentials;
use crate::object_server::s3::{S3Answer, S3Client, S3Error, S3Key};

use super::Probe;

/// Codes for a session that the server does not know, or no longer. Ceph says `AccessDenied` for that too: there only a
/// probe that is allowed tells a session that is over.
const SESSION_REFUSED: [&str; 8] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "InvalidTokenId",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
];
/// Refused for a reason that says nothing about rights: the clocks.
const SKEWED: &str = "RequestTimeTooSkewed";

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// It did as asked.
    Allowed,
    /// It refused: 401 or 403.
    Denied {
        /// The server's code.
        code: String,
    },
    /// It does not know the session, or no longer.
    SessionRefused {
        /// The server's code.
        code: String,
    },
    /// The bucket, or the object, is not there. MinIO and SeaweedFS ask for rights first, Ceph and AWS do not: there it says nothing about
    /// rights.
    NotThere,
    /// Anything else: it proves nothing.
    Unclear {
        /// Status and code, for people.
        told: String,
    },
}

/// Sends probes, each once and within the client's bounds.
#[derive(Debug, Clone)]
pub struct Prober {
    client: S3Client,
}

impl Prober {
    /// Asks by `client`, whose time limit is that of each probe.
    #[must_use]
    pub fn new(client: S3Client) -> Self {
        Self { client }
    }

    /// Asks once, as the holder of `credentials`.
    pub async fn ask(&self, credentials: &TemporaryCredentials, probe: &Probe) -> Result<ProbeAnswer, S3Error> {
        let answer = self.client.send(&S3Key::leased(credentials), &probe.request).await?;
        Ok(read(probe, &answer))
    }
}

fn read(probe: &Probe, answer: &S3Answer) -> ProbeAnswer {
    // A success of something that is no S3 server, or of a proxy's page, is none.
    if answer.is_success() && probe.documents.iter().any(|root| answer.xml(root).is_ok()) {
        return ProbeAnswer::Allowed;
    }
    let unclear = || ProbeAnswer::Unclear { told: answer.told() };
    let Some(code) = answer.code() else { return unclear() };
    match answer.status() {
        404 if probe.absent == Some(code.as_str()) => ProbeAnswer::Allowed,
        404 if matches!(code.as_str(), "NoSuchBucket" | "NoSuchKey") => ProbeAnswer::NotThere,
        400 | 401 | 403 if SESSION_REFUSED.contains(&code.as_str()) => ProbeAnswer::SessionRefused { code },
        401 | 403 if code != SKEWED => ProbeAnswer::Denied { code },
        _ => unclear(),
    }
}
