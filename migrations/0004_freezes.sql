-- Freezes of the whole installation, and telling the other instances of freezes and revocations.
-- Forward only, never edited once applied. Works on PostgreSQL 14 to 17.

alter table audit_event
    add column freeze_id uuid,
    -- Somebody is answerable for every freeze of the installation.
    add constraint audit_event_freeze_check check (
        freeze_id is null or actor is not null or type not in ('freeze.set', 'freeze.lifted')
    );

-- What is frozen now: read by every instance, at least once a second.
create index audit_event_freeze_idx on audit_event (freeze_id)
    where freeze_id is not null and type in ('freeze.set', 'freeze.lifted');

-- A lease that is handed out again and again has a row each time: what became of it is found without passing them all.
drop index audit_event_lease_id_idx;
create index audit_event_lease_id_idx on audit_event (lease_id, type) where lease_id is not null;

-- Partitions that are there already: those to come are made like the table.
do $$
declare
    part regclass;
begin
    for part in
        select 'audit_event'::regclass
        union all
        select inhrelid::regclass from pg_inherits where inhparent = 'audit_event'::regclass
    loop
        execute format('comment on column %s.freeze_id is %L', part,
            'The freeze of the installation that is set or lifted, or that refused: a version 7 UUID. Null in freeze.set and '
            'freeze.lifted of one process alone: a role that a self-test closed.');
    end loop;
end;
$$;

create or replace view auditor_event with (security_barrier) as
select
    stream, seq, id, occurred_at, type, effect, reason, door, address, request_id, requested_role, requested_seconds,
    session_name, token_sha256, issuer, subject, client, groups, jti, role, roles, matched_rule, policy_hash, lease_id,
    role_session_name, session_policy_sha256, granted_seconds, left(key_fingerprint, 8) || '…' as key_fingerprint,
    ends_at, count, network, heads, key_id, detail, actor, left(parent_fingerprint, 8) || '…' as parent_fingerprint,
    refused_after_ms, freeze_id
from audit_event;
comment on column auditor_event.freeze_id is
    'The freeze of the installation that is set or lifted, or that refused: a version 7 UUID. Null in freeze.set and '
    'freeze.lifted of one process alone: a role that a self-test closed.';

create or replace view flex_auth_event with (security_barrier) as
select
    'audit:' || id as id,
    case when effect = 'not_applicable' then 'event' else 'decision' end as type,
    coalesce(subject, 'stint') as subject,
    case when effect = 'not_applicable' then null else id::text end as decision_id,
    'role:' || coalesce(role, requested_role) as resource,
    case
        when type = 'lease.revoked' then 'revoke'
        when type = 'freeze.set' then 'freeze'
        when type = 'freeze.lifted' then 'thaw'
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
        'parent_fingerprint', left(parent_fingerprint, 8) || '…', 'refused_after_ms', refused_after_ms,
        'freeze_id', freeze_id
    )) as metadata
from audit_event;
comment on column flex_auth_event.action is
    'vend where a credential was asked for, revoke where one was ended, freeze and thaw where vending was stopped and let on.';

-- A lease that was handed out again is one more answer to the same call.
create or replace view cloudtrail_event with (security_barrier) as
select
    '1.11' as "eventVersion",
    jsonb_strip_nulls(jsonb_build_object(
        'type', 'WebIdentityUser',
        'principalId', concat_ws(':', issuer, coalesce(client, ''), subject),
        'userName', subject,
        'identityProvider', issuer
    )) as "userIdentity",
    to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "eventTime",
    'sts.amazonaws.com' as "eventSource",
    'AssumeRoleWithWebIdentity' as "eventName",
    coalesce(host(address), network::text) as "sourceIPAddress",
    case when type not in ('lease.issued', 'lease.reused') then reason end as "errorCode",
    jsonb_strip_nulls(jsonb_build_object(
        'roleArn', 'arn:aws:iam:::role/' || coalesce(requested_role, role),
        'roleSessionName', session_name,
        'durationSeconds', requested_seconds
    )) as "requestParameters",
    case when type in ('lease.issued', 'lease.reused') then jsonb_strip_nulls(jsonb_build_object(
        'subjectFromWebIdentityToken', subject,
        'provider', issuer,
        'audience', client,
        'assumedRoleUser', jsonb_build_object(
            'arn', 'arn:aws:sts:::assumed-role/' || role || '/' || role_session_name,
            'assumedRoleId', role_session_name
        ),
        'credentials', jsonb_build_object(
            'accessKeyId', left(key_fingerprint, 8) || '…',
            'expiration', to_char(ends_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        )
    )) end as "responseElements",
    jsonb_strip_nulls(jsonb_build_object(
        'leaseId', lease_id, 'policyHash', policy_hash, 'matchedRule', matched_rule, 'refusals', count
    )) as "additionalEventData",
    request_id as "requestID",
    id as "eventID",
    true as "readOnly",
    'AwsApiCall' as "eventType",
    'Management' as "eventCategory"
from audit_event
where type in ('lease.issued', 'lease.reused', 'lease.failed', 'exchange.refused');

-- Wakes the other instances. It says which row to look for and nothing of what is in it: whoever can connect can notify, so
-- a notification is believed by nobody, and whoever misses it reads the same a second later.
create function audit_notify() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_notify('stint_audit_event', new.type || ':' || coalesce(new.freeze_id, new.lease_id)::text);
    return null;
end;
$$;
comment on function audit_notify() is
    'Tells whoever listens on stint_audit_event that a freeze was set or lifted, or the end of a lease was asked for.';

create trigger audit_event_notify
    after insert on audit_event
    for each row
    when (
        new.type in ('freeze.set', 'freeze.lifted') and new.freeze_id is not null
        or new.type = 'lease.revoked' and new.reason = 'requested'
    )
    execute function audit_notify();

-- A month that holds a freeze in force stays: with its rows the freeze would be gone.
alter function audit_retire(date) rename to audit_retire_whole;
comment on function audit_retire_whole(date) is
    'What audit_retire does once no freeze stands in the way.';

create function audit_retire(month date) returns table (events bigint, streams bigint)
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '500ms'
as $$
declare
    home constant name := (pg_catalog.current_schemas(false))[2];
    frozen uuid;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    execute format(
        'select set_then.freeze_id
         from %1$I.audit_event as set_then
         where set_then.type = ''freeze.set'' and set_then.freeze_id is not null
            and %1$I.audit_month_of(set_then.stream) = date_trunc(''month'', $1::timestamp)::date
            and not exists (
                select from %1$I.audit_event as lifted
                where lifted.freeze_id = set_then.freeze_id and lifted.type = ''freeze.lifted''
            )
         limit 1', home) into frozen using month;
    if frozen is not null then
        raise exception 'the freeze % of that month is in force', frozen
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'Set it anew, and then lift this one.';
    end if;
    return query execute format('select * from %I.audit_retire_whole($1)', home) using month;
end;
$$;
comment on function audit_retire(date) is
    'Detaches the partitions of a month that is over and whole, and in which no freeze was set that is in force, keeping the '
    'last seal of each of its streams; they stay as plain tables.';

do $$
declare
    untold text;
begin
    execute format('alter function audit_retire(date) set search_path = pg_catalog, %I', current_schema());
    revoke execute on function audit_retire(date) from public;
    for untold in select audit_settle_roles() loop
        raise notice '%: see docs/operations.md', untold;
    end loop;
end;
$$;
