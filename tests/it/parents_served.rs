//! Two parents behind the real service: a role's lease is signed by its own parent, its intent says so, and a key is
//! rotated by SIGHUP without a restart. The object server is scripted: what arrived there is what was signed.

use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection};
use stint::audit::FingerprintKey;

use crate::harness::binary::{DOCUMENT, Site, eventually, http, run, stint};
use crate::harness::database::fresh_database;
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::service::now;
use crate::harness::tokens::Forge;

const BLOCKS: &str = "[[object_server.parent]]\nroles = [\"team\"]\naccess_key = \"OFTEAM\"\nsecret_key_file = \
                      \"team.secret\"\n[audit]\nfingerprint_key = \"for fingerprints\"\n[lease]";

/// A service's directory with a parent of its own for the role `team`; everything else is the default parent's.
fn site(database: &SecretString, endpoint: &str) -> Site {
    let site = Site::new(database, endpoint);
    site.write("policies/documents/other.json", DOCUMENT);
    site.write("policies/roles/other.toml", "documents = [\"other\"]\n[[allow]]\ngroups = [\"team-a\"]\n");
    site.write("team.secret", "secret-of-team\n");
    site.configure("[lease]", BLOCKS);
    site
}

async fn ask(url: &str, role: &str) -> StatusCode {
    let token = Forge::shared().authentik.token(now());
    let request = http().post(format!("{url}/v1/leases")).bearer_auth(token);
    let request = request.header("content-type", "application/json").body(format!("{{\"role\":\"{role}\"}}"));
    request.send().await.expect("the service answers").status()
}

/// Whose signatures arrived.
fn signers(server: &ScriptedObjectServer) -> Vec<String> {
    let signer = |header: &String| header.split("Credential=").nth(1)?.split('/').next().map(str::to_owned);
    server.received().iter().filter_map(|request| request.headers.get("authorization").and_then(signer)).collect()
}

