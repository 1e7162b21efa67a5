-- What is on record of the lease $1, if it is of the holder $2, $3 (null: whose ever): at most $4, and of the events that handed
-- it out again the latest $4.
(
    select
        stream as "stream!", seq as "seq!", id as "id!", occurred_at as "occurred_at!", type as "kind!", effect as "effect!",
        reason as "reason!", door, address as "address: std::net::IpAddr", request_id, requested_role, requested_seconds,
        session_name, token_sha256, issuer, subject, client, groups as "groups!", jti, role, roles as "roles!", matched_rule,
        policy_hash, lease_id, role_session_name, session_policy_sha256, granted_seconds, key_fingerprint, ends_at, count,
        network::text as "network", heads as "heads!", key_id, detail, actor, parent_fingerprint, refused_after_ms, freeze_id
    from audit_event
    where lease_id = $1 and type <> 'lease.reused' and ($2::text is null or issuer = $2 and subject = $3::text)
    -- What it came to is told, however often its end was wished for.
    order by type = 'lease.revoked' and reason not in ('refused_at_server', 'gone_from_listing'), occurred_at, stream, seq
    limit $4::bigint
)
union all
(
    select
        stream, seq, id, occurred_at, type, effect, reason, door, address, request_id, requested_role, requested_seconds,
        session_name, token_sha256, issuer, subject, client, groups, jti, role, roles, matched_rule, policy_hash, lease_id,
        role_session_name, session_policy_sha256, granted_seconds, key_fingerprint, ends_at, count, network::text, heads, key_id,
        detail, actor, parent_fingerprint, refused_after_ms, freeze_id
    from audit_event
    where lease_id = $1 and type = 'lease.reused' and ($2 is null or issuer = $2 and subject = $3)
    order by occurred_at desc, stream desc, seq desc
    limit $4
)
