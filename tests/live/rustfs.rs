//! RustFS alone: every fact that its dialect and docs/object-servers.md rest on, asked of the server itself.
//! `STINT_LIVE_RUSTFS` names it.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Value, json};
use stint::clock::SystemClock;
use stint::lease::{Conditions, LeaseId, Revocation};
use stint::object_server::s3::S3Key;
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

/// Its answer is a fault and no refusal, which is why the check of it asks the whole key again afterwards.
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
            assert_eq!(refused.refusal(), (500, "InternalError"));
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

/// What the Deny of every session policy is for: a parent that may make keys lends that to its sessions.
#[tokio::test]
async fn under_a_parent_that_may_make_keys_only_the_deny_stops_a_session() {
    let server = Rustfs::shared().await;
    let may = json!({"Effect": "Allow", "Action": ["admin:CreateServiceAccount"]});
    server.user("keymaker", &[allow(&["s3:*"], &["arn:aws:s3:::*"]), may.clone()]).await;
    let sts = sts(server, Rustfs::key("keymaker"));
    let url = sts.at("/rustfs/admin/v3/add-service-accounts");
    let make = async |key: &Key, name: &str| {
        key.s3("PUT", &url, &json!({"accessKey": name, "secretKey": "intruderintruder"}).to_string()).await
    };
    let read = allow(&["s3:GetObject"], &["arn:aws:s3:::any/*"]);
    for statements in [vec![read.clone()], vec![read, may.clone(), no_admin()]] {
        let refused = make(&sts.session(&statements).await, "intruderintrude1").await;
        assert_eq!(refused.refusal(), (403, "AccessDenied"), "{statements:?}");
    }
    assert_eq!(make(&sts.session(&[may]).await, "intruderintrude2").await.status, 200);
    let unbounded = Key::minted(&sts.as_key(&sts.parent, None, 900).await);
    assert_eq!(make(&unbounded, "intruderintrude3").await.status, 200);
}

/// On MinIO the first is the right to do everything to the bucket itself, and the second the right to do it anywhere.
#[tokio::test]
async fn all_actions_on_objects_are_none_on_the_bucket_or_elsewhere() {
    let server = Rustfs::shared().await;
    bucket(server, "starred").await;
    bucket(server, "unstarred").await;
    let sts = sts(server, Rustfs::key("minter"));
    let open = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",
        "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::starred/*"]}]})
    .to_string();
    for all in ["s3:*", "*"] {
        let session = sts.session(&[allow(&[all], &["arn:aws:s3:::starred/*"]), no_admin()]).await;
        assert_eq!(session.s3("GET", &sts.at("/starred/a/1"), "").await.status, 200, "{all}");
        for (method, path, body) in
            [("PUT", "/starred?policy=", open.as_str()), ("GET", "/starred", ""), ("GET", "/unstarred/a/1", "")]
        {
            let refused = session.s3(method, &sts.at(path), body).await;
            assert_eq!(refused.refusal(), (403, "AccessDenied"), "{all}: {path}");
        }
    }
}

/// Why no condition on `aws:SourceIp` is claimed.
#[tokio::test]
async fn a_source_address_is_whatever_the_client_says_it_is() {
    let server = Rustfs::shared().await;
    bucket(server, "addressed").await;
    let sts = sts(server, Rustfs::key("minter"));
    let mut read = allow(&["s3:GetObject"], &["arn:aws:s3:::addressed/*"]);
    read["Condition"] = json!({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}});
    let (session, object) = (sts.session(&[read]).await, sts.at("/addressed/a/1"));
    assert_eq!(session.s3("GET", &object, "").await.refusal(), (403, "AccessDenied"));
    for header in ["x-forwarded-for", "x-real-ip"] {
        assert_eq!(session.send("s3", "GET", &object, &[(header, "10.1.1.1")], "").await.status, 200, "{header}");
    }
    let Conditions::Only { keys, .. } = adapter(server).capabilities().language.conditions else { panic!("all") };
    assert!(!keys.contains(&"aws:SourceIp"));
}

