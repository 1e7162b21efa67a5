//! Garage alone, at the pinned release: every fact that its dialect and docs/object-servers.md rest on, asked of the server
//! itself. `STINT_LIVE_GARAGE` names the server.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use stint::clock::SystemClock;
use stint::lease::{LeaseId, Rights};
use stint::object_server::{GarageServer, GarageSettings, LeaseToEnd, ObjectServer, ObjectServerError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::artifact_store::keeps_its_artifacts_with;
use crate::dialect::{allow, policy};
use crate::harness::{Answer, Boto3, Database, Garage, Keycloak, SCOPE, Site, Stint, keep_row, now, told, until};
use crate::signed::{Key, unsigned};

const READ: [&str; 7] = [
    "s3:GetBucketAcl",
    "s3:GetBucketLocation",
    "s3:GetBucketVersioning",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:GetObject",
    "s3:ListMultipartUploadParts",
];
const WRITE: [&str; 3] = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"];

fn adapter(garage: &Garage, token: &str) -> GarageServer {
    let settings = GarageSettings {
        admin_endpoint: garage.admin().to_owned(),
        admin_token: SecretString::from(token),
        parent: "garage-admin".to_owned(),
        timeout: Duration::from_secs(10),
    };
    GarageServer::new(&settings, Arc::new(SystemClock::start())).unwrap()
}

fn read(bucket: &str) -> Value {
    allow(&READ, &[&format!("arn:aws:s3:::{bucket}"), &format!("arn:aws:s3:::{bucket}/*")])
}

fn write(bucket: &str) -> Value {
    allow(&WRITE, &[&format!("arn:aws:s3:::{bucket}/*")])
}

/// The studio reads and writes `recordings` and `exports` and reads `assets`; viewers read `assets`.
fn policies() -> Vec<(&'static str, String)> {
    let role = |name: &str, group: &str| format!("documents = [\"{name}\"]\n[[allow]]\ngroups = [\"{group}\"]\n");
    vec![
        (
            "documents/studio.json",
            policy(&[read("recordings"), write("recordings"), read("assets"), read("exports"), write("exports")]),
        ),
        ("documents/viewers.json", policy(&[read("assets")])),
        ("roles/studio.toml", role("studio", "spacemusic-studio")),
        ("roles/viewers.toml", role("viewers", "spacemusic-viewers")),
    ]
}

/// A service before a Garage of its own with the buckets `recordings`, `assets`, `exports` and `foreign`, the last of nobody.
struct Installed {
    stint: Stint,
    garage: Garage,
    owner: Key,
    database: Database,
    keycloak: &'static Keycloak,
}

impl Installed {
    async fn start() -> Self {
        Self::start_with(&SCOPE).await
    }

    async fn start_with(scope: &[&str]) -> Self {
        let (keycloak, database, garage) = (Keycloak::shared().await, Database::start().await, Garage::start().await);
        let owner = garage.owner_of(&["recordings", "assets", "exports", "foreign"]).await;
        for bucket in ["recordings", "assets", "foreign"] {
            assert_eq!(owner.s3("PUT", &format!("{}/{bucket}/kept", garage.endpoint()), "x").await.status, 200);
        }
        let token = garage.token_of(scope).await;
        let configuration = garage.configuration(&token);
        let stint = Stint::start_with_policies(&configuration, &keycloak.issuer(), &database, &policies()).await;
        stint.until_ready().await;
        Self { stint, garage, owner, database, keycloak }
    }

    async fn token(&self, client: &str) -> String {
        self.keycloak.token(client).await
    }

    async fn lease_of(&self, client: &str) -> Answer {
        self.stint.lease(&self.token(client).await, &json!({})).await
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.garage.endpoint())
    }
}

fn held(lease: &Answer) -> Key {
    assert!([200, 201].contains(&lease.status), "{}", lease.body);
    let keys = lease.keys();
    Key { access: keys.access_key, secret: keys.secret_key, token: Some(keys.session_token) }
}

fn lease_id(lease: &Answer) -> LeaseId {
    LeaseId::from_uuid(Uuid::parse_str(lease.json()["lease_id"].as_str().unwrap()).unwrap())
}

