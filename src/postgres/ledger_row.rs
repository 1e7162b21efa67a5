//! Rows of `audit_event` as `COPY … (FORMAT binary)` sends them, read in place: text is borrowed from the message. A value
//! that the record cannot hold, in a column that somebody changed, is told apart from a message that was not understood.

use std::net::IpAddr;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::{AuditRow, Record};

/// Every column of the table, in the order that [`Tuples`] reads them.
pub(super) const COLUMNS: &str = "stream, seq, id, occurred_at, type, effect, reason, door, address, request_id, \
    requested_role, requested_seconds, session_name, token_sha256, issuer, subject, client, groups, jti, role, roles, \
    matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256, granted_seconds, key_fingerprint, \
    ends_at, count, network::text, heads, key_id, detail, actor, parent_fingerprint, \
    refused_after_ms, freeze_id";
const COUNT: i16 = 38;
/// Signature, flags and the length of an extension that no server sends.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Microseconds from 1970 to 2000, where PostgreSQL counts from.
const EPOCH: i64 = 946_684_800_000_000;

/// What is not what `COPY` sends: our own mistake, or not PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's COPY answer was not understood")]
pub(super) struct NotUnderstood;

/// One row: its place and name, and its record unless some column holds what no version writes.
#[derive(Debug)]
pub(super) struct Tuple<'a> {
    pub(super) stream: Uuid,
    pub(super) seq: i64,
    pub(super) id: Uuid,
    pub(super) record: Option<Record<&'a str>>,
}

/// The rows of one message.
#[derive(Debug)]
pub(super) struct Tuples<'a>(Cursor<'a>);

impl<'a> Tuples<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(Cursor(message.strip_prefix(HEADER).unwrap_or(message)))
    }

    fn read(&mut self) -> Result<Option<Tuple<'a>>, NotUnderstood> {
        let cursor = &mut self.0;
        if cursor.0.is_empty() {
            return Ok(None);
        }
        match cursor.int2()? {
            -1 => return Ok(None),
            COUNT => {}
            _ => return Err(NotUnderstood),
        }
        let stream = cursor.uuid()?.ok_or(NotUnderstood)?;
        // Null only where somebody took the constraint away: no number of ours.
        let seq = cursor.int8()?.unwrap_or(-1);
        let id = cursor.uuid()?.unwrap_or_default();
        let mut fields = Fields { cursor, faulty: id.is_nil() };
        let occurred_at = fields.instant()?;
        let record = Record {
            kind: fields.required()?,
            effect: fields.required()?,
            reason: fields.required()?,
            door: fields.text()?,
            address: fields.address()?,
            request_id: fields.cursor.uuid()?,
            requested_role: fields.text()?,
            requested_seconds: fields.cursor.int8()?,
            session_name: fields.text()?,
            token_sha256: fields.text()?,
            issuer: fields.text()?,
            subject: fields.text()?,
            client: fields.text()?,
            groups: fields.texts()?,
            jti: fields.text()?,
            role: fields.text()?,
            roles: fields.texts()?,
            matched_rule: fields.text()?,
            policy_hash: fields.text()?,
            lease_id: fields.cursor.uuid()?,
            role_session_name: fields.text()?,
            session_policy_sha256: fields.text()?,
            granted_seconds: fields.cursor.int8()?,
            key_fingerprint: fields.text()?,
            ends_at: fields.instant()?,
            count: fields.cursor.int8()?,
            network: fields.text()?,
            heads: fields.texts()?,
            key_id: fields.text()?,
            detail: fields.text()?,
            actor: fields.text()?,
            parent_fingerprint: fields.text()?,
            refused_after_ms: fields.cursor.int8()?,
            freeze_id: fields.cursor.uuid()?,
            id,
            seq,
            stream,
            occurred_at: occurred_at.unwrap_or(OffsetDateTime::UNIX_EPOCH),
        };
        let readable = !fields.faulty && occurred_at.is_some();
        Ok(Some(Tuple { stream, seq, id, record: readable.then_some(record) }))
    }
}

