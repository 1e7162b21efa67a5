//! Streams: one process start each, and one month at most. A stream's id is a version 7 UUID, so streams sort by the time
//! they were opened, and whole streams fall into one monthly partition.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

use super::merkle::Digest;

/// One stream. Sequence numbers are gapless within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(pub Uuid);

impl StreamId {
    /// Whether a new month has begun since the stream was opened, in UTC. A clock that steps back begins none.
    #[must_use]
    pub fn is_of_an_earlier_month(self, now: OffsetDateTime) -> bool {
        self.month().is_some_and(|opened| opened < month_of(now))
    }

    /// The year and month in which the stream was opened, in UTC; none where the id tells no time.
    #[must_use]
    pub fn month(self) -> Option<(i32, u8)> {
        let (seconds, _) = self.0.get_timestamp()?.to_unix();
        OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok().map(month_of)
    }
}

fn month_of(instant: OffsetDateTime) -> (i32, u8) {
    let instant = instant.to_offset(UtcOffset::UTC);
    (instant.year(), u8::from(instant.month()))
}

/// Where a stream stood: its last seal. Written `stream:number:last_seq:hash`, in `stream.opened` and in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamHead {
    /// The stream.
    pub stream: StreamId,
    /// The number of its last seal.
    pub number: u64,
    /// The last event under that seal.
    pub last_seq: u64,
    /// The hash of that seal.
    pub hash: Digest,
}

impl fmt::Display for StreamHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.stream.0, self.number, self.last_seq, self.hash)
    }
}

/// A text that is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a head is written stream:number:last_seq:hash")]
pub struct NotAHead;

impl FromStr for StreamHead {
    type Err = NotAHead;

    fn from_str(text: &str) -> Result<Self, NotAHead> {
        let parts: Vec<&str> = text.split(':').collect();
        let [stream, number, last_seq, hash] = parts.as_slice() else { return Err(NotAHead) };
        let head = Self {
            stream: StreamId(stream.parse().map_err(|_| NotAHead)?),
            number: number.parse().map_err(|_| NotAHead)?,
            last_seq: last_seq.parse().map_err(|_| NotAHead)?,
            hash: Digest::parse(hash).ok_or(NotAHead)?,
        };
        // One spelling: `+1` and upper-case ids parse, and must not.
        (head.to_string() == text).then_some(head).ok_or(NotAHead)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_stream_ends_with_its_month_and_never_for_a_clock_that_steps_back() {
        let december = datetime!(2026-12-31 23:59:59 UTC);
        let millis = u64::try_from(december.unix_timestamp() * 1_000).unwrap();
        let stream = StreamId(uuid::Builder::from_unix_timestamp_millis(millis, &[7; 10]).into_uuid());
        assert!(!stream.is_of_an_earlier_month(december));
        assert!(!stream.is_of_an_earlier_month(datetime!(2026-11-30 00:00 UTC)));
        assert!(stream.is_of_an_earlier_month(datetime!(2027-01-01 00:00 UTC)));
        assert!(!stream.is_of_an_earlier_month(datetime!(2027-01-01 00:30 +1)));
    }

    #[test]
    fn a_head_is_read_in_the_one_spelling_it_is_written_in() {
        let head =
            StreamHead { stream: StreamId(Uuid::from_u128(0xab)), number: 3, last_seq: 9, hash: Digest::of(b"x") };
        let text = head.to_string();
        assert_eq!(text.parse(), Ok(head));
        for wrong in [text.to_uppercase(), text.replace(":3:", ":+3:"), text.replace(":3:", ":03:"), format!("{text}:")]
        {
            assert_eq!(wrong.parse::<StreamHead>(), Err(NotAHead), "{wrong}");
        }
    }
}