/// What one key is answered to one call each of what S3 can do with a bucket: every status but 403 means that the right was
/// there. `upload` is an upload that is under way.
async fn may(garage: &Garage, owner: &Key, key: &Key, bucket: &str) -> Vec<&'static str> {
    let at = |path: &str| format!("{}/{bucket}{path}", garage.endpoint());
    let begun = owner.s3("POST", &at("/parts?uploads="), "").await;
    let upload = begun.element("UploadId").unwrap().to_owned();
    let part = |number: u8| format!("/parts?partNumber={number}&uploadId={upload}");
    let id = format!("/parts?uploadId={upload}");
    let rule = "<LifecycleConfiguration><Rule><ID>x</ID><Status>Enabled</Status><Filter></Filter>\
                <Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>";
    let mut allowed = Vec::new();
    for (action, method, path, body) in [
        ("s3:ListBucket", "GET", "?list-type=2", ""),
        ("s3:ListBucket", "GET", "", ""),
        ("s3:ListBucket", "HEAD", "", ""),
        ("s3:GetBucketLocation", "GET", "?location=", ""),
        ("s3:GetBucketVersioning", "GET", "?versioning=", ""),
        ("s3:GetBucketAcl", "GET", "?acl=", ""),
        ("s3:ListBucketMultipartUploads", "GET", "?uploads=", ""),
        ("s3:GetObject", "GET", "/kept", ""),
        ("s3:GetObject", "HEAD", "/kept", ""),
        ("s3:ListMultipartUploadParts", "GET", id.as_str(), ""),
        ("s3:PutObject", "PUT", "/new", "y"),
        ("s3:PutObject", "POST", "/other?uploads=", ""),
        ("s3:PutObject", "PUT", &part(1), "y"),
        ("s3:AbortMultipartUpload", "DELETE", id.as_str(), ""),
        ("s3:DeleteObject", "DELETE", "/new", ""),
        ("s3:GetLifecycleConfiguration", "GET", "?lifecycle=", ""),
        ("s3:PutLifecycleConfiguration", "PUT", "?lifecycle=", rule),
        ("s3:PutLifecycleConfiguration", "DELETE", "?lifecycle=", ""),
        ("s3:GetBucketCors", "GET", "?cors=", ""),
        ("s3:GetBucketWebsite", "GET", "?website=", ""),
        ("s3:DeleteBucketWebsite", "DELETE", "?website=", ""),
        ("s3:GetBucketPolicy", "GET", "?policy=", ""),
        ("s3:PutBucketPolicy", "PUT", "?policy=", "{}"),
        ("s3:PutBucketAcl", "PUT", "?acl=", ""),
        ("s3:GetBucketTagging", "GET", "?tagging=", ""),
        ("s3:GetObjectTagging", "GET", "/kept?tagging=", ""),
        ("s3:PutObjectTagging", "PUT", "/kept?tagging=", "<Tagging/>"),
        ("s3:GetObjectAcl", "GET", "/kept?acl=", ""),
        ("s3:PutObjectAcl", "PUT", "/kept?acl=", ""),
        ("s3:GetObjectRetention", "GET", "/kept?retention=", ""),
        ("s3:GetObjectLegalHold", "GET", "/kept?legal-hold=", ""),
        ("s3:PutBucketVersioning", "PUT", "?versioning=", ""),
        // Not empty, so that an owner is refused with another reason.
        ("s3:DeleteBucket", "DELETE", "", ""),
    ] {
        let answer = key.s3(method, &at(path), body).await;
        if answer.status != 403 {
            allowed.push(action);
        }
    }
    allowed.dedup();
    allowed
}

/// The store keeps to its prefix by itself: Garage can hold nobody to one.
#[tokio::test]
async fn garage_keeps_the_artifacts_of_a_store_whose_lease_is_renewed() {
    let Installed { stint, garage, database, .. } = &Installed::start().await;
    // Garage keeps no checksum of a part whose checksum comes behind it, and then refuses the upload that names one.
    let environment = [("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")];
    let wanted = json!({"role": "studio"});
    keeps_its_artifacts_with(&environment, stint, database, garage.endpoint(), "foreign", &wanted).await;
}

