//! The service's doors of break-glass, over HTTP: no token goes there, for the signatures are what is believed.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;

use super::address::Address;
use super::fault::Fault;
use super::transport::{Received, Transport, receive};

/// How long a submission may take: longer than the service gives it, or an answer that cannot be had twice would be missed.
const PATIENCE: Duration = Duration::from_mins(2);

/// One instance of the service.
#[derive(Debug)]
pub struct EmergencyService {
    /// Its base address.
    pub address: Address,
    /// For requests.
    pub transport: Transport,
}

impl EmergencyService {
    /// What the instance says of itself: `GET /v1/break-glass`.
    pub async fn status(&self) -> Result<Value, Fault> {
        let request = self.transport.get(self.address.below("/v1/break-glass"));
        read(&receive(request.header(ACCEPT, "application/json")).await.map_err(Fault::Unreachable)?)
    }

    /// Submits an envelope to `requests`, `reviews` or `cancellations`.
    pub async fn submit(&self, door: &str, envelope: String) -> Result<Value, Fault> {
        let request = self.transport.post(self.address.below(&format!("/v1/break-glass/{door}")));
        let request = request.header(ACCEPT, "application/json").header(CONTENT_TYPE, "application/json");
        let request = request.timeout(PATIENCE);
        read(&receive(request.body(envelope)).await.map_err(Fault::Unreachable)?)
    }
}

fn read(answer: &Received) -> Result<Value, Fault> {
    match answer.status.as_u16() {
        200..=299 => serde_json::from_slice(&answer.body).map_err(|_| Fault::Nonsense("the answer is no JSON")),
        408 | 425 | 429 | 500..=599 => Err(Fault::Unavailable(answer.refusal())),
        _ => Err(Fault::Refused(answer.refusal())),
    }
}
