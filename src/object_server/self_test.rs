//! The self-test of a credential that was just minted and that nobody has yet: it must work where its policy allows, be
//! refused where it does not, and open no way out of itself. Nothing is written, and a server that does not say proves
//! nothing: that is neither a pass nor a failure.

use std::time::Duration;

use tokio::time::sleep;

use super::TemporaryCredentials;
use super::escape::{KeyAttempt, SessionAttempt, try_new_session, try_permanent_key};
use super::probe::{Probe, ProbeAnswer, Prober};
use super::s3::{S3Client, S3Key};
use crate::lease::AssumeRole;

/// Between attempts at a session that the server says it does not know: another node of a cluster may not have heard of it.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// What a credential is tried for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfTestCheck {
    /// It does what its policy allows.
    Inside,
    /// It does not do what its policy does not allow.
    Outside,
    /// It makes neither a permanent key nor another session.
    Escape,
}

impl SelfTestCheck {
    /// The stable reason code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Inside => "self_test_inside",
            Self::Outside => "self_test_outside",
            Self::Escape => "self_test_escape",
        }
    }
}

/// What a self-test found. The texts are for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Every check that can be made here was passed.
    Passed,
    /// The credential must not leave.
    Failed {
        /// At which check.
        check: SelfTestCheck,
        /// What was seen.
        seen: String,
    },
    /// The server did not say.
    Unclear {
        /// What it did instead.
        seen: String,
    },
}

/// What differs between servers, here.
#[derive(Debug, Clone)]
pub struct SelfTestTraits {
    /// Whether it answers MinIO's admin API.
    pub has_minio_admin: bool,
    /// How a session would ask for another: the role to assume, on servers that have roles; none where its STS is elsewhere.
    pub new_session: NewSession,
    /// Whether a bucket that is not there is refused to whoever may not ask for it: then "not there" is a yes.
    pub asks_rights_first: bool,
}

/// How a session would ask for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewSession {
    /// As itself, at the S3 endpoint.
    OfItself,
    /// By assuming this role, at the S3 endpoint.
    OfRole(String),
    /// Not at the S3 endpoint: it is not tried.
    Elsewhere,
}

/// Tries credentials.
#[derive(Debug)]
pub struct SelfTest {
    client: S3Client,
    prober: Prober,
    /// Whoever may delete a key that should not have come to be.
    parents: Vec<S3Key>,
    traits: SelfTestTraits,
}

impl SelfTest {
    /// Asks by `client`, whose time limit is that of each call.
    #[must_use]
    pub fn new(client: S3Client, parents: Vec<S3Key>, traits: SelfTestTraits) -> Self {
        Self { prober: Prober::new(client.clone()), client, parents, traits }
    }

    /// Tries one credential; `buckets` are known to be there. All checks are made at once.
    pub async fn run(&self, request: &AssumeRole, credentials: &TemporaryCredentials, buckets: &[&str]) -> Finding {
        let policy = request.session_policy().as_str();
        let (inside, outside) = (Probe::inside(policy, buckets), Probe::outside(policy, buckets));
        let key = S3Key::leased(credentials);
        let lease = request.lease_id().to_string();
        let findings: [Finding; 4] = tokio::join!(
            self.makes_no_key(&key),
            self.makes_no_session(&key, &lease),
            self.is_refused_outside(credentials, outside.as_ref()),
            self.works_inside(credentials, inside.as_ref()),
        )
        .into();
        worst(findings)
    }

    async fn works_inside(&self, credentials: &TemporaryCredentials, probe: Option<&Probe>) -> Finding {
        let Some(probe) = probe else { return Finding::Passed };
        match self.ask(credentials, probe).await {
            // Not there: the session is known, which is all that can be tried on a bucket that is still to be made.
            Ok(ProbeAnswer::Allowed | ProbeAnswer::NotThere) => Finding::Passed,
            Ok(ProbeAnswer::Denied { code }) => failed(SelfTestCheck::Inside, format!("{probe} is refused: {code}")),
            Ok(ProbeAnswer::SessionRefused { code }) => failed(SelfTestCheck::Inside, dead(&code)),
            Ok(ProbeAnswer::Unclear { told }) => unclear(format!("{probe}: {told}")),
            Err(error) => unclear(format!("{probe}: {error}")),
        }
    }

