with intent as (
    select lease_id, parent_fingerprint, occurred_at, granted_seconds
    from audit_event
    where type = 'lease.intended' and occurred_at >= $1
),
fate as (
    select lease_id, bool_or(type <> 'lease.issued') as is_over, max(ends_at) as ends_at
    from audit_event
    where type in ('lease.issued', 'lease.failed', 'lease.abandoned', 'lease.revoked') and occurred_at >= $1
    group by lease_id
),
lease as (
    select
        i.parent_fingerprint,
        i.occurred_at,
        -- One without a fate may have been minted a little later than it was intended.
        coalesce(f.ends_at, i.occurred_at + make_interval(secs => i.granted_seconds) + interval '1 minute') as ends_at,
        coalesce(f.is_over, false) as is_over
    from intent i
    left join fate f on f.lease_id = i.lease_id
)
select
    parent_fingerprint,
    max(occurred_at) as "last_intent!",
    count(*) filter (where not is_over and ends_at > $2) as "open!",
    max(ends_at) filter (where not is_over and ends_at > $2) as open_until
from lease
group by parent_fingerprint
