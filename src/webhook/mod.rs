//! Adapter: alerts of emergencies to a webhook, signed as Standard Webhooks has it (standardwebhooks.com, version 1). It
//! makes one attempt at a time; what is tried again, and for how long, the break-glass room decides.

mod secret;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{StatusCode, Url, redirect};

pub use secret::{NotASecret, WebhookSecret};

use crate::break_glass::watch::{AlertMessage, AlertSink, Undelivered};
use crate::clock::Clock;

/// Where the policy in force wants alerts.
pub type Destination = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The webhook of the policy in force.
pub struct Webhook {
    http: reqwest::Client,
    destination: Destination,
    secret: Option<WebhookSecret>,
    clock: Arc<dyn Clock>,
}

/// No HTTP client can be built on this machine, for want of trusted certificates perhaps.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client for the alerts can be built on this machine")]
pub struct NoClient;

impl Webhook {
    /// Connects to nothing. Without a secret nothing is sent: a receiver could not tell an alert from a stranger's. An
    /// attempt is given up after `patience`: a receiver does its work after it answered.
    pub fn new(
        destination: Destination,
        secret: Option<WebhookSecret>,
        patience: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, NoClient> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("stint/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry an alert to somewhere the policy does not name.
            .redirect(redirect::Policy::none())
            .referer(false)
            // A proxy named in the environment is not named in the policy either.
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            // Only the queue decides what is sent twice.
            .retry(reqwest::retry::never())
            // Alerts are rare: a connection kept from the last one is dead more often than not.
            .pool_max_idle_per_host(0)
            .timeout(patience)
            .build()
            .map_err(|_quotes_paths| NoClient)?;
        Ok(Self { http, destination, secret, clock })
    }
}

#[async_trait]
impl AlertSink for Webhook {
    async fn deliver(&self, message: &AlertMessage) -> Result<(), Undelivered> {
        let (Some(destination), Some(secret)) = ((self.destination)(), self.secret.as_ref()) else {
            return Err(Undelivered::Nowhere);
        };
        // The policy's reader saw to it that it is one.
        let url = Url::parse(&destination).map_err(|_| Undelivered::Nowhere)?;
        // Of this attempt: a receiver refuses what is older than some minutes, against replays.
        let timestamp = self.clock.now().unix_timestamp().to_string();
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", message.id())
            .header("webhook-timestamp", &timestamp)
            .header("webhook-signature", secret.sign(message.id(), &timestamp, message.body()))
            .body(message.body().to_owned());
        match request.send().await {
            // The body of the answer is nobody's business, and is not read.
            Ok(response) => told(response.status()),
            // No word of the cause: it holds the address, and the path of many a webhook is its password.
            Err(_names_the_address) => Err(Undelivered::Unreachable),
        }
    }
}

fn told(status: StatusCode) -> Result<(), Undelivered> {
    match status.as_u16() {
        200..=299 => Ok(()),
        408 | 425 | 429 | 500..=599 => Err(Undelivered::Unreachable),
        other => Err(Undelivered::Refused(other)),
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_a_status_of_2xx_and_nothing_else() {
        for (status, expected) in [
            (200, Ok(())),
            (204, Ok(())),
            (301, Err(Undelivered::Refused(301))),
            (400, Err(Undelivered::Refused(400))),
            (404, Err(Undelivered::Refused(404))),
            (429, Err(Undelivered::Unreachable)),
            (500, Err(Undelivered::Unreachable)),
            (503, Err(Undelivered::Unreachable)),
        ] {
            assert_eq!(told(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }
}
