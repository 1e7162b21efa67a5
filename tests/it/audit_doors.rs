//! The auditors' doors end to end: who is turned away, what is refused, what is on record, and what is answered.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use stint::audit::AuditRow;

use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::service::{Seen, Service, Setup, now};
use crate::harness::tokens::{Forge, Provider};

const OPERATORS: &str = "[[operator]]\nissuer = \"authentik\"\ngroups = [\"authentik Admins\"]\npermissions = \
                         [\"audit.read\"]\n[[operator]]\ngroups = [\"/team/a\"]\npermissions = [\"lease.read\"]\n";
const PATHS: [&str; 6] = [
    "/v1/audit/head",
    "/v1/audit/events",
    "/v1/audit/export",
    "/v1/audit/access?key=AKIAPLANTED",
    "/v1/audit/grants?subject=ada&from=2026-01-01T00:00:00Z",
    "/v1/audit/emergencies?from=2026-01-01T00:00:00Z",
];

async fn service() -> (Service, ScriptedObjectServer) {
    let replies = vec![Reply::credentials_for(Duration::from_mins(58))];
    let object_server = ScriptedObjectServer::start(replies).await;
    let setup = Setup {
        more: "[lease]\njitter = 0.0\n",
        policies: &[("operators.toml", OPERATORS)],
        ..Setup::with(object_server.endpoint())
    };
    (Service::start(setup).await, object_server)
}

fn auditor() -> String {
    Forge::shared().authentik.token(now())
}

async fn ask(service: &Service, token: &str, path: &str) -> Seen {
    let request = service.http.get(service.url(path)).header("authorization", format!("Bearer {token}"));
    service.send(request).await
}

async fn post(service: &Service, token: &str, form: &str) -> Seen {
    let request = service.http.post(service.url("/v1/audit/access")).header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
    service.send(request).await
}

async fn reads(service: &Service) -> Vec<AuditRow> {
    let mut rows = service.log().await.recent(1000).await.unwrap();
    rows.retain(|row| row.kind == "audit.read");
    rows.sort_by_key(|row| (row.stream, row.seq));
    rows
}

fn code(seen: &Seen) -> (u16, String) {
    (seen.status.as_u16(), seen.json()["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn without_a_token_nothing_is_answered_and_nothing_recorded() {
    let (service, _object_server) = service().await;
    for path in PATHS {
        let seen = service.get(path).await;
        assert_eq!(code(&seen), (401, "missing_token".to_owned()), "{path}");
    }
    let junk = ask(&service, "planted.planted.planted", PATHS[0]).await;
    assert_eq!(code(&junk), (401, "invalid_token".to_owned()));
    assert_eq!(reads(&service).await, []);
}

#[tokio::test]
async fn a_token_without_the_permission_is_refused_at_every_door_and_on_record() {
    let (service, _object_server) = service().await;
    let draft = |provider: &Provider| provider.draft(now());
    let forge = Forge::shared();
    let strangers = [
        // Another permission, no permission, and the reader's own group at another issuer.
        draft(&forge.keycloak).sign(&forge.keycloak.key),
        draft(&forge.authentik).claim("groups", json!(["team-a"])).sign(&forge.authentik.key),
        draft(&forge.rfc9068).claim("groups", json!(["authentik Admins"])).sign(&forge.rfc9068.key),
    ];
    for token in &strangers {
        for path in PATHS {
            let seen = ask(&service, token, path).await;
            assert_eq!(code(&seen), (403, "not_permitted".to_owned()), "{path}: {}", seen.body);
            assert_eq!(seen.headers["www-authenticate"], "Bearer error=\"insufficient_scope\"");
        }
    }
    let rows = reads(&service).await;
    assert_eq!(rows.len(), strangers.len(), "the first time; whoever asks again is counted");
    for row in &rows {
        assert_eq!((row.effect.as_str(), row.reason.as_str()), ("deny", "not_permitted"));
        assert_eq!(row.door.as_deref(), Some("audit"));
        assert!(row.subject.is_some() && row.token_sha256.is_some() && row.request_id.is_some());
        assert!(!row.detail.as_deref().unwrap_or_default().contains("PLANTED"), "{row:?}");
    }
    assert_eq!(ask(&service, &auditor(), PATHS[1]).await.status, StatusCode::OK, "the near twin is served");

    let (log, stream, again) = (service.log().await, rows[0].stream, i64::try_from(PATHS.len() - 1).unwrap());
    service.end().await;
    let mut counted = log.recent(1000).await.unwrap();
    counted.retain(|row| row.stream == stream && row.count.is_some());
    assert_eq!(counted.len(), strangers.len(), "{counted:#?}");
    for row in &counted {
        assert_eq!((row.kind.as_str(), row.reason.as_str(), row.count), ("audit.read", "not_permitted", Some(again)));
        assert!(row.subject.is_some() && row.token_sha256.is_some());
    }
}

#[tokio::test]
async fn an_expired_token_of_a_reader_is_refused_and_on_record_with_its_reason() {
    let (service, _object_server) = service().await;
    let forge = Forge::shared();
    let expired = forge.authentik.draft(now()).claim("exp", now() - 3600).claim("iat", now() - 7200);
    let seen = ask(&service, &expired.sign(&forge.authentik.key), PATHS[0]).await;
    assert_eq!(code(&seen), (401, "invalid_token".to_owned()));
    let rows = reads(&service).await;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].effect.as_str(), rows[0].reason.as_str()), ("deny", "token_expired"));
    assert_eq!(rows[0].issuer.as_deref(), Some("authentik"));
}

