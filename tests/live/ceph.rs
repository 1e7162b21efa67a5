//! Ceph's object gateway alone, as Debian 12 has it: every fact that its dialect and docs/object-servers.md rest on, asked
//! of the gateway itself. `STINT_LIVE_RADOSGW` names it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stint::clock::SystemClock;
use stint::lease::{LeaseId, RoleArn};
use stint::object_server::{CephServer, ObjectServer, ObjectServerError};
use time::format_description::well_known::Rfc3339;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::dialect::{
    Sts, allow, does_not_enforce, ends_in, enforces_its_conditions, goes_by_its_own_clock, knows_its_actions,
    leases_through_the_service, policy, settings, takes_a_policy_of,
};
use crate::harness::{Ceph, now, until};
use crate::signed::{Key, unsigned};

fn sts<'a>(ceph: &'a Ceph, role: &str) -> Sts<'a> {
    Sts { endpoint: ceph.endpoint(), parent: Ceph::key("minter"), role: Some(Ceph::arn(role)) }
}

fn adapter(ceph: &Ceph, parent: &Key, role: &str) -> CephServer {
    let role = RoleArn::parse(&Ceph::arn(role)).unwrap();
    CephServer::new(settings(ceph.endpoint(), parent), role, Arc::new(SystemClock::start())).unwrap()
}

/// The statement that every session policy carries.
fn deny(ceph: &Ceph) -> Value {
    adapter(ceph, &Ceph::key("minter"), "any").capabilities().deny_statements[0].clone()
}

/// A bucket with the objects `a/1`, tagged, and `b/1`. Best the minter's: what a session writes belongs to its minter.
async fn bucket(ceph: &Ceph, name: &str, owner: &str) {
    let at = |path: &str| format!("{}/{name}{path}", ceph.endpoint());
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    for (path, body) in [("", ""), ("/a/1", "x"), ("/b/1", "x"), ("/a/1?tagging=", tags)] {
        let put = Ceph::key(owner).s3("PUT", &at(path), body).await;
        assert!([200, 204].contains(&put.status), "{path}: {put:?}");
    }
}

#[tokio::test]
async fn it_is_ready_when_the_role_is_there_and_trusts_the_parent() {
    let ceph = Ceph::shared().await;
    ceph.role("ready", true).await;
    adapter(ceph, &Ceph::key("minter"), "ready").ready().await.unwrap();
    let forger = Key { secret: "wrong".to_owned(), ..Ceph::key("minter") };
    for (parent, role, status, code) in [
        (forger, "ready", 403, "AccessDenied"),
        (Ceph::key("stranger"), "ready", 403, "AccessDenied"),
        (Ceph::key("minter"), "absent", 404, "NoSuchEntity"),
    ] {
        let error = adapter(ceph, &parent, role).ready().await.unwrap_err();
        assert_eq!(error.to_string(), format!("the object server refused with {code} (HTTP {status})"));
    }
}

#[tokio::test]
async fn a_session_policy_narrows_the_role_and_never_widens_it() {
    let ceph = Ceph::shared().await;
    ceph.role("narrow", true).await;
    bucket(ceph, "lent", "minter").await;
    bucket(ceph, "kept", "minter").await;
    let lent = json!({"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::lent", "arn:aws:s3:::lent/*"]});
    ceph.allow("narrow", &[lent]).await;
    let sts = sts(ceph, "narrow");
    let narrow = sts.session(&[allow(&["s3:GetObject"], &["arn:aws:s3:::lent/a/*"]), deny(ceph)]).await;
    assert_eq!(narrow.s3("GET", &sts.at("/lent/a/1"), "").await.body, "x");
    for (method, path) in [("GET", "/lent/b/1"), ("PUT", "/lent/a/2"), ("DELETE", "/lent/a/1"), ("GET", "/lent")] {
        let body = if method == "PUT" { "y" } else { "" };
        assert_eq!(narrow.s3(method, &sts.at(path), body).await.refusal(), (403, "AccessDenied"), "{method} {path}");
    }
    let copy = [("x-amz-copy-source", "/lent/b/1")];
    let write = sts.session(&[allow(&["s3:PutObject", "s3:GetObject"], &["arn:aws:s3:::lent/a/*"]), deny(ceph)]).await;
    assert_eq!(write.send("s3", "PUT", &sts.at("/lent/a/3"), &copy, "").await.refusal(), (403, "AccessDenied"));
    assert_eq!(write.s3("PUT", &sts.at("/lent/a/2"), "y").await.status, 200);
    let wide = sts.session(&[allow(&["s3:*"], &["arn:aws:s3:::*"]), deny(ceph)]).await;
    assert_eq!(wide.s3("PUT", &sts.at("/lent/b/2"), "y").await.status, 200);
    assert_eq!(wide.s3("PUT", &sts.at("/kept/x"), "y").await.refusal(), (403, "AccessDenied"));
}

