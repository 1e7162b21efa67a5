//! The heads that a new stream must name: streams that have grown since some `stream.opened` named them. It looks only
//! where such streams can be, so that a start costs the same whatever the log has gathered in years.
//!
//! Let L be the youngest stream before this one. What stood when L was opened, L named, or an earlier stream did. So only
//! a stream that grew since can be unnamed, and streams grow in two ways: a live one, which is of L's month or the one
//! before; or an older one whose process sat idle and closed it at last, which wrote `stream.closed`.

use sqlx::PgConnection;
use uuid::Uuid;

use super::PostgresError;
use super::seal_row::SealRow;
use crate::audit::{Digest, Seal, StreamHead, StreamId};

/// How many heads one event names at most, the youngest first; the next opening names more. Some 120 bytes each.
const MOST_HEADS: i64 = 1_000;
/// How many streams of the two months are looked at, the youngest first: as many as a service that crashes and starts
/// again makes in a day at one start every nine seconds.
const MOST_STREAMS: i64 = 10_000;

/// The last seal of every stream but this one that no `stream.opened` has named yet.
pub(super) async fn unnamed_heads(
    connection: &mut PgConnection,
    stream: StreamId,
) -> Result<Vec<StreamHead>, PostgresError> {
    let scope = scope(connection, stream.0).await?;
    // Retired ones first: they cannot grow again, so what is named now is done with.
    let mut heads = retired(connection, &scope).await?;
    heads.extend(live(connection, stream.0, &scope).await?);
    heads.truncate(usize::try_from(MOST_HEADS).unwrap_or(usize::MAX));
    Ok(heads)
}

/// Where to look.
#[derive(Debug)]
struct Scope {
    /// The smallest stream of the month before L's; of all, where there is no L.
    first: Uuid,
    /// The instant L was opened, less a day for clocks that differ.
    since: time::OffsetDateTime,
}

async fn scope(connection: &mut PgConnection, stream: Uuid) -> Result<Scope, PostgresError> {
    let scope = sqlx::query_as!(
        Scope,
        r#"
        select
            coalesce(
                audit_month_bound((audit_month_of(last.stream) - interval '1 month')::date),
                '00000000-0000-0000-0000-000000000000'
            ) as "first!",
            coalesce(last.sealed_at, '2001-01-01T00:00Z') - interval '1 day' as "since!"
        from (select) as always
        left join (
            select stream, sealed_at
            from audit_seal
            -- A clock that ran ahead must not hide everything since.
            where number = 0 and stream <> $1 and stream < audit_month_bound((now() + interval '2 months')::date)
            order by stream desc
            limit 1
        ) as last on true
        "#,
        stream
    )
    .fetch_one(connection)
    .await?;
    Ok(scope)
}

async fn live(connection: &mut PgConnection, stream: Uuid, scope: &Scope) -> Result<Vec<StreamHead>, PostgresError> {
    let rows = sqlx::query_as!(
        SealRow,
        r#"
        with
        candidate as (
            (
                select stream from audit_seal
                where number = 0 and stream >= $2 and stream <> $1
                order by stream desc
                limit $4
            )
            union
            (
                select stream from audit_event
                where type = 'stream.closed' and occurred_at >= $3 and stream < $2
                order by occurred_at desc
                limit $4
            )
        ),
        last as (
            select candidate.stream, seal.number
            from candidate
            cross join lateral (
                select number from audit_seal where audit_seal.stream = candidate.stream order by number desc limit 1
            ) as seal
        ),
        named as (
            select split_part(head, ':', 1)::uuid as stream, max(split_part(head, ':', 2)::bigint) as number
            from audit_event, unnest(heads) as head
            where type = 'stream.opened' and audit_event.stream >= $2
                -- Whoever may insert must not be able to keep every other instance from starting.
                and head ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9]{1,18}:'
            group by 1
        ),
        unnamed as (
            select last.stream, last.number
            from last left join named using (stream)
            where named.number is null or named.number < last.number
            order by last.stream desc
            limit $5
        )
        select
            seal.stream as "stream!", seal.number as "number!", seal.first_seq as "first_seq!",
            seal.last_seq as "last_seq!", seal.leaves as "leaves!", seal.root as "root!", seal.previous as "previous!",
            seal.sealed_at as "sealed_at!", seal.key_id as "key_id!", seal.signature as "signature!"
        from unnamed
        cross join lateral (
            select * from audit_seal
            where audit_seal.stream = unnamed.stream and audit_seal.number = unnamed.number
        ) as seal
        order by seal.stream desc
        "#,
        stream,
        scope.first,
        scope.since,
        MOST_STREAMS,
        MOST_HEADS,
    )
    .fetch_all(connection)
    .await?;
    // Hashed here and not by the database: what is named is what the seal says.
    let head = |row| Seal::try_from(row).map(|seal| seal.head()).map_err(|_malformed| PostgresError::MalformedSeal);
    rows.into_iter().map(head).collect()
}

/// Streams that nobody had named when their month was retired, since L was opened.
async fn retired(connection: &mut PgConnection, scope: &Scope) -> Result<Vec<StreamHead>, PostgresError> {
    let rows = sqlx::query!(
        r#"
        select stream, number, last_seq, hash
        from audit_retired_stream as retired
        where not named and retired_at >= $1
            and not exists (
                select from audit_event, unnest(heads) as head
                where type = 'stream.opened' and audit_event.stream >= $2
                    and starts_with(head, retired.stream || ':' || retired.number || ':')
            )
        order by stream desc
        limit $3
        "#,
        scope.since,
        scope.first,
        MOST_HEADS,
    )
    .fetch_all(connection)
    .await?;
    let number = |number: i64| u64::try_from(number).map_err(|_negative| PostgresError::MalformedSeal);
    rows.into_iter()
        .map(|row| {
            Ok(StreamHead {
                stream: StreamId(row.stream),
                number: number(row.number)?,
                last_seq: number(row.last_seq)?,
                hash: Digest::from_bytes(&row.hash).ok_or(PostgresError::MalformedSeal)?,
            })
        })
        .collect()
}
