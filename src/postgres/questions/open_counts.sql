-- How many leases are open at $1, by the minute they were issued, the five seconds they end in, and whether they were asked for at
-- the leases door; without those of no holder, which try the object server.
with ended as materialized (
    -- No lease lasts longer than an hour; another for clocks that step.
    select lease_id
    from audit_event
    where occurred_at >= $1::timestamptz - interval '2 hours'
        and (type = 'lease.abandoned' or type = 'lease.revoked' and reason in ('refused_at_server', 'gone_from_listing'))
)
select
    date_trunc('minute', issued.occurred_at) as "issued_at!",
    to_timestamp(floor(extract(epoch from issued.ends_at) / 5) * 5) as "ends_at!",
    issued.door = 'leases' as "reads_refresh_after", count(*) as "leases!"
from audit_event as issued
where issued.type = 'lease.issued' and issued.occurred_at >= $1 - interval '2 hours' and issued.ends_at > $1
    and issued.role not like 'stint:%'
    and not exists (select from ended where ended.lease_id = issued.lease_id)
group by 1, 2, 3