#[tokio::test]
async fn each_right_gives_the_actions_that_planning_takes_it_to_give_and_no_others() {
    let garage = Garage::shared().await;
    let id = garage.bucket("rights").await;
    let root = garage.key(&id, &json!({"read": true, "write": true, "owner": true})).await;
    assert_eq!(root.s3("PUT", &format!("{}/rights/kept", garage.endpoint()), "x").await.status, 200);
    let Rights::WholeBuckets(rights) = adapter(garage, garage.token()).capabilities().rights else {
        panic!("session policies")
    };
    let sorted = |mut actions: Vec<&'static str>| {
        actions.sort_unstable();
        actions.dedup();
        actions
    };
    for (permissions, right) in [(json!({"read": true}), rights.read), (json!({"write": true}), rights.write)] {
        let key = garage.key(&id, &permissions).await;
        let given: Vec<&str> = right.on_bucket.iter().chain(right.on_objects).copied().collect();
        assert_eq!(sorted(may(garage, &root, &key, "rights").await), sorted(given), "{permissions}");
    }
    let none = garage.key(&id, &json!({})).await;
    assert_eq!(may(garage, &root, &none, "rights").await, Vec::<&str>::new());
    // Every key lists the buckets that it has rights on, and no others.
    let reader = garage.key(&id, &json!({"read": true})).await;
    for (key, sees) in [(&reader, true), (&none, false)] {
        let listed = key.s3("GET", &format!("{}/", garage.endpoint()), "").await;
        assert_eq!((listed.status, listed.body.contains("<Name>rights</Name>")), (200, sees), "{listed:?}");
        assert!(!listed.body.contains("<Name>foreign"), "{listed:?}");
    }
}

#[tokio::test]
async fn copying_needs_a_right_to_read_where_it_copies_from() {
    let garage = Garage::shared().await;
    let (from, to) = (garage.bucket("copied-from").await, garage.bucket("copied-to").await);
    let owner = garage.key(&from, &json!({"read": true, "write": true})).await;
    let at = |path: &str| format!("{}{path}", garage.endpoint());
    assert_eq!(owner.s3("PUT", &at("/copied-from/kept"), "x").await.status, 200);
    let writer = garage.key(&to, &json!({"read": true, "write": true})).await;
    let copy = async || {
        let source = [("x-amz-copy-source", "/copied-from/kept")];
        writer.send("s3", "PUT", &at("/copied-to/copy"), &source, "").await.status
    };
    assert_eq!(copy().await, 403);
    let allow = json!({"bucketId": from, "accessKeyId": writer.access, "permissions": {"read": true}});
    assert_eq!(garage.ask("AllowBucketKey", &allow).await.status, 200);
    assert_eq!(copy().await, 200);
}

#[tokio::test]
async fn the_scoped_token_is_enough_and_good_for_nothing_else() {
    let garage = Garage::shared().await;
    let id = garage.bucket("scoped").await;
    adapter(garage, garage.token()).ready().await.unwrap();
    let whole = garage.key(&id, &json!({"read": true})).await;
    for (call, body) in [
        ("CreateAdminToken".to_owned(), json!({"name": "more", "scope": ["*"]})),
        ("ListAdminTokens".to_owned(), Value::Null),
        (format!("GetKeyInfo?id={}&showSecretKey=true", whole.access), Value::Null),
        (format!("UpdateKey?id={}", whole.access), json!({"neverExpires": true})),
        ("ImportKey".to_owned(), json!({"accessKeyId": "GK00", "secretAccessKey": "00"})),
        (format!("DeleteBucket?id={id}"), json!({})),
        (format!("GetBucketInfo?id={id}"), Value::Null),
        ("GetClusterStatus".to_owned(), Value::Null),
    ] {
        assert_eq!(garage.ask_as(garage.token(), &call, &body).await.status, 403, "{call}");
    }
    for bad in ["wrong", "wrong.token", &garage.token_of(&["CreateKey"]).await] {
        let refused = adapter(garage, bad).ready().await;
        assert!(matches!(refused, Err(ObjectServerError::Refused { status: 403, .. })), "{refused:?}");
    }
    // The token's own worth: what its holder can reach. docs/object-servers.md says so.
    let made = garage.ask_as(garage.token(), "CreateKey", &json!({"name": "for-ever"})).await.json();
    assert_eq!(made["expiration"], Value::Null, "without an expiration a key never ends: {made}");
}

