-- Who had a lease ended, under which parent it was minted, and how soon the object server refused it.
-- Forward only, never edited once applied. Works on PostgreSQL 14 to 17.

alter table audit_event
    add column actor text,
    add column parent_fingerprint text,
    add column refused_after_ms bigint,
    add constraint audit_event_parent_fingerprint_check check (parent_fingerprint ~ '^[0-9a-f]{32}$'),
    add constraint audit_event_refused_after_ms_check check (refused_after_ms >= 0);

-- Partitions that are there already: those to come are made like the table.
do $$
declare
    told record;
    part regclass;
begin
    for told in
        select * from (values
            ('actor', 'Who had it done, where that is not the identity that the event is about: issuer:subject.'),
            ('parent_fingerprint', 'Keyed fingerprint (as in key_fingerprint) of the access key id of the parent that '
                'minted the lease.'),
            ('refused_after_ms', 'In lease.revoked: milliseconds from asking the object server to the first request that '
                'it refused.')
        ) as column_comment (name, said)
    loop
        for part in
            select 'audit_event'::regclass
            union all
            select inhrelid::regclass from pg_inherits where inhparent = 'audit_event'::regclass
        loop
            execute format('comment on column %s.%I is %L', part, told.name, told.said);
        end loop;
    end loop;
end;
$$;
comment on column audit_event.door is
    'The door the request came through: sts, leases, container, audit, desk, cli.';
comment on column audit_event.reason is
    'Stable code of a refusal or failure; granted, loaded, opened, stopped or month where there is none.';

create or replace view auditor_event with (security_barrier) as
select
    stream, seq, id, occurred_at, type, effect, reason, door, address, request_id, requested_role, requested_seconds,
    session_name, token_sha256, issuer, subject, client, groups, jti, role, roles, matched_rule, policy_hash, lease_id,
    role_session_name, session_policy_sha256, granted_seconds, left(key_fingerprint, 8) || '…' as key_fingerprint,
    ends_at, count, network, heads, key_id, detail, actor, left(parent_fingerprint, 8) || '…' as parent_fingerprint,
    refused_after_ms
from audit_event;
do $$
declare
    seen record;
begin
    for seen in
        select attname, col_description('audit_event'::regclass, attnum) as said
        from pg_attribute
        where attrelid = 'audit_event'::regclass and attname in ('door', 'actor', 'parent_fingerprint', 'refused_after_ms')
    loop
        execute format('comment on column auditor_event.%I is %L', seen.attname,
            seen.said || case when seen.attname = 'parent_fingerprint' then ' Here its first 8 digits.' else '' end);
    end loop;
end;
$$;

create or replace view flex_auth_event with (security_barrier) as
select
    'audit:' || id as id,
    case when effect = 'not_applicable' then 'event' else 'decision' end as type,
    coalesce(subject, 'stint') as subject,
    case when effect = 'not_applicable' then null else id::text end as decision_id,
    'role:' || coalesce(role, requested_role) as resource,
    case
        when type = 'lease.revoked' then 'revoke'
        when type like 'lease.%' or type = 'exchange.refused' then 'vend'
    end as action,
    effect,
    occurred_at as "timestamp",
    null::jsonb as exposure_event,
    jsonb_strip_nulls(jsonb_build_object(
        'stint_type', type, 'stream', stream, 'seq', seq, 'reason', reason, 'door', door, 'address', host(address),
        'request_id', request_id, 'requested_role', requested_role, 'requested_seconds', requested_seconds,
        'session_name', session_name, 'token_sha256', token_sha256, 'issuer', issuer, 'client', client,
        'groups', groups, 'jti', jti, 'roles', roles, 'matched_rule', matched_rule, 'policy_hash', policy_hash,
        'lease_id', lease_id, 'role_session_name', role_session_name, 'session_policy_sha256', session_policy_sha256,
        'granted_seconds', granted_seconds, 'key_fingerprint', left(key_fingerprint, 8) || '…', 'ends_at', ends_at,
        'count', count, 'network', network::text, 'detail', detail, 'actor', actor,
        'parent_fingerprint', left(parent_fingerprint, 8) || '…', 'refused_after_ms', refused_after_ms
    )) as metadata
from audit_event;
comment on column flex_auth_event.action is
    'vend where a credential was asked for, revoke where one was ended.';