#[tokio::test]
async fn a_session_key_is_worth_nothing_without_its_token() {
    let ceph = Ceph::shared().await;
    ceph.role("tokens", true).await;
    bucket(ceph, "tokens", "minter").await;
    let sts = sts(ceph, "tokens");
    let read = [allow(&["s3:GetObject"], &["arn:aws:s3:::tokens/*"]), deny(ceph)];
    let (session, other) = (sts.session(&read).await, sts.session(&read).await);
    let object = sts.at("/tokens/a/1");
    for token in [None, other.token.as_deref()] {
        assert_eq!(session.with_token(token).s3("GET", &object, "").await.refusal(), (403, "AccessDenied"));
    }
    let forger = Key { secret: "wrong".to_owned(), ..session.clone() };
    assert_eq!(forger.s3("GET", &object, "").await.refusal(), (403, "SignatureDoesNotMatch"));
    assert_eq!(unsigned("GET", &session.presign(&object), &[], "").await.body, "x");
    assert_eq!(unsigned("GET", &session.with_token(None).presign(&object), &[], "").await.status, 403);
}

/// A session assumes any role that trusts its parent, without a policy; what its own policy denies does not matter. If the
/// first assertion fails, the gateway is newer than the one known: good news, and no reason to drop the Deny of the role.
#[tokio::test]
async fn only_the_trust_policy_keeps_a_session_from_assuming_its_role_again() {
    let ceph = Ceph::shared().await;
    bucket(ceph, "chains", "minter").await;
    for (role, closed) in [("open", false), ("closed", true)] {
        ceph.role(role, closed).await;
        let sts = sts(ceph, role);
        let narrow = sts.session(&[allow(&["s3:GetObject"], &["arn:aws:s3:::chains/a/*"]), deny(ceph)]).await;
        assert_eq!(narrow.s3("PUT", &sts.at("/chains/x"), "y").await.refusal(), (403, "AccessDenied"));
        let chained = sts.as_key(&narrow, None, 900).await;
        if closed {
            assert_eq!(chained.refusal(), (403, "AccessDenied"));
        } else {
            assert_eq!(chained.status, 200, "release 16.2 is known to allow it");
            assert_eq!(Key::minted(&chained).s3("PUT", &sts.at("/chains/x"), "y").await.status, 200);
        }
    }
}