#[tokio::test]
async fn a_lease_does_what_its_role_may_and_no_more() {
    let installed = Installed::start().await;
    let at = |path: &str| installed.at(path);
    let lease = installed.lease_of("studio").await;
    let studio = held(&lease);
    assert_eq!(studio.s3("PUT", &at("/recordings/take-1"), "y").await.status, 200);
    assert_eq!(studio.s3("GET", &at("/recordings/take-1"), "").await.body, "y");
    assert_eq!(studio.s3("GET", &at("/assets/kept"), "").await.body, "x");
    for (method, path, body) in [
        ("PUT", "/assets/x", "y"),
        ("DELETE", "/assets/kept", ""),
        ("GET", "/foreign/kept", ""),
        ("PUT", "/foreign/x", "y"),
        ("GET", "/foreign", ""),
        ("DELETE", "/recordings", ""),
        ("GET", "/recordings?lifecycle=", ""),
        ("PUT", "/made-by-a-lease", ""),
    ] {
        assert_eq!(studio.s3(method, &at(path), body).await.status, 403, "{method} {path}");
    }
    // The end that is on record is the key's own.
    let name = format!("stint-lease-{}", lease_id(&lease));
    let ends: Option<OffsetDateTime> =
        sqlx::query_scalar("select ends_at from audit_event where type = 'lease.issued'")
            .fetch_one(&mut installed.database.connection().await)
            .await
            .expect("the log can be read");
    let [(named, expiration)] = installed.garage.leases().await.try_into().unwrap();
    assert_eq!(named, name);
    assert_eq!(OffsetDateTime::parse(&expiration, &Rfc3339).unwrap(), ends.unwrap());
    let life = ends.unwrap() - now();
    assert!(life > time::Duration::minutes(40) && life <= time::Duration::minutes(60), "{life}");
}

#[tokio::test]
async fn a_callers_own_policy_narrows_to_whole_buckets_or_is_refused() {
    let installed = Installed::start().await;
    let token = installed.token("studio").await;
    let assume = async |statement: Value| installed.stint.assume(&token, "studio", Some(&policy(&[statement]))).await;
    let narrowed = held(&assume(read("recordings")).await);
    assert_eq!(narrowed.s3("GET", &installed.at("/recordings/kept"), "").await.status, 200);
    assert_eq!(narrowed.s3("PUT", &installed.at("/recordings/kept"), "y").await.status, 403);
    assert_eq!(narrowed.s3("GET", &installed.at("/assets/kept"), "").await.status, 403);
    let mut prefix = read("recordings");
    prefix["Condition"] = json!({"StringLike": {"s3:prefix": ["mine/*"]}});
    for inexact in [
        allow(&["s3:GetObject"], &["arn:aws:s3:::recordings/*"]),
        allow(&["s3:GetObject"], &["arn:aws:s3:::recordings/mine/*"]),
        prefix,
    ] {
        let refused = assume(inexact.clone()).await;
        assert_eq!((refused.status, refused.element("Code")), (400, Some("MalformedPolicyDocument")), "{inexact}");
    }
    assert_eq!(installed.garage.leases().await.len(), 1, "a refusal makes no key");
}

