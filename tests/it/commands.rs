//! The commands from outside: the real program, its exit codes and what it says.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};
use stint::audit::AuditRow;
use stint::postgres::PostgresStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::harness::binary::{DOCUMENT, Ended, PATIENCE, Running, Site, eventually, http, run, stint};
use crate::harness::custodians::policies;
use crate::harness::database::fresh_database;
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::service::now;
use crate::harness::tokens::Forge;

const REAL_LIFE: Duration = Duration::from_secs(3590);
const PASSWORD: &str = "planted-database-password";

/// A site whose servers are not there, for commands that must not need them.
fn offline() -> Site {
    let nowhere = free_port();
    let database = SecretString::from(format!("postgres://stint:{PASSWORD}@127.0.0.1:{nowhere}/stint"));
    let site = Site::new(&database, &format!("http://127.0.0.1:{nowhere}"));
    // Switched off for doubles, which is warned about: here nothing is minted.
    site.configure("self_test = \"off\"\n", "");
    site
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn check(site: &Site, more: &[&str]) -> Ended {
    run(site.stint("check", more)).await
}

fn token() -> String {
    Forge::shared().authentik.token(now())
}

async fn lease(url: &str, role: &str) -> (StatusCode, Value) {
    let request = http().post(format!("{url}/v1/leases")).bearer_auth(token());
    let request = request.header("content-type", "application/json").body(json!({"role": role}).to_string());
    let answer = request.send().await.unwrap();
    let status = answer.status();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

async fn rows(database: &SecretString) -> Vec<AuditRow> {
    let log = PostgresStore::connect(database, Duration::from_secs(5)).await.unwrap();
    let mut rows = log.recent(100).await.unwrap();
    rows.sort_by_key(|row| row.seq);
    rows
}

#[tokio::test]
async fn the_help_of_each_command_says_what_it_does_and_what_it_takes() {
    let told: [(&[&str], &[&str]); 6] = [
        (&["--help"], &["Usage: stint <COMMAND>", "serve", "demo", "check", "on record"]),
        (&["serve", "--help"], &["--config <FILE>", "[default: stint.toml]", "SIGHUP", "STINT_HTTP__LISTEN"]),
        (&["demo", "--help"], &["--once", "--env-file <FILE>", "--data <DIR>", "PostgreSQL", "Ctrl-C"]),
        (&["check", "--help"], &["--config <FILE>", "--json", "no network"]),
        (&["lease", "revoke", "--help"], &["--dry-run", "--pace <N>", "stronger proof", "Exit code 0", "Ctrl-C"]),
        (&["migrate", "--help"], &["--config <FILE>", "stint_serve", "STINT_POSTGRES__URL"]),
    ];
    for (arguments, expected) in told {
        let ended = run(stint(arguments)).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        for text in expected {
            assert!(ended.stdout.contains(text), "{arguments:?} does not say {text}:\n{}", ended.stdout);
        }
    }
}

#[tokio::test]
async fn a_wrong_call_ends_with_2_and_says_what_is_wrong() {
    let calls: [(&[&str], &str); 5] = [
        (&[], "Usage: stint <COMMAND>"),
        (&["conjure"], "conjure"),
        (&["serve", "--prot", "1"], "--prot"),
        (&["check", "--config"], "--config <FILE>"),
        (&["demo", "extra"], "extra"),
    ];
    for (arguments, told) in calls {
        let ended = run(stint(arguments)).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.stderr.contains(told), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

#[tokio::test]
async fn a_good_configuration_passes_the_check_and_its_roles_are_named() {
    let site = offline();
    let ended = check(&site, &[]).await;
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "ok: 1 role (team)\n", ""));
    let ended = check(&site, &["--json"]).await;
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(report, json!({"ok": true, "errors": [], "warnings": [], "roles": ["team"]}));
}

/// A whole policy directory with break-glass, its journal and its signing key named.
fn with_break_glass() -> Site {
    let site = offline();
    for (path, text) in policies() {
        site.write(&format!("policies/{path}"), text);
    }
    site.configure("[lease]", "[audit]\nsigning_key_file = \"k.pem\"\n[break_glass]\njournal = \"journal\"\n[lease]");
    site
}

#[tokio::test]
async fn an_emergency_that_could_not_be_proven_is_told_by_the_check_and_a_drill_that_could_not_be_tried_is_a_fault() {
    let objects = |prefix: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[
            {{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::recordings/{prefix}*"]}}]}}"#
        )
    };
    let site = with_break_glass();
    let good = check(&site, &[]).await;
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    assert!(!good.stderr.contains("tried"), "{}", good.stderr);
    site.write("policies/documents/emergency-read.json", objects(""));
    let warned = check(&site, &[]).await;
    assert_eq!(warned.code, Some(0), "{}", warned.stderr);
    assert!(
        format!("{}{}", warned.stdout, warned.stderr).contains("an end before its time cannot be"),
        "{}",
        warned.stderr
    );
    site.write("policies/documents/break-glass-drill.json", objects("drill/"));
    let faulty = check(&site, &[]).await;
    assert_eq!(faulty.code, Some(1));
    assert!(faulty.stderr.contains("give it s3:ListBucket or s3:GetBucketLocation"), "{}", faulty.stderr);
}

#[tokio::test]
async fn emergency_tokens_of_an_issuer_that_has_none_are_a_fault() {
    let site = with_break_glass();
    let (path, text) = policies()[0];
    let tokens = "[emergency_tokens]\nissuers = [\"authentik\"]\nroles = [\"emergency-read\"]\n";
    site.write(&format!("policies/{path}"), format!("{text}{tokens}"));
    let faulty = check(&site, &[]).await;
    assert_eq!(faulty.code, Some(1));
    assert!(faulty.stderr.contains("iam-profile"), "{}", faulty.stderr);
}

#[tokio::test]
async fn migrate_says_what_it_applied_and_then_that_nothing_is_left() {
    let site = Site::new(&fresh_database().await, "http://127.0.0.1:9");
    let first = run(site.stint("migrate", &[])).await;
    assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        first.stdout,
        "applied: 1 audit event\napplied: 2 sealed log\napplied: 3 ended leases\napplied: 4 freezes\napplied: 5 break glass\n"
    );
    let again = run(site.stint("migrate", &[])).await;
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), "the schema was up to date\n"));
    let ended = run(offline().stint("migrate", &[])).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("stint: postgres: the database cannot be reached"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(PASSWORD));
}

