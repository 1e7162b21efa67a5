//! Which dialect an object server speaks. A name that is planned but not built is told apart from a typing error, so
//! that nobody hunts for a spelling mistake.

use std::fmt;

use super::ConfigError;

/// The dialects of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// MinIO and its continuations.
    Minio,
}

/// Dialects that have a name already.
const PLANNED: [&str; 5] = ["rustfs", "seaweedfs", "ceph", "aws", "garage"];

impl Kind {
    /// Reads `[object_server] kind`; exact, lower case.
    pub fn parse(name: &str) -> Result<Self, ConfigError> {
        match name {
            "minio" => Ok(Self::Minio),
            planned if PLANNED.contains(&planned) => Err(ConfigError::KindNotSupported { name: planned.to_owned() }),
            unknown => Err(ConfigError::KindUnknown { name: unknown.chars().take(64).collect() }),
        }
    }

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minio => "minio",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_dialect_is_not_mistaken_for_a_typing_error() {
        assert_eq!(Kind::parse("minio"), Ok(Kind::Minio));
        for planned in PLANNED {
            let refusal = Kind::parse(planned).unwrap_err().to_string();
            assert!(refusal.contains("not supported by this version yet"), "{refusal}");
        }
        assert_eq!(Kind::parse("Minio"), Err(ConfigError::KindUnknown { name: "Minio".to_owned() }));
        assert_eq!(Kind::parse(""), Err(ConfigError::KindUnknown { name: String::new() }));
    }
}
