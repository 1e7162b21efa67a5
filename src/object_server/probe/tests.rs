//! Probes are judged by the whole policy in contexts of every kind, and the answers by what servers were seen to say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::super::s3::{S3Client, S3Settings};
use super::super::scripted::{Reply, ScriptedObjectServer};
use super::super::{AccessKeyId, TemporaryCredentials};
use super::{Probe, ProbeAnswer, Prober};
use crate::clock::SystemClock;
use crate::policy::{AccessCheck, Document, Verdict, evaluate};

fn policy(statements: &Value) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

fn allow(actions: &[&str], resources: &[&str]) -> Value {
    json!({"Effect": "Allow", "Action": actions, "Resource": resources})
}

/// As planning adds it for servers with roles.
fn deny_block() -> Value {
    json!({"Effect": "Deny", "Action": ["iam:*", "sts:*"], "Resource": ["*"]})
}

fn shown(probe: Option<Probe>) -> Option<String> {
    probe.map(|probe| probe.request.path_and_query())
}

fn inside(statements: &Value, buckets: &[&str]) -> Option<String> {
    shown(Probe::inside(&policy(statements), buckets))
}

fn outside(statements: &Value, buckets: &[&str]) -> Option<String> {
    shown(Probe::outside(&policy(statements), buckets))
}

#[test]
fn a_listing_is_asked_for_where_it_is_allowed_and_where_it_is_not() {
    let role = json!([allow(&["s3:ListBucket"], &["arn:aws:s3:::recordings"]), deny_block()]);
    let listing = "list-type=2&max-keys=1&prefix=stint-probe%2F";
    assert_eq!(inside(&role, &[]).unwrap(), format!("/recordings?{listing}"));
    assert_eq!(outside(&role, &["recordings", "backups"]).unwrap(), format!("/backups?{listing}"));
}

#[test]
fn buckets_that_are_there_are_asked_before_those_that_only_the_policy_names() {
    let role = json!([allow(&["s3:ListBucket"], &["arn:aws:s3:::one", "arn:aws:s3:::two"])]);
    assert!(inside(&role, &["two"]).unwrap().starts_with("/two?"));
    assert!(inside(&role, &[]).unwrap().starts_with("/one?"));
    let everything = json!([allow(&["s3:*"], &["arn:aws:s3:::*"])]);
    assert!(inside(&everything, &["two"]).unwrap().starts_with("/two?"));
    assert_eq!(inside(&everything, &[]), None, "no bucket is known");
}

#[test]
fn a_prefix_is_asked_for_where_the_policy_wants_one() {
    let condition = json!({"StringLike": {"s3:prefix": ["stems/*"]}});
    let role = json!([{"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::assets"],
                       "Condition": condition}]);
    assert!(inside(&role, &[]).unwrap().ends_with("prefix=stems%2Fstint-probe"));
    assert_eq!(outside(&role, &[]).unwrap(), "/assets?list-type=2&max-keys=1&prefix=stint-probe%2F");
}

#[test]
fn a_policy_that_lists_nothing_is_probed_by_what_else_it_reads() {
    let on_bucket = |action: &str| json!([allow(&[action], &["arn:aws:s3:::recordings"])]);
    assert_eq!(inside(&on_bucket("s3:GetBucketLocation"), &[]).unwrap(), "/recordings?location=");
    let uploads = "/recordings?uploads=&max-uploads=1&prefix=stint-probe%2F";
    assert_eq!(inside(&on_bucket("s3:ListBucketMultipartUploads"), &[]).unwrap(), uploads);
    let on_objects = |action: &str| json!([allow(&[action], &["arn:aws:s3:::recordings/a/*"])]);
    let parts = "/recordings/a/stint-probe?uploadId=stint-probe";
    assert_eq!(inside(&on_objects("s3:ListMultipartUploadParts"), &[]).unwrap(), parts);
}

#[test]
fn a_policy_that_only_writes_or_only_reads_objects_has_no_probe_inside() {
    for action in ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"] {
        let role = json!([allow(&[action], &["arn:aws:s3:::recordings/*"])]);
        assert_eq!(inside(&role, &["recordings"]), None, "{action}");
        assert!(outside(&role, &["recordings"]).unwrap().starts_with("/recordings?list-type=2"));
    }
}

