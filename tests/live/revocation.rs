//! Revocation at real servers: what is said to be refused is refused, and what is not said is not.

use serde_json::{Value, json};

use crate::dialect::ADMINS;
use crate::harness::{
    Answer, Boto3, Ceph, Database, Installation, Keycloak, Keys, PARENT, Seaweedfs, Site, Stint, now,
};
use crate::signed::Key;

const DEAD: &str = "InvalidAccessKeyId";

async fn lease(stint: &Stint, token: &str) -> (String, Keys) {
    let answer = stint.lease(token, &json!({})).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    (answer.json()["lease_id"].as_str().expect("an id").to_owned(), answer.keys())
}

async fn lines(stint: &Stint, token: &str, body: &Value) -> Vec<Value> {
    let answer = Answer::to_json(&stint.url("/v1/revocations"), token, body).await.expect("stint answers");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn walks(installation: &Installation, keys: &Keys) -> Vec<String> {
    Boto3::against(&installation.minio).holding(keys).walk(&["list:recordings"])
}

/// The shipped `operators.toml` gives the group of `admin` every permission.
#[tokio::test]
async fn on_minio_one_lease_then_a_holders_then_a_groups_then_all_are_refused_to_boto3_and_others_are_not() {
    let installation = Installation::start().await;
    let (stint, keycloak) = (&installation.stint, installation.keycloak);
    let [studio, viewer, admin] =
        [keycloak.token("studio").await, keycloak.token("viewer").await, keycloak.token("admin").await];
    let (first, first_keys) = lease(stint, &studio).await;
    let (_, second_keys) = lease(stint, &studio).await;
    let (_, viewer_keys) = lease(stint, &viewer).await;
    for keys in [&first_keys, &second_keys, &viewer_keys] {
        assert_eq!(walks(&installation, keys), ["ok"]);
    }

    // Its own holder, without any permission.
    let ended = Answer::to_delete(&stint.url(&format!("/v1/leases/{first}")), &studio).await.expect("stint answers");
    assert_eq!(ended.status, 200, "{}", ended.body);
    let ended = ended.json();
    assert_eq!((&ended["outcome"], &ended["told"]), (&json!("refused_at_server"), &json!(DEAD)), "{ended}");
    assert!(ended["refused_after_ms"].as_u64().is_some(), "{ended}");
    assert_eq!(walks(&installation, &first_keys), [DEAD]);
    assert_eq!(walks(&installation, &second_keys), ["ok"]);
    let theirs = Answer::to_delete(&stint.url(&format!("/v1/leases/{first}")), &viewer).await.expect("stint answers");
    assert_eq!(theirs.status, 404);

    let subject = ended["subject"].as_str().expect("a subject");
    let holder = lines(stint, &admin, &json!({"subject": subject, "issuer": "keycloak", "reason": "left"})).await;
    assert_eq!(holder.len(), 2, "{holder:?}");
    assert_eq!((&holder[0]["outcome"], &holder[1]["summary"]["proven"]), (&json!("refused_at_server"), &json!(1)));
    assert_eq!(walks(&installation, &second_keys), [DEAD]);
    assert_eq!(walks(&installation, &viewer_keys), ["ok"]);

    let (_, studio_keys) = lease(stint, &studio).await;
    let group = lines(stint, &admin, &json!({"group": "spacemusic-viewers"})).await;
    assert_eq!(group.last().expect("a line")["summary"]["proven"], 1, "{group:?}");
    assert_eq!(
        (walks(&installation, &viewer_keys), walks(&installation, &studio_keys)),
        (vec![DEAD.to_owned()], vec!["ok".to_owned()])
    );

    let all = lines(stint, &admin, &json!({"all": true})).await;
    assert_eq!(
        all.last().expect("a line")["summary"],
        json!({"leases": 1, "proven": 1, "unproven": 0, "end_by_themselves": 0, "failed": 0, "complete": true})
    );
    assert_eq!(walks(&installation, &studio_keys), [DEAD]);
    let refused: Vec<i64> =
        sqlx::query_scalar("select refused_after_ms from audit_event where reason = 'refused_at_server'")
            .fetch_all(&mut installation.database.connection().await)
            .await
            .expect("the log can be read");
    assert_eq!(refused.len(), 4, "each with its time: {refused:?}");
}

/// The command holds no credential: MinIO's list is what proves it, asked once, under the keys of the configuration.
#[tokio::test]
async fn on_minio_with_the_service_stopped_the_command_proves_by_the_list_what_it_ended() {
    let Installation { stint, minio, database, keycloak } = Installation::start().await;
    let [studio, viewer] = [keycloak.token("studio").await, keycloak.token("viewer").await];
    let mut ended = Vec::new();
    for _ in 0..5 {
        ended.push(lease(&stint, &studio).await.1);
    }
    let (spared, spared_keys) = lease(&stint, &viewer).await;
    drop(stint);

    let kind = format!(
        "kind = \"minio\"\nendpoint = \"{}\"\naccess_key = \"{PARENT}\"\nsecret_key = \"{}\"\n",
        minio.endpoint(),
        minio.parent_secret()
    );
    let site = Site::of(&kind, "", &database.url(), "recordings");
    let walks = |keys: &Keys| Boto3::against(&minio).holding(keys).walk(&["list:recordings"]);
    let group = site.lease(&["revoke", "--group", "spacemusic-studio", "--json", "--reason", "drill"]);
    let report = group.json();
    assert_eq!(
        report["summary"],
        json!({"leases": 5, "proven": 5, "unproven": 0, "end_by_themselves": 0, "failed": 0, "complete": true}),
        "{group:?}"
    );
    assert_eq!((group.code, &report["ok"]), (Some(0), &json!(true)), "{group:?}");
    assert_eq!(report["leases"][0]["outcome"], "gone_from_listing", "{report}");
    assert_eq!(walks(&ended[0]), [DEAD]);
    assert_eq!(walks(&spared_keys), ["ok"]);
    let one = site.lease(&["revoke", &spared]);
    assert_eq!(one.code, Some(0), "{one:?}");
    assert_eq!(walks(&spared_keys), [DEAD]);

    let rows: Vec<String> = sqlx::query_scalar("select to_jsonb(audit_event)::text from audit_event")
        .fetch_all(&mut database.connection().await)
        .await
        .expect("the log can be read");
    assert_eq!(rows.iter().filter(|row| row.contains("gone_from_listing")).count(), 6);
    let told = format!("{group:?}{one:?}{}", rows.concat());
    for keys in ended.iter().chain([&spared_keys]) {
        for secret in [&keys.access_key, &keys.secret_key, &keys.session_token] {
            assert!(!told.contains(secret.as_str()), "a key is told");
        }
    }
}

/// MinIO lists and ends the sessions that it minted or somebody used since it started: what the command cannot prove it does not
/// say, and the wish comes true when somebody uses the key.
#[tokio::test]
async fn after_a_start_of_minio_the_command_says_of_no_unused_lease_that_it_is_gone() {
    let Installation { stint, mut minio, database, keycloak } = Installation::start().await;
    let studio = keycloak.token("studio").await;
    let [used, unused] = [lease(&stint, &studio).await.1, lease(&stint, &studio).await.1];
    drop(stint);
    minio.stop();
    minio.start_again().await;
    let walks = |keys: &Keys| Boto3::against(&minio).holding(keys).walk(&["list:recordings"]);
    assert_eq!(walks(&used), ["ok"]);

    let kind = format!(
        "kind = \"minio\"\nendpoint = \"{}\"\naccess_key = \"{PARENT}\"\nsecret_key = \"{}\"\n",
        minio.endpoint(),
        minio.parent_secret()
    );
    let site = Site::of(&kind, "", &database.url(), "recordings");
    let all = site.lease(&["revoke", "--all", "--yes", "--json"]);
    let report = all.json();
    let outcome =
        |number: usize| format!("{} {}", report["leases"][number]["outcome"], report["leases"][number]["told"]);
    let mut outcomes = [outcome(0), outcome(1)];
    outcomes.sort();
    assert_eq!(outcomes, ["\"gone_from_listing\" null", "\"revoked_unproven\" \"not_listed_before\""], "{all:?}");
    assert_eq!(all.code, Some(1), "{all:?}");
    assert_eq!(walks(&used), [DEAD]);
    assert_eq!(walks(&unused), ["ok"], "MinIO said that it had ended it");
    let again = site.lease(&["revoke", "--all", "--yes", "--json"]);
    assert_eq!((again.code, &again.json()["summary"]["proven"]), (Some(0), &json!(1)), "{again:?}");
    assert_eq!(walks(&unused), [DEAD]);
}

/// The real service before Ceph, and the command with an administrator of roles.
#[tokio::test]
async fn on_ceph_the_older_sessions_of_the_role_are_refused_at_once_and_newer_ones_are_not() {
    let (ceph, keycloak, database) = (Ceph::shared().await, Keycloak::shared().await, Database::start().await);
    ceph.role("cut", true).await;
    for path in ["/recordings", "/recordings/x"] {
        Ceph::key("minter").s3("PUT", &format!("{}{path}", ceph.endpoint()), "").await;
    }
    let kind = format!(
        "kind = \"ceph\"\nendpoint = \"{}\"\naccess_key = \"minter\"\nsecret_key = \"mintersecret\"\nrole_arn = \"{}\"\n",
        ceph.endpoint(),
        Ceph::arn("cut")
    );
    let stint = Stint::start_before(&kind, &keycloak.issuer(), &database, "jitter = 0.0", &ADMINS).await;
    stint.until_ready().await;
    let [studio, admin] = [keycloak.token("studio").await, keycloak.token("admin").await];
    let (id, older) = lease(&stint, &studio).await;
    let takes = async |keys: &Keys| {
        key(keys).s3("GET", &format!("{}/recordings?list-type=2&max-keys=1", ceph.endpoint()), "").await.status
    };
    assert_eq!(takes(&older).await, 200);

    // The service has no such key: it says so, and when it ends.
    let alone = Answer::to_delete(&stint.url(&format!("/v1/leases/{id}")), &admin).await.expect("stint answers");
    assert_eq!((alone.status, &alone.json()["outcome"]), (202, &json!("ends_by_itself")), "{}", alone.body);
    assert_eq!(takes(&older).await, 200, "nothing was claimed that is not so");

    let owner = "access_key = \"owner\"\nsecret_key = \"ownersecret\"";
    let site = Site::of(&kind, owner, &database.url(), "recordings");
    let ended = site.lease(&["revoke", "--all", "--yes", "--json", "--reason", "drill"]);
    let report = ended.json();
    assert_eq!(
        (&report["summary"]["unproven"], &report["summary"]["complete"]),
        (&json!(1), &json!(true)),
        "{ended:?}"
    );
    assert_eq!(ended.code, Some(1), "the command saw no refusal: {ended:?}");
    assert_eq!(takes(&older).await, 403);
    // Issued in the second that the deny reaches into, a session would be denied too.
    let began = now();
    crate::harness::until("the second is over", std::time::Duration::from_secs(5), async || {
        now() > began + time::Duration::seconds(1)
    })
    .await;
    let (_, newer) = lease(&stint, &studio).await;
    assert_eq!((takes(&newer).await, takes(&older).await), (200, 403));
}

#[tokio::test]
async fn on_seaweedfs_the_answer_is_when_it_ends() {
    let (weed, keycloak, database) = (Seaweedfs::shared().await, Keycloak::shared().await, Database::start().await);
    let kind = format!(
        "kind = \"seaweedfs\"\nendpoint = \"{}\"\naccess_key = \"minter\"\nsecret_key = \"mintersecret\"\nrole_arn = \"{}\"\n",
        weed.endpoint(),
        Seaweedfs::role("Vend")
    );
    let stint = Stint::start_before(&kind, &keycloak.issuer(), &database, "jitter = 0.0", &ADMINS).await;
    stint.until_ready().await;
    let admin = keycloak.token("admin").await;
    let (id, _) = lease(&stint, &keycloak.token("studio").await).await;
    let ended = Answer::to_delete(&stint.url(&format!("/v1/leases/{id}")), &admin).await.expect("stint answers");
    let answer = ended.json();
    assert_eq!((ended.status, &answer["outcome"]), (202, &json!("ends_by_itself")), "{answer}");
    assert!(answer["ends_at"].is_string() && answer["advice"].is_string(), "{answer}");
    let site = Site::of(&kind, "", &database.url(), "recordings");
    let all = site.lease(&["revoke", "--all", "--yes"]);
    assert_eq!(all.code, Some(1), "{all:?}");
    assert!(all.stderr.contains("1 end by themselves at ends_at"), "{all:?}");
}

fn key(keys: &Keys) -> Key {
    Key { access: keys.access_key.clone(), secret: keys.secret_key.clone(), token: Some(keys.session_token.clone()) }
}
