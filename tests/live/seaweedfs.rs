//! SeaweedFS alone, at the pinned release: every fact that its dialect and docs/object-servers.md rest on, asked of the
//! server itself. `STINT_LIVE_WEED` names the server.

use std::sync::Arc;

use serde_json::{Value, json};
use stint::clock::SystemClock;
use stint::lease::{LeaseId, RoleArn};
use stint::object_server::{ObjectServer, ObjectServerError, SeaweedfsServer};
use uuid::Uuid;

use crate::dialect::{
    Sts, allow, does_not_enforce, ends_in, enforces_its_conditions, goes_by_its_own_clock, leases_through_the_service,
    policy, settings, takes_a_policy_of,
};
use crate::harness::Seaweedfs;
use crate::signed::{Key, unsigned};

fn key(name: &str) -> Key {
    Key { access: name.to_owned(), secret: format!("{name}secret"), token: None }
}

fn sts<'a>(server: &'a Seaweedfs, role: &str) -> Sts<'a> {
    Sts { endpoint: server.endpoint(), parent: key("minter"), role: Some(Seaweedfs::role(role)) }
}

fn adapter(server: &Seaweedfs, parent: &Key, role: &str) -> SeaweedfsServer {
    let role = RoleArn::parse(&Seaweedfs::role(role)).unwrap();
    SeaweedfsServer::new(settings(server.endpoint(), parent), role, Arc::new(SystemClock::start())).unwrap()
}

/// The statement that every session policy carries.
fn deny(server: &Seaweedfs) -> Value {
    adapter(server, &key("minter"), "Vend").capabilities().deny_statements[0].clone()
}

/// A bucket with the objects `a/1`, tagged, and `b/1`.
async fn bucket(server: &Seaweedfs, name: &str) {
    let at = |path: &str| format!("{}/{name}{path}", server.endpoint());
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    for (path, body) in [("", ""), ("/a/1", "x"), ("/b/1", "x"), ("/a/1?tagging=", tags)] {
        let put = key("admin").s3("PUT", &at(path), body).await;
        assert!([200, 204].contains(&put.status), "{path}: {put:?}");
    }
}

#[tokio::test]
async fn it_is_ready_for_its_parent_alone_and_says_which_release_it_is() {
    let server = Seaweedfs::shared().await;
    adapter(server, &key("minter"), "Vend").ready().await.unwrap();
    let forger = Key { secret: "wrong".to_owned(), ..key("minter") };
    for (parent, expected) in [(forger, "SignatureDoesNotMatch"), (key("nobody"), "InvalidAccessKeyId")] {
        let refused = adapter(server, &parent, "Vend").ready().await;
        let Err(ObjectServerError::Refused { status: 403, code }) = refused else { panic!("{refused:?}") };
        assert_eq!(code, expected);
    }
}

#[tokio::test]
async fn only_whom_the_role_trusts_assumes_it() {
    let server = Seaweedfs::shared().await;
    let narrow = policy(&[allow(&["s3:GetObject"], &["arn:aws:s3:::any/*"])]);
    let refused = async |role: &str, key: &Key| {
        let sts = sts(server, role);
        let answer = sts.as_key(key, Some(&narrow), 900).await;
        assert_eq!(answer.refusal(), (403, "AccessDenied"), "{role}");
    };
    refused("Vend", &key("stranger")).await;
    refused("Vend", &key("admin")).await;
    refused("Nobody", &key("minter")).await;
    assert_eq!(sts(server, "Vend").assume_role(&narrow, 900).await.status, 200);
}

#[tokio::test]
async fn a_session_policy_narrows_the_role_and_never_widens_it() {
    let server = Seaweedfs::shared().await;
    bucket(server, "lent").await;
    bucket(server, "kept").await;
    let sts = sts(server, "Bucket");
    let narrow = sts.session(&[allow(&["s3:GetObject"], &["arn:aws:s3:::lent/a/*"]), deny(server)]).await;
    assert_eq!(narrow.s3("GET", &sts.at("/lent/a/1"), "").await.body, "x");
    for (method, path) in [("GET", "/lent/b/1"), ("PUT", "/lent/a/2"), ("DELETE", "/lent/a/1"), ("GET", "/lent")] {
        let body = if method == "PUT" { "y" } else { "" };
        assert_eq!(narrow.s3(method, &sts.at(path), body).await.refusal(), (403, "AccessDenied"), "{method} {path}");
    }
    let copy = [("x-amz-copy-source", "/lent/b/1")];
    let write =
        sts.session(&[allow(&["s3:PutObject", "s3:GetObject"], &["arn:aws:s3:::lent/a/*"]), deny(server)]).await;
    assert_eq!(write.send("s3", "PUT", &sts.at("/lent/a/3"), &copy, "").await.refusal(), (403, "AccessDenied"));
    assert_eq!(write.s3("PUT", &sts.at("/lent/a/2"), "y").await.status, 200);
    let wide = sts.session(&[allow(&["s3:*"], &["arn:aws:s3:::*"]), deny(server)]).await;
    assert_eq!(wide.s3("PUT", &sts.at("/lent/b/2"), "y").await.status, 200);
    assert_eq!(wide.s3("PUT", &sts.at("/kept/x"), "y").await.refusal(), (403, "AccessDenied"));
}

