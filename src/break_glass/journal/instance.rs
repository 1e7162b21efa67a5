//! The instance id: names one journal, and so the one instance that may honour a request document. It is made with the
//! journal and goes with it: whoever moves a journal away takes from every document that names it the instance it needs.

use std::fmt;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A random UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(Uuid);

impl InstanceId {
    /// A new one.
    pub fn draw(rng: &mut dyn Rng) -> Self {
        Self(uuid::Builder::from_random_bytes(rng.random()).into_uuid())
    }

    /// One that somebody names.
    #[must_use]
    pub fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// As a UUID.
    #[must_use]
    pub fn as_uuid(self) -> Uuid {
        self.0
    }

    /// Reads the file's line in the one spelling it is written in.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let id = line.strip_suffix('\n')?.parse().map(Self).ok()?;
        (format!("{id}\n") == line).then_some(id)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_random_and_read_in_one_spelling() {
        let mut rng = rand::make_rng::<rand::rngs::StdRng>();
        let id = InstanceId::draw(&mut rng);
        assert_eq!(id.as_uuid().get_version_num(), 4);
        assert_ne!(id, InstanceId::draw(&mut rng));
        let line = format!("{id}\n");
        assert_eq!(InstanceId::parse(&line), Some(id));
        for wrong in [line.to_uppercase(), line.replace('-', ""), id.to_string(), String::new()] {
            assert_eq!(InstanceId::parse(&wrong), None, "{wrong}");
        }
    }
}
