//! Probes and the self-test on real servers: each kind of probe tells what a session may, the first lease of a role is tried
//! and passes, and one whose parent lacks what its role claims closes it.

use serde_json::{Value, json};
use stint::object_server::probe::ProbeAnswer;

use crate::dialect::{Sts, probes_tell_what_a_session_may};
use crate::harness::{Ceph, Installation, Minio, PARENT, Seaweedfs};
use crate::signed::Key;

const PASSED: &str = "the credential passed its self-test";

fn key(access: &str, secret: &str) -> Key {
    Key { access: access.to_owned(), secret: secret.to_owned(), token: None }
}

/// As the servers with roles want it.
fn deny() -> Value {
    json!({"Effect": "Deny", "Action": ["iam:*", "sts:*"], "Resource": ["*"]})
}

async fn make(key: &Key, endpoint: &str, buckets: [&str; 2]) {
    for bucket in buckets {
        let made = key.s3("PUT", &format!("{endpoint}/{bucket}"), "").await;
        assert_eq!(made.status, 200, "{bucket}: {made:?}");
    }
}

#[tokio::test]
async fn every_probe_tells_what_a_session_may_on_minio() {
    let minio = Minio::start().await;
    let endpoint = minio.endpoint();
    let sts = Sts { endpoint: &endpoint, parent: key(PARENT, minio.parent_secret()), role: None };
    let deny = json!({"Effect": "Deny", "Action": ["admin:*"]});
    let nowhere = probes_tell_what_a_session_may(&sts, &deny, "recordings", "textures").await;
    assert_eq!(nowhere, ProbeAnswer::Denied { code: "AccessDenied".to_owned() }, "it asks for rights first");
}

#[tokio::test]
async fn every_probe_tells_what_a_session_may_on_seaweedfs() {
    let server = Seaweedfs::shared().await;
    make(&key("admin", "adminsecret"), server.endpoint(), ["probed", "unprobed"]).await;
    let parent = key("minter", "mintersecret");
    let sts = Sts { endpoint: server.endpoint(), parent, role: Some(Seaweedfs::role("Vend")) };
    let nowhere = probes_tell_what_a_session_may(&sts, &deny(), "probed", "unprobed").await;
    assert_eq!(nowhere, ProbeAnswer::Denied { code: "AccessDenied".to_owned() }, "it asks for rights first");
}

#[tokio::test]
async fn every_probe_tells_what_a_session_may_on_ceph() {
    let ceph = Ceph::shared().await;
    make(&Ceph::key("minter"), ceph.endpoint(), ["probed", "unprobed"]).await;
    ceph.role("probing", true).await;
    let everything = json!({"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]});
    ceph.allow("probing", &[everything]).await;
    let sts = Sts { endpoint: ceph.endpoint(), parent: Ceph::key("minter"), role: Some(Ceph::arn("probing")) };
    let nowhere = probes_tell_what_a_session_may(&sts, &deny(), "probed", "unprobed").await;
    assert_eq!(nowhere, ProbeAnswer::NotThere, "it says to anybody what is not there");
}

#[tokio::test]
async fn the_first_lease_of_each_role_is_tried_on_minio_and_later_ones_are_not() {
    let installation = Installation::start().await;
    for client in ["studio", "studio", "viewer", "livekit-egress", "backup-agent", "viewer"] {
        installation.keys_of(client).await;
    }
    assert_eq!(installation.stint.log().matches(PASSED).count(), 4, "{}", installation.stint.log());
    assert_eq!(installation.minio.minted(), 6, "no trial minted anything");
    assert_eq!(installation.database.rows("freeze.set").await, 0);
}

#[tokio::test]
async fn a_role_that_claims_more_than_its_parent_has_is_closed_on_minio() {
    let installation = Installation::start().await;
    let minio = &installation.minio;
    minio.must(&["admin", "policy", "attach", "server", "writeonly", "--user", PARENT]);
    minio.must(&["admin", "policy", "detach", "server", PARENT, "--user", PARENT]);
    let token = installation.keycloak.token("viewer").await;
    let answer = installation.stint.lease(&token, &json!({})).await;
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("role_closed")), "{}", answer.body);
    assert_eq!(installation.database.rows("freeze.set").await, 1);
    assert_eq!(installation.database.rows("lease.failed").await, 1);
    assert_eq!(minio.minted(), 0, "what was minted was revoked");
    let again = installation.stint.lease(&token, &json!({})).await;
    assert_eq!(again.json()["code"], "role_closed");
    assert_eq!(installation.database.rows("lease.intended").await, 1, "and nothing more is minted");
}