#[tokio::test]
async fn the_check_connects_to_nothing() {
    let [postgres, issuer, object_server] = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
    let database = format!("postgres://stint:x@{}/stint", postgres.local_addr().unwrap());
    let site = Site::new(&SecretString::from(database), &url(&object_server));
    site.configure("jwks_file = \"keys.json\"", &format!("jwks_uri = \"{}/jwks\"", url(&issuer)));
    assert_eq!(check(&site, &[]).await.code, Some(0));
    for listener in [postgres, issuer, object_server] {
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn faults_of_the_configuration_and_of_the_policies_are_told_together() {
    let site = offline();
    site.configure("jitter = 0.0", "jiter = 0.0");
    site.write("policies/roles/team.toml", "documents = [\"absent\"]\n[[allow]]\ngroups = [\"team-a\"]\n");
    let ended = check(&site, &[]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("stint: 2 errors found\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("lease.jiter: unknown key"), "{}", ended.stderr);
    assert!(ended.stderr.contains("roles/team.toml:1:14: there is no documents/absent.json"), "{}", ended.stderr);
}

#[tokio::test]
async fn every_fault_of_a_configuration_is_told_at_once_with_its_place() {
    let site = offline();
    site.configure("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1\"");
    site.configure("profile = \"authentik\"", "profile = \"authentic\"");
    site.configure("jitter = 0.0", "jiter = 0.0");
    fs::remove_dir_all(site.path().join("policies")).unwrap();
    let file = site.config();
    let faults = [("http.listen", 2), ("issuer[0].profile", 9), ("lease.jiter", 17)]
        .map(|(key, line)| format!("{}: line {line}: {key}: ", file.display()));

    let ended = check(&site, &[]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("stint: 3 errors found\n"), "{}", ended.stderr);
    assert!(ended.stdout.contains("the policies were not checked"), "{}", ended.stdout);
    for fault in &faults {
        assert!(ended.stderr.contains(fault.as_str()), "{fault} is not in\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains(PASSWORD));

    let ended = check(&site, &["--json"]).await;
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &report["ok"], &report["roles"]), (Some(1), &json!(false), &json!([])));
    let errors = report["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 3, "{report}");
    for fault in &faults {
        assert!(errors.iter().any(|error| error.as_str().unwrap().starts_with(fault.as_str())), "{report}");
    }
}

#[tokio::test]
async fn every_fault_of_the_policies_is_told_by_file_line_and_column() {
    let site = offline();
    site.write("policies/documents/broken.json", "{\"Version\": \"2012-10-17\",\n  \"Statement\": [,]}");
    site.write("policies/roles/lonely.toml", "documents = [\"absent\"]\n[[allow]]\ngroups = [\"g\"]\n");
    let ended = check(&site, &[]).await;
    assert_eq!(ended.code, Some(1));
    let policies = site.path().join("policies");
    for place in ["documents/broken.json:2:17: ", "roles/lonely.toml:1:14: there is no documents/absent.json"] {
        let told = format!("{}/{place}", policies.display());
        assert!(ended.stderr.contains(&told), "{told} is not in\n{}", ended.stderr);
    }
}

#[tokio::test]
async fn policies_that_are_not_there_are_told_once() {
    let site = offline();
    fs::remove_dir_all(site.path().join("policies")).unwrap();
    let ended = check(&site, &[]).await;
    assert_eq!(ended.code, Some(1));
    let place = site.path().join("policies").display().to_string();
    assert_eq!(ended.stderr.matches(&place).count(), 1, "{}", ended.stderr);
}

#[tokio::test]
async fn a_role_too_long_for_the_object_server_does_not_pass_the_check() {
    let site = offline();
    // No bucket's pattern contains another's, so nothing can be left out.
    let document = |buckets: usize| {
        let resources: Vec<_> = (0..buckets).map(|n| format!("arn:aws:s3:::bucket-number-{n:03}/*")).collect();
        let statement = json!({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": resources});
        json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
    };
    site.write("policies/documents/recordings.json", document(60));
    let ended = check(&site, &[]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("role team: ") && ended.stderr.contains("2048"), "{}", ended.stderr);
    site.write("policies/documents/recordings.json", document(20));
    assert_eq!(check(&site, &[]).await.code, Some(0));
}

/// A Deny under a condition that the server passes over protects nothing: such a role is refused before it is ever leased.
#[tokio::test]
async fn a_role_that_the_object_server_would_not_enforce_does_not_pass_the_check() {
    let document = |key: &str, operator: &str| {
        let listing = ["arn:aws:s3:::recordings"];
        let allow = json!({"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": listing});
        let deny = json!({"Effect": "Deny", "Action": ["s3:ListBucket"], "Resource": listing,
                          "Condition": {operator: {key: ["secret/*"]}}});
        json!({"Version": "2012-10-17", "Statement": [allow, deny]}).to_string()
    };
    for (kind, key, operator, passes) in [
        ("minio", "s3:delimiter", "StringNotLike", true),
        ("seaweedfs", "s3:delimiter", "StringLike", false),
        ("seaweedfs", "s3:prefix", "StringNotLike", true),
        ("ceph", "s3:prefix", "StringNotLike", false),
        ("ceph", "s3:prefix", "StringLike", true),
    ] {
        let site = offline();
        site.write("policies/documents/recordings.json", document(key, operator));
        let role = if kind == "minio" { "" } else { "role_arn = \"arn:aws:iam:::role/broker\"\n" };
        site.configure("kind = \"minio\"\n", &format!("kind = \"{kind}\"\n{role}"));
        let ended = check(&site, &[]).await;
        assert_eq!(ended.code, Some(i32::from(!passes)), "{kind} {key} {operator}: {}", ended.stderr);
        assert_eq!(ended.stderr.contains("role team: "), !passes, "{}", ended.stderr);
    }
}

/// Only MinIO has `admin:` actions: a role that holds them is refused before the others, by name and with the cure.
#[tokio::test]
async fn a_role_with_admin_rights_passes_the_check_before_minio_alone() {
    for (kind, passes) in [("minio", true), ("seaweedfs", false), ("ceph", false), ("aws", false)] {
        let site = offline();
        let admin = json!({"Effect": "Allow", "Action": ["admin:ServerInfo"]});
        let document = json!({"Version": "2012-10-17", "Statement": [admin]});
        site.write("policies/documents/recordings.json", document.to_string());
        let role = if kind == "minio" { "" } else { "role_arn = \"arn:aws:iam:::role/broker\"\n" };
        site.configure("kind = \"minio\"\n", &format!("kind = \"{kind}\"\n{role}"));
        let ended = check(&site, &[]).await;
        assert_eq!(ended.code, Some(i32::from(!passes)), "{kind}: {}", ended.stderr);
        assert_eq!(ended.stderr.contains("admin:ServerInfo"), !passes, "{}", ended.stderr);
    }
}

#[tokio::test]
async fn short_leases_are_warned_about() {
    let site = offline();
    site.configure("[lease]\n", "[lease]\nttl = \"20m\"\n");
    let ended = check(&site, &[]).await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.starts_with("warning: role team: "), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("ok: 1 role (team)\n"), "{}", ended.stdout);
    let report: Value = serde_json::from_str(&check(&site, &["--json"]).await.stdout).unwrap();
    assert_eq!((&report["ok"], report["warnings"].as_array().unwrap().len()), (&json!(true), 1));
}

/// The one message of a service that does not start; nothing that is written may hold the password.
async fn does_not_start(command: Command) -> String {
    let ended = run(command).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    for secret in [PASSWORD, "parent-secret"] {
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
    assert_eq!(ended.stderr.matches("stint: ").count(), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("panic"), "{}", ended.stderr);
    let (_, message) = ended.stderr.split_once("stint: ").unwrap();
    message.to_owned()
}

#[tokio::test]
async fn a_service_without_a_configuration_says_how_to_name_one() {
    let empty = tempfile::tempdir().unwrap();
    let mut command = stint(["serve"]);
    command.current_dir(empty.path());
    let told = does_not_start(command).await;
    assert!(told.contains("there is no stint.toml: name the configuration file with --config"), "{told}");
}

#[tokio::test]
async fn a_service_on_a_taken_port_says_which() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = offline();
    let mut command = site.stint("serve", &[]);
    command.env("STINT_HTTP__LISTEN", taken.local_addr().unwrap().to_string());
    let told = does_not_start(command).await;
    assert!(told.contains(&format!("cannot listen on {}", taken.local_addr().unwrap())), "{told}");
    assert!(told.contains("in use") && told.contains("http.listen"), "{told}");
}

#[tokio::test]
async fn a_service_without_its_database_says_why_and_where_to_look() {
    let site = offline();
    let told = does_not_start(site.stint("serve", &[])).await;
    assert!(told.contains("the database cannot be reached") && told.contains("refused"), "{told}");
    assert!(told.contains("postgres.url"), "{told}");
}

#[tokio::test]
async fn a_wrong_database_password_is_told_as_such() {
    use secrecy::ExposeSecret;
    let good = fresh_database().await;
    let (scheme, rest) = good.expose_secret().split_once("://").unwrap();
    let (user, rest) = rest.split_once(':').unwrap();
    let (_password, server) = rest.split_once('@').unwrap();
    let wrong = SecretString::from(format!("{scheme}://{user}:{PASSWORD}@{server}"));
    let site = Site::new(&wrong, "http://127.0.0.1:9");
    let told = does_not_start(site.stint("serve", &[])).await;
    assert!(told.contains("password authentication failed"), "{told}");
}

#[tokio::test]
async fn a_service_with_faulty_policies_names_every_fault() {
    let site = offline();
    site.write("policies/documents/broken.json", "{");
    site.write("policies/roles/lonely.toml", "documents = [\"absent\"]\n[[allow]]\ngroups = [\"g\"]\n");
    let told = does_not_start(site.stint("serve", &[])).await;
    assert!(told.contains("policies/documents/broken.json:1:"), "{told}");
    assert!(told.contains("policies/roles/lonely.toml:1:14: "), "{told}");
}

#[tokio::test]
async fn a_service_with_unusable_tls_files_names_the_file() {
    let site = offline();
    site.configure("[http]\n", "[http]\ntls = { certificate = \"tls.crt\", key = \"tls.key\" }\n");
    let told = does_not_start(site.stint("serve", &[])).await;
    assert!(told.contains("http.tls") && told.contains("tls.crt"), "{told}");

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    site.write("tls.crt", made.cert.pem());
    site.write("tls.key", "planted-database-password, and no key");
    let told = does_not_start(site.stint("serve", &[])).await;
    assert!(told.contains("http.tls") && told.contains("tls.key"), "{told}");
}

#[tokio::test]
async fn with_tls_the_service_answers_over_https_and_not_over_http() {
    let site = Site::new(&fresh_database().await, "http://127.0.0.1:9");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    site.write("tls.crt", made.cert.pem());
    site.write("tls.key", made.signing_key.serialize_pem());
    site.configure("[http]\n", "[http]\ntls = { certificate = \"tls.crt\", key = \"tls.key\" }\n");
    let (_running, address) = site.serve().await;

    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let trusting = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()])
        .resolve("localhost", address)
        .build()
        .unwrap();
    let path = format!("localhost:{}/health/live", address.port());
    assert_eq!(trusting.get(format!("https://{path}")).send().await.unwrap().status(), StatusCode::OK);
    assert!(trusting.get(format!("http://{path}")).send().await.is_err());
}

/// An object server that holds its one answer until it is told to go on.
async fn holding(reached: Arc<Notify>, go: Arc<Notify>, tasks: &TaskTracker) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16 * 1024];
            let read = stream.read(&mut request).await.unwrap();
            if !String::from_utf8_lossy(&request[..read]).starts_with("POST ") {
                continue;
            }
            reached.notify_one();
            go.notified().await;
            let Reply::Bytes(bytes) = Reply::credentials_for(REAL_LIFE) else { panic!("credentials are bytes") };
            stream.write_all(bytes.as_bytes()).await.unwrap();
            return;
        }
    });
    endpoint
}