#[tokio::test]
async fn a_session_key_is_worth_nothing_without_its_token() {
    let server = Seaweedfs::shared().await;
    bucket(server, "tokens").await;
    let sts = sts(server, "Vend");
    let read = [allow(&["s3:GetObject"], &["arn:aws:s3:::tokens/*"]), deny(server)];
    let (session, other) = (sts.session(&read).await, sts.session(&read).await);
    let object = sts.at("/tokens/a/1");
    for token in [None, other.token.as_deref()] {
        let refused = session.with_token(token).s3("GET", &object, "").await;
        assert_eq!(refused.refusal(), (403, "InvalidAccessKeyId"));
    }
    let forger = Key { secret: "wrong".to_owned(), ..session.clone() };
    assert_eq!(forger.s3("GET", &object, "").await.refusal(), (403, "SignatureDoesNotMatch"));
    assert_eq!(unsigned("GET", &session.presign(&object), &[], "").await.body, "x");
    assert_eq!(unsigned("GET", &session.with_token(None).presign(&object), &[], "").await.status, 403);
}

/// The token is readable by its holder; before 4.45 the secret was the SHA-256 of the session id in it.
#[tokio::test]
async fn the_secret_cannot_be_made_from_the_token() {
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::Engine;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    let server = Seaweedfs::shared().await;
    let session = sts(server, "Vend").session(&[allow(&["s3:GetObject"], &["arn:aws:s3:::any/*"])]).await;
    let claims = session.token.as_deref().unwrap().split('.').nth(1).unwrap().to_owned();
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["snam"], "alice-7", "the token is the one with the session in it");
    for claim in ["sid", "sub", "jti"] {
        let id = claims[claim].as_str().unwrap();
        assert_ne!(session.secret, BASE64_STANDARD.encode(digest(&SHA256, id.as_bytes())), "{claim}");
    }
}

#[tokio::test]
async fn a_session_makes_neither_keys_nor_sessions() {
    let server = Seaweedfs::shared().await;
    let sts = sts(server, "Anyone");
    let everything = allow(&["s3:*"], &["arn:aws:s3:::*"]);
    let open = sts.session(std::slice::from_ref(&everything)).await;
    let chained = sts.as_key(&open, None, 900).await;
    assert_eq!(chained.status, 200, "a role that trusts everybody is known to be assumed by sessions");
    let closed = sts.session(&[everything, deny(server)]).await;
    assert_eq!(sts.as_key(&closed, None, 900).await.refusal(), (403, "AccessDenied"));
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    for (service, form) in [
        ("sts", "Action=GetFederationToken&Version=2011-06-15&Name=intruder"),
        ("iam", "Action=CreateUser&Version=2010-05-08&UserName=intruder"),
        ("iam", "Action=CreateAccessKey&Version=2010-05-08&UserName=minter"),
        ("iam", "Action=CreateAccessKey&Version=2010-05-08"),
    ] {
        let answer = closed.send(service, "POST", &sts.at("/"), &headers, form).await;
        assert_eq!(answer.refusal(), (403, "AccessDenied"), "{form}");
    }
    // A role that names whom it trusts is closed to sessions by that alone.
    let named = Sts { role: Some(Seaweedfs::role("Vend")), ..sts };
    assert_eq!(named.as_key(&open, None, 900).await.refusal(), (403, "AccessDenied"));
}

#[tokio::test]
async fn lengths_are_bounded_and_shortened_without_a_word() {
    let server = Seaweedfs::shared().await;
    let narrow = policy(&[allow(&["s3:GetObject"], &["arn:aws:s3:::any/*"])]);
    let sts_of = |role: &str| sts(server, role);
    for seconds in [0, 1, 899, 43_201] {
        let refused = sts_of("Vend").assume_role(&narrow, seconds).await;
        assert_eq!(refused.refusal(), (400, "InvalidParameterValue"), "{seconds}");
    }
    assert!(ends_in(&sts_of("Vend").assume_role(&narrow, 900).await, 900));
    assert!(ends_in(&sts_of("Short").assume_role(&narrow, 3600).await, 3600));
    assert!(ends_in(&sts_of("Short").assume_role(&narrow, 7200).await, 3600), "only the expiration says so");
}

