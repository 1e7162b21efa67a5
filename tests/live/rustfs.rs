//! RustFS alone: every fact that its dialect and docs/object-servers.md rest on, asked of the server itself.
//! `STINT_LIVE_RUSTFS` names it. Not run yet: what is expected here is what the source of 1.0.1 says.

use std::sync::Arc;

use serde_json::{Value, json};
use stint::clock::SystemClock;
use stint::lease::{LeaseId, Revocation};
use stint::object_server::{ObjectServer, ObjectServerError, RustfsServer};
use uuid::Uuid;

use crate::dialect::{
    Sts, allow, ends_in, enforces_its_conditions, knows_its_actions, leases_through_the_service, policy, settings,
    takes_a_policy_of,
};
use crate::harness::Rustfs;
use crate::signed::{Key, unsigned};

fn sts(server: &Rustfs, parent: Key) -> Sts<'_> {
    Sts { endpoint: server.endpoint(), parent, role: None }
}

fn adapter(server: &Rustfs) -> RustfsServer {
    RustfsServer::new(settings(server.endpoint(), &Rustfs::key("minter")), Arc::new(SystemClock::start())).unwrap()
}

fn no_admin() -> Value {
    json!({"Effect": "Deny", "Action": ["admin:*"]})
}

/// A bucket with the objects `a/1`, tagged, and `b/1`.
async fn bucket(server: &Rustfs, name: &str) {
    let at = |path: &str| format!("{}/{name}{path}", server.endpoint());
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    for (path, body) in [("", ""), ("/a/1", "x"), ("/b/1", "x"), ("/a/1?tagging=", tags)] {
        let put = Rustfs::root().s3("PUT", &at(path), body).await;
        assert!([200, 204].contains(&put.status), "{path}: {put:?}");
    }
}

#[tokio::test]
async fn a_session_policy_narrows_the_parent_and_never_widens_it() {
    let server = Rustfs::shared().await;
    bucket(server, "lent").await;
    bucket(server, "kept").await;
    server.user("bounded", &[allow(&["s3:*"], &["arn:aws:s3:::lent", "arn:aws:s3:::lent/*"]), no_admin()]).await;
    let sts = sts(server, Rustfs::key("bounded"));
    let narrow = sts.session(&[allow(&["s3:GetObject"], &["arn:aws:s3:::lent/a/*"]), no_admin()]).await;
    assert_eq!(narrow.s3("GET", &sts.at("/lent/a/1"), "").await.body, "x");
    for (method, path) in [("GET", "/lent/b/1"), ("PUT", "/lent/a/2"), ("DELETE", "/lent/a/1"), ("GET", "/lent")] {
        let body = if method == "PUT" { "y" } else { "" };
        assert_eq!(narrow.s3(method, &sts.at(path), body).await.refusal(), (403, "AccessDenied"), "{method} {path}");
    }
    let wide = sts.session(&[allow(&["s3:*"], &["arn:aws:s3:::*"]), no_admin()]).await;
    assert_eq!(wide.s3("PUT", &sts.at("/lent/b/2"), "y").await.status, 200);
    assert_eq!(wide.s3("PUT", &sts.at("/kept/x"), "y").await.refusal(), (403, "AccessDenied"));
}

#[tokio::test]
async fn a_session_key_is_worth_nothing_without_its_token() {
    let server = Rustfs::shared().await;
    bucket(server, "tokens").await;
    let sts = sts(server, Rustfs::key("minter"));
    let read = [allow(&["s3:GetObject"], &["arn:aws:s3:::tokens/*"]), no_admin()];
    let (session, other) = (sts.session(&read).await, sts.session(&read).await);
    let object = sts.at("/tokens/a/1");
    for token in [None, other.token.as_deref()] {
        let forged = session.with_token(token);
        for refused in [forged.s3("GET", &object, "").await, unsigned("GET", &forged.presign(&object), &[], "").await] {
            assert!((400..500).contains(&refused.status), "{refused:?}");
        }
    }
    assert_eq!(unsigned("GET", &session.presign(&object), &[], "").await.body, "x");
}

#[tokio::test]
async fn only_a_built_in_user_mints() {
    let server = Rustfs::shared().await;
    let sts = sts(server, Rustfs::key("minter"));
    let narrow = policy(&[allow(&["s3:GetObject"], &["arn:aws:s3:::any/*"]), no_admin()]);
    let session = Key::minted(&sts.assume_role(&narrow, 900).await);
    assert_eq!(sts.as_key(&session, None, 900).await.refusal(), (403, "AccessDenied"));
    let forger = Key { secret: "wrong".to_owned(), ..Rustfs::key("minter") };
    assert_eq!(sts.as_key(&forger, Some(&narrow), 900).await.refusal(), (403, "SignatureDoesNotMatch"));
}

