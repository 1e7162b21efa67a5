//! A stream that a test writes by itself: every batch sealed as the log's writer seals it.

use stint::audit::{Batch, Chain, Event, Position, Record, Seal, SequencedEvent, SigningKey, StreamId};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// One stream and the key that seals it.
pub(crate) struct Sealer {
    chain: Chain,
    began: OffsetDateTime,
    pub(crate) key: SigningKey,
}

impl Sealer {
    /// A stream that begins now.
    pub(crate) fn start() -> Self {
        Self::of(StreamId(Uuid::now_v7()))
    }

    /// A stream that began at this instant.
    pub(crate) fn at(instant: OffsetDateTime) -> Self {
        let millis = u64::try_from(instant.unix_timestamp_nanos() / 1_000_000).unwrap();
        let random: [u8; 10] = Uuid::now_v7().as_bytes()[6..].try_into().unwrap();
        Self::of(StreamId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()))
    }

    pub(crate) fn of(stream: StreamId) -> Self {
        let (seconds, nanos) = stream.0.get_timestamp().unwrap().to_unix();
        let began = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap();
        let began = began + Duration::nanoseconds(nanos.into());
        Self { chain: Chain::start(stream), began, key: SigningKey::generate().unwrap() }
    }

    pub(crate) fn stream(&self) -> StreamId {
        self.chain.stream
    }

    /// These events as the next commit; the stream does not move on.
    pub(crate) fn draft(&self, events: impl IntoIterator<Item = Event>) -> Batch {
        let position = |seq| Position { stream: self.chain.stream, seq };
        let events = (self.chain.next_seq..).zip(events);
        let events = events.map(|(seq, event)| SequencedEvent { position: position(seq), event });
        self.sealed(events)
    }

    /// These events as the next commit.
    pub(crate) fn next(&mut self, events: impl IntoIterator<Item = Event>) -> Batch {
        let batch = self.draft(events);
        self.chain = Chain::after(&batch.seal);
        batch
    }

    /// The same, sealed at another instant than the stream began.
    pub(crate) fn next_at(&mut self, events: impl IntoIterator<Item = Event>, sealed_at: OffsetDateTime) -> Batch {
        let mut batch = self.draft(events);
        batch.seal = Seal::make(&self.chain, batch.seal.leaves, sealed_at, &self.key);
        self.chain = Chain::after(&batch.seal);
        batch
    }

    /// These events under the next seal, whatever numbers they claim.
    pub(crate) fn sealed(&self, events: impl IntoIterator<Item = SequencedEvent>) -> Batch {
        let records = events.into_iter().map(|event| Record::from(&event).canonical());
        let (records, leaves) = records.map(|record| (record.clone(), stint::audit::Digest::of_leaf(&record))).unzip();
        let records: Vec<Vec<u8>> = records;
        let records = records.into_iter().map(|record| String::from_utf8(record).unwrap()).collect();
        let seal = Seal::make(&self.chain, leaves, self.began, &self.key);
        Batch { records, seal, session_policies: Vec::new() }
    }
}
