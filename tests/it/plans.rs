//! The auditors' questions stay quick however long the log grows: the very statements that the code runs are explained and
//! run on a million rows, and none may walk through the table or look at more rows than it must.

use std::fs;
use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Postgres, Row};
use stint::postgres::PostgresStore;
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use crate::harness::database::fresh_database;

const ROWS: i32 = 1_000_000;
/// The bound of one page, as the code asks for it, and some for joins.
const EXAMINED: i64 = 20_000;

/// Half a year of 500,000 leases of 5,000 subjects, from intent to issue; every thousandth is revoked, every hundredth
/// event is a refusal, a policy set is loaded a hundred times, and there is one emergency a month.
const SEED: &str = "
insert into audit_event (
    stream, seq, id, occurred_at, type, effect, reason, door, address, request_id, session_name, token_sha256, issuer,
    subject, client, groups, jti, role, roles, matched_rule, policy_hash, lease_id, role_session_name,
    session_policy_sha256, granted_seconds, key_fingerprint, ends_at
)
select
    (lpad(to_hex((extract(epoch from date_trunc('month', at, 'UTC')) * 1000)::bigint), 12, '0') || '70008000000000000001')::uuid,
    n, md5('id' || n)::uuid, at, type, case type when 'exchange.refused' then 'deny' else 'allow' end,
    case type when 'exchange.refused' then 'no_role' else 'granted' end, 'sts', '192.0.2.7', md5('r' || n)::uuid,
    's' || lease % 9, encode(sha256(('t' || lease)::bytea), 'hex'), 'authentik', 's' || lease % 5000, 'stint',
    case when lease % 50000 = 7 then array['everyone', 'rare'] else array['everyone', 'g' || lease % 40] end,
    'j' || lease, 'r' || lease % 20, array['r' || lease % 20], 'roles/r.toml#allow[0]', repeat('0a', 32),
    md5('l' || lease)::uuid, 's-' || lease, encode(sha256(('p' || lease % 30)::bytea), 'hex'), 3600,
    case when type = 'lease.issued' then left(encode(sha256(('k' || lease)::bytea), 'hex'), 32) end,
    case when type = 'lease.issued' then at + interval '58 minutes' end
from (
    select
        n, n / 2 as lease, timestamptz '2026-01-01 00:00+00' + n * interval '15.5 seconds' as at,
        case
            when n % 10000 = 1 then 'policy.loaded'
            when n % 160000 = 3 then 'break_glass.granted'
            when n % 100 = 5 then 'exchange.refused'
            when n % 2000 = 17 then 'lease.revoked'
            when n % 2 = 0 then 'lease.intended'
            else 'lease.issued'
        end as type
    from generate_series(0, $1 - 1) as n
) as made";

const MIDDLE: OffsetDateTime = datetime!(2026-04-01 12:00 UTC);

fn statement(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/postgres/questions").join(format!("{name}.sql"));
    fs::read_to_string(path).unwrap()
}

/// What a plan did.
#[derive(Debug, Default)]
struct Work {
    examined: i64,
    walked: Vec<String>,
    returned: i64,
    milliseconds: f64,
}

fn look(node: &Value, work: &mut Work) {
    let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
    let kind = node["Node Type"].as_str().unwrap_or_default();
    if kind.contains("Scan") && kind != "Bitmap Index Scan" && kind != "Subquery Scan" && kind != "CTE Scan" {
        let removed = number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
        let rows = (number("Actual Rows") + removed) * number("Actual Loops");
        let rows: i64 = format!("{rows:.0}").parse().unwrap();
        work.examined += rows;
        let relation = node["Relation Name"].as_str().unwrap_or_default();
        // An empty partition may be walked: there is nothing in it.
        if kind == "Seq Scan" && relation.starts_with("audit_event") && rows > 0 {
            work.walked.push(format!("{relation}: {rows} rows"));
        }
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        look(child, work);
    }
}

