-- The sealed log: events and the seal of their commit, in monthly partitions of whole streams.
-- Forward only, never edited once applied. Works on PostgreSQL 14 to 17.

-- What the version before sealed nothing stays, under another name, as append-only as it was.
alter table audit_event rename to audit_event_unsealed;
alter table audit_event_unsealed rename constraint audit_event_pkey to audit_event_unsealed_pkey;
alter table audit_event_unsealed rename constraint audit_event_id_key to audit_event_unsealed_id_key;
alter index audit_event_occurred_at_idx rename to audit_event_unsealed_occurred_at_idx;
alter index audit_event_type_idx rename to audit_event_unsealed_type_idx;
alter index audit_event_holder_idx rename to audit_event_unsealed_holder_idx;
alter index audit_event_lease_id_idx rename to audit_event_unsealed_lease_id_idx;
alter index audit_event_key_fingerprint_idx rename to audit_event_unsealed_key_fingerprint_idx;
comment on table audit_event_unsealed is
    'Events of the first version, which sealed nothing: kept as they are, part of no stream that can be verified.';

-- One row per event. The partition key is the stream: its id is a version 7 UUID, and no stream reaches into another month,
-- so a partition holds whole streams, and (stream, seq) stays unique across all of them.
create table audit_event (
    stream                uuid        not null,
    seq                   bigint      not null,
    id                    uuid        not null,
    occurred_at           timestamptz not null,
    type                  text        not null,
    effect                text        not null,
    reason                text        not null,
    door                  text,
    address               inet,
    request_id            uuid,
    requested_role        text,
    requested_seconds     bigint,
    session_name          text,
    token_sha256          text,
    issuer                text,
    subject               text,
    client                text,
    groups                text[]      not null default '{}',
    jti                   text,
    role                  text,
    roles                 text[]      not null default '{}',
    matched_rule          text,
    policy_hash           text,
    lease_id              uuid,
    role_session_name     text,
    session_policy_sha256 text,
    granted_seconds       bigint,
    key_fingerprint       text,
    ends_at               timestamptz,
    count                 bigint,
    network               cidr,
    heads                 text[]      not null default '{}',
    key_id                text,
    detail                text,

    constraint audit_event_pkey primary key (stream, seq),
    constraint audit_event_seq_check check (seq >= 0),
    constraint audit_event_type_check check (
        type in (
            'exchange.refused',
            'lease.intended', 'lease.issued', 'lease.failed', 'lease.reused', 'lease.revoked', 'lease.abandoned',
            'freeze.set', 'freeze.lifted',
            'policy.loaded',
            'audit.read',
            'orphan.found',
            'stream.opened', 'stream.closed'
        )
        or type ~ '^break_glass\.[a-z_]{1,40}$'
    ),
    constraint audit_event_effect_check check (effect in ('allow', 'deny', 'not_applicable')),
    constraint audit_event_reason_check check (length(reason) between 1 and 64),
    constraint audit_event_requested_seconds_check check (requested_seconds >= 0),
    constraint audit_event_granted_seconds_check check (granted_seconds >= 0),
    constraint audit_event_count_check check (count >= 1),
    constraint audit_event_token_sha256_check check (token_sha256 ~ '^[0-9a-f]{64}$'),
    constraint audit_event_policy_hash_check check (policy_hash ~ '^[0-9a-f]{64}$'),
    constraint audit_event_session_policy_sha256_check check (session_policy_sha256 ~ '^[0-9a-f]{64}$'),
    constraint audit_event_key_fingerprint_check check (key_fingerprint ~ '^[0-9a-f]{32}$'),
    constraint audit_event_heads_check check (cardinality(heads) <= 1000),
    constraint audit_event_key_id_check check (key_id ~ '^[0-9a-f]{64}$'),
    -- An event about a lease names it, and a lease on record as issued names its key and its end.
    constraint audit_event_lease_check check (type not like 'lease.%' or lease_id is not null),
    constraint audit_event_issued_check check (
        type <> 'lease.issued' or (key_fingerprint is not null and ends_at is not null)
    )
) partition by range (stream);

create index audit_event_occurred_at_idx on audit_event (occurred_at);
create index audit_event_type_idx on audit_event (type, occurred_at);
create index audit_event_holder_idx on audit_event (issuer, subject, occurred_at) where subject is not null;
create index audit_event_lease_id_idx on audit_event (lease_id) where lease_id is not null;
create index audit_event_key_fingerprint_idx on audit_event (key_fingerprint) where key_fingerprint is not null;

