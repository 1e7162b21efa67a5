-- The policy set that was loaded last at $1.
select loaded.policy_hash as "hash?", loaded.occurred_at as loaded_at, policy_set.files as "files?"
from (
    select policy_hash, occurred_at
    from audit_event
    where type = 'policy.loaded' and occurred_at <= $1::timestamptz
    order by occurred_at desc, stream desc, seq desc
    limit 1
) as loaded
left join policy_set on policy_set.hash = loaded.policy_hash
