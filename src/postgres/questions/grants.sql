-- One page of leases issued in the period $4 to before $5, to the subject $6, in the group $7, of the issuer $8, after the place
-- $1 to $3; at most $9.
select
    issued.stream as "stream!", issued.seq as "seq!", issued.occurred_at as "occurred_at!", issued.lease_id as "lease_id!", issued.issuer, issued.subject,
    issued.client, issued.groups as "groups!", issued.role, issued.roles as "roles!", issued.matched_rule, issued.policy_hash,
    issued.session_policy_sha256, issued.key_fingerprint as "key_fingerprint!", issued.ends_at as "ends_at!",
    issued.role_session_name, issued.address as "address: std::net::IpAddr", issued.request_id,
    ended.type as "ended_type?", ended.reason as "ended_reason?", ended.occurred_at as "ended_at?"
from (
    select *
    from audit_event
    where type = 'lease.issued' and occurred_at >= $4::timestamptz and occurred_at < $5::timestamptz
        and ($6::text is null or subject = $6)
        and ($7::text is null or groups @> array[$7])
        and ($8::text is null or issuer = $8)
        and ($1::timestamptz is null or occurred_at >= $1 and (occurred_at, stream, seq) > ($1, $2::uuid, $3::bigint))
    order by occurred_at, stream, seq
    limit $9
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