comment on table audit_event is
    'The issuance log: one row per event, append-only. Never holds a secret, a session token or a raw JWT.';
comment on column audit_event.stream is
    'The process start, and month, that said it: a version 7 UUID, so that streams sort by when they were opened.';
comment on column audit_event.seq is
    'Place in the stream, from 0, without gaps. Order by this, never by a time.';
comment on column audit_event.id is
    'The event''s own id, a version 7 UUID.';
comment on column audit_event.occurred_at is
    'When it was said, by the clock of the service. May step back.';
comment on column audit_event.type is
    'What happened, e.g. lease.issued. The set is closed: docs/audit.md lists it.';
comment on column audit_event.effect is
    'The decision: allow, deny, or not_applicable where none was asked for.';
comment on column audit_event.reason is
    'Stable code of a refusal or failure; granted, loaded, opened, stopped or month where there is none.';
comment on column audit_event.door is
    'The door the request came through: sts, leases, container, audit, cli.';
comment on column audit_event.address is
    'The caller''s address, after trusted proxies were peeled off.';
comment on column audit_event.request_id is
    'The request id that the answer carries too.';
comment on column audit_event.requested_role is
    'The role asked for, or any; null when it was not a role name.';
comment on column audit_event.requested_seconds is
    'The length asked for, in seconds; null when none was.';
comment on column audit_event.session_name is
    'The caller''s own session name: recorded, never relied on.';
comment on column audit_event.token_sha256 is
    'SHA-256 of the token as presented, lower-case hex: joins a row to a token that somebody still holds.';
comment on column audit_event.issuer is
    'The configured name of the issuer whose signature held.';
comment on column audit_event.subject is
    'The sub claim: unique only together with the issuer.';
comment on column audit_event.client is
    'The azp or client_id claim.';
comment on column audit_event.groups is
    'The groups in the token, exact bytes.';
comment on column audit_event.jti is
    'The jti claim: unique only together with the issuer.';
comment on column audit_event.role is
    'The role granted, or any when several were combined.';
comment on column audit_event.roles is
    'Every role combined into the grant; for policy.loaded every role that the set defines.';
comment on column audit_event.matched_rule is
    'The rules that matched, by file and place.';
comment on column audit_event.policy_hash is
    'SHA-256 of the policy set decided under, lower-case hex.';
comment on column audit_event.lease_id is
    'The lease spoken of, a version 7 UUID: joins an intent to its fate.';
comment on column audit_event.role_session_name is
    'The session name that the object server sees, and may write into its own access log.';
comment on column audit_event.session_policy_sha256 is
    'SHA-256 of the session policy that was sent, lower-case hex.';
comment on column audit_event.granted_seconds is
    'The length asked of the object server, in seconds.';
comment on column audit_event.key_fingerprint is
    'Keyed fingerprint (HMAC-SHA256, first 128 bits, lower-case hex) of the access key id; never the id.';
comment on column audit_event.ends_at is
    'When the credential really ends at the object server.';
comment on column audit_event.count is
    'How many refusals this one row stands for; null where it stands for one event.';
comment on column audit_event.network is
    'The /24 or /48 that aggregated refusals came from; null when too many took part to keep them apart.';
comment on column audit_event.heads is
    'In stream.opened: the last seals of the streams before, each as stream:number:last_seq:hash.';
comment on column audit_event.key_id is
    'In stream.opened: the key that seals the stream, as in audit_key.';
comment on column audit_event.detail is
    'The rest, for people.';

-- One row per commit.
create table audit_seal (
    stream    uuid        not null,
    number    bigint      not null,
    first_seq bigint      not null,
    last_seq  bigint      not null,
    leaves    bytea       not null,
    root      bytea       not null,
    previous  bytea       not null,
    sealed_at timestamptz not null,
    key_id    text        not null,
    signature bytea       not null,

    constraint audit_seal_pkey primary key (stream, number),
    constraint audit_seal_number_check check (number >= 0),
    constraint audit_seal_range_check check (first_seq >= 0 and last_seq >= first_seq),
    constraint audit_seal_leaves_check check (length(leaves) = 32 * (last_seq - first_seq + 1)),
    constraint audit_seal_digests_check check (length(root) = 32 and length(previous) = 32 and length(signature) = 64),
    constraint audit_seal_key_id_check check (key_id ~ '^[0-9a-f]{64}$')
) partition by range (stream);