/// A permanent key needs an explicit Allow, where MinIO is content with no Deny.
#[tokio::test]
async fn a_session_makes_no_permanent_key_even_without_a_deny() {
    let server = Rustfs::shared().await;
    server.user("undenied", &[allow(&["s3:*"], &["arn:aws:s3:::*"])]).await;
    let sts = sts(server, Rustfs::key("undenied"));
    let narrow = sts.session(&[allow(&["s3:GetObject"], &["arn:aws:s3:::any/*"])]).await;
    let unbounded = Key::minted(&sts.as_key(&sts.parent, None, 900).await);
    let body = json!({"accessKey": "intruderintruder", "secretKey": "intruderintruder"}).to_string();
    let url = sts.at("/rustfs/admin/v3/add-service-accounts");
    for (who, key) in [("narrow", &narrow), ("unbounded", &unbounded), ("parent", &sts.parent)] {
        assert_eq!(key.s3("PUT", &url, &body).await.refusal(), (403, "AccessDenied"), "{who}");
    }
}

#[tokio::test]
async fn a_length_is_shortened_or_stretched_without_a_word() {
    let server = Rustfs::shared().await;
    let sts = sts(server, Rustfs::key("minter"));
    let narrow = policy(&[allow(&["s3:GetObject"], &["arn:aws:s3:::any/*"]), no_admin()]);
    for (asked, given) in [(900, 900), (3600, 3600), (43_200, 43_200), (1, 900), (899, 900), (43_201, 43_200)] {
        assert!(ends_in(&sts.assume_role(&narrow, asked).await, given), "{asked}");
    }
}

#[tokio::test]
async fn a_session_policy_is_measured_in_bytes() {
    let server = Rustfs::shared().await;
    let sts = sts(server, Rustfs::key("minter"));
    let most = adapter(server).capabilities().session_policy.most;
    assert!(takes_a_policy_of(&sts, most, "x").await);
    assert!(!takes_a_policy_of(&sts, most + 1, "x").await);
}

#[tokio::test]
async fn every_action_is_known_or_declared_unknown() {
    let server = Rustfs::shared().await;
    knows_its_actions(&sts(server, Rustfs::key("minter")), adapter(server).capabilities()).await;
}

#[tokio::test]
async fn the_conditions_that_are_claimed_are_enforced() {
    let server = Rustfs::shared().await;
    bucket(server, "conditions").await;
    let sts = sts(server, Rustfs::key("minter"));
    enforces_its_conditions(&sts, adapter(server).capabilities(), "conditions").await;
}

/// Why the adapter asks for no revocation: with a type the answer is good and nothing ends, without one everything ends.
#[tokio::test]
async fn revocation_by_type_ends_nothing_and_without_one_all_of_the_parent() {
    let server = Rustfs::shared().await;
    bucket(server, "revoked").await;
    server.user("revoker", &[allow(&["s3:*"], &["arn:aws:s3:::*"])]).await;
    let sts = sts(server, Rustfs::key("revoker"));
    let read = [allow(&["s3:GetObject"], &["arn:aws:s3:::revoked/*"]), no_admin()];
    let (one, other) = (sts.session(&read).await, sts.session(&read).await);
    let object = sts.at("/revoked/a/1");
    let revoke = async |which: &str| {
        let url = sts.at(&format!("/rustfs/admin/v3/revoke-tokens/builtin?user=revoker&{which}"));
        Rustfs::root().s3("POST", &url, "").await.status
    };
    assert_eq!(revoke("tokenRevokeType=some-lease").await, 200);
    for session in [&one, &other] {
        assert_eq!(session.s3("GET", &object, "").await.status, 200);
    }
    assert_eq!(revoke("fullRevoke=true").await, 200);
    for session in [&one, &other] {
        assert!((400..500).contains(&session.s3("GET", &object, "").await.status));
    }
    let revoked = adapter(server).revoke(&LeaseId::from_uuid(Uuid::from_u128(7)).into()).await;
    assert!(matches!(revoked, Err(ObjectServerError::NotRevocable { smallest: Revocation::Parent })));
}

#[tokio::test]
async fn leases_go_through_the_service() {
    let server = Rustfs::shared().await;
    leases_through_the_service(&server.configuration(), server.endpoint(), &Rustfs::root()).await;
}
