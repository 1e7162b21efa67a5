//! IAM policy documents: parsed once into a form in which every value is an array and nothing unknown is left.

use serde_json::Value;

/// What a statement does when it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Grants.
    Allow,
    /// Refuses, whatever else grants.
    Deny,
}

/// A parsed policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {}

impl Document {
    /// Parses a plain IAM policy document, refusing everything that is not understood: one message per fault.
    pub fn parse(_json: &[u8]) -> Result<Self, Vec<String>> {
        todo!()
    }

    /// The document as JSON in the one form all servers read alike: `Version`, then statements whose `Action`,
    /// `Resource` and condition values are arrays.
    #[must_use]
    pub fn to_json(&self) -> Value {
        todo!()
    }
}