#[tokio::test]
async fn a_revoked_lease_is_refused_at_once_and_its_sibling_is_not() {
    let installed = Installed::start().await;
    let (doomed, spared) = (installed.lease_of("studio").await, installed.lease_of("studio").await);
    let server = adapter(&installed.garage, installed.garage.token());
    let read = async |key: &Key| key.s3("GET", &installed.at("/recordings/kept"), "").await;
    assert_eq!(read(&held(&doomed)).await.status, 200);
    server.revoke(&LeaseToEnd::from(lease_id(&doomed))).await.unwrap();
    assert_eq!(read(&held(&doomed)).await.refusal(), (403, "AccessDenied"));
    assert_eq!(read(&held(&spared)).await.status, 200);
    assert_eq!(installed.garage.leases().await.len(), 1);
    let [listing] = server.live_credentials().await.unwrap().try_into().unwrap();
    let listed: Vec<_> = listing.credentials.iter().map(|one| (one.access_key_id.expose(), one.lease)).collect();
    assert_eq!(listed, [(held(&spared).access.as_str(), Some(lease_id(&spared)))]);
    // What is gone is revoked, as often as it is asked.
    server.revoke(&LeaseToEnd::from(lease_id(&doomed))).await.unwrap();
    let without = adapter(&installed.garage, &installed.garage.token_of(&["ListKeys"]).await);
    let refused = without.revoke(&LeaseToEnd::from(lease_id(&spared))).await;
    assert!(matches!(refused, Err(ObjectServerError::Refused { status: 403, .. })), "{refused:?}");
    assert_eq!(read(&held(&spared)).await.status, 200);
}

#[tokio::test]
async fn a_key_is_good_until_its_end_and_not_after() {
    let garage = Garage::shared().await;
    let id = garage.bucket("ending").await;
    let end = (now() + Duration::from_secs(4)).replace_nanosecond(0).unwrap();
    let key = garage.key_until(&id, &json!({"read": true}), &end.format(&Rfc3339).unwrap()).await;
    let list = format!("{}/ending", garage.endpoint());
    assert_eq!(key.s3("GET", &list, "").await.status, 200);
    until("the key ended", Duration::from_secs(10), async || key.s3("GET", &list, "").await.status == 403).await;
    assert!(now() >= end, "it was refused before its end");
    assert_eq!(key.s3("GET", &list, "").await.refusal(), (403, "AccessDenied"));
}

#[tokio::test]
async fn what_stands_in_the_place_of_a_session_token_is_not_looked_at() {
    let installed = Installed::start().await;
    let lease = installed.lease_of("studio").await;
    let studio = held(&lease);
    assert_eq!(studio.token.as_deref(), Some(lease.json()["lease_id"].as_str().unwrap()));
    let url = installed.at("/recordings/kept");
    for token in [studio.token.as_deref(), None, Some("another")] {
        let key = studio.with_token(token);
        assert_eq!(key.s3("GET", &url, "").await.status, 200, "{token:?} in a header");
        assert_eq!(unsigned("GET", &key.presign(&url), &[], "").await.status, 200, "{token:?} in a URL");
    }
}

#[tokio::test]
async fn boto3_takes_its_keys_from_every_door() {
    let installed = Installed::start().await;
    let token = installed.token("studio").await;
    let boto3 = || Boto3::at(installed.garage.endpoint());
    let steps = [
        "put:recordings/take",
        "get:recordings/take",
        "list:recordings",
        "url:recordings/take",
        "form:recordings/form",
        "delete:recordings/take",
        "put:assets/take",
        "get:foreign/kept",
    ];
    let expected = ["ok", "ok", "ok", "ok", "ok", "ok", "AccessDenied", "AccessDenied"];
    let arn = "arn:aws:iam::000000000000:role/studio";
    let sts = boto3().with_token_file(&token).with("AWS_ROLE_ARN", arn);
    assert_eq!(sts.with("AWS_ENDPOINT_URL_STS", &installed.stint.url("")).walk(&steps), expected, "STS");
    let container = installed.stint.url("/v1/roles/studio/credentials");
    let container = boto3().with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container);
    assert_eq!(container.with("AWS_CONTAINER_AUTHORIZATION_TOKEN", &token).walk(&steps), expected, "container");
    let lease = installed.lease_of("studio").await;
    assert_eq!(boto3().holding(&lease.keys()).walk(&steps), expected, "JSON");
}