#[tokio::test]
async fn a_bad_question_is_one_clear_400_and_the_log_is_not_read() {
    let (service, _object_server) = service().await;
    let token = auditor();
    let good = ask(&service, &token, "/v1/audit/events?limit=1").await.json();
    let cursor = good["next"].as_str().expect("there are more events than one").to_owned();
    let before = reads(&service).await.len();
    let bad = [
        "/v1/audit/events?limit=0".to_owned(),
        "/v1/audit/events?limit=1001".to_owned(),
        "/v1/audit/events?limit=-1".to_owned(),
        "/v1/audit/events?limit=99999999999999999999".to_owned(),
        "/v1/audit/events?from=2026-01-01T00:00:00".to_owned(),
        "/v1/audit/events?from=2026-01-01".to_owned(),
        "/v1/audit/events?from=2026-01-01T00:00:00+01:00".to_owned(),
        "/v1/audit/events?to=yesterday".to_owned(),
        "/v1/audit/events?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z".to_owned(),
        "/v1/audit/events?type=lease.minted".to_owned(),
        "/v1/audit/events?subject=".to_owned(),
        "/v1/audit/events?subject=a%00b".to_owned(),
        "/v1/audit/events?subject=a%0Ab".to_owned(),
        "/v1/audit/events?subject=a%FFb".to_owned(),
        format!("/v1/audit/events?subject={}", "x".repeat(1025)),
        "/v1/audit/events?subject=ada&subject=eve".to_owned(),
        "/v1/audit/events?subjct=ada".to_owned(),
        "/v1/audit/events?order=seq".to_owned(),
        "/v1/audit/events?reveal=yes".to_owned(),
        "/v1/audit/events?key=AKIAPLANTED".to_owned(),
        "/v1/audit/events?cursor=AAAA".to_owned(),
        format!("/v1/audit/events?cursor={}", &cursor[1..]),
        format!("/v1/audit/events?cursor={cursor}&order=log"),
        format!("/v1/audit/events?cursor={cursor}&type=lease.issued"),
        format!("/v1/audit/grants?subject=ada&from=2026-01-01T00:00:00Z&cursor={cursor}"),
        "/v1/audit/export?limit=0".to_owned(),
        "/v1/audit/export?format=xml".to_owned(),
        "/v1/audit/access".to_owned(),
        "/v1/audit/access?key=AKIAPLANTED&key_fingerprint=01234567".to_owned(),
        "/v1/audit/access?key_fingerprint=0123456".to_owned(),
        "/v1/audit/access?bucket=b".to_owned(),
        "/v1/audit/access?bucket=b&object=o&at=12:00".to_owned(),
        "/v1/audit/grants?from=2026-01-01T00:00:00Z".to_owned(),
        "/v1/audit/grants?subject=ada".to_owned(),
        "/v1/audit/emergencies".to_owned(),
    ];
    for path in &bad {
        let seen = ask(&service, &token, path).await;
        assert_eq!(code(&seen), (400, "invalid_request".to_owned()), "{path}: {}", seen.body);
        let detail = seen.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.len() > 10 && !seen.body.contains("PLANTED"), "{path}: {}", seen.body);
    }
    assert_eq!(reads(&service).await.len(), before, "what is not answered is not a reading");
    let again = ask(&service, &token, &format!("/v1/audit/events?limit=1&cursor={cursor}")).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.body);
}