    async fn is_refused_outside(&self, credentials: &TemporaryCredentials, probe: Option<&Probe>) -> Finding {
        let Some(probe) = probe else { return Finding::Passed };
        let allowed =
            || failed(SelfTestCheck::Outside, format!("{probe} is allowed, and its policy does not allow it"));
        match self.ask(credentials, probe).await {
            Ok(ProbeAnswer::Allowed) => allowed(),
            Ok(ProbeAnswer::NotThere) if self.traits.asks_rights_first => allowed(),
            Ok(ProbeAnswer::Denied { .. } | ProbeAnswer::NotThere) => Finding::Passed,
            Ok(ProbeAnswer::SessionRefused { code }) => failed(SelfTestCheck::Inside, dead(&code)),
            Ok(ProbeAnswer::Unclear { told }) => unclear(format!("{probe}: {told}")),
            Err(error) => unclear(format!("{probe}: {error}")),
        }
    }

    async fn makes_no_key(&self, key: &S3Key) -> Finding {
        if !self.traits.has_minio_admin {
            return Finding::Passed;
        }
        let parents: Vec<&S3Key> = self.parents.iter().collect();
        match try_permanent_key(&self.client, key, &parents).await {
            // What does not take the request for one makes no key.
            KeyAttempt::Refused(_) | KeyAttempt::Imagined(_) | KeyAttempt::Neither { status: 400..500, .. } => {
                Finding::Passed
            }
            KeyAttempt::Made(removed) => {
                failed(SelfTestCheck::Escape, format!("it made a permanent key of its parent; {removed}"))
            }
            KeyAttempt::Neither { told, .. } | KeyAttempt::Unknown(told) => {
                unclear(format!("making a permanent key: {told}"))
            }
        }
    }

    async fn makes_no_session(&self, key: &S3Key, lease: &str) -> Finding {
        let marker = match &self.traits.new_session {
            NewSession::OfItself => ("TokenRevokeType", lease),
            NewSession::OfRole(arn) => ("RoleArn", arn.as_str()),
            NewSession::Elsewhere => return Finding::Passed,
        };
        match try_new_session(&self.client, key, marker).await {
            Ok(SessionAttempt::Refused(_)) => Finding::Passed,
            Ok(SessionAttempt::Minted) => {
                failed(SelfTestCheck::Escape, "it began another session, which need not have its policy".to_owned())
            }
            Ok(SessionAttempt::Neither(told)) => unclear(format!("beginning another session: {told}")),
            Err(error) => unclear(format!("beginning another session: {error}")),
        }
    }

    async fn ask(&self, credentials: &TemporaryCredentials, probe: &Probe) -> Result<ProbeAnswer, super::s3::S3Error> {
        for pause in PAUSES {
            let answer = self.prober.ask(credentials, probe).await?;
            if !matches!(answer, ProbeAnswer::SessionRefused { .. }) {
                return Ok(answer);
            }
            sleep(pause).await;
        }
        self.prober.ask(credentials, probe).await
    }
}

fn failed(check: SelfTestCheck, seen: String) -> Finding {
    Finding::Failed { check, seen }
}

fn unclear(seen: String) -> Finding {
    Finding::Unclear { seen }
}

fn dead(code: &str) -> String {
    format!("the server does not know the session that it minted: {code}")
}

/// A failure outweighs what is not known, and that a pass; of several failures the first.
fn worst(findings: [Finding; 4]) -> Finding {
    let rank = |finding: &Finding| match finding {
        Finding::Failed { .. } => 0,
        Finding::Unclear { .. } => 1,
        Finding::Passed => 2,
    };
    findings.into_iter().min_by_key(rank).unwrap_or(Finding::Passed)
}
