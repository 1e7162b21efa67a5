//! Refusals that must not fill the log: counted while they come, and told in a few rows.

use reqwest::StatusCode;
use serde_json::json;
use stint::audit::AuditRow;

use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::service::{Service, Setup, now};
use crate::harness::tokens::Forge;

#[tokio::test]
async fn a_storm_of_refused_tokens_leaves_a_row_a_reason_and_every_refusal_in_a_count() {
    let object_server = ScriptedObjectServer::start(vec![Reply::refusal(500, "NotAsked")]).await;
    let service = Service::start(Setup::with(object_server.endpoint())).await;
    let forge = Forge::shared();
    let draft = forge.authentik.draft(now()).claim("iat", now() - 7200).claim("exp", now() - 3600);
    let (expired, forged) = (draft.sign(&forge.authentik.key), draft.sign(&forge.stranger));
    for _ in 0..20 {
        assert_eq!(service.lease(&expired, &json!({})).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(service.lease(&forged, &json!({})).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(service.sts("junk", &[]).await.status, StatusCode::BAD_REQUEST);
    }
    let rows = service.rows().await;
    let [first] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((first.reason.as_str(), first.count, first.address.is_some()), ("token_expired", None, true));
    let metrics = service.get("/metrics").await.body;
    for reason in ["token_expired", "signature_invalid", "token_malformed"] {
        let counted = |line: &str| line.contains(reason) && line.ends_with(" 20");
        assert!(metrics.lines().any(counted), "{reason} is not counted at once in {metrics}");
    }

    let log = service.log().await;
    let stream = first.stream;
    service.end().await;
    let mut rows = log.recent(1000).await.unwrap();
    rows.retain(|row| row.stream == stream);
    rows.sort_by_key(|row| row.seq);
    assert_eq!(rows.last().unwrap().kind, "stream.closed");
    let mut counted: Vec<&AuditRow> = rows.iter().filter(|row| row.count.is_some()).collect();
    counted.sort_by_key(|row| &row.reason);
    let told: Vec<_> = counted.iter().map(|row| (row.reason.as_str(), row.count.unwrap())).collect();
    assert_eq!(told, [("signature_invalid", 20), ("token_expired", 19), ("token_malformed", 20)]);
    for row in &counted {
        assert_eq!((row.kind.as_str(), row.effect.as_str()), ("exchange.refused", "deny"));
        assert_eq!((row.address, row.network.as_deref()), (None, Some("127.0.0.0/24")));
        let repeated = row.reason == "token_expired";
        assert_eq!((row.issuer.is_some(), row.token_sha256.is_some()), (repeated, repeated), "{row:?}");
    }
    assert_eq!(counted[1].token_sha256, first.token_sha256);
}
