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

-- Public halves of the keys that sealed. Old ones stay.
create table audit_key (
    key_id     text        not null primary key,
    public_key text        not null,
    known_at   timestamptz not null default clock_timestamp(),
    constraint audit_key_key_id_check check (key_id ~ '^[0-9a-f]{64}$')
);

-- The text of every policy set that took effect, under its hash.
create table policy_set (
    hash  text not null primary key,
    files text not null,
    constraint policy_set_hash_check check (hash ~ '^[0-9a-f]{64}$')
);

-- The text of every session policy that was sent to the object server, under its SHA-256.
create table session_policy (
    sha256 text not null primary key,
    text   text not null,
    constraint session_policy_sha256_check check (sha256 ~ '^[0-9a-f]{64}$')
);

-- The last seal of every stream whose partition was detached: later streams name it, so it stays.
create table audit_retired_stream (
    stream   uuid   not null primary key,
    number   bigint not null,
    last_seq bigint not null,
    hash     bytea  not null,
    closed   boolean not null,
    constraint audit_retired_stream_hash_check check (length(hash) = 32)
);

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

create table audit_event_default partition of audit_event default;
create table audit_seal_default partition of audit_seal default;
