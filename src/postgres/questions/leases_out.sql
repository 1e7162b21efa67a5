-- How many leases are open at $1, but for the leases $2, and when the first of them ends: in all, and under each role. Open as in
-- open_leases.sql; the ends are looked for by their own time too, so that they are read once and not once for each lease.
with out as materialized (
    select issued.roles, issued.ends_at
    from audit_event as issued
    where issued.type = 'lease.issued'
        and issued.occurred_at >= $1::timestamptz - interval '2 hours' and issued.ends_at > $1
        and not issued.lease_id = any($2::uuid[])
        and not exists (
            select
            from audit_event as ended
            where ended.lease_id = issued.lease_id
                and ended.type in ('lease.abandoned', 'lease.revoked')
                and ended.occurred_at >= $1 - interval '3 hours'
                and (ended.type = 'lease.abandoned' or ended.reason in ('refused_at_server', 'gone_from_listing'))
        )
)
select null::text as role, count(*) as "leases!", min(ends_at) as first_end from out
union all
select role, count(*), min(ends_at) from out, unnest(roles) as role group by role
