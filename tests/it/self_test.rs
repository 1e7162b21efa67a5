//! The self-test at issue: a credential that does not keep to its policy never leaves, and its role is closed.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use stint::audit::AuditRow;

use crate::harness::service::{Seen, Service, Setup, now};
use crate::harness::session_server::{Leak, SessionServer};
use crate::harness::tokens::Forge;

const BUCKETS: &str = "[[bucket]]\nname = \"recordings\"\nprivate = true\nexpire_days = 30\n[[bucket]]\nname = \
                       \"backups\"\nprivate = true\nexpire_days = 30\n";

async fn start(leak: Leak, self_test: &'static str) -> (SessionServer, Service) {
    let server = SessionServer::start(leak).await;
    let setup = Setup {
        more: "[lease]\njitter = 0.0\n",
        policies: &[("buckets.toml", BUCKETS)],
        self_test,
        ..Setup::with(server.endpoint())
    };
    let service = Service::start(setup).await;
    (server, service)
}

async fn lease(service: &Service, body: &Value) -> Seen {
    service.lease(&Forge::shared().authentik.token(now()), body).await
}

fn told(rows: &[AuditRow]) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (row.kind.as_str(), row.reason.as_str())).collect()
}

fn shows_a_credential(seen: &Seen) -> bool {
    seen.body.contains("GGCTIHYG44N04A0X14LN") || seen.body.contains("8g8imGgD2g")
}

#[tokio::test]
async fn the_first_lease_of_a_role_is_tried_and_the_second_is_not() {
    let (server, service) = start(Leak::Nothing, "first").await;
    for _ in 0..3 {
        let seen = lease(&service, &json!({})).await;
        assert_eq!(seen.status, StatusCode::CREATED, "{}", seen.body);
    }
    let counts = ["mint", "list recordings", "list backups", "make-key", "session", "revoke"].map(|w| server.asked(w));
    assert_eq!(counts, [3, 1, 1, 1, 1, 0]);
}

#[tokio::test]
async fn switched_off_nothing_is_tried_and_with_a_share_of_all_every_lease_is() {
    for (self_test, tried) in [("off", 0), ("1", 3)] {
        let (server, service) = start(Leak::Nothing, self_test).await;
        for _ in 0..3 {
            assert_eq!(lease(&service, &json!({})).await.status, StatusCode::CREATED);
        }
        assert_eq!((server.asked("mint"), server.asked("list recordings")), (3, tried), "{self_test}");
    }
}

#[tokio::test]
async fn equal_leases_at_once_share_one_trial() {
    let (server, service) = start(Leak::Nothing, "first").await;
    let body = json!({});
    let seen = futures::future::join_all((0..8).map(|_| lease(&service, &body))).await;
    assert!(seen.iter().all(|seen| seen.status == StatusCode::CREATED));
    assert_eq!((server.asked("mint"), server.asked("list recordings")), (8, 1));
}