#[tokio::test]
async fn a_bucket_made_again_under_its_name_is_the_one_that_is_leased() {
    let installed = Installed::start().await;
    let before = held(&installed.lease_of("viewer").await);
    let owner = &installed.owner;
    let at = |path: &str| installed.at(path);
    assert_eq!(before.s3("GET", &at("/assets/kept"), "").await.status, 200);
    assert_eq!(owner.s3("DELETE", &at("/assets/kept"), "").await.status, 204);
    installed.garage.delete_bucket("assets").await;
    // While it is gone nothing is leased, and no key is left behind.
    let keys = installed.garage.leases().await.len();
    assert_eq!(installed.lease_of("viewer").await.status, 503);
    assert_eq!(installed.garage.leases().await.len(), keys);
    installed.garage.own(owner, &installed.garage.bucket("assets").await).await;
    assert_eq!(owner.s3("PUT", &at("/assets/kept"), "z").await.status, 200);
    assert_eq!(before.s3("GET", &at("/assets/kept"), "").await.status, 403, "the rights were on the bucket of before");
    assert_eq!(held(&installed.lease_of("viewer").await).s3("GET", &at("/assets/kept"), "").await.body, "z");
}

#[tokio::test]
async fn a_lease_that_fails_half_way_leaves_no_key() {
    let installed = Installed::start_with(&["CreateKey", "DeleteKey", "ListKeys", "ListBuckets"]).await;
    let refused = installed.lease_of("studio").await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(installed.garage.leases().await, []);
    assert_eq!(installed.database.rows("lease.failed").await, 1);
}

#[tokio::test]
async fn a_key_that_cannot_be_taken_back_has_no_rights_and_an_end() {
    let installed = Installed::start_with(&["CreateKey", "ListKeys", "ListBuckets"]).await;
    assert_eq!(installed.lease_of("studio").await.status, 503);
    let [(_, expiration)] = installed.garage.leases().await.try_into().unwrap();
    assert!(OffsetDateTime::parse(&expiration, &Rfc3339).unwrap() <= now() + Duration::from_hours(1));
}

#[tokio::test]
async fn a_role_that_needs_more_than_whole_buckets_is_refused_at_load() {
    let garage = Garage::shared().await;
    let site = Site::of(&garage.configuration(garage.token()), "", "postgres://stint@127.0.0.1/stint", "recordings");
    // The shipped document: `s3:*` everywhere.
    let ended = site.check();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(told.contains("role readwrite: Garage does not enforce"), "{told}");
    site.with_document("readwrite", &policy(&[read("recordings"), write("recordings")]));
    assert_eq!(site.check().code, Some(0), "{:?}", site.check());
}

#[tokio::test]
async fn garage_set_up_as_documented_keeps_what_stint_rests_on() {
    let (garage, database) = (Garage::start().await, Database::start().await);
    let owner = garage.owner_of(&["conformance", "elsewhere"]).await;
    let administrator = format!("access_key = \"{}\"\nsecret_key = \"{}\"", owner.access, owner.secret);
    let site = Site::of(&garage.configuration(garage.token()), &administrator, &database.url(), "conformance");
    site.with_buckets(
        "[[bucket]]\nname = \"conformance\"\nexpire_days = 30\n[[bucket]]\nname = \"elsewhere\"\nexpire_days = 30\n",
    );
    let bootstrap = site.run(&["bootstrap"]);
    assert_eq!(bootstrap.code, Some(0), "{bootstrap:?}");
    let ended = site.run(&["verify", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(garage.leases().await, [], "its leases were ended");
    let list = owner.s3("GET", &format!("{}/conformance", garage.endpoint()), "").await;
    assert!(list.status == 200 && !list.body.contains("<Key>"), "{list:?}");
    keep_row("Garage", &told("STINT_LIVE_GARAGE_RELEASE"), &ended.json());
}

/// A bucket that a key makes over S3 is known by that name to that key alone.
#[tokio::test]
async fn a_bucket_made_over_s3_is_not_found_under_its_name() {
    let garage = Garage::shared().await;
    let owner = garage.owner_of(&[]).await;
    assert_eq!(owner.s3("PUT", &format!("{}/made-over-s3", garage.endpoint()), "").await.status, 200);
    assert_eq!(owner.s3("GET", &format!("{}/made-over-s3", garage.endpoint()), "").await.status, 200);
    let found = garage.ask("GetBucketInfo?globalAlias=made-over-s3", &Value::Null).await;
    assert_eq!(found.status, 404, "{}", found.body);
}