async fn explain(
    connection: &mut PgConnection,
    sql: &str,
    bind: impl for<'q> FnOnce(Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments>,
) -> Work {
    let sql = format!("explain (analyze, format json) {sql}");
    let row = bind(sqlx::query(AssertSqlSafe(sql))).fetch_one(connection).await.unwrap();
    let plan: Value = row.get(0);
    let mut work = Work::default();
    look(&plan[0]["Plan"], &mut work);
    work.returned = plan[0]["Plan"]["Actual Rows"].as_f64().map(|rows| format!("{rows:.0}").parse().unwrap()).unwrap();
    work.milliseconds = plan[0]["Execution Time"].as_f64().unwrap_or(f64::MAX);
    work
}

/// The conditions of a page of events, and where it begins.
#[derive(Default, Clone)]
struct Page {
    after: Option<(OffsetDateTime, Uuid, i64)>,
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
    driver: &'static str,
    kind: Option<&'static str>,
    lease: Option<Uuid>,
    key: Option<String>,
    token: Option<String>,
    subject: Option<&'static str>,
    reason: Option<&'static str>,
    group: Option<&'static str>,
    role: Option<&'static str>,
    jti: Option<&'static str>,
    request: Option<Uuid>,
}

impl Page {
    fn bind(self, query: Query<'_, Postgres, PgArguments>, by_log: bool) -> Query<'_, Postgres, PgArguments> {
        let none = None::<String>;
        let query = query
            .bind(self.after.map(|(at, _, _)| at))
            .bind(self.after.map(|(_, stream, _)| stream))
            .bind(self.after.map(|(_, _, seq)| seq))
            .bind(self.from)
            .bind(self.to)
            .bind(self.driver)
            .bind(self.kind)
            .bind(self.lease)
            .bind(self.key.clone())
            .bind(self.key.map(|key| key + "g"))
            .bind(self.token)
            .bind(self.subject)
            .bind(none.clone())
            .bind(self.reason)
            .bind(none.clone())
            .bind(none.clone())
            .bind(self.group)
            .bind(self.role)
            .bind(self.jti)
            .bind(self.request)
            .bind(none.clone())
            .bind(None::<ipnet::IpNet>)
            .bind(none.clone())
            .bind(none)
            .bind(None::<Uuid>)
            .bind(100_i64)
            .bind(EXAMINED);
        if by_log { query.bind(None::<Uuid>).bind(None::<Uuid>) } else { query }
    }
}

async fn seeded() -> PgConnection {
    let url = fresh_database().await;
    PostgresStore::connect(&url, Duration::from_secs(5)).await.unwrap();
    let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
    for month in 1..=7_u8 {
        let first = MIDDLE.replace_month(time::Month::try_from(month).unwrap()).unwrap().replace_day(1).unwrap();
        let millis = u64::try_from(first.unix_timestamp()).unwrap() * 1000;
        let stream = uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid();
        sqlx::query("select audit_make_room($1)").bind(stream).execute(&mut connection).await.unwrap();
    }
    sqlx::query(SEED).bind(ROWS).execute(&mut connection).await.unwrap();
    connection.execute("vacuum analyze audit_event").await.unwrap();
    connection
}

#[tokio::test]
async fn no_question_walks_through_the_log_or_looks_at_more_rows_than_it_must() {
    let mut connection = seeded().await;
    let one = sqlx::query(
        "select stream, seq, lease_id, key_fingerprint, token_sha256, request_id, subject from audit_event where type = \
         'lease.issued' and occurred_at > $1 order by occurred_at limit 1",
    );
    let one = one.bind(MIDDLE).fetch_one(&mut connection).await.unwrap();
    let (stream, seq): (Uuid, i64) = (one.get("stream"), one.get("seq"));
    let subject_of: String = one.get("subject");
    let (lease, key, token): (Option<Uuid>, _, _) =
        (one.get("lease_id"), one.get::<String, _>("key_fingerprint"), one.get("token_sha256"));

    let mut seen: Vec<(&str, i64, i64, Work)> = Vec::new();
    let day = time::Duration::days(1);
    let time = || Page { driver: "time", ..Page::default() };
    let pages = [
        ("any event", 200, 101, time()),
        ("from the middle", 300, 101, Page { after: Some((MIDDLE, stream, seq)), ..time() }),
        ("of a day", 300, 101, Page { from: Some(MIDDLE), to: Some(MIDDLE + day), ..time() }),
        ("a lease", 10, 2, Page { driver: "lease", lease, ..time() }),
        ("a key", 10, 1, Page { driver: "key", key: Some(key[..8].to_owned()), ..time() }),
        ("a token", 10, 2, Page { driver: "token", token, ..time() }),
        ("a subject", 600, 101, Page { driver: "subject", subject: Some("s77"), ..time() }),
        ("a type", 300, 101, Page { driver: "type", kind: Some("exchange.refused"), ..time() }),
        // Without an index of their own: the bound on rows looked at holds, and the page says where to go on.
        ("a reason", EXAMINED, 101, Page { reason: Some("no_role"), ..time() }),
        ("a rare group", EXAMINED, 1, Page { group: Some("rare"), after: Some((MIDDLE, stream, seq)), ..time() }),
        ("a role nobody has", EXAMINED, 1, Page { role: Some("nobody"), ..time() }),
        ("a jti", EXAMINED, 1, Page { jti: Some("j499999"), ..time() }),
        ("a request", EXAMINED, 1, Page { request: Some(Uuid::from_u128(1)), ..time() }),
        (
            "two that hardly meet",
            EXAMINED,
            0,
            Page { driver: "subject", subject: Some("s77"), role: Some("r1"), ..time() },
        ),
    ];
    connection.execute("set enable_bitmapscan = off").await.unwrap();
    for (name, most, returned, page) in pages {
        let work = {
            let page = page.clone();
            explain(&mut connection, &statement("events_by_time"), |query| page.bind(query, false)).await
        };
        seen.push((name, most, returned, work));
        let by_log = explain(&mut connection, &statement("events_by_log"), |query| page.bind(query, true)).await;
        seen.push((name, EXAMINED, -1, by_log));
    }
    connection.execute("set enable_bitmapscan = on").await.unwrap();
    let end = format!("{}g", &key[..8]);
    let start = key[..8].to_owned();
    let work = explain(&mut connection, &statement("key_leases"), |q| q.bind(start).bind(end).bind(1000_i64)).await;
    seen.push(("who held a key", 100, 1, work));
    let work = explain(&mut connection, &statement("live_policies"), |query| query.bind(MIDDLE)).await;
    seen.push(("policies of live leases", 2_000, 30, work));
    let policies =
        sqlx::query_scalar::<_, String>("select encode(sha256(('p' || n)::bytea), 'hex') from generate_series(0, 9) n");
    let policies = policies.fetch_all(&mut connection).await.unwrap();
    let work =
        explain(&mut connection, &statement("live_leases"), |q| q.bind(MIDDLE).bind(policies).bind(100_i64)).await;
    seen.push(("live leases", 3_000, -1, work));
    // Nothing is issued in the future: what is open now is at the end of the log.
    let now: OffsetDateTime =
        sqlx::query_scalar("select max(occurred_at) from audit_event").fetch_one(&mut connection).await.unwrap();
    for (name, most, subject, group, lease) in [
        ("open leases", 2_000, None, None, None),
        ("open leases of a subject", 500, Some("s77"), None, None),
        ("open leases of a group", 2_000, None, Some("g3"), None),
        ("an open lease", 10, None, None, lease),
    ] {
        let sql = statement("open_leases");
        let work = explain(&mut connection, &sql, |q| {
            let q = q.bind(now).bind(None::<OffsetDateTime>).bind(None::<Uuid>).bind(None::<i64>);
            q.bind(lease).bind(Some("authentik")).bind(subject).bind(None::<String>).bind(group).bind(500_i64)
        });
        seen.push((name, most, -1, work.await));
    }
    connection.execute("set enable_bitmapscan = off").await.unwrap();
    let none = None::<String>;
    for (name, most, returned, kind, state, at, subject, group) in [
        ("every lease", 900, 101, "lease.intended", None, now, None, None),
        ("what is open", 700, 101, "lease.issued", Some("open"), now, None, None),
        ("what has ended", 700, 101, "lease.issued", Some("ended"), now, None, None),
        ("what was revoked", 1_000, 0, "lease.revoked", Some("revoked"), now, None, None),
        ("what failed", 100, 0, "lease.failed", Some("failed"), now, None, None),
        ("what a subject has", 700, 0, "lease.issued", Some("open"), now, Some("s77"), None),
        ("what a subject had", 900, 100, "lease.issued", Some("ended"), now, Some("s77"), None),
        // Half of all rows are of other types: walking through time costs less than the index by type.
        ("what a rare group had", 3 * EXAMINED, 1, "lease.issued", Some("ended"), now, None, Some("rare")),
        ("what nobody had", 100, 0, "lease.intended", None, now, Some("nobody"), None),
    ] {
        let sql = statement("leases");
        let work = explain(&mut connection, &sql, |q| {
            let q = q.bind(None::<OffsetDateTime>).bind(None::<Uuid>).bind(None::<i64>);
            let q = q.bind(None::<OffsetDateTime>).bind(None::<OffsetDateTime>).bind(kind).bind(state).bind(at);
            let q = q.bind(subject).bind(none.clone()).bind(none.clone()).bind(group).bind(none.clone());
            q.bind(100_i64).bind(EXAMINED)
        });
        seen.push((name, most, returned, work.await));
    }
    connection.execute("set enable_bitmapscan = on").await.unwrap();
    let work = explain(&mut connection, &statement("lease_events"), |q| {
        q.bind(lease).bind(Some("authentik")).bind(subject_of).bind(100_i64)
    })
    .await;
    seen.push(("what became of a lease", 10, 2, work));
    let work = explain(&mut connection, &statement("open_counts"), |query| query.bind(now)).await;
    seen.push(("open leases, counted", 1_000, -1, work));
    let work = explain(&mut connection, &statement("policy_in_force"), |query| query.bind(MIDDLE)).await;
    seen.push(("the policy in force", 10, 1, work));
    let (from, to) = (MIDDLE - 60 * day, MIDDLE + 60 * day);
    for (name, file, most, subject, group) in [
        ("what a subject got", "grants", 500, Some("s77"), None),
        ("what nobody got", "grants", 100, Some("nobody"), None),
        ("what everyone got, at first", "grants_common", 1_000, None, Some("everyone")),
        ("what a common group got, at first", "grants_common", 3 * EXAMINED, None, Some("g3")),
        ("what a rare group got, at first", "grants_common", 3 * EXAMINED, None, Some("rare")),
        ("what a rare group got", "grants_rare", 500, None, Some("rare")),
        ("what no group got", "grants_rare", 100, None, Some("none")),
    ] {
        let sql = statement(file);
        let work = explain(&mut connection, &sql, |query| {
            let query = query.bind(None::<OffsetDateTime>).bind(None::<Uuid>).bind(None::<i64>);
            let query = query.bind(from).bind(to).bind(subject).bind(group).bind(None::<String>).bind(101_i64);
            if file == "grants_common" { query.bind(EXAMINED) } else { query }
        });
        seen.push((name, most, -1, work.await));
    }
    let work =
        explain(&mut connection, &statement("emergencies"), |query| query.bind(from).bind(to).bind(1000_i64)).await;
    seen.push(("emergencies", 20, -1, work));

    let mut faults = Vec::new();
    for (name, most, returned, work) in &seen {
        let wrong =
            !work.walked.is_empty() || work.examined > *most + 1 || *returned >= 0 && work.returned != *returned;
        // The time is told and not judged: the machine has other work.
        let line = format!("{name}: {work:?}, at most {most} rows to be looked at, {returned} to be told");
        if wrong {
            faults.push(line);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
