-- Leases whose key has a fingerprint from $1 to before $2, by bytes; at most $3.
select
    issued.stream, issued.seq, issued.occurred_at, issued.lease_id as "lease_id!", issued.issuer, issued.subject,
    issued.client, issued.groups, issued.role, issued.roles, issued.matched_rule, issued.policy_hash,
    issued.session_policy_sha256, issued.key_fingerprint as "key_fingerprint!", issued.ends_at as "ends_at!",
    issued.role_session_name, issued.address as "address: std::net::IpAddr", issued.request_id,
    ended.type as "ended_type?", ended.reason as "ended_reason?", ended.occurred_at as "ended_at?"
from audit_event as issued
left join lateral (
    select type, reason, occurred_at
    from audit_event
    where lease_id = issued.lease_id
        and (type = 'lease.abandoned' or type = 'lease.revoked' and reason in ('refused_at_server', 'gone_from_listing'))
    order by occurred_at
    limit 1
) as ended on true
where issued.key_fingerprint ~>=~ $1::text and issued.key_fingerprint ~<~ $2::text and issued.type = 'lease.issued'
order by issued.occurred_at, issued.stream, issued.seq
limit $3
