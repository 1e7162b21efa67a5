//! The dialect for AWS before an emulator of it (`MiniStack`): that `stint` and the emulator read AWS's documentation in the
//! same way, no more. Nothing here says what AWS itself does. `STINT_LIVE_AWS_EMULATOR` names the emulator.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stint::clock::SystemClock;
use stint::lease::{LeaseId, Revocation, RoleArn};
use stint::object_server::{AwsRole, AwsServer, ObjectServer, ObjectServerError};
use uuid::Uuid;

use crate::dialect::{Sts, allow, ends_in, leases_keep_to_their_role, policy, settings};
use crate::harness::{AwsEmulator, until};
use crate::signed::{Key, unsigned};

fn sts<'a>(emulator: &'a AwsEmulator, role: &str) -> Sts<'a> {
    Sts { endpoint: emulator.endpoint(), parent: emulator.minter().clone(), role: Some(AwsEmulator::arn(role)) }
}

fn adapter(emulator: &AwsEmulator, parent: &Key) -> AwsServer {
    let arn = RoleArn::parse(&AwsEmulator::arn("vend")).unwrap();
    let role = AwsRole { arn, session_tags: true, source_identity: false };
    AwsServer::new(settings(emulator.endpoint(), parent), role, Arc::new(SystemClock::start())).unwrap()
}

/// The statement that every session policy carries.
fn deny(emulator: &AwsEmulator) -> Value {
    adapter(emulator, emulator.minter()).capabilities().deny_statements[0].clone()
}

/// A bucket with the objects `a/1` and `b/1`.
async fn bucket(emulator: &AwsEmulator, name: &str) {
    for path in ["", "/a/1", "/b/1"] {
        let body = if path.is_empty() { "" } else { "x" };
        let put = emulator.administrator().s3("PUT", &format!("{}/{name}{path}", emulator.endpoint()), body).await;
        assert_eq!(put.status, 200, "{path}: {put:?}");
    }
}

#[tokio::test]
async fn it_is_ready_for_a_key_that_it_knows() {
    let emulator = AwsEmulator::shared().await;
    adapter(emulator, emulator.minter()).ready().await.unwrap();
    let forger = Key { secret: "wrong".to_owned(), ..emulator.minter().clone() };
    let nobody = Key { access: "AKIANOBODYNOBODYNOBO".to_owned(), ..emulator.minter().clone() };
    for (parent, expected) in [(forger, "SignatureDoesNotMatch"), (nobody, "InvalidClientTokenId")] {
        let refused = adapter(emulator, &parent).ready().await;
        let Err(ObjectServerError::Refused { status: 403, code }) = refused else { panic!("{refused:?}") };
        assert_eq!(code, expected);
    }
}

#[tokio::test]
async fn only_whom_the_role_trusts_assumes_it() {
    let emulator = AwsEmulator::shared().await;
    let narrow = policy(&[allow(&["s3:GetObject"], &["arn:aws:s3:::any/*"])]);
    let stranger = emulator.user("stranger", &["sts:AssumeRole"]).await;
    for (role, key) in [("vend", &stranger), ("vend", emulator.administrator()), ("nobody", emulator.minter())] {
        let answer = sts(emulator, role).as_key(key, Some(&narrow), 900).await;
        assert_eq!(answer.refusal(), (403, "AccessDenied"), "{role}");
    }
    assert!(ends_in(&sts(emulator, "vend").assume_role(&narrow, 900).await, 900));
}

#[tokio::test]
async fn a_session_policy_narrows_the_role_and_never_widens_it() {
    let emulator = AwsEmulator::shared().await;
    bucket(emulator, "lent").await;
    emulator.role("reader", &["s3:GetObject"]).await;
    let role = sts(emulator, "vend");
    let narrow = role.session(&[allow(&["s3:GetObject"], &["arn:aws:s3:::lent/a/*"]), deny(emulator)]).await;
    assert_eq!(narrow.s3("GET", &role.at("/lent/a/1"), "").await.body, "x");
    for (method, path) in [("GET", "/lent/b/1"), ("PUT", "/lent/a/2"), ("DELETE", "/lent/a/1"), ("GET", "/lent")] {
        let body = if method == "PUT" { "y" } else { "" };
        assert_eq!(narrow.s3(method, &role.at(path), body).await.refusal(), (403, "AccessDenied"), "{method} {path}");
    }
    let everything = [allow(&["s3:*"], &["*"]), deny(emulator)];
    assert_eq!(role.session(&everything).await.s3("PUT", &role.at("/lent/b/2"), "y").await.status, 200);
    let wide = sts(emulator, "reader").session(&everything).await;
    assert_eq!(wide.s3("GET", &role.at("/lent/b/1"), "").await.body, "x");
    assert_eq!(wide.s3("PUT", &role.at("/lent/b/3"), "y").await.refusal(), (403, "AccessDenied"));
}

