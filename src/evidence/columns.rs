//! The columns of the tables: one list for CSV and Parquet, in the order of `audit_event`.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::AuditRow;

/// How a column is held, and where it stands in the record.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Text(fn(&AuditRow) -> Option<&str>),
    Integer(fn(&AuditRow) -> Option<i64>),
    Uuid(fn(&AuditRow) -> Option<Uuid>),
    Instant(fn(&AuditRow) -> Option<OffsetDateTime>),
    Address(fn(&AuditRow) -> Option<String>),
    Texts(fn(&AuditRow) -> &[String]),
}

pub(super) const COLUMNS: [(&str, Column); 38] = [
    ("stream", Column::Uuid(|row| Some(row.stream))),
    ("seq", Column::Integer(|row| Some(row.seq))),
    ("id", Column::Uuid(|row| Some(row.id))),
    ("occurred_at", Column::Instant(|row| Some(row.occurred_at))),
    ("type", Column::Text(|row| Some(&row.kind))),
    ("effect", Column::Text(|row| Some(&row.effect))),
    ("reason", Column::Text(|row| Some(&row.reason))),
    ("door", Column::Text(|row| row.door.as_deref())),
    ("address", Column::Address(|row| row.address.map(|address| address.to_string()))),
    ("request_id", Column::Uuid(|row| row.request_id)),
    ("requested_role", Column::Text(|row| row.requested_role.as_deref())),
    ("requested_seconds", Column::Integer(|row| row.requested_seconds)),
    ("session_name", Column::Text(|row| row.session_name.as_deref())),
    ("token_sha256", Column::Text(|row| row.token_sha256.as_deref())),
    ("issuer", Column::Text(|row| row.issuer.as_deref())),
    ("subject", Column::Text(|row| row.subject.as_deref())),
    ("client", Column::Text(|row| row.client.as_deref())),
    ("groups", Column::Texts(|row| &row.groups)),
    ("jti", Column::Text(|row| row.jti.as_deref())),
    ("role", Column::Text(|row| row.role.as_deref())),
    ("roles", Column::Texts(|row| &row.roles)),
    ("matched_rule", Column::Text(|row| row.matched_rule.as_deref())),
    ("policy_hash", Column::Text(|row| row.policy_hash.as_deref())),
    ("lease_id", Column::Uuid(|row| row.lease_id)),
    ("role_session_name", Column::Text(|row| row.role_session_name.as_deref())),
    ("session_policy_sha256", Column::Text(|row| row.session_policy_sha256.as_deref())),
    ("granted_seconds", Column::Integer(|row| row.granted_seconds)),
    ("key_fingerprint", Column::Text(|row| row.key_fingerprint.as_deref())),
    ("ends_at", Column::Instant(|row| row.ends_at)),
    ("count", Column::Integer(|row| row.count)),
    ("network", Column::Text(|row| row.network.as_deref())),
    ("heads", Column::Texts(|row| &row.heads)),
    ("key_id", Column::Text(|row| row.key_id.as_deref())),
    ("detail", Column::Text(|row| row.detail.as_deref())),
    ("actor", Column::Text(|row| row.actor.as_deref())),
    ("parent_fingerprint", Column::Text(|row| row.parent_fingerprint.as_deref())),
    ("refused_after_ms", Column::Integer(|row| row.refused_after_ms)),
    ("freeze_id", Column::Uuid(|row| row.freeze_id)),
];