async fn parents_on_record(database: &SecretString, kind: &str) -> Vec<(String, String)> {
    let mut connection = PgConnection::connect(database.expose_secret()).await.unwrap();
    let query = "select role, parent_fingerprint from audit_event where type = $1 order by seq";
    sqlx::query_as(query).bind(kind).fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn each_role_is_minted_by_its_own_parent_and_the_intent_says_which() {
    let server = ScriptedObjectServer::start(vec![Reply::credentials_for(Duration::from_mins(15))]).await;
    let database = fresh_database().await;
    let site = site(&database, server.endpoint());
    let (mut running, address) = site.serve().await;
    let url = format!("http://{address}");
    for role in ["team", "other"] {
        assert_eq!(ask(&url, role).await, StatusCode::CREATED);
    }
    assert_eq!(signers(&server), ["OFTEAM", "parent"]);
    let key = FingerprintKey::derive(b"for fingerprints");
    let of = |role: &str, access_key: &str| (role.to_owned(), key.fingerprint(access_key).as_str().to_owned());
    for kind in ["lease.intended", "lease.issued"] {
        let expected = [of("team", "OFTEAM"), of("other", "parent")];
        assert_eq!(parents_on_record(&database, kind).await, expected, "{kind}");
    }

    // The key of one parent changes; the service goes on.
    site.write("new.secret", "secret-of-the-new\n");
    site.configure("access_key = \"OFTEAM\"\nsecret_key_file = \"team.secret\"", {
        "access_key = \"NEWTEAM\"\nsecret_key_file = \"new.secret\"\n[[object_server.retired_parent]]\naccess_key = \
         \"OFTEAM\"\nsecret_key_file = \"team.secret\""
    });
    running.signal("HUP");
    running.says("the parents' keys were read again").await;
    assert_eq!(ask(&url, "team").await, StatusCode::CREATED);
    assert_eq!(signers(&server).last().unwrap(), "NEWTEAM");

    // A configuration with a fault changes nothing.
    site.configure("roles = [\"team\"]", "roles = [\"team\", \"team\"]");
    running.signal("HUP");
    running.says("the parents' keys stay what they were").await;
    assert_eq!(ask(&url, "team").await, StatusCode::CREATED);
    running.signal("TERM");
    assert_eq!(running.ended().await, Some(0));
    let logged = running.stderr() + &running.stdout();
    for secret in ["secret-of-team", "secret-of-the-new", "parent-secret", "OFTEAM", "NEWTEAM"] {
        assert!(!logged.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn roles_of_several_parents_are_the_defaults_and_without_one_they_are_choices() {
    let server = ScriptedObjectServer::start(vec![Reply::credentials_for(Duration::from_mins(15))]).await;
    let database = fresh_database().await;
    let site = site(&database, server.endpoint());
    let (running, address) = site.serve().await;
    assert_eq!(ask(&format!("http://{address}"), "any").await, StatusCode::CREATED);
    assert_eq!(signers(&server), ["parent"]);
    drop(running);

    site.configure("access_key = \"parent\"\nsecret_key = \"parent-secret\"\n", "");
    let checked = run(site.stint("check", &[])).await;
    assert!(checked.stderr.contains("role other: it has no parent"), "{checked:?}");
    site.configure(
        "[audit]",
        "[[object_server.parent]]\nroles = [\"other\"]\naccess_key = \"O\"\nsecret_key = \"o\"\n[audit]",
    );
    let checked = run(site.stint("check", &[])).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let (_running, address) = site.serve().await;
    let url = format!("http://{address}");
    assert_eq!(ask(&url, "any").await, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&url, "other").await, StatusCode::CREATED);
    assert_eq!(signers(&server), ["parent", "O"], "nothing was minted for the refused one");
    let mut connection = PgConnection::connect(database.expose_secret()).await.unwrap();
    eventually("the refusal is on record", async || {
        let query = "select count(*) from audit_event where reason = 'roles_of_several_parents'";
        sqlx::query_scalar::<_, i64>(query).fetch_one(&mut connection).await.unwrap() == 1
    })
    .await;
}

#[tokio::test]
async fn a_parent_of_a_role_that_no_policy_defines_does_not_pass_the_check() {
    let site = site(&SecretString::from("postgres://nobody@127.0.0.1:1/none"), "http://127.0.0.1:1");
    let checked = run(site.stint("check", &[])).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    site.configure("roles = [\"team\"]", "roles = [\"team\", \"tema\"]");
    let checked = run(site.stint("check", &[])).await;
    assert_eq!(checked.code, Some(1));
    assert!(checked.stderr.contains("no policy defines the role tema"), "{checked:?}");
}

/// `stint object-server rotate` at a site whose servers are not there.
async fn rotate(site: &Site, more: &[&str]) -> (Option<i32>, String) {
    let mut command = stint(["object-server", "rotate", "--config"]);
    command.arg(site.config()).args(more);
    let ended = run(command).await;
    (ended.code, ended.stderr)
}

#[tokio::test]
async fn a_rotation_that_cannot_begin_says_why_and_asks_nobody() {
    let site = site(&SecretString::from("postgres://nobody@127.0.0.1:1/none"), "http://127.0.0.1:1");
    let refused = async |more: &[&str], told: &str| {
        let (code, stderr) = rotate(&site, more).await;
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(told), "{told}: {stderr}");
    };
    refused(&["--plan"], "STINT_OBJECT_SERVER__BOOTSTRAP__ACCESS_KEY").await;
    site.configure("[audit]", "[object_server.bootstrap]\naccess_key = \"root\"\nsecret_key = \"rs\"\n[audit]");
    refused(&["--plan", "--role", "other"], "--role other: no [[object_server.parent]] names this role").await;
    refused(&["--finish"], "no [[object_server.retired_parent]] is configured").await;
    refused(&["--plan", "--role", "team"], "the parent of team: the object server cannot be reached").await;
    let (code, _) = rotate(&site, &[]).await;
    assert_eq!(code, Some(2), "where the key goes must be said");
    site.configure(BLOCKS.split_once("[audit]").unwrap().0, "");
    site.configure("fingerprint_key = \"for fingerprints\"\n", "");
    refused(&["--plan"], "audit.fingerprint_key is not set").await;
    site.configure("kind = \"minio\"", "kind = \"ceph\"\nrole_arn = \"arn:aws:iam:::role/broker\"");
    refused(&["--plan"], "radosgw-admin key create").await;
}
