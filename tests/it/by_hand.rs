//! The shell lines of docs/audit.md that check one seal by hand, run as they stand on the page: an auditor who types them
//! must see them work on a log that is whole, and fail on one that is not.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use stint::audit::{AuditLog, Door, Identity, LogParts, LogSettings, Origin, Refused, Request, SigningKey};
use stint::clock::SystemClock;
use stint::postgres::PostgresStore;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::database::fresh_database;

const PAGE: &str = include_str!("../../docs/audit.md");
const TOOLS: [&str; 6] = ["bash", "psql", "jq", "xxd", "sha256sum", "openssl"];

/// Every `sh` block of the section, as one script that stops at the first line that fails.
fn script() -> String {
    let section = PAGE.split("## One seal by hand").nth(1).expect("the section").split("\n## ").next().unwrap();
    let blocks: Vec<&str> = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 3, "the row, the seal, the signature");
    format!("set -euo pipefail\n{}", blocks.concat())
}

fn run(database: &SecretString, event: Uuid) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script()).current_dir(directory.path());
    bash.env("DATABASE", database.expose_secret()).env("EVENT", event.to_string());
    bash.output().unwrap()
}

/// The tool that this machine lacks, if it lacks one.
fn missing() -> Option<&'static str> {
    let there = |tool: &&str| Command::new(tool).arg("--version").output().is_ok();
    TOOLS.into_iter().find(|tool| !there(tool))
}

/// A log with commits of one event and a commit of several; the ids of the refusals in it.
async fn written(database: &SecretString) -> Vec<Uuid> {
    let store = PostgresStore::connect(database, Duration::from_secs(5)).await.unwrap();
    let tasks = TaskTracker::new();
    let parts = LogParts {
        store: Arc::new(store),
        clock: Arc::new(SystemClock::start()),
        rng: StdRng::seed_from_u64(7),
        key: SigningKey::generate().unwrap(),
        settings: LogSettings { deadline: Duration::from_secs(5), queue: 64 },
    };
    let log = AuditLog::open(parts, &tasks);
    log.refuse(refused(0)).await.unwrap();
    for result in join_all((1..=7).map(|n| log.refuse(refused(n)))).await {
        result.unwrap();
    }
    drop(log);
    tasks.close();
    tasks.wait().await;
    let mut connection = PgConnection::connect(database.expose_secret()).await.unwrap();
    let ids = "select id from audit_event where type = 'exchange.refused' order by seq";
    sqlx::query(ids).fetch_all(&mut connection).await.unwrap().iter().map(|row| row.get(0)).collect()
}

fn refused(n: u8) -> Refused {
    Refused {
        request: Request {
            origin: Origin { door: Door::Sts, address: "2001:db8::7".parse().ok(), request_id: Uuid::now_v7() },
            requested_role: None,
            requested_seconds: Some(3_600),
            session_name: Some("ünïcode \"quoted\" \\ </script> \u{1}\u{2028}".to_owned()),
            token_sha256: Some(hex::encode([n; 32])),
        },
        identity: Identity {
            issuer: "authentik".to_owned(),
            subject: Some(format!("sub-{n}")),
            client: None,
            groups: vec!["authentik Admins".to_owned(), "a,b{c}\"".to_owned()],
            jti: None,
        },
        reason: "no_role",
        policy_hash: None,
        freeze: None,
        obligation: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "what could not be checked is said aloud")]
async fn the_lines_on_the_page_prove_every_row_of_a_whole_log_and_not_one_that_was_changed() {
    if let Some(tool) = missing() {
        eprintln!("SKIPPED: one seal by hand: {tool} is not installed");
        return;
    }
    let database = fresh_database().await;
    let events = written(&database).await;
    assert_eq!(events.len(), 8);
    for event in &events {
        let ran = run(&database, *event);
        let (told, wrong) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{event}: {told}{wrong}");
        assert!(told.contains("Signature Verified Successfully"), "{told}");
    }

    let mut superuser = PgConnection::connect(database.expose_secret()).await.unwrap();
    let place = "select tableoid::regclass::text from audit_event where id = $1";
    let partition: String = sqlx::query(place).bind(events[3]).fetch_one(&mut superuser).await.unwrap().get(0);
    let disable = format!("alter table {partition} disable trigger all");
    superuser.execute(AssertSqlSafe(disable)).await.unwrap();
    let update = format!("update {partition} set subject = 'sub-9' where id = $1");
    sqlx::query(AssertSqlSafe(update)).bind(events[3]).execute(&mut superuser).await.unwrap();
    let ran = run(&database, events[3]);
    assert!(!ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert!(run(&database, events[2]).status.success(), "the row before it is what it was");
}
