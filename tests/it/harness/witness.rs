//! Looks at the log as an auditor with the public keys would, and holds it against what clients and the object server
//! remember. It reads rows and seals itself, so that it is wrong in other ways than the program.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection, Row};
use stint::audit::{AuditRow, Digest, FingerprintKey, Seal, Signature, StreamHead, StreamId, VerifyingKey, merkle};
use uuid::Uuid;

use super::faulted::{Minted, Told};

/// Everything in the log.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// By stream, in order.
    pub(crate) rows: BTreeMap<Uuid, Vec<AuditRow>>,
    pub(crate) seals: BTreeMap<Uuid, Vec<Seal>>,
    pub(crate) keys: BTreeMap<String, VerifyingKey>,
}

impl Log {
    pub(crate) async fn read(database: &SecretString) -> Self {
        let mut connection = PgConnection::connect(database.expose_secret()).await.expect("the database is there");
        // One snapshot: a service may be writing.
        sqlx::query("begin isolation level repeatable read read only").execute(&mut connection).await.unwrap();
        let mut log = Self { rows: BTreeMap::new(), seals: BTreeMap::new(), keys: BTreeMap::new() };
        let rows: Vec<String> = sqlx::query_scalar(
            "select jsonb_strip_nulls(to_jsonb(e))::text from audit_event e order by e.stream, e.seq",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        for row in rows {
            let row: AuditRow = serde_json::from_str(&row).unwrap_or_else(|error| panic!("{error}: {row}"));
            log.rows.entry(row.stream).or_default().push(row);
        }
        for row in
            sqlx::query("select * from audit_seal order by stream, number").fetch_all(&mut connection).await.unwrap()
        {
            let digest = |name| Digest::from_bytes(row.get(name)).unwrap();
            let number = |name| u64::try_from(row.get::<i64, _>(name)).unwrap();
            let stream: Uuid = row.get("stream");
            let leaves: &[u8] = row.get("leaves");
            log.seals.entry(stream).or_default().push(Seal {
                stream: StreamId(stream),
                number: number("number"),
                first_seq: number("first_seq"),
                last_seq: number("last_seq"),
                leaves: leaves.chunks(32).map(|leaf| Digest::from_bytes(leaf).unwrap()).collect(),
                root: digest("root"),
                previous: digest("previous"),
                sealed_at: row.get("sealed_at"),
                key_id: Digest::parse(row.get("key_id")).unwrap(),
                signature: Signature::from_bytes(row.get("signature")).unwrap(),
            });
        }
        for row in sqlx::query("select key_id, public_key from audit_key").fetch_all(&mut connection).await.unwrap() {
            let key = VerifyingKey::from_pem(row.get::<&str, _>("public_key").as_bytes()).unwrap();
            log.keys.insert(row.get("key_id"), key);
        }
        log
    }

    /// Every row, stream by stream.
    pub(crate) fn all(&self) -> impl Iterator<Item = &AuditRow> {
        self.rows.values().flatten()
    }

    /// Rows of one kind.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<&AuditRow> {
        self.all().filter(|row| row.kind == kind).collect()
    }

    /// The kinds of all rows about one lease, in order.
    pub(crate) fn fate(&self, lease: Uuid) -> Vec<&str> {
        self.all().filter(|row| row.lease_id == Some(lease)).map(|row| row.kind.as_str()).collect()
    }

    /// Leases whose intent nothing followed.
    pub(crate) fn lone_intents(&self) -> BTreeSet<Uuid> {
        let (mut intended, mut concluded) = (BTreeSet::new(), BTreeSet::new());
        for row in self.all() {
            let Some(lease) = row.lease_id else { continue };
            if row.kind == "lease.intended" {
                intended.insert(lease)
            } else {
                concluded.insert(lease)
            };
        }
        &intended - &concluded
    }

    /// Where a stream stands.
    pub(crate) fn head(&self, stream: Uuid) -> StreamHead {
        self.seals[&stream].last().expect("a seal").head()
    }

    /// The streams in the order they were opened.
    pub(crate) fn streams(&self) -> Vec<Uuid> {
        self.rows.keys().copied().collect()
    }

    /// What a stream's first event names, sorted.
    pub(crate) fn named_by(&self, stream: Uuid) -> Vec<StreamHead> {
        let named: BTreeSet<StreamHead> =
            self.rows[&stream][0].heads.iter().map(|head| head.parse().expect("a head")).collect();
        named.into_iter().collect()
    }