#[tokio::test]
async fn a_credential_that_fails_is_not_handed_out_and_its_role_is_closed() {
    for (leak, reason) in [
        (Leak::ListsEverything, "self_test_outside"),
        (Leak::ListsNothing, "self_test_inside"),
        (Leak::ForgetsSessions, "self_test_inside"),
        (Leak::MakesKeys, "self_test_escape"),
        (Leak::BeginsSessions, "self_test_escape"),
    ] {
        let (server, service) = start(leak, "first").await;
        let seen = lease(&service, &json!({})).await;
        assert_eq!((seen.status, &seen.json()["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("role_closed")));
        assert!(!shows_a_credential(&seen) && seen.headers.contains_key("retry-after"), "{leak:?}");
        assert_eq!((server.asked("revoke"), server.keys()), (1, 0), "{leak:?}");

        let again = lease(&service, &json!({})).await;
        assert_eq!(again.json()["code"], "role_closed", "{leak:?}");
        let token = Forge::shared().authentik.token(now());
        let sts = service.sts(&token, &[("RoleSessionName", "w-1")]).await;
        assert_eq!((sts.status.as_u16(), sts.element("Code")), (503, Some("Throttling")));
        assert_eq!(server.asked("mint"), 1, "nothing is minted under a closed role");

        let rows = service.rows().await;
        let expected = [
            ("lease.intended", "granted"),
            ("freeze.set", "self_test_failed"),
            ("lease.failed", reason),
            ("exchange.refused", "role_closed"),
            ("exchange.refused", "role_closed"),
        ];
        assert_eq!(told(&rows), expected, "{leak:?}");
        let closing = &rows[1];
        assert_eq!(
            (closing.role.as_deref(), closing.actor.as_deref(), closing.effect.as_str()),
            (Some("team"), None, "deny")
        );
        assert!(closing.detail.as_deref().is_some_and(|detail| detail.starts_with(reason)), "{closing:?}");

        let metrics = service.get("/metrics").await.body;
        let failures = format!("stint_self_test_failures_total{{role=\"team\",check=\"{reason}\"}} 1");
        assert!(metrics.contains(&failures) && metrics.contains("stint_role_closed{role=\"team\"} 1"), "{metrics}");
        let ready = service.get("/health/ready").await;
        assert_eq!(ready.status, StatusCode::OK, "{}", ready.body);
        assert!(ready.body.contains("{\"name\":\"self_test\",\"ready\":false}"), "{}", ready.body);
        assert!(!ready.body.contains("team"), "outsiders learn no role");
    }
}

#[tokio::test]
async fn a_key_that_came_to_be_is_deleted() {
    let (server, service) = start(Leak::MakesKeys, "first").await;
    assert_eq!(lease(&service, &json!({})).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((server.asked("make-key"), server.asked("delete-key"), server.keys()), (1, 1, 0));
}

#[tokio::test]
async fn a_server_that_does_not_say_closes_nothing_and_gets_nothing_released() {
    for leak in [Leak::Down, Leak::Page] {
        let (server, service) = start(leak, "first").await;
        let seen = lease(&service, &json!({})).await;
        assert_eq!(seen.status, StatusCode::SERVICE_UNAVAILABLE, "{}", seen.body);
        assert_eq!(seen.json()["code"], "object_server_unavailable");
        assert!(!shows_a_credential(&seen));
        assert_eq!(server.asked("revoke"), 1);
        assert_eq!(told(&service.rows().await), [("lease.intended", "granted"), ("lease.failed", "self_test_unclear")]);

        server.becomes(Leak::Nothing);
        assert_eq!(lease(&service, &json!({})).await.status, StatusCode::CREATED, "it was never closed");
    }
}

#[tokio::test]
async fn another_policy_set_opens_a_closed_role() {
    let (server, service) = start(Leak::ListsEverything, "first").await;
    assert_eq!(lease(&service, &json!({})).await.json()["code"], "role_closed");
    server.becomes(Leak::Nothing);
    assert_eq!(lease(&service, &json!({})).await.json()["code"], "role_closed", "not by itself, and not at once");

    service.change_policy("buckets.toml", &BUCKETS.replace("30", "31"));
    let lifted = async {
        while !told(&service.rows().await).contains(&("freeze.lifted", "policy_loaded")) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), lifted).await.expect("the role is opened");
    assert_eq!(lease(&service, &json!({})).await.status, StatusCode::CREATED);
    assert_eq!(server.asked("list backups"), 2, "it was tried anew");
    assert!(service.get("/metrics").await.body.contains("stint_role_closed{role=\"team\"} 0"));
}

#[tokio::test]
async fn who_narrows_a_lease_to_what_the_parent_lacks_closes_the_role_for_nobody() {
    let (server, service) = start(Leak::ListsNothing, "first").await;
    let narrow = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::recordings"]}]});
    let seen = lease(&service, &json!({"session_policy": narrow})).await;
    assert_eq!(seen.status, StatusCode::SERVICE_UNAVAILABLE, "{}", seen.body);
    assert_eq!(told(&service.rows().await), [("lease.intended", "granted"), ("lease.failed", "self_test_inside")]);
    server.becomes(Leak::Nothing);
    assert_eq!(lease(&service, &json!({})).await.status, StatusCode::CREATED);
}
