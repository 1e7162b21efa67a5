//! The instance that is spoken to: its address, and one call.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::client::{Address, EmergencyService, Transport};
use crate::command::{Failure, block_on};

/// Which instance.
#[derive(Debug, Args)]
pub struct InstanceOptions {
    /// The instance.
    #[arg(long, value_name = "URL", env = "STINT_URL")]
    url: String,
    /// Trust these roots (PEM) besides the system's.
    #[arg(long, value_name = "PEM", env = "STINT_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Take an http address of another machine.
    #[arg(long, env = "STINT_INSECURE_HTTP")]
    insecure_http: bool,
}

impl InstanceOptions {
    /// What the instance says of itself.
    pub(super) fn status(&self) -> Result<Value, Failure> {
        self.call(None)
    }

    /// Submits an envelope to `requests`, `reviews` or `cancellations`.
    pub(super) fn submit(&self, door: &str, envelope: &str) -> Result<Value, Failure> {
        self.call(Some((door, envelope)))
    }

    fn call(&self, submission: Option<(&str, &str)>) -> Result<Value, Failure> {
        let failure = |why: String| Failure(format!("{}: {why}", self.url));
        let address = Address::parse(&self.url, self.insecure_http).map_err(|fault| failure(fault.to_string()))?;
        let transport = Transport::new(self.ca_file.as_deref()).map_err(|fault| failure(fault.to_string()))?;
        let service = EmergencyService { address, transport };
        let mut told = Value::Null;
        block_on(async {
            let answered = match submission {
                Some((door, envelope)) => service.submit(door, envelope.to_owned()).await,
                None => service.status().await,
            };
            told = answered.map_err(|fault| failure(fault.to_string()))?;
            Ok(())
        })?;
        Ok(told)
    }
}

/// A member that is a text, as a terminal may show it: the instance may not be what it should be.
pub(super) fn text(told: &Value, member: &str) -> String {
    let text = told.get(member).and_then(Value::as_str).unwrap_or("-");
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