    /// Everything that is wrong with the rows and seals themselves.
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for stream in self.rows.keys().chain(self.seals.keys()).collect::<BTreeSet<_>>() {
            let rows = self.rows.get(stream).map_or(&[][..], Vec::as_slice);
            let seals = self.seals.get(stream).map_or(&[][..], Vec::as_slice);
            let chained = self.chained(rows, seals).into_iter().chain(placed(rows));
            findings.extend(chained.map(|finding| format!("{stream}: {finding}")));
        }
        for (opened, rows) in &self.rows {
            for head in rows.iter().flat_map(|row| &row.heads) {
                let Ok(head) = head.parse::<StreamHead>() else {
                    findings.push(format!("{opened}: names no head: {head}"));
                    continue;
                };
                let seals = self.seals.get(&head.stream.0);
                if !seals.is_some_and(|seals| seals.iter().any(|seal| seal.head() == head)) {
                    findings.push(format!("{opened}: names a head that is not there: {head}"));
                }
            }
        }
        findings
    }

    fn chained(&self, rows: &[AuditRow], seals: &[Seal]) -> Vec<String> {
        let mut findings = Vec::new();
        let (mut next_seq, mut previous) = (0_usize, Digest::ZERO);
        for (number, seal) in (0..).zip(seals) {
            let mut check = |holds: bool, what: &str| {
                if !holds {
                    findings.push(format!("seal {}: {what}", seal.number));
                }
            };
            let last = usize::try_from(seal.last_seq).unwrap();
            check(seal.number == number, "a seal before it is missing");
            check(usize::try_from(seal.first_seq).unwrap() == next_seq, "does not go on where the last ended");
            check(seal.previous == previous, "does not chain to the one before");
            check(self.keys.get(&seal.key_id.to_hex()).is_some_and(|key| seal.is_signed_by(key)), "is not signed");
            let leaves: Option<Vec<Digest>> =
                rows.get(next_seq..=last).map(|rows| rows.iter().map(AuditRow::leaf).collect());
            check(leaves.as_ref().is_some_and(|leaves| merkle::root(leaves) == seal.root), "is not of these rows");
            check(leaves.is_some_and(|leaves| leaves == seal.leaves), "has other leaves than these rows");
            (next_seq, previous) = (last + 1, seal.hash());
        }
        if rows.len() != next_seq {
            findings.push(format!("{} rows, {next_seq} of them sealed", rows.len()));
        }
        findings
    }

    pub(crate) fn assert_whole(&self) {
        assert_eq!(self.findings(), Vec::<String>::new());
    }

    /// Everything that clients were told is on record, and every credential that the object server made was intended.
    pub(crate) fn assert_covers(&self, told: &[Told], minted: &[Minted]) {
        let missing = self.missing(told, minted);
        assert!(missing.is_empty(), "{missing:#?}");
    }

    /// What clients or the object server know, and the log does not.
    pub(crate) fn missing(&self, told: &[Told], minted: &[Minted]) -> Vec<String> {
        let mut missing = Vec::new();
        let fingerprints = FingerprintKey::derive(b"parent-secret");
        let intended: BTreeSet<Uuid> = self.of_kind("lease.intended").iter().filter_map(|row| row.lease_id).collect();
        let issued: BTreeMap<Uuid, &str> = self
            .of_kind("lease.issued")
            .iter()
            .filter_map(|row| Some((row.lease_id?, row.key_fingerprint.as_deref()?)))
            .collect();
        let abandoned: BTreeSet<Uuid> = self.of_kind("lease.abandoned").iter().filter_map(|row| row.lease_id).collect();
        let refused: BTreeSet<Uuid> =
            self.of_kind("exchange.refused").iter().filter_map(|row| row.request_id).collect();
        for told in told {
            let on_record = match told {
                Told::Issued { lease, access_key_id } => {
                    let fingerprint = fingerprints.fingerprint(access_key_id);
                    let on_record = intended.contains(lease) && issued.get(lease) == Some(&fingerprint.as_str());
                    on_record && !abandoned.contains(lease)
                }
                Told::Denied { request_id } => refused.contains(request_id),
                Told::ComeBack { code } => {
                    ["log_unavailable", "overloaded", "timed_out", "object_server_unavailable"].contains(&code.as_str())
                }
                Told::Nothing => true,
                Told::Strange(_) => false,
            };
            if !on_record {
                missing.push(format!("a client was told {told:?}"));
            }
        }
        for minted in minted.iter().filter(|minted| !intended.contains(&minted.lease)) {
            missing.push(format!("{minted:?} without an intent"));
        }
        missing
    }
}

/// What must be where in a stream.
fn placed(rows: &[AuditRow]) -> Vec<String> {
    let mut findings = Vec::new();
    let gapless = (0..).zip(rows).all(|(seq, row)| row.seq == seq);
    if !gapless {
        findings.push("its numbers have gaps".to_owned());
    }
    let kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
    let opened = kinds.iter().filter(|kind| **kind == "stream.opened").count();
    if kinds.first() != Some(&"stream.opened") || opened != 1 {
        findings.push("it is not opened once, by its first event".to_owned());
    }
    if kinds.iter().rev().skip(1).any(|kind| *kind == "stream.closed") {
        findings.push("it goes on after its end".to_owned());
    }
    let mut intended = BTreeSet::new();
    let mut concluded = BTreeSet::new();
    for row in rows {
        match (row.kind.as_str(), row.lease_id) {
            ("lease.intended", Some(lease)) if !intended.insert(lease) => findings.push(format!("{lease} twice")),
            ("lease.issued" | "lease.failed", Some(lease)) => {
                if !intended.contains(&lease) {
                    findings.push(format!("{lease} has an outcome before its intent"));
                }
                if !concluded.insert(lease) {
                    findings.push(format!("{lease} has two outcomes"));
                }
            }
            _ => {}
        }
    }
    findings
}