#[tokio::test]
async fn a_session_policy_is_measured_in_bytes() {
    let server = Seaweedfs::shared().await;
    let sts = sts(server, "Vend");
    let most = adapter(server, &key("minter"), "Vend").capabilities().session_policy.most;
    for letter in ["x", "é"] {
        assert!(takes_a_policy_of(&sts, most, letter).await, "{letter}");
        assert!(!takes_a_policy_of(&sts, most + 1, letter).await, "{letter}");
    }
    for fault in [json!({"Statement": [allow(&["s3:GetObject"], &["arn:aws:s3:::b/*"])]}), json!("no policy")] {
        let refused = sts.assume_role(&fault.to_string(), 900).await;
        assert_eq!(refused.refusal(), (400, "MalformedPolicyDocument"), "{fault}");
    }
}

#[tokio::test]
async fn the_conditions_that_are_claimed_are_enforced() {
    let server = Seaweedfs::shared().await;
    bucket(server, "conditions").await;
    let adapter = adapter(server, &key("minter"), "Vend");
    let sts = sts(server, "Vend");
    enforces_its_conditions(&sts, adapter.capabilities(), "conditions").await;
    for (operator, key) in [
        ("Null", "s3:prefix"),
        ("StringEquals", "s3:delimiter"),
        ("NumericEquals", "s3:max-keys"),
        ("DateLessThan", "aws:CurrentTime"),
        ("Bool", "aws:SecureTransport"),
        ("StringEquals", "aws:UserAgent"),
        ("StringEquals", "aws:Referer"),
        ("StringEquals", "s3:ExistingObjectTag/k"),
        ("StringEquals", "s3:RequestObjectTag/k"),
        ("StringEquals", "s3:x-amz-acl"),
    ] {
        does_not_enforce(&sts, "conditions", operator, key).await;
    }
}

/// A negation holds for a key that is absent, as at AWS: a Deny of every prefix but one stops a listing without a prefix.
#[tokio::test]
async fn a_listing_is_kept_to_its_prefix_however_it_is_asked_for() {
    let server = Seaweedfs::shared().await;
    bucket(server, "prefixes").await;
    let sts = sts(server, "Vend");
    let mut under = allow(&["s3:ListBucket"], &["arn:aws:s3:::prefixes"]);
    let mut elsewhere = under.clone();
    elsewhere["Effect"] = json!("Deny");
    elsewhere["Condition"] = json!({"StringNotLike": {"s3:prefix": ["a/*", "c/*"]}});
    let denied = sts.session(&[under.clone(), elsewhere, deny(server)]).await;
    under["Condition"] = json!({"StringLike": {"s3:prefix": ["a/*", "c/*"]}});
    let allowed = sts.session(&[under, deny(server)]).await;
    for session in [allowed, denied] {
        for (query, status) in [
            ("?prefix=a%2F", 200),
            ("?list-type=2&prefix=a%2F", 200),
            ("?prefix=b%2F", 403),
            ("?list-type=2&prefix=b%2F", 403),
            ("?prefix=", 403),
            ("", 403),
            ("?list-type=2", 403),
            ("?versions=&prefix=b%2F", 403),
            ("?uploads=", 403),
        ] {
            let listed = session.s3("GET", &sts.at(&format!("/prefixes{query}")), "").await;
            assert_eq!(listed.status, status, "{query}: {}", listed.body);
            assert!(!listed.body.contains("<Key>b/1"), "{query}");
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_mints_nothing() {
    let server = Seaweedfs::shared().await;
    goes_by_its_own_clock(&sts(server, "Vend")).await;
}

#[tokio::test]
async fn the_minter_reaches_nothing_by_itself() {
    let server = Seaweedfs::shared().await;
    bucket(server, "minters").await;
    let at = |path: &str| format!("{}/minters{path}", server.endpoint());
    for (method, path) in [("GET", ""), ("GET", "/a/1"), ("PUT", "/a/2"), ("DELETE", "/a/1")] {
        let body = if method == "PUT" { "y" } else { "" };
        assert_eq!(key("minter").s3(method, &at(path), body).await.refusal(), (403, "AccessDenied"), "{method} {path}");
    }
    let made = key("minter").s3("PUT", &format!("{}/made-by-minter", server.endpoint()), "").await;
    assert_eq!(made.refusal(), (403, "AccessDenied"));
}

#[tokio::test]
async fn no_lease_is_revoked_and_the_adapter_says_so() {
    let server = Seaweedfs::shared().await;
    let revoked = adapter(server, &key("minter"), "Vend").revoke(&LeaseId::from_uuid(Uuid::from_u128(7)).into()).await;
    assert!(matches!(revoked, Err(ObjectServerError::NotRevocable { .. })));
}

#[tokio::test]
async fn leases_go_through_the_service() {
    let server = Seaweedfs::shared().await;
    let object_server = format!(
        "kind = \"seaweedfs\"\nendpoint = \"{}\"\nrole_arn = \"{}\"\naccess_key = \"minter\"\nsecret_key = \"mintersecret\"",
        server.endpoint(),
        Seaweedfs::role("Vend"),
    );
    leases_through_the_service(&object_server, server.endpoint(), &key("admin")).await;
}