#[tokio::test]
async fn a_service_asked_to_end_finishes_what_is_under_way_and_takes_nothing_new() {
    let (reached, go, tasks) = (Arc::new(Notify::new()), Arc::new(Notify::new()), TaskTracker::new());
    let endpoint = holding(Arc::clone(&reached), Arc::clone(&go), &tasks).await;
    let database = fresh_database().await;
    let site = Site::new(&database, &endpoint);
    let (mut running, address) = site.serve().await;
    let url = format!("http://{address}");
    let under_way = tasks.spawn(async move { lease(&url, "team").await });
    tokio::time::timeout(Duration::from_secs(30), reached.notified()).await.expect("the object server is asked");

    running.signal("TERM");
    running.says("draining").await;
    eventually("the port is closed", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    go.notify_one();
    let (status, answer) = under_way.await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!(running.ended().await, Some(0));
    let kinds: Vec<String> = rows(&database).await.into_iter().map(|row| row.kind).collect();
    assert_eq!(kinds, ["stream.opened", "policy.loaded", "lease.intended", "lease.issued", "stream.closed"]);
}

#[tokio::test]
async fn a_service_asked_to_end_while_it_starts_does_not_wait_for_its_database() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let database = format!("postgres://stint:x@{}/stint", silent.local_addr().unwrap());
    let site = Site::new(&SecretString::from(database), "http://127.0.0.1:9");
    site.configure("[lease]\n", "[audit]\ndeadline = \"10s\"\n[lease]\n");
    let mut running = Running::start(site.stint("serve", &[]));
    let (_connection, _) = tokio::time::timeout(PATIENCE, silent.accept()).await.expect("it connects").unwrap();
    running.signal("TERM");
    assert_eq!(running.ended().await, Some(0), "{}", running.stderr());
}

