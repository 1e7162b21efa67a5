//! A period: from an instant that is part of it to one that is not.

use serde::Serialize;
use time::OffsetDateTime;

use super::{BadQuestion, Given};
use crate::audit::instant;

/// A period with both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Period {
    /// The first instant of it.
    #[serde(with = "instant")]
    pub from: OffsetDateTime,
    /// The first instant after it.
    #[serde(with = "instant")]
    pub to: OffsetDateTime,
}

impl Period {
    /// Reads `from`, which must be there, and `to`; missing, it is `now`.
    pub fn read(given: &mut Given, now: OffsetDateTime) -> Result<Self, BadQuestion> {
        let from = given.instant("from")?.ok_or(BadQuestion::Missing { wanted: "from" })?;
        let to = given.instant("to")?.unwrap_or(now);
        forward(Some(from), Some(to))?;
        Ok(Self { from, to })
    }
}

/// A period that ends before it begins would be answered with nothing, as if nothing had happened.
pub(super) fn forward(from: Option<OffsetDateTime>, to: Option<OffsetDateTime>) -> Result<(), BadQuestion> {
    match (from, to) {
        (Some(from), Some(to)) if from >= to => Err(BadQuestion::Together { wanted: "from must be before to" }),
        (_, _) => Ok(()),
    }
}