#[tokio::test]
async fn a_body_of_another_kind_a_head_request_and_another_method_are_refused() {
    let (service, _object_server) = service().await;
    let url = service.url("/v1/audit/access");
    let bearer = format!("Bearer {}", auditor());
    let json = service.http.post(&url).header("authorization", &bearer).header("content-type", "application/json");
    assert_eq!(code(&service.send(json.body("{}")).await), (415, "unsupported_media_type".to_owned()));
    for path in PATHS {
        let head = service.http.head(service.url(path)).header("authorization", &bearer);
        assert_eq!(service.send(head).await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let delete = service.http.delete(service.url(path)).header("authorization", &bearer);
        assert_eq!(service.send(delete).await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    assert_eq!(reads(&service).await, []);
}

#[tokio::test]
async fn who_held_a_key_is_answered_masked_and_a_reveal_is_on_record() {
    let (service, _object_server) = service().await;
    let token = auditor();
    let lease = service.lease(&token, &json!({"role": "team"})).await.json();
    let key = lease["credentials"]["access_key_id"].as_str().unwrap();
    let row = service.rows().await.into_iter().find(|row| row.kind == "lease.issued").unwrap();
    let fingerprint = row.key_fingerprint.unwrap();

    let masked = post(&service, &token, &format!("key={key}")).await;
    let answer = masked.json();
    let held = &answer["leases"][0];
    assert_eq!(held["lease_id"], lease["lease_id"]);
    assert_eq!((&held["held"], &held["ended"], &held["role"]), (&json!(true), &json!("live"), &json!("team")));
    assert_eq!(held["holder"]["issuer"], "authentik");
    assert_eq!(held["key_fingerprint"], json!(format!("{}…", &fingerprint[..8])));
    assert!(!masked.body.contains(&fingerprint) && !masked.body.contains(key), "{}", masked.body);

    let prefix = ask(&service, &token, &format!("/v1/audit/access?key_fingerprint={}", &fingerprint[..8])).await;
    assert_eq!(prefix.json()["leases"][0]["lease_id"], lease["lease_id"]);
    let early = ask(&service, &token, &format!("/v1/audit/access?key={key}&at=2020-01-01T00:00:00Z")).await.json();
    assert_eq!(early["leases"][0]["held"], json!(false), "nobody held it then");
    let other = ask(&service, &token, "/v1/audit/access?key=AKIAPLANTED").await.json();
    assert_eq!(other["leases"], json!([]));

    let revealed = post(&service, &token, &format!("key={key}&reveal=true")).await.json();
    assert_eq!(revealed["leases"][0]["key_fingerprint"], json!(fingerprint));
    let rows = reads(&service).await;
    let reasons: Vec<&str> = rows.iter().map(|row| row.reason.as_str()).collect();
    assert_eq!(reasons, ["read", "read", "read", "read", "reveal"]);
    for row in &rows {
        let detail = row.detail.as_deref().unwrap();
        assert!(!detail.contains(key) && !detail.contains(&fingerprint) && !detail.contains("PLANTED"), "{detail}");
    }
}

#[tokio::test]
async fn who_could_reach_an_object_is_answered_from_the_texts_that_were_sent_and_in_force() {
    let (service, _object_server) = service().await;
    let token = auditor();
    let narrowed = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::recordings/a/*"}]});
    let lease = service.lease(&token, &json!({"role": "team", "session_policy": narrowed})).await.json();
    let access = async |object: &str| {
        ask(&service, &token, &format!("/v1/audit/access?bucket=recordings&object={object}")).await.json()
    };

    let inside = access("a/1").await;
    assert_eq!(inside["holders"][0]["lease_id"], lease["lease_id"], "{inside}");
    let rights = json!({"read": "allowed", "write": "not_allowed", "delete": "not_allowed", "list": "not_allowed"});
    assert_eq!(inside["holders"][0]["rights"], rights);
    let outside = access("b/1").await;
    assert_eq!(outside["holders"], json!([]), "the session policy counts, not the role");
    for answer in [&inside, &outside] {
        let role = &answer["entitled"]["roles"][0];
        assert_eq!((&role["role"], &role["rights"]["write"]), (&json!("team"), &json!("allowed")), "{answer}");
        assert_eq!(role["given_to"][0]["groups"], json!(["team-a", "/team/a"]));
        assert_eq!(answer["unknown"], Value::Null);
        assert_eq!(answer["entitled"]["unknown"], Value::Null);
    }
    let nowhere = ask(&service, &token, "/v1/audit/access?bucket=other&object=a").await.json();
    assert_eq!((&nowhere["holders"], &nowhere["entitled"]["roles"]), (&json!([]), &json!([])));
    let before = ask(&service, &token, "/v1/audit/access?bucket=recordings&object=a&at=2020-01-01T00:00:00Z").await;
    assert!(before.json()["entitled"]["unknown"].is_string(), "{}", before.body);
}

#[tokio::test]
async fn what_somebody_got_is_answered_by_subject_and_by_group() {
    let (service, _object_server) = service().await;
    let token = auditor();
    let lease = service.lease(&token, &json!({"role": "team"})).await.json();
    let row = service.rows().await.into_iter().find(|row| row.kind == "lease.issued").unwrap();
    let subject = row.subject.unwrap();
    let from = "from=2026-01-01T00:00:00Z&to=2126-01-01T00:00:00Z";
    for who in [format!("subject={subject}"), "group=team-a".to_owned(), format!("subject={subject}&issuer=authentik")]
    {
        let answer = ask(&service, &token, &format!("/v1/audit/grants?{who}&{from}")).await.json();
        assert_eq!(answer["leases"][0]["lease_id"], lease["lease_id"], "{who}: {answer}");
        assert_eq!(answer["leases"][0]["policy_hash"], json!(row.policy_hash), "{who}");
        assert_eq!(answer["leases"][0]["matched_rule"], "roles/team.toml#allow[0]", "{who}");
    }
    for nobody in ["subject=eve", "group=team-b", "group=Team-a", &format!("subject={subject}&issuer=keycloak")] {
        let answer = ask(&service, &token, &format!("/v1/audit/grants?{nobody}&{from}")).await.json();
        assert_eq!(answer["leases"], json!([]), "{nobody}");
    }
}

#[tokio::test]
async fn pages_and_exports_tell_every_event_once_in_order() {
    let (service, _object_server) = service().await;
    let token = auditor();
    for _ in 0..4 {
        assert_eq!(service.lease(&token, &json!({"role": "team"})).await.status, StatusCode::CREATED);
    }
    let issued: Vec<String> = {
        let rows = service.rows().await.into_iter().filter(|row| row.kind.starts_with("lease."));
        rows.map(|row| row.id.to_string()).collect()
    };
    assert_eq!(issued.len(), 8);
    for order in ["time", "log"] {
        let (mut told, mut cursor) = (Vec::new(), String::new());
        for page in 0.. {
            assert!(page < 20, "the pages end");
            let path = format!("/v1/audit/events?door=leases&limit=3&order={order}{cursor}");
            let answer = ask(&service, &token, &path).await.json();
            told.extend(answer["events"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()));
            let Some(next) = answer["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(told, issued, "{order}");
    }
    let export = ask(&service, &token, "/v1/audit/export?door=leases").await;
    assert_eq!(export.headers["content-type"], "application/jsonl");
    let ids: Vec<String> =
        export.body.lines().map(|line| serde_json::from_str::<AuditRow>(line).unwrap().id.to_string()).collect();
    assert_eq!(ids, issued);
    let csv = ask(&service, &token, "/v1/audit/export?door=leases&format=csv").await;
    assert_eq!(csv.body.matches("\r\n").count(), 9, "{}", csv.body);
    assert!(csv.body.starts_with("actor,address,client,"), "{}", csv.body);
}

#[tokio::test]
async fn each_filter_finds_its_row_and_its_near_twin_does_not() {
    let (service, _object_server) = service().await;
    let token = auditor();
    let body = json!({"role": "team", "session_name": "auditor-test"});
    assert_eq!(service.lease(&token, &body).await.status, StatusCode::CREATED);
    let row = service.rows().await.into_iter().find(|row| row.kind == "lease.issued").unwrap();
    let of = |text: &Option<String>| text.clone().unwrap();
    let other_id = "0199f0c4-0000-7000-8000-000000000001".to_owned();
    let (id, other_hash) = (|id: Option<uuid::Uuid>| id.unwrap().to_string(), "0a".repeat(32));
    for (name, right, wrong) in [
        ("type", row.kind.clone(), "lease.failed".to_owned()),
        ("effect", row.effect.clone(), "deny".to_owned()),
        ("reason", row.reason.clone(), "no_role".to_owned()),
        ("issuer", of(&row.issuer), "keycloak".to_owned()),
        ("subject", of(&row.subject), "eve".to_owned()),
        ("client", of(&row.client), "other".to_owned()),
        ("group", "team-a".to_owned(), "team-b".to_owned()),
        ("role", "team".to_owned(), "studio".to_owned()),
        ("lease_id", id(row.lease_id), other_id.clone()),
        ("key_fingerprint", of(&row.key_fingerprint)[..8].to_owned(), "ffffffff".to_owned()),
        ("token_sha256", of(&row.token_sha256), other_hash.clone()),
        ("request_id", id(row.request_id), other_id.clone()),
        ("policy_hash", of(&row.policy_hash), other_hash),
        ("address", "127.0.0.0/8".to_owned(), "127.0.0.2".to_owned()),
        ("door", "leases".to_owned(), "sts".to_owned()),
        ("session_name", "auditor-test".to_owned(), "auditor".to_owned()),
        ("stream", row.stream.to_string(), other_id),
        ("to", "2126-01-01T00:00:00Z".to_owned(), "2020-01-01T00:00:00Z".to_owned()),
        ("from", "2020-01-01T00:00:00Z".to_owned(), "2126-01-01T00:00:00Z".to_owned()),
    ] {
        for (value, expected) in [(right, true), (wrong, false)] {
            for order in ["time", "log"] {
                let query = form_urlencoded::Serializer::new(String::new())
                    .extend_pairs([(name, value.as_str()), ("order", order), ("limit", "1000")])
                    .finish();
                let answer = ask(&service, &token, &format!("/v1/audit/events?{query}")).await.json();
                let found = answer["events"].as_array().unwrap_or_else(|| panic!("{name}={value}: {answer}"));
                let found = found.iter().any(|event| event["id"] == json!(row.id));
                assert_eq!(found, expected, "{name}={value} by {order}: {answer}");
            }
        }
    }
}

#[tokio::test]
async fn the_policy_text_is_kept_under_its_hash_before_it_decides() {
    use sqlx::Connection;
    let (service, _object_server) = service().await;
    let token = auditor();
    service.lease(&token, &json!({"role": "team"})).await;
    let row = service.rows().await.into_iter().find(|row| row.kind == "lease.issued").unwrap();
    let url = secrecy::ExposeSecret::expose_secret(&service.database).to_owned();
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    let files: String = sqlx::query_scalar("select files from policy_set where hash = $1")
        .bind(row.policy_hash)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let files: Value = serde_json::from_str(&files).unwrap();
    assert_eq!(files["operators.toml"], OPERATORS);
    assert!(files["documents/recordings.json"].as_str().unwrap().contains("recordings"));
}

async fn verify(service: &Service, checkpoint: &str) -> Seen {
    let request = service.http.post(service.url("/v1/audit/verify")).header("content-type", "application/json");
    let request = request.header("authorization", format!("Bearer {}", auditor())).body(checkpoint.to_owned());
    service.send(request).await
}

#[tokio::test]
async fn whether_the_log_is_whole_is_answered_since_a_checkpoint_and_a_foreign_one_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("signing.pem");
    std::fs::write(&key, crate::verify::PRIVATE).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let more = format!("[audit]\nsigning_key_file = \"{}\"\n", key.display());
    let start = async || {
        let object_server = ScriptedObjectServer::start(Vec::new()).await;
        let setup = Setup {
            more: Box::leak(more.clone().into_boxed_str()),
            policies: &[("operators.toml", OPERATORS)],
            ..Setup::with(object_server.endpoint())
        };
        Service::start(setup).await
    };
    let (service, other) = (start().await, start().await);
    let head = ask(&service, &auditor(), "/v1/audit/head").await;
    assert_eq!(head.status, StatusCode::OK, "{}", head.body);
    let whole = verify(&service, &head.body).await;
    assert_eq!(whole.json()["whole"], json!(true), "{}", whole.body);
    let foreign = ask(&other, &auditor(), "/v1/audit/head").await;
    let told = verify(&service, &foreign.body).await.json();
    assert_eq!((&told["whole"], &told["findings"][0]["fault"]), (&json!(false), &json!("stream_missing")), "{told}");

    for wrong in ["", "{}", "[1]", &head.body.replace("checkpoint 1", "checkpoint 2"), &format!("{} x", head.body)] {
        assert_eq!(code(&verify(&service, wrong).await), (400, "invalid_request".to_owned()), "{wrong}");
    }
    let details: Vec<String> = reads(&service).await.into_iter().map(|row| row.detail.unwrap()).collect();
    assert_eq!(details.len(), 3, "{details:?}");
    assert!(details[0].contains("head") && details[1].contains("verify"), "{details:?}");
}

#[tokio::test]
async fn without_a_signing_key_there_are_no_checkpoints() {
    let (service, _object_server) = service().await;
    let seen = ask(&service, &auditor(), "/v1/audit/head").await;
    assert_eq!(code(&seen), (501, "no_signing_key".to_owned()));
}
