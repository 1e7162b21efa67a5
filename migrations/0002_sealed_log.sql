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
    'SHA-256 of the statement of the seal before, 32 bytes; zeros for the first.';
comment on column audit_seal.sealed_at is
    'When it was made, by the clock of the service.';
comment on column audit_seal.key_id is
    'The key that signed, as in audit_key.';
comment on column audit_seal.signature is
    'Ed25519 over the statement: docs/audit.md spells it.';

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
    stream   uuid   not null primary key,
    number   bigint not null,
    last_seq bigint not null,
    hash     bytea  not null,
    closed   boolean not null,
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
    'SHA-256 of the statement of that seal, 32 bytes.';
comment on column audit_retired_stream.closed is
    'Whether the stream ended in good order, with stream.closed.';

-- Makes the partitions of the month in which a stream was opened, if they are not there.
create function audit_make_room(stream uuid) returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- Monthly partitions: see below.
    return;
end;
$$;

comment on function audit_make_room(uuid) is
    'Makes the partitions of the month in which this stream was opened.';

create table audit_event_default partition of audit_event default;
create table audit_seal_default partition of audit_seal default;

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

-- A trigger of a partitioned table does not fire for statements that name a partition: each has its own.
do $$
declare
    kept text;
begin
    foreach kept in array array[
        'audit_event', 'audit_event_default', 'audit_seal', 'audit_seal_default', 'audit_key', 'policy_set',
        'session_policy', 'audit_retired_stream'
    ] loop
        execute format(
            'create trigger %I before update or delete or truncate on %I
             for each statement execute function audit_refuse_change()', kept || '_append_only', kept);
        -- Also under session_replication_role = replica, which silences ordinary triggers.
        execute format('alter table %I enable always trigger %I', kept, kept || '_append_only');
    end loop;
end;
$$;
