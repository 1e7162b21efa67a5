-- Leases open at $1, after the place ($2, $3, $4), of lease $5, issuer $6, subject $7, role $8, group $9; at most $10. A lease
-- is open until it was abandoned, or seen to be refused or gone: a wish alone ends nothing.
select
    stream, seq, id, occurred_at, type as kind, effect, reason, door, address as "address: std::net::IpAddr", request_id,
    requested_role, requested_seconds, session_name, token_sha256, issuer, subject, client, groups, jti, role, roles,
    matched_rule, policy_hash, lease_id, role_session_name, session_policy_sha256, granted_seconds, key_fingerprint, ends_at,
    count, network::text, heads, key_id, detail, actor, parent_fingerprint, refused_after_ms,
    freeze_id
from audit_event as issued
where issued.type = 'lease.issued'
    and issued.occurred_at >= greatest($1::timestamptz - interval '2 hours', $2::timestamptz) and issued.ends_at > $1
    and ($2 is null or (issued.occurred_at, issued.stream, issued.seq) > ($2, $3::uuid, $4::bigint))
    and ($5::uuid is null or issued.lease_id = $5)
    and ($6::text is null or issued.issuer = $6)
    and ($7::text is null or issued.subject = $7)
    and ($8::text is null or issued.role = $8 or $8 = any(issued.roles))
    and ($9::text is null or $9 = any(issued.groups))
    and not exists (
        select
        from audit_event as ended
        where ended.lease_id = issued.lease_id and ended.type in ('lease.abandoned', 'lease.revoked')
            and (
                ended.type = 'lease.abandoned'
                or ended.type = 'lease.revoked' and ended.reason in ('refused_at_server', 'gone_from_listing')
            )
    )
order by issued.occurred_at, issued.stream, issued.seq
limit $10