#[tokio::test]
async fn a_session_key_is_worth_nothing_without_its_token() {
    let emulator = AwsEmulator::shared().await;
    bucket(emulator, "tokens").await;
    let sts = sts(emulator, "vend");
    let read = [allow(&["s3:GetObject"], &["arn:aws:s3:::tokens/*"]), deny(emulator)];
    let (session, other) = (sts.session(&read).await, sts.session(&read).await);
    let object = sts.at("/tokens/a/1");
    for (token, expected) in [(None, (403, "InvalidAccessKeyId")), (other.token.as_deref(), (400, "InvalidToken"))] {
        let forged = session.with_token(token);
        assert_eq!(forged.s3("GET", &object, "").await.refusal(), expected);
        let presigned = unsigned("GET", &forged.presign(&object), &[], "").await;
        assert_eq!(presigned.refusal(), (400, "InvalidToken"));
    }
    assert_eq!(unsigned("GET", &session.presign(&object), &[], "").await.body, "x");
}

/// What the Deny in every session policy is for: a role may hold more than anybody thought.
#[tokio::test]
async fn a_session_of_a_powerful_role_makes_neither_users_nor_sessions() {
    let emulator = AwsEmulator::shared().await;
    emulator.role("powerful", &["s3:*", "iam:*", "sts:*"]).await;
    let sts = sts(emulator, "powerful");
    let everything = allow(&["s3:*", "iam:*", "sts:*"], &["*"]);
    let make = async |key: &Key, form: &str| {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        key.send("iam", "POST", &sts.at("/"), &headers, &format!("Version=2010-05-08&{form}")).await
    };
    let open = sts.session(std::slice::from_ref(&everything)).await;
    assert_eq!(
        make(&open, "Action=CreateUser&UserName=intruder-1").await.status,
        200,
        "the role may, so the session may"
    );
    let closed = sts.session(&[everything, deny(emulator)]).await;
    for form in ["Action=CreateUser&UserName=intruder-2", "Action=CreateAccessKey&UserName=minter"] {
        assert_eq!(make(&closed, form).await.refusal(), (403, "AccessDenied"), "{form}");
    }
    assert_eq!(sts.as_key(&closed, None, 900).await.refusal(), (403, "AccessDenied"));
}

/// A length that AWS itself would refuse: the emulator takes any.
#[tokio::test]
async fn an_expired_session_is_told_so() {
    let emulator = AwsEmulator::shared().await;
    bucket(emulator, "ending").await;
    let sts = sts(emulator, "vend");
    let read = policy(&[allow(&["s3:GetObject"], &["arn:aws:s3:::ending/*"]), deny(emulator)]);
    let session = Key::minted(&sts.assume_role(&read, 2).await);
    let object = sts.at("/ending/a/1");
    assert_eq!(session.s3("GET", &object, "").await.body, "x");
    until("the session has ended", Duration::from_secs(20), async || {
        session.s3("GET", &object, "").await.status != 200
    })
    .await;
    assert_eq!(session.s3("GET", &object, "").await.refusal(), (400, "ExpiredToken"));
}

#[tokio::test]
async fn a_session_policy_is_measured_and_read() {
    let emulator = AwsEmulator::shared().await;
    let sts = sts(emulator, "vend");
    let fault = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Perhaps"}]});
    assert_eq!(sts.assume_role(&fault.to_string(), 900).await.refusal(), (400, "MalformedPolicyDocument"));
    let of = |length: usize| policy(&[allow(&["s3:GetObject"], &[&format!("arn:aws:s3:::b/{}", "x".repeat(length))])]);
    let most = adapter(emulator, emulator.minter()).capabilities().session_policy.most;
    let fitting = most - of(0).len();
    assert_eq!(sts.assume_role(&of(fitting), 900).await.status, 200);
    assert_eq!(sts.assume_role(&of(fitting + 1), 900).await.status, 400);
}

#[tokio::test]
async fn no_lease_is_revoked_and_the_adapter_says_so() {
    let emulator = AwsEmulator::shared().await;
    let revoked = adapter(emulator, emulator.minter()).revoke(&LeaseId::from_uuid(Uuid::from_u128(7)).into()).await;
    assert!(matches!(revoked, Err(ObjectServerError::NotRevocable { smallest: Revocation::Role })));
}

/// With session tags, which the role's trust policy allows.
#[tokio::test]
async fn leases_go_through_the_service() {
    let emulator = AwsEmulator::shared().await;
    leases_keep_to_their_role(&emulator.configuration(), emulator.endpoint(), emulator.administrator()).await;
}