impl<'a> Iterator for Tuples<'a> {
    type Item = Result<Tuple<'a>, NotUnderstood>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The record, kept.
pub(super) fn owned(record: Record<&str>) -> AuditRow {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let texts = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    AuditRow {
        actor: text(record.actor),
        address: record.address,
        client: text(record.client),
        count: record.count,
        detail: text(record.detail),
        door: text(record.door),
        effect: record.effect.to_owned(),
        ends_at: record.ends_at,
        freeze_id: record.freeze_id,
        granted_seconds: record.granted_seconds,
        groups: texts(record.groups),
        heads: texts(record.heads),
        id: record.id,
        issuer: text(record.issuer),
        jti: text(record.jti),
        key_fingerprint: text(record.key_fingerprint),
        key_id: text(record.key_id),
        lease_id: record.lease_id,
        matched_rule: text(record.matched_rule),
        network: text(record.network),
        occurred_at: record.occurred_at,
        parent_fingerprint: text(record.parent_fingerprint),
        policy_hash: text(record.policy_hash),
        reason: record.reason.to_owned(),
        refused_after_ms: record.refused_after_ms,
        request_id: record.request_id,
        requested_role: text(record.requested_role),
        requested_seconds: record.requested_seconds,
        role: text(record.role),
        role_session_name: text(record.role_session_name),
        roles: texts(record.roles),
        seq: record.seq,
        session_name: text(record.session_name),
        session_policy_sha256: text(record.session_policy_sha256),
        stream: record.stream,
        subject: text(record.subject),
        token_sha256: text(record.token_sha256),
        kind: record.kind.to_owned(),
    }
}

/// Bytes, read from the front.
#[derive(Debug)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], NotUnderstood> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(NotUnderstood)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NotUnderstood> {
        self.take(N)?.try_into().map_err(|_| NotUnderstood)
    }

    fn int2(&mut self) -> Result<i16, NotUnderstood> {
        self.array().map(i16::from_be_bytes)
    }

    fn int4(&mut self) -> Result<i32, NotUnderstood> {
        self.array().map(i32::from_be_bytes)
    }

    /// One value; nothing where it is null.
    fn field(&mut self) -> Result<Option<&'a [u8]>, NotUnderstood> {
        match self.int4()? {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| NotUnderstood)?).map(Some),
        }
    }

    fn uuid(&mut self) -> Result<Option<Uuid>, NotUnderstood> {
        self.field()?.map(|bytes| Uuid::from_slice(bytes).map_err(|_| NotUnderstood)).transpose()
    }

    fn int8(&mut self) -> Result<Option<i64>, NotUnderstood> {
        let value = self.field()?.map(|bytes| bytes.try_into().map(i64::from_be_bytes));
        value.transpose().map_err(|_| NotUnderstood)
    }
}

/// The fields that may hold what a record cannot: then the row is no record, and the rest is still read.
struct Fields<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    faulty: bool,
}

impl<'a> Fields<'_, 'a> {
    fn fault<T>(&mut self) -> Option<T> {
        self.faulty = true;
        None
    }

    fn text(&mut self) -> Result<Option<&'a str>, NotUnderstood> {
        let Some(bytes) = self.cursor.field()? else { return Ok(None) };
        Ok(std::str::from_utf8(bytes).ok().or_else(|| self.fault()))
    }

    fn required(&mut self) -> Result<&'a str, NotUnderstood> {
        let text = self.text()?;
        Ok(text.or_else(|| self.fault()).unwrap_or(""))
    }

    /// An instant that the calendar holds: `infinity` does not.
    fn instant(&mut self) -> Result<Option<OffsetDateTime>, NotUnderstood> {
        let Some(micros) = self.cursor.int8()? else { return Ok(None) };
        let nanos = micros.checked_add(EPOCH).map(|micros| i128::from(micros) * 1_000);
        let instant = nanos.and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok());
        Ok(instant.or_else(|| self.fault()))
    }

    /// An `inet` of one host: a network would lose its length in the record, and so hide that it was changed.
    fn address(&mut self) -> Result<Option<IpAddr>, NotUnderstood> {
        let Some(bytes) = self.cursor.field()? else { return Ok(None) };
        let address = match bytes {
            [2, 32, 0, 4, address @ ..] => <[u8; 4]>::try_from(address).ok().map(IpAddr::from),
            [3, 128, 0, 16, address @ ..] => <[u8; 16]>::try_from(address).ok().map(IpAddr::from),
            _ => None,
        };
        Ok(address.or_else(|| self.fault()))
    }

    /// A plain list of texts: one dimension, counted from 1, no null in it.
    fn texts(&mut self) -> Result<Vec<&'a str>, NotUnderstood> {
        let Some(bytes) = self.cursor.field()? else {
            self.faulty = true;
            return Ok(Vec::new());
        };
        let mut array = Cursor(bytes);
        let (dimensions, _nulls, _type) = (array.int4()?, array.int4()?, array.int4()?);
        if dimensions == 0 {
            return Ok(Vec::new());
        }
        let (length, lower) = (array.int4()?, array.int4()?);
        if dimensions != 1 || lower != 1 {
            self.faulty = true;
            return Ok(Vec::new());
        }
        let mut texts = Vec::new();
        for _ in 0..length {
            match array.field()?.map(std::str::from_utf8) {
                Some(Ok(text)) => texts.push(text),
                Some(Err(_)) | None => self.faulty = true,
            }
        }
        Ok(texts)
    }
}