comment on table audit_seal is
    'One row per commit of the log: what its events hash to, chained to the seal before, signed.';
comment on column audit_seal.stream is
    'The stream whose events it covers.';
comment on column audit_seal.number is
    'Place in the chain of the stream, from 0, without gaps.';
comment on column audit_seal.first_seq is
    'The first event it covers.';
comment on column audit_seal.last_seq is
    'The last event it covers.';
comment on column audit_seal.leaves is
    'The leaf hash (RFC 6962) of every event it covers, 32 bytes each, in order of seq.';
comment on column audit_seal.root is
    'The Merkle root (RFC 6962) of the leaves, 32 bytes.';
comment on column audit_seal.previous is
    'The hash of the seal before, SHA-256 of its statement and its signature, 32 bytes; zeros for the first.';
comment on column audit_seal.sealed_at is
    'When it was made, by the clock of the service.';
comment on column audit_seal.key_id is
    'The key that signed, as in audit_key.';
comment on column audit_seal.signature is
    'Ed25519 over the statement: docs/audit.md spells it.';

-- The streams, one entry each, however many seals they have: what a new stream looks through for heads to name.
create index audit_seal_first_idx on audit_seal (stream) where number = 0;

-- Public halves of the keys that sealed. Old ones stay.
create table audit_key (
    key_id     text        not null primary key,
    public_key text        not null,
    known_at   timestamptz not null default clock_timestamp(),
    constraint audit_key_key_id_check check (key_id ~ '^[0-9a-f]{64}$')
);

comment on table audit_key is
    'Public halves of the keys that sealed. Old ones stay; an auditor should hold copies of their own.';
comment on column audit_key.key_id is
    'SHA-256 of the SubjectPublicKeyInfo in DER, lower-case hex.';
comment on column audit_key.public_key is
    'The SubjectPublicKeyInfo in PEM.';
comment on column audit_key.known_at is
    'When the database first took it, by the clock of the database.';

-- The text of every policy set that took effect, under its hash.
create table policy_set (
    hash  text not null primary key,
    files text not null,
    constraint policy_set_hash_check check (hash ~ '^[0-9a-f]{64}$')
);

comment on table policy_set is
    'The text of every policy set that took effect.';
comment on column policy_set.hash is
    'The hash of the set, lower-case hex: what audit_event.policy_hash names.';
comment on column policy_set.files is
    'A JSON object: path below the policy directory to content.';

-- The text of every session policy that was sent to the object server, under its SHA-256.
create table session_policy (
    sha256 text not null primary key,
    text   text not null,
    constraint session_policy_sha256_check check (sha256 ~ '^[0-9a-f]{64}$')
);

comment on table session_policy is
    'The text of every session policy that was sent to the object server.';
comment on column session_policy.sha256 is
    'SHA-256 of the text, lower-case hex: what audit_event.session_policy_sha256 names.';
comment on column session_policy.text is
    'The policy document as it was sent.';

-- The last seal of every stream whose partition was detached: later streams name it, so it stays.
create table audit_retired_stream (
    stream     uuid        not null primary key,
    number     bigint      not null,
    last_seq   bigint      not null,
    hash       bytea       not null,
    closed     boolean     not null,
    named      boolean     not null,
    retired_at timestamptz not null default clock_timestamp(),
    constraint audit_retired_stream_hash_check check (length(hash) = 32)
);

comment on table audit_retired_stream is
    'The last seal of every stream whose month was retired: later streams name it, so it stays.';
comment on column audit_retired_stream.stream is
    'The stream.';
comment on column audit_retired_stream.number is
    'The number of its last seal.';
comment on column audit_retired_stream.last_seq is
    'The last event under that seal.';
comment on column audit_retired_stream.hash is
    'SHA-256 of the statement and the signature of that seal, 32 bytes.';
comment on column audit_retired_stream.closed is
    'Whether the stream ended in good order, with stream.closed.';
comment on column audit_retired_stream.named is
    'Whether some stream.opened had named this very seal when the month was retired: else the next one does.';
comment on column audit_retired_stream.retired_at is
    'When its month was retired, by the clock of the database.';

-- Append-only for everyone, the owner and superusers included. Statement level: a change of no row at all is refused too,
-- and so is `insert .. on conflict do update`.
alter function audit_event_refuse_change() rename to audit_refuse_change;
create or replace function audit_refuse_change() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception '% is append-only: % is refused', tg_table_name, tg_op
        using errcode = 'insufficient_privilege',
              hint = 'A correction is a new event.';
