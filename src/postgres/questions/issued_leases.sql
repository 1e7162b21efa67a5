-- The issues of the leases $1, each whole.
select
    stream, seq, id, occurred_at, type as kind, effect, reason, door, address as "address: std::net::IpAddr", request_id,
    requested_role, requested_seconds, session_name, token_sha256, issuer, subject, client, groups, jti, role, roles,
    matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256, granted_seconds, key_fingerprint, ends_at,
    count, network::text, heads, key_id, detail, actor, parent_fingerprint, refused_after_ms,
    freeze_id
from audit_event
where type = 'lease.issued' and lease_id = any($1::uuid[])
order by occurred_at, stream, seq
