-- How many leases of issuer $2 and subject $3 are open at $1, but for the leases $4, and when the first of them ends. Open as in
-- open_leases.sql.
select null::text as role, count(*) as "leases!", min(issued.ends_at) as first_end
from audit_event as issued
where issued.issuer = $2 and issued.subject = $3 and issued.type = 'lease.issued'
    and issued.occurred_at >= $1::timestamptz - interval '2 hours' and issued.ends_at > $1
    and not issued.lease_id = any($4::uuid[])
    and not exists (
        select
        from audit_event as ended
        where ended.lease_id = issued.lease_id
            and (
                ended.type = 'lease.abandoned'
                or ended.type = 'lease.revoked' and ended.reason in ('refused_at_server', 'gone_from_listing')
            )
    )
