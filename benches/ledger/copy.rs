//! Rows in PostgreSQL's binary COPY format: no text is parsed on the way in, and no row is taken apart twice.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use stint::audit::{Record, Seal};
use time::OffsetDateTime;
use uuid::Uuid;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// 2000-01-01, where PostgreSQL counts from, in microseconds of Unix time.
const EPOCH: i64 = 946_684_800_000_000;
const TEXT: u32 = 25;

/// In the order in which [`Sheet::event`] writes them.
pub(crate) const EVENT_COLUMNS: &str = "stream, seq, id, occurred_at, type, effect, reason, door, address, request_id, \
    requested_role, requested_seconds, session_name, token_sha256, issuer, subject, client, groups, jti, role, roles, \
    matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256, granted_seconds, key_fingerprint, \
    ends_at, count, network, heads, key_id, detail, actor, parent_fingerprint, refused_after_ms, freeze_id";
pub(super) const SEAL_COLUMNS: &str =
    "stream, number, first_seq, last_seq, leaves, root, previous, sealed_at, key_id, signature";

/// Rows on their way: the bytes that one COPY takes.
#[derive(Default)]
pub(crate) struct Sheet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: u64,
}

impl Sheet {
    /// What a COPY begins with.
    pub(crate) fn header() -> &'static [u8] {
        HEADER
    }

    /// What it ends with.
    pub(crate) fn trailer() -> [u8; 2] {
        (-1_i16).to_be_bytes()
    }

    /// One row of `audit_event`. Taken apart without `..`: a new column does not compile until it is written.
    pub(crate) fn event(&mut self, record: &Record<Cow<'_, str>>) {
        let Record {
            actor,
            address,
            client,
            count,
            detail,
            door,
            effect,
            ends_at,
            freeze_id,
            granted_seconds,
            groups,
            heads,
            id,
            issuer,
            jti,
            key_fingerprint,
            key_id,
            lease_id,
            matched_rule,
            network,
            occurred_at,
            parent_fingerprint,
            policy_hash,
            reason,
            refused_after_ms,
            request_id,
            requested_role,
            requested_seconds,
            role,
            role_session_name,
            roles,
            seq,
            session_name,
            session_policy_sha256,
            stream,
            subject,
            token_sha256,
            kind,
        } = record;
        self.row(38);
        self.uuid(*stream);
        self.bigint(*seq);
        self.uuid(*id);
        self.instant(*occurred_at);
        self.text(kind);
        self.text(effect);
        self.text(reason);
        self.optional(door.as_deref());
        self.some(address.as_ref(), |sheet, address| sheet.inet(*address, None));
        self.some(request_id.as_ref(), |sheet, id| sheet.uuid(*id));
        self.optional(requested_role.as_deref());
        self.some(requested_seconds.as_ref(), |sheet, seconds| sheet.bigint(*seconds));
        self.optional(session_name.as_deref());
        self.optional(token_sha256.as_deref());
        self.optional(issuer.as_deref());
        self.optional(subject.as_deref());
        self.optional(client.as_deref());
        self.texts(groups);
        self.optional(jti.as_deref());
        self.optional(role.as_deref());
        self.texts(roles);
        self.optional(matched_rule.as_deref());
        self.optional(policy_hash.as_deref());
        self.some(lease_id.as_ref(), |sheet, id| sheet.uuid(*id));
        self.optional(role_session_name.as_deref());
        self.optional(session_policy_sha256.as_deref());
        self.some(granted_seconds.as_ref(), |sheet, seconds| sheet.bigint(*seconds));
        self.optional(key_fingerprint.as_deref());
        self.some(ends_at.as_ref(), |sheet, instant| sheet.instant(*instant));
        self.some(count.as_ref(), |sheet, count| sheet.bigint(*count));
        self.some(network.as_deref(), |sheet, network| {
            let network: IpNet = network.parse().expect("a network");
            sheet.inet(network.addr(), Some(network.prefix_len()));
        });
        self.texts(heads);
        self.optional(key_id.as_deref());
        self.optional(detail.as_deref());
        self.optional(actor.as_deref());
        self.optional(parent_fingerprint.as_deref());
        self.some(refused_after_ms.as_ref(), |sheet, after| sheet.bigint(*after));
        self.some(freeze_id.as_ref(), |sheet, id| sheet.uuid(*id));
    }

    /// One row of `audit_seal`.
    pub(crate) fn seal(&mut self, seal: &Seal) {
        let Seal { stream, number, first_seq, last_seq, leaves, root, previous, sealed_at, key_id, signature } = seal;
        self.row(10);
        self.uuid(stream.0);
        for number in [number, first_seq, last_seq] {
            self.bigint(i64::try_from(*number).expect("small"));
        }
        self.length(leaves.len() * 32);
        for leaf in leaves {
            self.bytes.extend_from_slice(leaf.as_bytes());
        }
        self.value(root.as_bytes());
        self.value(previous.as_bytes());
        self.instant(*sealed_at);
        self.text(&key_id.to_hex());
        self.value(signature.as_bytes());
    }

    fn row(&mut self, columns: i16) {
        self.bytes.extend_from_slice(&columns.to_be_bytes());
        self.rows += 1;
    }

    fn length(&mut self, length: usize) {
        self.bytes.extend_from_slice(&i32::try_from(length).expect("short").to_be_bytes());
    }

    fn value(&mut self, value: &[u8]) {
        self.length(value.len());
        self.bytes.extend_from_slice(value);
    }

    fn null(&mut self) {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    fn some<T: ?Sized>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }

    fn uuid(&mut self, id: Uuid) {
        self.value(id.as_bytes());
    }

    fn bigint(&mut self, number: i64) {
        self.value(&number.to_be_bytes());
    }

    fn instant(&mut self, instant: OffsetDateTime) {
        let micros = i64::try_from(instant.unix_timestamp_nanos() / 1_000).expect("this age");
        self.bigint(micros - EPOCH);
    }

    fn text(&mut self, text: &str) {
        self.value(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.some(text, Self::text);
    }

    fn texts(&mut self, texts: &[Cow<'_, str>]) {
        let dimensions = i32::from(!texts.is_empty());
        let items: usize = texts.iter().map(|text| 4 + text.len()).sum();
        self.length(12 + if texts.is_empty() { 0 } else { 8 } + items);
        for word in [dimensions, 0] {
            self.bytes.extend_from_slice(&word.to_be_bytes());
        }
        self.bytes.extend_from_slice(&TEXT.to_be_bytes());
        if !texts.is_empty() {
            self.length(texts.len());
            self.length(1);
        }
        for text in texts {
            self.text(text);
        }
    }

    /// `inet`, or `cidr` where there is a prefix.
    fn inet(&mut self, address: IpAddr, prefix: Option<u8>) {
        let (family, octets): (u8, Vec<u8>) = match address {
            IpAddr::V4(address) => (2, address.octets().to_vec()),
            IpAddr::V6(address) => (3, address.octets().to_vec()),
        };
        let length = u8::try_from(octets.len()).expect("4 or 16");
        let head = [family, prefix.unwrap_or(length * 8), u8::from(prefix.is_some()), length];
        self.value(&[head.as_slice(), &octets].concat());
    }
}
