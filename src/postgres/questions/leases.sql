-- One page of leases, the latest first, each by one event of type $6: after the place $1 to $3, in the period $4 to before $5,
-- that stand as $7 says (null: however) at $8, of subject $9, issuer $10, client $11, group $12, role $13; at most $14. $15: rows
-- that may be looked at for it; the last of them comes too, so that the next page begins there.
with examined as (
    select
        candidate.*, row_number() over (order by occurred_at desc, stream desc, seq desc) as place,
            ($10::text is null or issuer = $10)
            and ($11::text is null or client = $11)
            and ($12::text is null or $12 = any(groups))
            and ($13::text is null or role = $13 or $13 = any(roles))
            and ($7::text is null or $7 <> 'open' or ends_at > $8)
            and ($7 is null or $7 <> 'ended' or ends_at <= $8)
            and ($7 is null or $7 <> 'revoked' or reason in ('refused_at_server', 'gone_from_listing'))
            as fits
    from (
        select *
        from audit_event
        where type = $6::text and ($9::text is null or subject = $9)
            and ($4::timestamptz is null or occurred_at >= $4)
            and ($5::timestamptz is null or occurred_at < $5)
            -- No lease lasts longer than an hour; another for clocks that step.
            and ($7::text is null or $7 <> 'open' or occurred_at >= $8::timestamptz - interval '2 hours')
            and ($1::timestamptz is null or occurred_at <= $1 and (occurred_at, stream, seq) < ($1, $2::uuid, $3::bigint))
        order by occurred_at desc, stream desc, seq desc
        limit $15::bigint
    ) as candidate
),
judged as (
    select
        examined.*, fate.issued_at, fate.issued_ends_at, fate.issued_key, fate.issued_door, fate.failed_reason, fate.ended_type,
        fate.ended_reason, fate.ended_at, fate.last_said,
        fits and case
            when $7 is null or $7 = 'failed' then true
            when $7 = 'open' then fate.ended_at is null
            when $7 = 'ended' then fate.ended_at is null or fate.ended_at >= examined.ends_at
            else fate.ended_id = examined.id and fate.failed_reason is null
                and (fate.issued_ends_at is null or fate.ended_at < fate.issued_ends_at)
        end as meets
    from examined
    left join lateral (
        select
            min(told.occurred_at) filter (where told.type = 'lease.issued') as issued_at,
            min(told.ends_at) filter (where told.type = 'lease.issued') as issued_ends_at,
            min(told.key_fingerprint) filter (where told.type = 'lease.issued') as issued_key,
            min(told.door) filter (where told.type = 'lease.issued') as issued_door,
            min(told.reason) filter (where told.type = 'lease.failed') as failed_reason,
            (array_agg(told.id order by told.occurred_at, told.stream, told.seq) filter (where told.ends))[1] as ended_id,
            (array_agg(told.type order by told.occurred_at, told.stream, told.seq) filter (where told.ends))[1] as ended_type,
            (array_agg(told.reason order by told.occurred_at, told.stream, told.seq) filter (where told.ends))[1] as ended_reason,
            min(told.occurred_at) filter (where told.ends) as ended_at,
            (array_agg(told.reason order by told.occurred_at desc, told.stream desc, told.seq desc)
                filter (where told.type = 'lease.revoked'))[1] as last_said
        from (
            select
                *,
                type = 'lease.abandoned'
                    or type = 'lease.revoked' and reason in ('refused_at_server', 'gone_from_listing') as ends
            from audit_event
            where examined.fits and lease_id = examined.lease_id
                and type in ('lease.issued', 'lease.failed', 'lease.revoked', 'lease.abandoned')
        ) as told
    ) as fate on true
)
select
    stream as "stream!", seq as "seq!", occurred_at as "occurred_at!", lease_id as "lease_id!", issuer, subject, client,
    groups as "groups!", role, roles as "roles!", matched_rule, policy_hash, role_session_name, granted_seconds,
    coalesce(issued_door, door) as door, coalesce(issued_key, key_fingerprint) as key_fingerprint, issued_at,
    issued_ends_at as ends_at, failed_reason, ended_type, ended_reason, ended_at, last_said, coalesce(meets, false) as "meets!", place as "place!"
from judged
where meets or place = $15
order by occurred_at desc, stream desc, seq desc
limit $14::bigint + 1