#[tokio::test]
async fn an_interrupted_service_ends_with_0() {
    let site = Site::new(&fresh_database().await, "http://127.0.0.1:9");
    let (mut running, _) = site.serve().await;
    running.signal("INT");
    assert_eq!(running.ended().await, Some(0));
}

#[tokio::test]
async fn a_change_of_the_policies_takes_effect_and_is_on_record() {
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let database = fresh_database().await;
    let site = Site::new(&database, object_server.endpoint());
    let (mut running, address) = site.serve().await;
    let url = format!("http://{address}");
    assert_eq!(lease(&url, "extra").await.0, StatusCode::FORBIDDEN);
    site.write("policies/roles/extra.toml", "documents = [\"recordings\"]\n[[allow]]\ngroups = [\"team-a\"]\n");
    eventually("the new role works", async || lease(&url, "extra").await.0 == StatusCode::CREATED).await;
    running.signal("TERM");
    assert_eq!(running.ended().await, Some(0));

    let rows = rows(&database).await;
    let loaded: Vec<&AuditRow> = rows.iter().filter(|row| row.kind == "policy.loaded").collect();
    let [before, after] = loaded.as_slice() else { panic!("{loaded:?}") };
    assert_eq!((&before.roles, &after.roles), (&vec!["team".to_owned()], &vec!["extra".to_owned(), "team".to_owned()]));
    assert_ne!(before.policy_hash, after.policy_hash);
    let issued = rows.iter().find(|row| row.kind == "lease.issued").unwrap();
    assert!(issued.seq > after.seq, "no lease under a set that is not on record");
    let intended = rows.iter().find(|row| row.kind == "lease.intended").unwrap();
    assert_eq!(intended.policy_hash, after.policy_hash);
}