#[test]
fn a_deny_takes_a_place_out_and_one_that_may_or_may_not_apply_does_too() {
    let role = |deny: Value| json!([allow(&["s3:ListBucket"], &["arn:aws:s3:::one", "arn:aws:s3:::two"]), deny]);
    let deny = json!({"Effect": "Deny", "Action": ["s3:List*"], "Resource": ["arn:aws:s3:::one"]});
    assert!(inside(&role(deny.clone()), &[]).unwrap().starts_with("/two?"));
    assert!(outside(&role(deny.clone()), &[]).unwrap().starts_with("/one?"));

    let mut elsewhere = deny;
    elsewhere["Condition"] = json!({"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}});
    assert!(inside(&role(elsewhere.clone()), &[]).unwrap().starts_with("/two?"));
    assert!(outside(&role(elsewhere), &[]).unwrap().starts_with("/stint-probe-"), "it may be allowed at one");
}

#[test]
fn a_deny_of_a_buckets_objects_reaches_the_bucket_as_it_does_at_minio() {
    let deny = json!({"Effect": "Deny", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::one/*"]});
    let role = json!([allow(&["s3:ListBucket"], &["arn:aws:s3:::one", "arn:aws:s3:::two"]), deny]);
    assert!(inside(&role, &[]).unwrap().starts_with("/two?"));
    let objects = json!([allow(&["s3:ListBucket"], &["arn:aws:s3:::one/*"])]);
    assert_eq!(inside(&objects, &["one"]), None);
    assert!(outside(&objects, &["one"]).unwrap().starts_with("/stint-probe-"));
}

#[test]
fn where_every_bucket_may_be_listed_there_is_nothing_outside() {
    assert_eq!(outside(&json!([allow(&["s3:*"], &["arn:aws:s3:::*"])]), &["one"]), None);
    let two = json!([allow(&["s3:ListBucket"], &["arn:aws:s3:::one"])]);
    let (first, second) = (outside(&two, &["one"]).unwrap(), outside(&two, &["one"]).unwrap());
    assert!(first.starts_with("/stint-probe-") && first != second, "{first} {second}");
}

#[test]
fn what_is_no_policy_has_no_probe() {
    for text in ["", "{}", "[]", "{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[\"s3:Fly\"]}]}"] {
        assert!(Probe::inside(text, &["one"]).is_none() && Probe::outside(text, &["one"]).is_none(), "{text}");
    }
}

const ACTIONS: [&str; 9] = [
    "s3:ListBucket",
    "s3:GetBucketLocation",
    "s3:ListBucketMultipartUploads",
    "s3:ListMultipartUploadParts",
    "s3:GetObject",
    "s3:PutObject",
    "s3:List*",
    "s3:ListBucket*",
    "s3:GetBucket*",
];
const RESOURCES: [&str; 8] = ["one", "two", "one*", "*", "one/*", "one/a?b/*", "two/a/../*", "two/*/x"];
const KEYS: [(&str, &[&str]); 5] = [
    ("s3:prefix", &["a/*", "", "stint-probe/*", "*", "b"]),
    ("s3:delimiter", &["/", "-"]),
    ("aws:SourceIp", &["10.0.0.1", "192.0.2.7"]),
    ("aws:UserAgent", &["*", "boto*"]),
    ("s3:x-amz-content-sha256", &["abc", "def"]),
];

prop_compose! {
    fn condition()(key in 0..KEYS.len(), value in 0..5_usize, operator in 0..4_usize) -> Value {
        let (key, values) = KEYS[key];
        let operator = ["StringLike", "StringNotLike", "StringEquals", "StringNotEquals"][operator];
        json!({operator: {key: [values[value % values.len()]]}})
    }
}

prop_compose! {
    fn statement()(
        allow in prop::bool::weighted(0.7),
        actions in prop::collection::vec(0..ACTIONS.len(), 1..3),
        resources in prop::collection::vec(0..RESOURCES.len(), 1..4),
        condition in prop::option::of(condition()),
    ) -> Value {
        let mut statement = json!({
            "Effect": if allow { "Allow" } else { "Deny" },
            "Action": actions.into_iter().map(|i| ACTIONS[i]).collect::<Vec<_>>(),
            "Resource": resources.into_iter().map(|i| format!("arn:aws:s3:::{}", RESOURCES[i])).collect::<Vec<_>>(),
        });
        if let Some(condition) = condition {
            statement["Condition"] = condition;
        }
        statement
    }
}

/// The verdict of the whole policy, when the server sees these too.
fn verdict(document: &Document, probe: &Probe, path: &str, seen: &BTreeMap<String, Vec<String>>) -> Verdict {
    let sent = probe.context.iter().map(|(key, value)| ((*key).to_owned(), vec![value.clone()]));
    let context = seen.clone().into_iter().chain(sent).collect();
    let resource = format!("arn:aws:s3:::{path}");
    evaluate(document, &AccessCheck { action: probe.action, resource: &resource, context: &context })
}

prop_compose! {
    /// What a server may see of a request that its sender does not know, or not as the server reads it.
    fn seen()(values in prop::collection::vec(prop::option::of(0..5_usize), KEYS.len())) -> BTreeMap<String, Vec<String>> {
        let value = |((key, values), chosen): (&(&str, &[&str]), Option<usize>)| {
            Some((key.to_ascii_lowercase(), vec![values[chosen? % values.len()].to_owned()]))
        };
        KEYS.iter().zip(values).filter_map(value).collect()
    }
}

proptest! {
    #[test]
    fn a_probe_is_on_its_side_of_the_policy_whatever_the_server_sees_and_never_writes(
        statements in prop::collection::vec(statement(), 1..5), known in prop::bool::ANY, seen in seen(),
    ) {
        let text = policy(&json!(statements));
        prop_assume!(Document::parse(text.as_bytes()).is_ok());
        let document = Document::parse(text.as_bytes()).unwrap();
        let sent = policy(&json!(statements.into_iter().chain([deny_block()]).collect::<Vec<_>>()));
        let buckets: &[&str] = if known { &["one", "two"] } else { &[] };
        if let Some(probe) = Probe::inside(&sent, buckets) {
            prop_assert_eq!(&probe.request.method, Method::GET);
            prop_assert_eq!(verdict(&document, &probe, &probe.path, &seen), Verdict::Allowed);
            prop_assert_ne!(verdict(&document, &probe, &format!("{}/", probe.path), &seen), Verdict::Denied);
        }
        if let Some(probe) = Probe::outside(&sent, buckets) {
            prop_assert_eq!(&probe.request.method, Method::GET);
            prop_assert_ne!(verdict(&document, &probe, &probe.path, &seen), Verdict::Allowed);
            prop_assert_ne!(verdict(&document, &probe, &format!("{}/", probe.path), &seen), Verdict::Allowed);
        }
    }

    #[test]
    fn no_text_makes_a_derivation_panic(text in "[\\[\\]{}:,\"a-zA-Z0-9*?/]{0,64}") {
        drop((Probe::inside(&text, &[]), Probe::outside(&text, &[])));
    }
}

async fn ask(probe: Probe, reply: Reply) -> ProbeAnswer {
    let double = ScriptedObjectServer::start(vec![reply]).await;
    let settings = S3Settings {
        endpoint: double.endpoint().to_owned(),
        region: "us-east-1".to_owned(),
        timeout: Duration::from_secs(20),
    };
    let prober = Prober::new(S3Client::new(settings, Arc::new(SystemClock::start())).unwrap());
    let credentials = TemporaryCredentials {
        access_key_id: AccessKeyId::parse("GGCTIHYG44N04A0X14LN").unwrap(),
        secret_access_key: SecretString::from("secret"),
        session_token: SecretString::from("token"),
        expiration: OffsetDateTime::UNIX_EPOCH,
    };
    let answer = prober.ask(&credentials, &probe).await.unwrap();
    let received = double.received();
    assert_eq!(received.len(), 1, "asked more than once");
    assert_eq!(received[0].headers["x-amz-security-token"], "token");
    answer
}

fn listing() -> Probe {
    Probe::list("recordings", "stint-probe/", None)
}

fn xml(status: u16, root: &str) -> Reply {
    Reply::http(
        status,
        "application/xml",
        &format!("<{root} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></{root}>"),
    )
}

fn error(status: u16, code: &str) -> Reply {
    Reply::http(status, "application/xml", &format!("<Error><Code>{code}</Code></Error>"))
}

#[tokio::test]
async fn only_the_document_that_was_asked_for_is_a_yes() {
    assert_eq!(ask(listing(), xml(200, "ListBucketResult")).await, ProbeAnswer::Allowed);
    for reply in
        [xml(200, "ListAllMyBucketsResult"), Reply::http(200, "text/html", "<p>Welcome"), xml(404, "ListBucketResult")]
    {
        assert!(matches!(ask(listing(), reply).await, ProbeAnswer::Unclear { .. }));
    }
}

#[tokio::test]
async fn an_upload_that_is_not_there_is_a_yes_where_one_was_looked_for() {
    let parts = Probe::parts("recordings", "stint-probe");
    assert_eq!(ask(parts, error(404, "NoSuchUpload")).await, ProbeAnswer::Allowed);
    assert!(matches!(ask(listing(), error(404, "NoSuchUpload")).await, ProbeAnswer::Unclear { .. }));
    assert_eq!(ask(listing(), error(404, "NoSuchBucket")).await, ProbeAnswer::NotThere);
    let parts = Probe::parts("recordings", "stint-probe");
    assert_eq!(ask(parts, error(404, "NoSuchKey")).await, ProbeAnswer::NotThere, "Ceph says so to anybody");
}

#[tokio::test]
async fn a_refusal_is_told_from_a_session_that_is_over_and_from_a_fault() {
    let denied = ask(listing(), error(403, "AccessDenied")).await;
    assert_eq!(denied, ProbeAnswer::Denied { code: "AccessDenied".to_owned() });
    for (status, code) in [(403, "InvalidAccessKeyId"), (403, "InvalidTokenId"), (400, "ExpiredToken")] {
        assert_eq!(ask(listing(), error(status, code)).await, ProbeAnswer::SessionRefused { code: code.to_owned() });
    }
    for (status, code) in [(503, "SlowDown"), (500, "AccessDenied"), (403, "RequestTimeTooSkewed"), (400, "BadRequest")]
    {
        let told = format!("HTTP {status} {code}");
        assert_eq!(ask(listing(), error(status, code)).await, ProbeAnswer::Unclear { told });
    }
    let nameless = ask(listing(), Reply::http(403, "text/html", "<p>Forbidden")).await;
    assert_eq!(nameless, ProbeAnswer::Unclear { told: "HTTP 403".to_owned() });
}
