-- Every event of an emergency but refusals, of which only those count whose nonce was another's; at most $1. The like is the
-- predicate of an index of their own, word for word.
select
    stream, seq, id, occurred_at, type as kind, effect, reason, door, address as "address: std::net::IpAddr", request_id,
    requested_role, requested_seconds, session_name, token_sha256, issuer, subject, client, groups, jti, role, roles,
    matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256, granted_seconds, key_fingerprint,
    ends_at, count, network::text as "network", heads, key_id, detail, actor, parent_fingerprint,
    refused_after_ms, freeze_id
from audit_event
where type like 'break\_glass.%' and (type <> 'break_glass.refused' or reason = 'nonce_owned_elsewhere')
order by occurred_at, stream, seq
limit $1
