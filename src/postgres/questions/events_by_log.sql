-- One page of events in the order of the log: stream by stream, as sealed.
-- $1 to $3: after this place. $4, $5: the period. $6: the driver, the one condition that is looked up by index. $7 to $25: every
-- condition. $26: rows of the page. $27: rows that may be looked at for it; the last of them comes too, so that the next page
-- begins there. $28, $29: the streams that can hold events of the period.
with examined as (
    select candidate.*, row_number() over (order by stream, seq) as place
    from (
        select *
        from audit_event
        where ($2::uuid is null or stream >= $2 and (stream, seq) > ($2, $3::bigint))
            and ($25::uuid is null or stream = $25)
            and ($28::uuid is null or stream >= $28)
            and ($29::uuid is null or stream <= $29)
        order by stream, seq
        limit $27::bigint
    ) as candidate
),
judged as (
    select
        examined.*,
            ($7::text is null or type = $7)
            and ($8::uuid is null or lease_id = $8)
            and ($9::text is null or key_fingerprint ~>=~ $9 and key_fingerprint ~<~ $10::text)
            and ($11::text is null or token_sha256 = $11)
            and ($12::text is null or subject = $12)
            and ($13::text is null or effect = $13)
            and ($14::text is null or reason = $14)
            and ($15::text is null or issuer = $15)
            and ($16::text is null or client = $16)
            and ($17::text is null or groups @> array[$17])
            and ($18::text is null or role = $18 or roles @> array[$18])
            and ($19::text is null or jti = $19)
            and ($20::uuid is null or request_id = $20)
            and ($21::text is null or policy_hash = $21)
            and ($22::inet is null or address <<= $22 or network && $22)
            and ($23::text is null or door = $23)
            and ($24::text is null or session_name = $24)
            and ($25::uuid is null or stream = $25)
            and ($4::timestamptz is null or occurred_at >= $4)
            and ($5::timestamptz is null or occurred_at < $5)
            as meets
    from examined
)
select
    stream as "stream!", seq as "seq!", id as "id!", occurred_at as "occurred_at!", type as "kind!", effect as "effect!",
    reason as "reason!", door, address as "address: std::net::IpAddr", request_id, requested_role, requested_seconds,
    session_name, token_sha256, issuer, subject, client, groups as "groups!", jti, role, roles as "roles!", matched_rule,
    policy_hash, lease_id, role_session_name, session_policy_sha256, granted_seconds, key_fingerprint, ends_at, count,
    network::text as "network", heads as "heads!", key_id, detail, actor, parent_fingerprint, refused_after_ms, freeze_id,
    coalesce(meets, false) as "meets!", place as "place!"
from judged
where (meets or place = $27) and $1::timestamptz is not distinct from $1 and $6::text is not null
order by stream, seq
limit $26::bigint + 1
