//! The service, over HTTP: a token in, a lease out.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue};
use serde::Serialize;
use zeroize::Zeroizing;

use super::address::Address;
use super::fault::Fault;
use super::lease::{Lease, Moment};
use super::renewer::Lessor;
use super::token_source::{TokenSource, WorkloadToken};
use super::transport::{Received, Transport, receive};
use crate::clock::Clock;

/// Whether a lease handed out before will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// The service may hand out the same holder's lease again.
    No,
    /// A new one, within the quota.
    Yes,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wish {
    /// A role's name, or `any`.
    pub role: String,
    /// The length wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u64>,
    /// Recorded with the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
}

#[derive(Serialize)]
struct Asked<'a> {
    #[serde(flatten)]
    wish: &'a Wish,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fresh: bool,
}

/// The service with everything that one exchange needs.
#[derive(Debug)]
pub struct Service {
    /// Its base address.
    pub address: Address,
    /// Where tokens come from.
    pub tokens: TokenSource,
    /// What is asked for.
    pub wish: Wish,
    /// For requests.
    pub transport: Transport,
    /// For the moment of the answer.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.wish.role, self.address)
    }
}

#[async_trait]
impl Lessor for Service {
    async fn lease(&self, fresh: Fresh) -> Result<Lease, Fault> {
        let token = self.tokens.token().await?;
        match self.exchange(&token, fresh).await {
            Err(refused @ Fault::TokenRefused(_)) => match self.tokens.instead_of(&token).await {
                Some(other) => self.exchange(&other, fresh).await,
                None => Err(refused),
            },
            answered => answered,
        }
    }
}

impl Service {
    async fn exchange(&self, token: &WorkloadToken, fresh: Fresh) -> Result<Lease, Fault> {
        let asked = Asked { wish: &self.wish, fresh: fresh == Fresh::Yes };
        let body = serde_json::to_vec(&asked).map_err(|_| Fault::Nonsense("the request is no JSON"))?;
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| Fault::Nonsense("the token is no header"))?;
        bearer.set_sensitive(true);
        let request = self
            .transport
            .post(self.address.below("/v1/leases"))
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(body);
        let before = Moment::local(&*self.clock);
        let answer = receive(request).await.map_err(Fault::Unreachable)?;
        read(&answer, before)
    }
}

fn read(answer: &Received, before: Moment) -> Result<Lease, Fault> {
    match answer.status.as_u16() {
        200 | 201 => {
            let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
            Lease::read(&answer.body, before.told(date))
        }
        401 => Err(Fault::TokenRefused(answer.refusal())),
        408 | 425 | 429 | 500..=599 => Err(Fault::Unavailable(answer.refusal())),
        _ => Err(Fault::Refused(answer.refusal())),
    }
}
