-- Emergencies: which use owns a nonce, and what an open review keeps from being put away.
-- Forward only, never edited once applied. Works on PostgreSQL 14 to 17.

-- A request that names no instance may be submitted to any. They tell each other's uses by this table alone: the first
-- break_glass.requested to be committed owns the nonce. Nobody writes it but the trigger below; the serving role reads it.
create table audit_break_glass_nonce (
    nonce    uuid        not null primary key,
    event_id uuid        not null,
    stream   uuid        not null,
    at       timestamptz not null default clock_timestamp()
);
comment on table audit_break_glass_nonce is
    'The nonces of break-glass requests that are used, each with the use that owns it. Follows from audit_event.';
comment on column audit_break_glass_nonce.nonce is
    'The nonce of the request that custodians signed.';
comment on column audit_break_glass_nonce.event_id is
    'The break_glass.requested that was committed first.';
comment on column audit_break_glass_nonce.stream is
    'Its stream: only a break_glass.failed of the same stream frees the nonce.';
comment on column audit_break_glass_nonce.at is
    'When it was committed, by the clock of the database.';

-- Whatever stands in detail: an event of an emergency is never kept from the log because somebody could not read it.
create function audit_emergency_nonce(detail text) returns uuid
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    if length(detail) > 65536 then
        return null;
    end if;
    return (detail::jsonb ->> 'nonce')::uuid;
exception
    when others then return null;
end;
$$;
comment on function audit_emergency_nonce(text) is
    'The nonce that the detail of an event of an emergency names; null where it names none.';

create function audit_claim_nonce() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    home constant name := (pg_catalog.current_schemas(false))[2];
    claimed uuid;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    execute format('select %I.audit_emergency_nonce($1)', home) into claimed using new.detail;
    if claimed is null then
        return null;
    end if;
    if new.type = 'break_glass.requested' then
        execute format('insert into %I.audit_break_glass_nonce (nonce, event_id, stream) values ($1, $2, $3)
            on conflict do nothing', home) using claimed, new.id, new.stream;
    else
        -- Of its own stream alone: whoever came second must not free what the first uses.
        execute format('delete from %I.audit_break_glass_nonce where nonce = $1 and stream = $2', home)
            using claimed, new.stream;
    end if;
    return null;
exception
    -- Not recorded as owned: then nobody owns it, and nothing is minted.
    when others then
        raise log 'the nonce of event % was not claimed: %', new.id, sqlerrm;
        return null;
end;
$$;
comment on function audit_claim_nonce() is
    'Keeps which use owns a nonce: the first that asked, until it is said to have come to nothing.';

create trigger audit_event_claim_nonce
    after insert on audit_event
    for each row
    when (new.type in ('break_glass.requested', 'break_glass.failed'))
    execute function audit_claim_nonce();

comment on column audit_event.door is
    'The door the request came through: sts, leases, container, token, audit, desk, break_glass, cli.';

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
        when type like 'break\_glass.%' then 'break_glass'
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
    'vend where a credential was asked for, revoke where one was ended, freeze and thaw where vending was stopped and let on, '
    'break_glass where an emergency is spoken of.';

-- A month with a review that is open stays: with its rows the next use would no longer be blocked. So does one with a use
-- that was neither freed nor reviewed, drills aside: the use alone opens its review, whether or not that was said.
alter function audit_retire(date) rename to audit_retire_thawed;
comment on function audit_retire_thawed(date) is
    'What audit_retire does once no open review stands in the way.';

create function audit_retire(month date) returns table (events bigint, streams bigint)
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '500ms'
as $$
declare
    home constant name := (pg_catalog.current_schemas(false))[2];
    unreviewed uuid;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    execute format(
        'select %1$I.audit_emergency_nonce(opened.detail)
         from %1$I.audit_event as opened
         where (
                opened.type = ''break_glass.review_opened''
                or opened.type = ''break_glass.requested''
                    and case
                        when %1$I.audit_emergency_nonce(opened.detail) is null then false
                        else (opened.detail::jsonb ->> ''kind'') is distinct from ''drill''
                    end
                    and not exists (
                        select from %1$I.audit_event as failed
                        where failed.type = ''break_glass.failed'' and failed.stream = opened.stream
                            and %1$I.audit_emergency_nonce(failed.detail) = %1$I.audit_emergency_nonce(opened.detail)
                    )
            )
            and %1$I.audit_month_of(opened.stream) = date_trunc(''month'', $1::timestamp)::date
            and not exists (
                select from %1$I.audit_event as closed
                where closed.type = ''break_glass.review_closed''
                    and %1$I.audit_emergency_nonce(closed.detail) = %1$I.audit_emergency_nonce(opened.detail)
            )
         limit 1', home) into unreviewed using month;
    if unreviewed is not null then
        raise exception 'the review of the use % of that month is open', unreviewed
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'Two custodians close it: docs/break-glass.md.';
    end if;
    return query execute format('select * from %I.audit_retire_thawed($1)', home) using month;
end;
$$;
comment on function audit_retire(date) is
    'Detaches the partitions of a month that is over and whole, and in which no freeze was set that is in force and no review '
    'is open, keeping the last seal of each of its streams; they stay as plain tables.';

-- Roles: what the log's own settling does, and what is new.
alter function audit_settle_roles() rename to audit_settle_log_roles;
comment on function audit_settle_log_roles() is
    'What audit_settle_roles does about everything but emergencies.';

create function audit_settle_roles() returns setof text
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    home constant name := (pg_catalog.current_schemas(false))[2];
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    return query execute format('select * from %I.audit_settle_log_roles()', home);
    if exists (select from pg_roles where rolname = 'stint_serve') then
        execute format('grant select on %I.audit_break_glass_nonce to stint_serve', home);
    end if;
exception
    when insufficient_privilege then
        return next format('%I may not grant stint_serve what is its own', current_user);
end;
$$;
comment on function audit_settle_roles() is
    'Makes stint_owner, stint_serve and stint_audit where it may, gives each what is its own, and answers what it could not do.';

do $$
declare
    made regprocedure;
    untold text;
begin
    foreach made in array array['audit_claim_nonce()', 'audit_retire(date)', 'audit_settle_roles()']::regprocedure[] loop
        execute format('alter function %s set search_path = pg_catalog, %I', made, current_schema());
        execute format('revoke execute on function %s from public', made);
    end loop;
    for untold in select audit_settle_roles() loop
        raise notice '%: see docs/operations.md', untold;
    end loop;
end;
$$;