#[tokio::test]
async fn a_session_makes_no_keys_users_or_roles() {
    let ceph = Ceph::shared().await;
    ceph.role("maker", true).await;
    let sts = sts(ceph, "maker");
    let session = sts.session(&[allow(&["s3:*"], &["arn:aws:s3:::*"]), deny(ceph)]).await;
    for action in ["CreateUser", "CreateAccessKey", "CreateRole", "PutRolePolicy", "AttachRolePolicy"] {
        let trust = policy(&[json!({"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["sts:AssumeRole"]})]);
        let fields = [
            ("Action", action),
            ("UserName", "minter"),
            ("RoleName", "maker"),
            ("PolicyName", "rights"),
            ("PolicyDocument", trust.as_str()),
            ("AssumeRolePolicyDocument", trust.as_str()),
        ];
        let answer = ceph.iam(&session, &fields).await;
        assert!([403, 405].contains(&answer.status), "{action}: {answer:?}");
    }
    for path in ["/admin/user?uid=minter&format=json", "/admin/user?key=&uid=minter&format=json"] {
        let answer = session.s3("PUT", &sts.at(path), "").await;
        assert!([403, 405].contains(&answer.status), "{path}: {answer:?}");
    }
}

/// Through the gateway's own STS, which can be configured to lengths of seconds; no lease is that short.
#[tokio::test]
async fn access_ends_with_the_session() {
    let ceph = Ceph::shared().await;
    ceph.role("brief", true).await;
    bucket(ceph, "brief", "minter").await;
    let sts = sts(ceph, "brief");
    let narrow = policy(&[allow(&["s3:GetObject"], &["arn:aws:s3:::brief/*"])]);
    let answer = sts.assume_role(&narrow, 3).await;
    let (session, end) = (Key::minted(&answer), answer.element("Expiration").unwrap());
    let end = time::OffsetDateTime::parse(end, &Rfc3339).unwrap();
    assert_ne!(end.nanosecond() % 1_000_000, 0, "in nanoseconds");
    let object = sts.at("/brief/a/1");
    let presigned = session.presign(&object);
    assert_eq!(session.s3("GET", &object, "").await.status, 200);
    until("the session has ended", Duration::from_secs(20), async || {
        session.s3("GET", &object, "").await.refusal() == (403, "AccessDenied")
    })
    .await;
    assert!(now() >= end, "not before its time");
    assert_eq!(unsigned("GET", &presigned, &[], "").await.status, 403);
}

#[tokio::test]
async fn lengths_outside_the_roles_are_refused() {
    let ceph = Ceph::shared().await;
    ceph.role("lengths", true).await;
    let sts = sts(ceph, "lengths");
    let narrow = policy(&[allow(&["s3:GetObject"], &["arn:aws:s3:::any/*"])]);
    for seconds in [-1, 0, 3601, 43_200] {
        assert_eq!(sts.assume_role(&narrow, seconds).await.refusal(), (400, "InvalidArgument"), "{seconds}");
    }
    for seconds in [900, 3600] {
        assert!(ends_in(&sts.assume_role(&narrow, seconds).await, seconds));
    }
}

#[tokio::test]
async fn a_session_policy_is_measured_in_bytes_and_read_strictly() {
    let ceph = Ceph::shared().await;
    ceph.role("sizes", true).await;
    let sts = sts(ceph, "sizes");
    let most = adapter(ceph, &Ceph::key("minter"), "sizes").capabilities().session_policy.most;
    for letter in ["x", "é"] {
        assert!(takes_a_policy_of(&sts, most, letter).await, "{letter}");
        assert!(!takes_a_policy_of(&sts, most + 1, letter).await, "{letter}");
    }
    let admin = policy(&[json!({"Effect": "Deny", "Action": ["admin:*"]})]);
    assert_eq!(sts.assume_role(&admin, 900).await.refusal(), (400, "MalformedPolicyDocument"));
}

#[tokio::test]
async fn every_action_is_known_or_declared_unknown() {
    let ceph = Ceph::shared().await;
    ceph.role("actions", true).await;
    let adapter = adapter(ceph, &Ceph::key("minter"), "actions");
    knows_its_actions(&sts(ceph, "actions"), adapter.capabilities()).await;
}

#[tokio::test]
async fn the_conditions_that_are_claimed_are_enforced() {
    let ceph = Ceph::shared().await;
    ceph.role("conditions", true).await;
    bucket(ceph, "conditions", "minter").await;
    let adapter = adapter(ceph, &Ceph::key("minter"), "conditions");
    let sts = sts(ceph, "conditions");
    enforces_its_conditions(&sts, adapter.capabilities(), "conditions").await;
    for (operator, key) in [("Null", "s3:prefix"), ("Bool", "aws:SecureTransport")] {
        does_not_enforce(&sts, "conditions", operator, key).await;
    }
}

/// Why no negation is claimed. If an assertion fails, the gateway has learnt it.
#[tokio::test]
async fn a_negation_does_not_hold_for_an_absent_key_and_holds_for_one_value_of_two() {
    let ceph = Ceph::shared().await;
    ceph.role("negations", true).await;
    bucket(ceph, "negations", "minter").await;
    let sts = sts(ceph, "negations");
    let list = allow(&["s3:ListBucket"], &["arn:aws:s3:::negations"]);
    let deny_if = |condition: Value| {
        let mut statement = list.clone();
        statement["Effect"] = json!("Deny");
        statement["Condition"] = condition;
        statement
    };
    let all_but_one = deny_if(json!({"StringNotLike": {"s3:prefix": ["a/*"]}}));
    let session = sts.session(&[list.clone(), all_but_one]).await;
    assert_eq!(session.s3("GET", &sts.at("/negations?prefix=b%2F"), "").await.status, 403);
    let unprefixed = session.s3("GET", &sts.at("/negations"), "").await;
    assert!(unprefixed.status == 200 && unprefixed.body.contains("<Key>b/1"), "{unprefixed:?}");

    let mut neither = list.clone();
    neither["Condition"] = json!({"StringNotLike": {"s3:prefix": ["a/*", "b/*"]}});
    let session = sts.session(&[neither]).await;
    assert_eq!(session.s3("GET", &sts.at("/negations?prefix=b%2F"), "").await.status, 200);
}

#[tokio::test]
async fn a_listing_is_kept_to_its_prefix_however_it_is_asked_for() {
    let ceph = Ceph::shared().await;
    ceph.role("prefixes", true).await;
    bucket(ceph, "prefixes", "minter").await;
    let sts = sts(ceph, "prefixes");
    let mut list = allow(&["s3:ListBucket"], &["arn:aws:s3:::prefixes"]);
    list["Condition"] = json!({"StringLike": {"s3:prefix": ["a/*", "c/*"]}});
    let session = sts.session(&[list, deny(ceph)]).await;
    for (query, status) in [
        ("?prefix=a%2F", 200),
        ("?list-type=2&prefix=a%2F", 200),
        ("?prefix=b%2F", 403),
        ("?prefix=", 403),
        ("", 403),
        ("?list-type=2", 403),
        ("?versions=&prefix=a%2F", 403),
        ("?uploads=", 403),
    ] {
        let listed = session.s3("GET", &sts.at(&format!("/prefixes{query}")), "").await;
        assert_eq!(listed.status, status, "{query}: {}", listed.body);
    }
}

/// What an operator can do to a role, and that it reaches sessions at once; one lease alone cannot be reached.
#[tokio::test]
async fn sessions_end_with_what_happens_to_their_role_and_not_with_their_minter() {
    let ceph = Ceph::start().await;
    ceph.role("doomed", true).await;
    bucket(&ceph, "doomed", "owner").await;
    bucket(&ceph, "minters", "minter").await;
    let sts = sts(&ceph, "doomed");
    let objects = allow(&["s3:GetObject"], &["arn:aws:s3:::doomed/*", "arn:aws:s3:::minters/*"]);
    let session = sts.session(&[objects, deny(&ceph)]).await;
    let read = async |session: &Key| session.s3("GET", &sts.at("/doomed/a/1"), "").await.status;
    assert_eq!(read(&session).await, 200);

    let everything = json!({"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]});
    let issued_by_now = now().replace_nanosecond(0).unwrap() + Duration::from_secs(1);
    let older = json!({"Effect": "Deny", "Action": ["s3:*"], "Resource": ["*"],
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": issued_by_now.format(&Rfc3339).unwrap()}}});
    ceph.allow("doomed", &[everything.clone(), older]).await;
    assert_eq!(read(&session).await, 403, "a Deny by issue time");
    until("a younger session works", Duration::from_secs(10), async || {
        let younger = sts.session(&[allow(&["s3:GetObject"], &["arn:aws:s3:::doomed/*"]), deny(&ceph)]).await;
        read(&younger).await == 200
    })
    .await;
    ceph.allow("doomed", &[everything]).await;
    assert_eq!(read(&session).await, 200, "what is taken back revives");

    ceph.admin(&["user", "suspend", "--uid=minter"]);
    assert_eq!(sts.assume_role(&policy(&[deny(&ceph)]), 900).await.status, 403, "a suspended minter mints nothing");
    assert_eq!(read(&session).await, 200, "and its sessions go on");
    let own = session.s3("GET", &sts.at("/minters/a/1"), "").await;
    assert_eq!(own.refusal(), (403, "UserSuspended"), "but not in its own buckets, which are suspended with it");
    ceph.admin(&["user", "enable", "--uid=minter"]);

    let fields = [("Action", "DeleteRolePolicy"), ("RoleName", "doomed"), ("PolicyName", "rights")];
    assert_eq!(ceph.iam(&Ceph::key("owner"), &fields).await.status, 200);
    assert_eq!(read(&session).await, 403);
}

/// Why one resource is bounded, and at 1,100.
#[tokio::test]
async fn one_long_resource_ends_the_gateway() {
    let ceph = Ceph::start().await;
    ceph.role("fragile", true).await;
    let sts = sts(&ceph, "fragile");
    let bound = adapter(&ceph, &Ceph::key("minter"), "fragile").capabilities().resource;
    let of = |length: usize| {
        let resource = format!("arn:aws:s3:::b/{}", "x".repeat(length - "arn:aws:s3:::b/".len()));
        policy(&[allow(&["s3:GetObject"], &[&resource])])
    };
    assert_eq!(sts.assume_role(&of(bound), 900).await.status, 200);
    let session = Key::minted(&sts.assume_role(&of(bound), 900).await);
    assert_eq!(session.s3("GET", &sts.at("/b/x"), "").await.refusal(), (404, "NoSuchBucket"), "it is evaluated");

    let adapter = adapter(&ceph, &Ceph::key("minter"), "fragile");
    adapter.ready().await.unwrap();
    // No answer comes: the process is gone.
    let endpoint = ceph.endpoint().to_owned();
    let long = form_urlencoded::Serializer::new("Action=AssumeRole&Version=2011-06-15".to_owned())
        .append_pair("RoleSessionName", "alice-7")
        .append_pair("RoleArn", &Ceph::arn("fragile"))
        .append_pair("Policy", &of(1900))
        .finish();
    let asking = TaskTracker::new().spawn(async move { Ceph::key("minter").sts(&endpoint, &long).await });
    assert!(asking.await.is_err(), "the connection breaks, on which the client panics");
    until("the gateway is gone", Duration::from_secs(20), async || {
        matches!(adapter.ready().await, Err(ObjectServerError::Unreachable(_)))
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_mints_nothing() {
    let ceph = Ceph::shared().await;
    ceph.role("clocks", true).await;
    goes_by_its_own_clock(&sts(ceph, "clocks")).await;
}

/// Whoever holds the minter's key reaches neither IAM nor Ceph's own API; but any user makes buckets, unless it is told not to.
#[tokio::test]
async fn the_minter_administers_nothing() {
    let ceph = Ceph::shared().await;
    let minter = Ceph::key("minter");
    for action in ["ListRoles", "ListUsers", "CreateAccessKey", "CreateUser"] {
        let answer = ceph.iam(&minter, &[("Action", action), ("UserName", "intruder")]).await;
        assert!([403, 405].contains(&answer.status), "{action}: {answer:?}");
    }
    let user = minter.s3("GET", &format!("{}/admin/user?uid=minter", ceph.endpoint()), "").await;
    assert_eq!(user.status, 403, "{user:?}");
    assert_eq!(minter.s3("PUT", &format!("{}/made-by-minter", ceph.endpoint()), "").await.status, 200);
    let refused = ceph.iam(&minter, &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]).await;
    assert_eq!(refused.status, 405, "newer releases know it: {refused:?}");
}

#[tokio::test]
async fn no_lease_is_revoked_and_the_adapter_says_so() {
    let ceph = Ceph::shared().await;
    let revoked =
        adapter(ceph, &Ceph::key("minter"), "any").revoke(&LeaseId::from_uuid(Uuid::from_u128(7)).into()).await;
    assert!(matches!(revoked, Err(ObjectServerError::NotRevocable { .. })));
}

#[tokio::test]
async fn leases_go_through_the_service() {
    let ceph = Ceph::shared().await;
    ceph.role("broker", true).await;
    let object_server = format!(
        "kind = \"ceph\"\nendpoint = \"{}\"\nrole_arn = \"{}\"\naccess_key = \"minter\"\nsecret_key = \"mintersecret\"",
        ceph.endpoint(),
        Ceph::arn("broker"),
    );
    leases_through_the_service(&object_server, ceph.endpoint(), &Ceph::key("minter")).await;
}
