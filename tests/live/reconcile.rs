//! `stint object-server reconcile` before a real MinIO: its own leases are fine, what is out of place is found on both sides,
//! and an orphan that carries the id of a dead lease is ended. What is out of place is looked at twice, a minute apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};
use sqlx::Row;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::harness::{Database, Installation, Keycloak, Minio, PARENT, Stint};
use crate::signed::Key;

const PASSES: u8 = 0;
const LOSES_THE_NEXT_ANSWER: u8 = 1;
const IS_CUT: u8 = 2;

/// Runs the command, and answers its exit code and its report.
fn reconcile(stint: &Stint, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = stint.run(&[&["object-server", "reconcile", "--json"], arguments].concat());
    let text = String::from_utf8(output.stdout).expect("the report is text");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no report: {text}\n{told}"));
    (output.status.code(), report)
}

#[tokio::test]
async fn its_own_leases_are_fine_and_what_is_out_of_place_is_found_on_both_sides() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("studio").await;
    let mut leases = Vec::new();
    let mut secrets = Vec::new();
    for _ in 0..50 {
        let answer = installation.stint.lease(&token, &json!({})).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        leases.push(answer.json()["lease_id"].as_str().expect("a lease has an id").to_owned());
        secrets.push(answer.keys().access_key);
    }
    let (code, report) = reconcile(&installation.stint, &[]);
    assert_eq!(code, Some(0), "{report}");
    let counts = [&report["credentials"], &report["with_lease"], &report["open_leases"], &report["in_doubt"]];
    assert_eq!(counts, [50, 50, 50, 0], "{report}");

    // Somebody who has the parent's key mints for himself; somebody else ends a lease at the server.
    let parent = installation.minio.parent_secret().to_owned();
    let parent = Key { access: PARENT.to_owned(), secret: parent, token: None };
    let form = "Action=AssumeRole&Version=2011-06-15&DurationSeconds=900";
    let alien = Key::minted(&parent.sts(&installation.minio.endpoint(), form).await);
    secrets.push(alien.access);
    let revoke = format!("/minio/admin/v3/revoke-tokens/builtin?tokenRevokeType={}&user={PARENT}", leases[7]);
    assert_eq!(parent.s3("POST", &format!("{}{revoke}", installation.minio.endpoint()), "").await.status, 204);

    let (code, report) = reconcile(&installation.stint, &["--revoke-orphans"]);
    assert_eq!(code, Some(1), "{report}");
    let [orphan] = report["orphans"].as_array().expect("orphans").as_slice() else { panic!("{report}") };
    assert_eq!((&orphan["reason"], &orphan["fate"]), (&json!("no_lease"), &json!("reported")), "{report}");
    let [missing] = report["missing"].as_array().expect("missing").as_slice() else { panic!("{report}") };
    assert_eq!(missing["lease_id"], json!(leases[7]));
    assert_eq!((&report["credentials"], &report["with_lease"]), (&json!(50), &json!(49)), "nobody else was ended");
    assert_eq!(installation.database.rows("orphan.found").await, 1);

    let rows = sqlx::query("select to_jsonb(audit_event)::text from audit_event")
        .fetch_all(&mut installation.database.connection().await)
        .await
        .expect("the rows can be read");
    let rows: String = rows.iter().map(|row| row.get::<String, _>(0)).collect();
    for text in [&report.to_string(), &installation.stint.log(), &rows] {
        assert!(!secrets.iter().any(|key| text.contains(key)), "an access key is told");
    }
}

/// Stands before MinIO and goes wrong when told.
struct Lossy {
    endpoint: String,
    mode: Arc<AtomicU8>,
    _tasks: TaskTracker,
}

impl Lossy {
    async fn before(minio: &Minio) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let upstream = minio.endpoint().trim_start_matches("http://").to_owned();
        let (mode, tasks) = (Arc::new(AtomicU8::new(PASSES)), TaskTracker::new());
        let (shared, connections) = (Arc::clone(&mode), tasks.clone());
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shared.load(Ordering::SeqCst) != IS_CUT {
                    connections.spawn(pass(client, upstream.clone(), Arc::clone(&shared)));
                }
            }
        });
        Self { endpoint, mode, _tasks: tasks }
    }

    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

/// One connection. What is lost is an answer: the request has arrived.
async fn pass(mut client: TcpStream, upstream: String, mode: Arc<AtomicU8>) -> Option<()> {
    let mut server = TcpStream::connect(upstream).await.ok()?;
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let read = read.ok().filter(|read| *read > 0 && mode.load(Ordering::SeqCst) != IS_CUT)?;
                server.write_all(&up[..read]).await.ok()?;
            }
            read = server.read(&mut down) => {
                let read = read.ok().filter(|read| *read > 0)?;
                let lost = mode.compare_exchange(LOSES_THE_NEXT_ANSWER, IS_CUT, Ordering::SeqCst, Ordering::SeqCst);
                if lost.is_ok() {
                    return None;
                }
                client.write_all(&down[..read]).await.ok()?;
            }
        }
    }
}

/// The answer to a mint is lost and the server away when the exchange would revoke: the log says that the lease failed, and
/// the server holds its credential. The command is waited for on a thread, and what stands before MinIO needs another.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_answer_left_at_the_server_is_found_and_ended_by_the_id_of_its_lease() {
    let keycloak = Keycloak::shared().await;
    let database = Database::start().await;
    let minio = Minio::start().await;
    let lossy = Lossy::before(&minio).await;
    let object_server = format!(
        "kind = \"minio\"\nendpoint = \"{}\"\naccess_key = \"{PARENT}\"\nsecret_key = \"{}\"",
        lossy.endpoint,
        minio.parent_secret()
    );
    let stint = Stint::start_before(&object_server, &keycloak.issuer(), &database, "ttl = \"60m\"", &[]).await;
    stint.until_ready().await;
    let token = keycloak.token("studio").await;
    assert_eq!(stint.lease(&token, &json!({})).await.status, 201);

    lossy.set(LOSES_THE_NEXT_ANSWER);
    let answer = stint.lease(&token, &json!({})).await;
    assert!([502, 503, 504].contains(&answer.status), "{} {}", answer.status, answer.body);
    assert_eq!(database.rows("lease.failed").await, 1);
    assert_eq!(minio.minted(), 2, "the server has minted it");

    lossy.set(PASSES);
    let (code, report) = reconcile(&stint, &["--revoke-orphans"]);
    assert_eq!(code, Some(0), "{report}");
    let [orphan] = report["orphans"].as_array().expect("orphans").as_slice() else { panic!("{report}") };
    assert_eq!((&orphan["reason"], &orphan["fate"]), (&json!("no_lease"), &json!("revoked")), "{report}");
    assert_eq!((minio.minted(), database.rows("orphan.found").await), (1, 2), "the other lease lives");
    let failed = sqlx::query("select lease_id::text from audit_event where type = 'lease.failed'")
        .fetch_one(&mut database.connection().await)
        .await
        .expect("the row can be read");
    assert_eq!(orphan["lease_id"], json!(failed.get::<String, _>(0)));

    let (code, report) = reconcile(&stint, &[]);
    assert_eq!((code, &report["credentials"]), (Some(0), &json!(1)), "{report}");
}
