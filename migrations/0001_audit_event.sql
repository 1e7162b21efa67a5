-- The issuance log: one append-only table, the only truth. Everything else is a query over it.
-- Forward only, never edited once applied. Works on PostgreSQL 14 to 17.

create table audit_event (
    stream                uuid        not null,
    seq                   bigint      not null,
    id                    uuid        not null,
    occurred_at           timestamptz not null,
    recorded_at           timestamptz not null default clock_timestamp(),
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
    detail                text,

    constraint audit_event_pkey primary key (stream, seq),
    constraint audit_event_id_key unique (id),
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
    constraint audit_event_token_sha256_check check (token_sha256 ~ '^[0-9a-f]{64}$'),
    constraint audit_event_policy_hash_check check (policy_hash ~ '^[0-9a-f]{64}$'),
    constraint audit_event_session_policy_sha256_check check (session_policy_sha256 ~ '^[0-9a-f]{64}$'),
    constraint audit_event_key_fingerprint_check check (key_fingerprint ~ '^[0-9a-f]{32}$'),
    -- An event about a lease names it, and a lease on record as issued names its key and its end.
    constraint audit_event_lease_check check (type not like 'lease.%' or lease_id is not null),
    constraint audit_event_issued_check check (
        type <> 'lease.issued' or (key_fingerprint is not null and ends_at is not null)
    )
);

create index audit_event_occurred_at_idx on audit_event (occurred_at);
create index audit_event_type_idx on audit_event (type, occurred_at);
create index audit_event_holder_idx on audit_event (issuer, subject, occurred_at) where subject is not null;
create index audit_event_lease_id_idx on audit_event (lease_id) where lease_id is not null;
create index audit_event_key_fingerprint_idx on audit_event (key_fingerprint) where key_fingerprint is not null;

comment on table audit_event is
    'The issuance log: one row per event, append-only. Never holds a secret, a session token or a raw JWT.';
comment on column audit_event.stream is
    'The process start that said it: one stream each.';
comment on column audit_event.seq is
    'Place in the stream, from 0, without gaps. Order by this, never by a time.';
comment on column audit_event.id is
    'The event''s own id, a version 7 UUID.';
comment on column audit_event.occurred_at is
    'When it was said, by the clock of the service. May step back.';
comment on column audit_event.recorded_at is
    'When the database took the row, by the clock of the database, just before the commit. Not part of the event.';
comment on column audit_event.type is
    'What happened, e.g. lease.issued. The set is closed: docs/audit.md lists it.';
comment on column audit_event.effect is
    'The decision: allow, deny, or not_applicable where none was asked for.';
comment on column audit_event.reason is
    'Stable code of a refusal or failure; granted or loaded where there is none.';
comment on column audit_event.door is
    'The door the request came through: sts, leases, container.';
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
comment on column audit_event.detail is
    'The rest, for people.';

-- Append-only for everyone, the owner and superusers included. Statement level: an update of no row at all is refused too,
-- and so is `insert .. on conflict do update`.
create function audit_event_refuse_change() returns trigger
    language plpgsql
    set search_path = pg_catalog
as $$
begin
    raise exception 'audit_event is append-only: % is refused', tg_op
        using errcode = 'insufficient_privilege',
              hint = 'A correction is a new event.';
end;
$$;

comment on function audit_event_refuse_change() is
    'Refuses UPDATE, DELETE and TRUNCATE of audit_event, whoever asks.';

create trigger audit_event_append_only
    before update or delete or truncate on audit_event
    for each statement execute function audit_event_refuse_change();

-- Also under session_replication_role = replica, which silences ordinary triggers.
alter table audit_event enable always trigger audit_event_append_only;