end;
$$;
comment on function audit_refuse_change() is
    'Refuses UPDATE, DELETE and TRUNCATE of the table it is put on, whoever asks.';

-- A trigger of a partitioned table does not fire for statements that name a partition: each has its own. This function
-- and those below learn their schema from the search path that is pinned on each at the end, then leave only pg_catalog
-- in it: whoever may create things in the schema must not be able to slip an operator of his own under a definer.
create function audit_keep(kept name) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    home constant name := (pg_catalog.current_schemas(false))[2];
    guard name;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    guard := kept || '_append_only';
    execute format(
        'create trigger %I before update or delete or truncate on %I.%I
         for each statement execute function %I.audit_refuse_change()', guard, home, kept, home);
    -- Also under session_replication_role = replica, which silences ordinary triggers.
    execute format('alter table %I.%I enable always trigger %I', home, kept, guard);
end;
$$;
comment on function audit_keep(name) is
    'Makes a table append-only.';

create function audit_month_bound(month date) returns uuid
    language sql immutable strict parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    select (lpad(to_hex((extract(epoch from date_trunc('month', month::timestamp)) * 1000)::bigint), 12, '0')
        || '70008000000000000000')::uuid
$$;
comment on function audit_month_bound(date) is
    'The smallest version 7 UUID of a month in UTC: a stream opened in that month or later is not below it.';

create function audit_month_of(stream uuid) returns date
    language sql immutable strict parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    select case
        when substr(stream::text, 15, 1) = '7' and substr(stream::text, 20, 1) in ('8', '9', 'a', 'b') then
            date_trunc('month', to_timestamp(
                ('x' || left(replace(stream::text, '-', ''), 12))::bit(48)::bigint / 1000
            ) at time zone 'UTC')::date
    end
$$;
comment on function audit_month_of(uuid) is
    'The first day of the month, in UTC, in which a stream was opened; null where the id is no version 7 UUID.';

create function audit_partition(parent name, month date) returns name
    language sql immutable strict parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    select (parent || to_char(month, '"_"YYYY"_"MM'))::name
$$;
comment on function audit_partition(name, date) is
    'The name of the partition of a month.';

create function audit_has_partition(parent name, month date) returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    home constant name := (pg_catalog.current_schemas(false))[2];
    found_it boolean;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    execute format(
        'select exists (
            select from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
            where p.relnamespace = %1$L::regnamespace and p.relname = $1
              and c.relnamespace = p.relnamespace and c.relname = %1$I.audit_partition($1, $2))', home)
        into found_it using parent, month;
    return found_it;
end;
$$;
comment on function audit_has_partition(name, date) is
    'Whether a table has the partition of a month.';

-- Filled and guarded first, attached last: that locks neither the writers nor the readers of the parent out, where
-- `create table .. partition of` would wait for every reader and hold up every writer behind it.
create function audit_make_partition(parent name, month date) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    home constant name := (pg_catalog.current_schemas(false))[2];
    part name;
    low uuid;
    high uuid;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    execute format('select %1$I.audit_partition($1, $2), %1$I.audit_month_bound($2), %1$I.audit_month_bound($3)', home)
        into part, low, high using parent, month, (month + interval '1 month')::date;
    execute format('create table %1$I.%2$I (like %1$I.%3$I including all)', home, part, parent);
    execute format('comment on table %I.%I is %L', home, part,
        'The part of ' || parent || ' with the streams opened in ' || to_char(month, 'YYYY-MM') || ', UTC.');
    execute format('select %I.audit_keep($1)', home) using part;
    execute format('alter table %1$I.%2$I attach partition %1$I.%3$I for values from (%4$L) to (%5$L)',
        home, parent, part, low, high);
end;
$$;
comment on function audit_make_partition(name, date) is
    'Makes the partition of a month, append-only from its first moment.';

-- What the serving role may have made: the partitions of this month and the next, by the clock of the database, and of the
-- month before; nothing else, or it could fill the catalog with tables. Two instances may ask at once: the second waits
-- for the first, and finds what it wanted. Where a partition cannot be made now the rows go to the default partition.
create function audit_make_room(stream uuid) returns boolean
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '400ms'
as $$
declare
    home constant name := (pg_catalog.current_schemas(false))[2];
    current_month date;
    opened date;
    wanted date;
    parent name;
    there boolean;
    complete boolean := true;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    current_month := date_trunc('month', now() at time zone 'UTC')::date;
    execute format('select %I.audit_month_of($1)', home) into opened using stream;
    if opened is null then
        raise exception 'a stream is named by a version 7 UUID' using errcode = 'invalid_parameter_value';
    end if;
    if opened not between current_month - interval '1 month' and current_month + interval '1 month' then
        return false;
    end if;
    foreach wanted in array array[opened, (opened + interval '1 month')::date] loop
        continue when wanted > current_month + interval '1 month';
        begin
            foreach parent in array array['audit_event', 'audit_seal']::name[] loop
                execute format('select %I.audit_has_partition($1, $2)', home) into there using parent, wanted;
                if not there then
                    execute format('select %I.audit_make_partition($1, $2)', home) using parent, wanted;
                end if;
            end loop;
        exception
            -- Made by somebody else just now; or held up; or rows of the month are in the default partition already.
            when duplicate_table or duplicate_object or unique_violation or lock_not_available or deadlock_detected
                or check_violation or insufficient_privilege then
                raise log 'no partition for %: %', wanted, sqlerrm;
        end;
    end loop;
    foreach parent in array array['audit_event', 'audit_seal']::name[] loop
        execute format('select %I.audit_has_partition($1, $2)', home) into there using parent, opened;
        complete := complete and there;
    end loop;
    return complete;
end;
$$;
comment on function audit_make_room(uuid) is
    'Makes the partitions of the month in which this stream was opened, and of the next; false where its rows will go to the default partition.';

-- Retention. Owner only: it detaches, which nobody else may.
create function audit_retire(month date) returns table (events bigint, streams bigint)
    language plpgsql
    set search_path = pg_catalog, pg_temp
    -- The detach waits for readers and holds up writers meanwhile: better to refuse and be called again.
    set lock_timeout = '500ms'
as $$
declare
    home constant name := (pg_catalog.current_schemas(false))[2];
    this date;
    event_part name;
    seal_part name;
    first_stream uuid;
    there boolean;
    offender uuid;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    this := date_trunc('month', month::timestamp)::date;
    if this is null or this >= date_trunc('month', now() at time zone 'UTC')::date then
        raise exception 'the month % is not over', to_char(month, 'YYYY-MM')
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    execute format(
        'select %1$I.audit_has_partition(''audit_event'', $1) and %1$I.audit_has_partition(''audit_seal'', $1),
            %1$I.audit_partition(''audit_event'', $1), %1$I.audit_partition(''audit_seal'', $1),
            %1$I.audit_month_bound($1)', home)
        into there, event_part, seal_part, first_stream using this;
    if not there then
        raise exception 'there are no partitions of %', to_char(this, 'YYYY-MM')
            using errcode = 'undefined_table';
    end if;
    execute format('lock table %1$I.%2$I, %1$I.%3$I in share row exclusive mode', home, event_part, seal_part);

    execute format(
        'select stream
         from (select stream, count(*) as rows, min(seq) as low, max(seq) as high from %1$I.%2$I group by stream) as event
         full join (
            select stream, count(*) as seals, min(number) as low, max(number) as high, max(last_seq) as last_seq,
                sum(last_seq - first_seq + 1) as covered
            from %1$I.%3$I group by stream
         ) as seal using (stream)
         where (event.low = 0 and event.rows = event.high + 1 and seal.low = 0 and seal.seals = seal.high + 1
            and seal.covered = event.rows and seal.last_seq = event.high) is not true
         limit 1', home, event_part, seal_part) into offender;
    if offender is not null then
        raise exception 'the rows and the seals of stream % do not match', offender
            using errcode = 'object_not_in_prerequisite_state', hint = 'Run `stint audit verify`.';
    end if;

    execute format(
        'select last.stream
         from (select distinct on (stream) stream, last_seq, sealed_at from %1$I.%3$I order by stream, number desc) as last
         join %1$I.%2$I as event on event.stream = last.stream and event.seq = last.last_seq
         where event.type <> ''stream.closed'' and last.sealed_at > now() - interval ''1 day''
         limit 1', home, event_part, seal_part) into offender;
    if offender is not null then
        raise exception 'stream % may still grow', offender
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'It was not closed, and its last seal is less than a day old.';
    end if;

    execute format(
        'insert into %1$I.audit_retired_stream (stream, number, last_seq, hash, closed, named)
         select last.stream, last.number, last.last_seq, last.hash, event.type = ''stream.closed'', opened.head is not null
         from (
            select distinct on (stream) stream, number, last_seq,
                sha256(convert_to(format(
                    ''{"first_seq":%%s,"key_id":"%%s","last_seq":%%s,"number":%%s,"previous":"%%s","root":"%%s",''
                    ''"sealed_at":"%%s","stream":"%%s","version":"stint seal 1"}'',
                    first_seq, key_id, last_seq, number, encode(previous, ''hex''), encode(root, ''hex''),
                    to_char(sealed_at at time zone ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS.US"Z"''), stream
                ), ''UTF8'') || signature) as hash
            from %1$I.%3$I order by stream, number desc
         ) as last
         join %1$I.%2$I as event on event.stream = last.stream and event.seq = last.last_seq
         left join (
            select distinct head from %1$I.audit_event, unnest(heads) as head
            where type = ''stream.opened'' and stream >= $1
         ) as opened
            on opened.head = format(''%%s:%%s:%%s:%%s'', last.stream, last.number, last.last_seq, encode(last.hash, ''hex''))',
        home, event_part, seal_part) using first_stream;

    execute format('select count(*), count(distinct stream) from %I.%I', home, event_part) into events, streams;
    execute format('alter table %1$I.audit_event detach partition %1$I.%2$I', home, event_part);
    execute format('alter table %1$I.audit_seal detach partition %1$I.%2$I', home, seal_part);
    return next;
end;
$$;
comment on function audit_retire(date) is
    'Detaches the partitions of a month that is over and whole, keeping the last seal of each of its streams; they stay as plain tables.';

do $$
declare
    made regprocedure;
begin
    foreach made in array array[
        'audit_keep(name)', 'audit_has_partition(name, date)', 'audit_make_partition(name, date)',
        'audit_make_room(uuid)', 'audit_retire(date)'
    ]::regprocedure[] loop
        execute format('alter function %s set search_path = pg_catalog, %I', made, current_schema());
        execute format('revoke execute on function %s from public', made);
    end loop;
end;
$$;

-- Where rows go whose month has no partition: no insert ever fails for that. Normally empty.
create table audit_event_default (like audit_event including all);
create table audit_seal_default (like audit_seal including all);
comment on table audit_event_default is
    'The part of audit_event for streams whose month has no partition. Normally empty.';
comment on table audit_seal_default is
    'The part of audit_seal for streams whose month has no partition. Normally empty.';
alter table audit_event attach partition audit_event_default default;
alter table audit_seal attach partition audit_seal_default default;

do $$
declare
    kept name;
begin
    foreach kept in array array[
        'audit_event', 'audit_event_default', 'audit_seal', 'audit_seal_default', 'audit_key', 'policy_set',
        'session_policy', 'audit_retired_stream'
    ]::name[] loop
        perform audit_keep(kept);
    end loop;
end;
$$;

-- What auditors may see: views alone, in which no key fingerprint is whole.
create view auditor_event with (security_barrier) as
select
    stream, seq, id, occurred_at, type, effect, reason, door, address, request_id, requested_role, requested_seconds,
    session_name, token_sha256, issuer, subject, client, groups, jti, role, roles, matched_rule, policy_hash, lease_id,
    role_session_name, session_policy_sha256, granted_seconds, left(key_fingerprint, 8) || '…' as key_fingerprint,
    ends_at, count, network, heads, key_id, detail
from audit_event;
comment on view auditor_event is
    'The issuance log as auditors see it: every event, key fingerprints cut to 8 digits.';

create view auditor_seal with (security_barrier) as
select stream, number, first_seq, last_seq, leaves, root, previous, sealed_at, key_id, signature from audit_seal;
comment on view auditor_seal is
    'The seals, as they are.';

create view auditor_policy_set with (security_barrier) as
select hash, files from policy_set;
comment on view auditor_policy_set is
    'The policy sets, as they are.';

-- Columns say the same in the view as in the table.
do $$
declare
    seen record;
begin
    for seen in
        select pair.view, attname, col_description(pair.shown::regclass, attnum) as said
        from (values ('auditor_event', 'audit_event'), ('auditor_seal', 'audit_seal'),
            ('auditor_policy_set', 'policy_set')) as pair (view, shown)
        join pg_attribute on attrelid = pair.shown::regclass and attnum > 0 and not attisdropped
    loop
        execute format('comment on column %I.%I is %L', seen.view, seen.attname,
            seen.said || case when seen.attname = 'key_fingerprint' then ' Here its first 8 digits.' else '' end);
    end loop;
end;
$$;

create view flex_auth_event with (security_barrier) as
select
    'audit:' || id as id,
    case when effect = 'not_applicable' then 'event' else 'decision' end as type,
    coalesce(subject, 'stint') as subject,
    case when effect = 'not_applicable' then null else id::text end as decision_id,
    'role:' || coalesce(role, requested_role) as resource,
    case when type like 'lease.%' or type = 'exchange.refused' then 'vend' end as action,
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
        'count', count, 'network', network::text, 'detail', detail
    )) as metadata
from audit_event;
comment on view flex_auth_event is
    'The issuance log in the form of flex-auth''s audit events: what has no place there is in metadata.';
comment on column flex_auth_event.id is
    'audit: and the id of the event.';
comment on column flex_auth_event.type is
    'decision where something was allowed or denied, else event.';
comment on column flex_auth_event.subject is
    'The sub claim; stint where nobody was named.';
comment on column flex_auth_event.decision_id is
    'The id of the event, where it is a decision.';
comment on column flex_auth_event.resource is
    'role: and the role granted, or else asked for.';
comment on column flex_auth_event.action is
    'vend where a credential was asked for.';
comment on column flex_auth_event.effect is
    'allow, deny or not_applicable.';
comment on column flex_auth_event."timestamp" is
    'When it was said, by the clock of the service.';
comment on column flex_auth_event.exposure_event is
    'Always null: stint has none.';
comment on column flex_auth_event.metadata is
    'Everything else that audit_event says, under the names of its columns; stint_type is its type.';

create view cloudtrail_event with (security_barrier) as
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
    case when type <> 'lease.issued' then reason end as "errorCode",
    jsonb_strip_nulls(jsonb_build_object(
        'roleArn', 'arn:aws:iam:::role/' || coalesce(requested_role, role),
        'roleSessionName', session_name,
        'durationSeconds', requested_seconds
    )) as "requestParameters",
    case when type = 'lease.issued' then jsonb_strip_nulls(jsonb_build_object(
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
where type in ('lease.issued', 'lease.failed', 'exchange.refused');
comment on view cloudtrail_event is
    'How exchanges ended, under the field names of CloudTrail''s AssumeRoleWithWebIdentity. Never a session token.';
comment on column cloudtrail_event."eventVersion" is
    'The version of CloudTrail''s record format that these names are of.';
comment on column cloudtrail_event."userIdentity" is
    'Who asked: type, principalId (issuer:client:subject), userName (the sub claim), identityProvider.';
comment on column cloudtrail_event."eventTime" is
    'When the exchange ended, UTC, by the clock of the service.';
comment on column cloudtrail_event."eventSource" is
    'Always sts.amazonaws.com, whose operation this is.';
comment on column cloudtrail_event."eventName" is
    'Always AssumeRoleWithWebIdentity, whichever door was used.';
comment on column cloudtrail_event."sourceIPAddress" is
    'The caller''s address, or the network of aggregated refusals.';
comment on column cloudtrail_event."errorCode" is
    'The reason of a refusal or failure; null where a credential was issued.';
comment on column cloudtrail_event."requestParameters" is
    'What was asked: roleArn, roleSessionName, durationSeconds.';
comment on column cloudtrail_event."responseElements" is
    'What was answered; null where errorCode is set. accessKeyId is a keyed fingerprint cut to 8 digits.';
comment on column cloudtrail_event."additionalEventData" is
    'leaseId, policyHash, matchedRule; refusals where one row stands for several.';
comment on column cloudtrail_event."requestID" is
    'The request id that the answer carried.';
comment on column cloudtrail_event."eventID" is
    'The id of the event.';
comment on column cloudtrail_event."readOnly" is
    'Always true, as CloudTrail has it for this operation.';
comment on column cloudtrail_event."eventType" is
    'Always AwsApiCall.';
comment on column cloudtrail_event."eventCategory" is
    'Always Management.';

-- Roles belong to the whole server, and not every user may make them: whatever cannot be done is told and left. `stint
-- migrate` calls this again each time, so that roles made by hand later get what is theirs.
create function audit_settle_roles() returns setof text
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    home constant name := (pg_catalog.current_schemas(false))[2];
    wanted name;
    thing record;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    foreach wanted in array array['stint_owner', 'stint_serve', 'stint_audit']::name[] loop
        begin
            if not exists (select from pg_roles where rolname = wanted) then
                execute format('create role %I nologin', wanted);
            end if;
        exception
            -- Made for another database of the server, at the same moment.
            when duplicate_object or unique_violation then null;
            when insufficient_privilege then
                return next format('the role %I is not there and %I may not create it', wanted, current_user);
        end;
    end loop;

    begin
        if exists (select from pg_roles where rolname = 'stint_serve') then
            execute format('grant usage on schema %I to stint_serve', home);
            execute format('grant select, insert on %1$I.audit_event, %1$I.audit_seal, %1$I.audit_key, %1$I.policy_set,
                %1$I.session_policy to stint_serve', home);
            execute format('grant select on %1$I.audit_retired_stream, %1$I.audit_event_unsealed to stint_serve', home);
            execute format('grant execute on function %I.audit_make_room(uuid) to stint_serve', home);
            if to_regclass(format('%I._sqlx_migrations', home)) is not null then
                execute format('grant select on %I._sqlx_migrations to stint_serve', home);
            end if;
        end if;
        if exists (select from pg_roles where rolname = 'stint_audit') then
            execute format('grant usage on schema %I to stint_audit', home);
            execute format('grant select on %1$I.auditor_event, %1$I.auditor_seal, %1$I.auditor_policy_set,
                %1$I.flex_auth_event, %1$I.cloudtrail_event to stint_audit', home);
        end if;
    exception
        when insufficient_privilege then
            return next format('%I may not grant stint_serve and stint_audit what is theirs', current_user);
    end;

    begin
        if exists (select from pg_roles where rolname = 'stint_owner') then
            -- Whoever makes a role on PostgreSQL 16 or newer is a member of it that may not act as it.
            if not pg_has_role('stint_owner',
                case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end) then
                execute format('grant stint_owner to %I', current_user);
            end if;
            -- The partitions are made in its name.
            execute format('grant usage, create on schema %I to stint_owner', home);
            if not has_schema_privilege('stint_owner', home, 'create') then
                raise exception using errcode = 'insufficient_privilege';
            end if;
            for thing in
                select case relkind when 'v' then 'view' else 'table' end as kind, oid::regclass::text as name
                from pg_class
                where relnamespace = home::regnamespace and relkind in ('r', 'p', 'v')
                    and (relname ~ '^(audit|auditor)_' or relname in ('policy_set', 'session_policy', 'flex_auth_event',
                        'cloudtrail_event', '_sqlx_migrations'))
                    and relowner <> 'stint_owner'::regrole
                union all
                select 'function', oid::regprocedure::text from pg_proc
                where pronamespace = home::regnamespace and proname like 'audit\_%' and proowner <> 'stint_owner'::regrole
            loop
                execute format('alter %s %s owner to stint_owner', thing.kind, thing.name);
            end loop;
        end if;
    exception
        when insufficient_privilege then
            return next format('%I may not hand the tables over to stint_owner', current_user);
    end;
end;
$$;
comment on function audit_settle_roles() is
    'Makes stint_owner, stint_serve and stint_audit where it may, gives each what is its own, and answers what it could not do.';

do $$
declare
    untold text;
begin
    execute format('alter function audit_settle_roles() set search_path = pg_catalog, %I', current_schema());
    revoke execute on function audit_settle_roles() from public;
    for untold in select audit_settle_roles() loop
        raise notice '%: see docs/operations.md', untold;
    end loop;
end;
$$;

-- Auditors' questions (src/postgres/questions/*.sql). Each index is paid for by every exchange, so there are few: other columns
-- are tested on a bounded number of rows found by one of these.
-- A subject is asked for with and without its issuer: the issuer is tested on the rows found.
drop index audit_event_holder_idx;
create index audit_event_subject_idx on audit_event (subject, occurred_at) where subject is not null;
-- By bytes, so that a prefix is a range whatever the collation of the database.
drop index audit_event_key_fingerprint_idx;
create index audit_event_key_fingerprint_idx on audit_event (key_fingerprint text_pattern_ops)
    where key_fingerprint is not null;
-- Four bytes an entry: a b-tree of random 64-digit texts would be many times the size.
create index audit_event_token_idx on audit_event using hash (token_sha256) where token_sha256 is not null;
-- One entry for each group of an issued lease, merged in bulk: what else names groups is looked up by time.
create index audit_event_groups_idx on audit_event using gin (groups) where type = 'lease.issued';
-- Costs ordinary events nothing.
create index audit_event_break_glass_idx on audit_event (occurred_at) where type like 'break\_glass.%';