/// A leaked lease is not ended by a new secret: the user is disabled or deleted.
#[tokio::test]
async fn a_disabled_or_deleted_parent_ends_its_sessions_and_a_new_secret_does_not() {
    let server = Rustfs::shared().await;
    bucket(server, "orphaned").await;
    let everything = [allow(&["s3:*"], &["arn:aws:s3:::*"]), no_admin()];
    server.user("leaver", &everything).await;
    let sts = sts(server, Rustfs::key("leaver"));
    let session = sts.session(&[allow(&["s3:GetObject"], &["arn:aws:s3:::orphaned/*"]), no_admin()]).await;
    let read = async || session.s3("GET", &sts.at("/orphaned/a/1"), "").await;
    let admin = async |method: &str, call: &str, body: &str| {
        let answer = Rustfs::root().s3(method, &sts.at(&format!("/rustfs/admin/v3/{call}")), body).await;
        assert_eq!(answer.status, 200, "{call}: {answer:?}");
    };
    assert_eq!(read().await.body, "x");
    admin("PUT", "set-user-status?accessKey=leaver&status=disabled", "").await;
    assert_eq!(read().await.refusal(), (403, "AccessDenied"));
    admin("PUT", "set-user-status?accessKey=leaver&status=enabled", "").await;
    assert_eq!(read().await.body, "x", "it revives");
    admin("PUT", "add-user?accessKey=leaver", &json!({"secretKey": "another-secret", "status": "enabled"}).to_string())
        .await;
    let narrow = policy(&[allow(&["s3:GetObject"], &["arn:aws:s3:::orphaned/*"]), no_admin()]);
    assert_eq!(sts.assume_role(&narrow, 900).await.refusal(), (403, "SignatureDoesNotMatch"), "the secret is new");
    assert_eq!(read().await.body, "x", "the session goes on");
    admin("DELETE", "remove-user?accessKey=leaver", "").await;
    assert_eq!(read().await.refusal(), (403, "InvalidAccessKeyId"));
    server.user("leaver", &everything).await;
    assert_eq!(read().await.refusal(), (403, "InvalidAccessKeyId"), "it does not revive");
}

/// The right is the parent's alone: no session has it, and a parent without it ends not even its own.
#[tokio::test]
async fn a_parent_with_the_right_ends_all_of_its_sessions_and_none_of_them_does() {
    let server = Rustfs::shared().await;
    bucket(server, "ended").await;
    let s3 = allow(&["s3:*"], &["arn:aws:s3:::*"]);
    server.user("ender", &[s3.clone(), json!({"Effect": "Allow", "Action": ["admin:RemoveServiceAccount"]})]).await;
    server.user("unarmed", &[s3]).await;
    for (user, ends) in [("unarmed", false), ("ender", true)] {
        let sts = sts(server, Rustfs::key(user));
        let session = sts.session(&[allow(&["s3:GetObject"], &["arn:aws:s3:::ended/*"]), no_admin()]).await;
        let url = sts.at(&format!("/minio/admin/v3/revoke-tokens/builtin?user={user}&fullRevoke=true"));
        assert_eq!(session.s3("POST", &url, "").await.status, 403, "{user}");
        let parent = RustfsServer::new(settings(server.endpoint(), &sts.parent), Arc::new(SystemClock::start()));
        let ended = parent.unwrap().revoke_all(None).await;
        let read = session.s3("GET", &sts.at("/ended/a/1"), "").await;
        if ends {
            ended.unwrap();
            assert_eq!(read.refusal(), (403, "InvalidAccessKeyId"));
        } else {
            assert!(matches!(ended, Err(ObjectServerError::Refused { status: 403, .. })), "{ended:?}");
            assert_eq!(read.body, "x");
        }
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

/// What its list and its revocation leave out after a start, it says itself.
#[tokio::test]
async fn the_parent_lists_its_sessions_unless_it_is_denied_and_a_start_forgets_none() {
    let mut server = Rustfs::start().await;
    server.user("lister", &[allow(&["s3:*"], &["arn:aws:s3:::*"])]).await;
    server.user("auditor", &[json!({"Effect": "Allow", "Action": ["admin:ListServiceAccounts"]})]).await;
    bucket(&server, "listed").await;
    let read = policy(&[allow(&["s3:GetObject"], &["arn:aws:s3:::listed/*"]), no_admin()]);
    let minted =
        async |server: &Rustfs, user: &str| Key::minted(&sts(server, Rustfs::key(user)).assume_role(&read, 900).await);
    let mut keys = [minted(&server, "lister").await.access, minted(&server, "lister").await.access];
    keys.sort();
    let adapter = |server: &Rustfs, user: &str| {
        RustfsServer::new(settings(server.endpoint(), &Rustfs::key(user)), Arc::new(SystemClock::start())).unwrap()
    };
    let listed = async |adapter: RustfsServer| {
        let [listing] = adapter.live_credentials().await?.try_into().expect("of one parent");
        let mut keys: Vec<String> =
            listing.credentials.iter().map(|credential| credential.access_key_id.expose().to_owned()).collect();
        keys.sort();
        Ok::<_, ObjectServerError>(keys)
    };
    assert_eq!(listed(adapter(&server, "lister")).await.unwrap(), keys);
    let denied = minted(&server, "minter").await.access;
    assert!(listed(adapter(&server, "minter")).await.is_err(), "its policy denies admin:*");
    let auditor = S3Key::long_lived(SecretString::from("auditor"), SecretString::from("auditorsecret"));
    assert_eq!(listed(adapter(&server, "minter").listing_as(auditor)).await.unwrap(), [denied]);
    server.start_again().await;
    assert_eq!(listed(adapter(&server, "lister")).await.unwrap(), keys);
}

#[tokio::test]
async fn leases_go_through_the_service() {
    let server = Rustfs::shared().await;
    leases_through_the_service(&server.configuration(), server.endpoint(), &Rustfs::root()).await;
}
