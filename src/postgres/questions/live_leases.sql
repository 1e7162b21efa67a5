-- Leases live at $1 under one of the session policies $2; at most $3.
select
    issued.stream as "stream!", issued.seq as "seq!", issued.occurred_at as "occurred_at!", issued.lease_id as "lease_id!", issued.issuer, issued.subject,
    issued.client, issued.groups as "groups!", issued.role, issued.roles as "roles!", issued.matched_rule, issued.policy_hash,
    issued.session_policy_sha256, issued.key_fingerprint as "key_fingerprint!", issued.ends_at as "ends_at!",
    issued.role_session_name, issued.address as "address: std::net::IpAddr", issued.request_id,
    ended.type as "ended_type?", ended.reason as "ended_reason?", ended.occurred_at as "ended_at?"
from (
    select *
    from audit_event as issued
    where issued.type = 'lease.issued'
        and issued.occurred_at > $1::timestamptz - interval '2 hours' and issued.occurred_at <= $1 and issued.ends_at > $1
        and not exists (
            select 1
            from audit_event as ended
            where ended.lease_id = issued.lease_id and ended.type in ('lease.abandoned', 'lease.revoked')
                and (
                    ended.type = 'lease.abandoned'
                    or ended.type = 'lease.revoked' and ended.reason in ('refused_at_server', 'gone_from_listing')
                )
                and ended.occurred_at > $1 - interval '3 hours' and ended.occurred_at <= $1
        )
        and issued.session_policy_sha256 = any($2::text[])
    order by issued.occurred_at, issued.stream, issued.seq
    limit $3
) as issued
left join lateral (
    select type, reason, occurred_at
    from audit_event
    where lease_id = issued.lease_id
        and (type = 'lease.abandoned' or type = 'lease.revoked' and reason in ('refused_at_server', 'gone_from_listing'))
    order by occurred_at
    limit 1
) as ended on true
order by issued.occurred_at, issued.stream, issued.seq