/// The directory is a link to another one: changing the link is no change of a watched file.
#[tokio::test]
async fn sighup_loads_the_policies_again() {
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let site = Site::new(&fresh_database().await, object_server.endpoint());
    let (policies, first) = (site.path().join("policies"), site.path().join("first"));
    fs::rename(&policies, &first).unwrap();
    std::os::unix::fs::symlink(&first, &policies).unwrap();
    let (mut running, address) = site.serve().await;
    let url = format!("http://{address}");
    assert_eq!(lease(&url, "extra").await.0, StatusCode::FORBIDDEN);

    site.write("second/documents/extra.json", DOCUMENT);
    site.write("second/roles/extra.toml", "documents = [\"extra\"]\n[[allow]]\ngroups = [\"team-a\"]\n");
    let next = site.path().join("next");
    std::os::unix::fs::symlink(site.path().join("second"), &next).unwrap();
    fs::rename(&next, &policies).unwrap();
    running.signal("HUP");
    running.says_times("\"policies loaded\"", 2).await;
    eventually("the new role works", async || lease(&url, "extra").await.0 == StatusCode::CREATED).await;
    assert_eq!(lease(&url, "team").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn faulty_policies_never_replace_good_ones_and_are_not_told_for_ever() {
    let object_server = ScriptedObjectServer::start(vec![Reply::credentials_for(REAL_LIFE)]).await;
    let database = fresh_database().await;
    let site = Site::new(&database, object_server.endpoint());
    let (mut running, address) = site.serve().await;
    let url = format!("http://{address}");
    let stays = "the policies loaded before stay in force";

    site.write("policies/roles/team.toml", "documents = [\"absent\"]\n[[allow]]\ngroups = [\"team-a\"]\n");
    running.says(stays).await;
    assert!(running.stderr().contains("roles/team.toml:1:14: there is no documents/absent.json"));
    assert_eq!(lease(&url, "team").await.0, StatusCode::CREATED);
    // Long enough for several reloads: were reading the directory a cause of the next one, they would be there.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // Twice at most: the change may be met by the reading at start as well as by the watch.
    assert!(running.stderr().matches(stays).count() <= 2, "{}", running.stderr());
    site.write(
        "policies/roles/team.toml",
        "documents = [\"recordings\"]\nttl = \"50m\"\n[[allow]]\ngroups = [\"team-a\"]\n",
    );
    running.says_times("\"policies loaded\"", 2).await;
    running.signal("TERM");
    assert_eq!(running.ended().await, Some(0));
    let rows = rows(&database).await;
    assert_eq!(rows.iter().filter(|row| row.kind == "policy.loaded").count(), 2);
}
