-- The session policies of the leases that were live at $1: issued, not past their real end, not revoked or abandoned. No lease
-- lives longer than an hour; the second hour is for clocks.
select
    live.session_policy_sha256 as "sha256?", min(session_policy.text) as "text?", sum(live.leases)::bigint as "leases!"
from (
    select issued.session_policy_sha256, count(*) as leases
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
    group by issued.session_policy_sha256
) as live
left join session_policy on session_policy.sha256 = live.session_policy_sha256
group by live.session_policy_sha256
