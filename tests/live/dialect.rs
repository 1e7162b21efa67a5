//! What the live tests of every dialect ask in the same way: with the form that the adapters send, signed by hand.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use secrecy::SecretString;
use serde_json::{Value, json};
use stint::clock::SystemClock;
use stint::lease::{Capabilities, Conditions, LeaseError, OnUnknownAction, plan_verification};
use stint::object_server::probe::{Probe, ProbeAnswer, Prober};
use stint::object_server::s3::{S3Client, S3Settings};
use stint::object_server::{AccessKeyId, ServerSettings, TemporaryCredentials};
use stint::policy::Document;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::{Database, Keycloak, Stint, now};
use crate::signed::{Answer, Key};

/// One server's STS as the adapter calls it.
pub(crate) struct Sts<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) parent: Key,
    pub(crate) role: Option<String>,
}

/// A policy of these statements.
pub(crate) fn policy(statements: &[Value]) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// An Allow.
pub(crate) fn allow(actions: &[&str], resources: &[&str]) -> Value {
    json!({"Effect": "Allow", "Action": actions, "Resource": resources})
}

/// The settings of an adapter for this parent.
pub(crate) fn settings(endpoint: &str, parent: &Key) -> ServerSettings {
    ServerSettings {
        endpoint: endpoint.to_owned(),
        region: "us-east-1".to_owned(),
        access_key: parent.access.clone(),
        secret_key: SecretString::from(parent.secret.as_str()),
        timeout: Duration::from_secs(10),
    }
}

impl Sts<'_> {
    /// `AssumeRole` as `key`.
    pub(crate) async fn as_key(&self, key: &Key, policy: Option<&str>, seconds: i64) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", "AssumeRole").append_pair("Version", "2011-06-15");
        form.append_pair("DurationSeconds", &seconds.to_string()).append_pair("RoleSessionName", "alice-7");
        policy.map(|policy| form.append_pair("Policy", policy));
        self.role.as_ref().map(|role| form.append_pair("RoleArn", role));
        key.sts(self.endpoint, &form.finish().replace('+', "%20")).await
    }

    /// `AssumeRole` as the parent.
    pub(crate) async fn assume_role(&self, policy: &str, seconds: i64) -> Answer {
        self.as_key(&self.parent, Some(policy), seconds).await
    }

    /// A session of a quarter of an hour.
    pub(crate) async fn session(&self, statements: &[Value]) -> Key {
        Key::minted(&self.assume_role(&policy(statements), 900).await)
    }

    /// The address of something at the server.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint)
    }
}

/// A clock that is an hour off mints nothing, whichever way; one that is ten minutes off does, and the end is by the
/// server's clock: which is why an end is believed only within a minute of what was asked.
pub(crate) async fn goes_by_its_own_clock(sts: &Sts<'_>) {
    let narrow = policy(&[allow(&["s3:GetObject"], &["arn:aws:s3:::any/*"])]);
    let mut form = form_urlencoded::Serializer::new("Action=AssumeRole&Version=2011-06-15".to_owned());
    form.append_pair("DurationSeconds", "900").append_pair("RoleSessionName", "alice-7").append_pair("Policy", &narrow);
    sts.role.as_ref().map(|role| form.append_pair("RoleArn", role));
    let form = form.finish().replace('+', "%20");
    for seconds in [-3600, 3600] {
        let refused = sts.parent.sts_at(seconds, sts.endpoint, &form).await;
        assert_eq!(refused.status, 403, "{seconds}: {refused:?}");
    }
    for seconds in [-600, 600] {
        let minted = sts.parent.sts_at(seconds, sts.endpoint, &form).await;
        assert!(minted.status == 200 && ends_in(&minted, 900), "{seconds}: {minted:?}");
    }
}

/// Whether an answer's expiration lies so far from now, give or take ten seconds.
pub(crate) fn ends_in(answer: &Answer, seconds: i64) -> bool {
    let end = answer.element("Expiration").unwrap_or_else(|| panic!("{answer:?}"));
    let end = OffsetDateTime::parse(end, &Rfc3339).expect("an RFC 3339 time");
    ((end - now()).whole_seconds() - seconds).abs() <= 10
}

/// The words that a policy may name as S3 actions: what `src/policy/action.rs` knows.
fn actions() -> Vec<&'static str> {
    let source = include_str!("../../src/policy/action.rs");
    let quoted = |line: &'static str| line.trim().strip_prefix('"')?.strip_suffix("\",");
    let actions: Vec<_> =
        source.split("#[cfg(test)]").next().into_iter().flat_map(str::lines).filter_map(quoted).collect();
    assert!(actions.len() > 80, "the actions were found");
    actions
}

/// Every action that a role may name is either taken by the server or declared unknown, where it refuses unknown ones.
pub(crate) async fn knows_its_actions(sts: &Sts<'_>, capabilities: &Capabilities) {
    let language = capabilities.language;
    assert_eq!(language.on_unknown_action, OnUnknownAction::Refuses);
    let mut unknown = Vec::new();
    for action in actions() {
        let action = format!("s3:{action}");
        let named = policy(&[allow(&[&action], &["arn:aws:s3:::any/*"])]);
        if sts.assume_role(&named, 900).await.status != 200 {
            unknown.push(action);
        }
    }
    unknown.sort_unstable();
    assert_eq!(unknown, language.unknown_actions);
}

/// The condition keys that a policy may name, as `src/policy/condition.rs` knows them, but for those about tags.
fn keys() -> Vec<&'static str> {
    let source = include_str!("../../src/policy/condition.rs");
    let quoted = |line: &'static str| line.trim().strip_prefix('"')?.strip_suffix("\",");
    let keys: Vec<_> =
        source.split("const LONGEST").next().into_iter().flat_map(str::lines).filter_map(quoted).collect();
    assert!(keys.len() > 20, "the keys were found");
    keys
}

/// Of every key and every action that the server knows, and of these patterns: it takes a policy with the two in one
/// statement exactly when planning does.
pub(crate) async fn keys_stand_beside_their_actions(sts: &Sts<'_>, capabilities: &Capabilities, patterns: &[String]) {
    let Conditions::Bound { unknown, bound } = capabilities.language.conditions else { panic!("another claim") };
    let known = |action: &String| !capabilities.language.unknown_actions.contains(&action.as_str());
    let actions: Vec<String> = actions().into_iter().map(|action| format!("s3:{action}")).filter(known).collect();
    let tags = ["s3:ExistingObjectTag/k", "s3:RequestObjectTag/k"];
    let is_bound =
        |key: &str| bound.iter().any(|(bound, _)| key.strip_suffix('k').unwrap_or(key) == *bound || key == *bound);
    let mut rng = StdRng::seed_from_u64(1);
    let mut differ = Vec::new();
    for key in keys().into_iter().chain(tags).filter(|key| !unknown.contains(key)) {
        // A key that goes with everything is not asked of everything.
        let some = if is_bound(key) { &actions[..] } else { &actions[..5] };
        for action in some.iter().chain(patterns) {
            let mut statement = allow(&[action], &["arn:aws:s3:::*"]);
            statement["Condition"] = json!({"Null": {key: ["true"]}});
            let text = policy(&[statement]);
            let document = Document::parse(text.as_bytes()).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
            let planned = plan_verification(&document, capabilities, now(), &mut rng);
            assert!(matches!(planned, Ok(_) | Err(LeaseError::NotEnforced { .. })), "{planned:?}");
            let taken = sts.assume_role(&text, 900).await.status == 200;
            if taken != planned.is_ok() {
                differ.push(format!("{key} beside {action}: the server takes it: {taken}"));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// The condition keys that a policy may name, but that the server refuses.
pub(crate) async fn refused_keys(sts: &Sts<'_>) -> Vec<&'static str> {
    const ACTIONS: [&str; 6] =
        ["GetObject", "GetObjectVersion", "PutObject", "PutObjectRetention", "ListBucket", "CreateBucket"];
    let mut refused = Vec::new();
    for key in keys() {
        // Each key belongs to some actions only.
        let mut taken = false;
        for action in ACTIONS.map(|action| format!("s3:{action}")) {
            let mut statement = allow(&[&action], &["arn:aws:s3:::*"]);
            statement["Condition"] = json!({"Null": {key: ["true"]}});
            taken = taken || sts.assume_role(&policy(&[statement]), 900).await.status == 200;
        }
        if !taken {
            refused.push(key);
        }
    }
    refused
}

/// One question to S3 with a condition that holds for it and one that does not.
pub(crate) struct Question {
    pub(crate) key: &'static str,
    pub(crate) operator: &'static str,
    pub(crate) holds: String,
    pub(crate) fails: String,
    pub(crate) method: &'static str,
    pub(crate) action: &'static str,
    /// Behind the bucket's name.
    pub(crate) path: &'static str,
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

impl Question {
    fn new(operator: &'static str, key: &'static str, holds: &str, fails: &str) -> Self {
        let (method, action, path, headers): (_, _, _, &[(&str, &str)]) = match key {
            "s3:prefix" => ("GET", "s3:ListBucket", "?prefix=a%2F", &[]),
            "s3:delimiter" => ("GET", "s3:ListBucket", "?delimiter=%2F", &[]),
            "s3:max-keys" => ("GET", "s3:ListBucket", "?max-keys=5", &[]),
            "s3:x-amz-acl" => ("PUT", "s3:PutObject", "/a/2", &[("x-amz-acl", "private")]),
            "s3:RequestObjectTag/k" => ("PUT", "s3:PutObject", "/a/2", &[("x-amz-tagging", "k=v")]),
            "aws:UserAgent" => ("GET", "s3:GetObject", "/a/1", &[("user-agent", "me/1")]),
            "aws:Referer" => ("GET", "s3:GetObject", "/a/1", &[("referer", "http://me/")]),
            "s3:ExistingObjectTag/k" | "aws:SourceIp" | "aws:CurrentTime" | "aws:SecureTransport" => {
                ("GET", "s3:GetObject", "/a/1", &[])
            }
            other => panic!("no question for {other}"),
        };
        let (holds, fails) = (holds.to_owned(), fails.to_owned());
        Self { key, operator, holds, fails, method, action, path, headers }
    }

    /// What the server answers to it under this condition.
    async fn ask(&self, sts: &Sts<'_>, bucket: &str, effect: &str, value: &str) -> u16 {
        let (whole, objects) = (format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*"));
        let resource = if self.action == "s3:ListBucket" { whole } else { objects.clone() };
        let condition = json!({self.operator: {self.key: [value]}});
        let mut statements = vec![allow(&[self.action], &[&resource])];
        match effect {
            "Allow" => statements[0]["Condition"] = condition,
            _ => statements.push(
                json!({"Effect": "Deny", "Action": [self.action], "Resource": [resource], "Condition": condition}),
            ),
        }
        // What a tag or an access list on a new object asks for besides.
        statements.push(allow(&["s3:PutObjectTagging", "s3:GetObjectTagging"], &[&objects]));
        // MinIO, which has no roles, has no access lists either, and refuses the action.
        if sts.role.is_some() {
            statements.push(allow(&["s3:PutObjectAcl"], &[&objects]));
        }
        let minted = sts.assume_role(&policy(&statements), 900).await;
        if minted.status != 200 {
            // Refused before anything could be asked.
            return 0;
        }
        let session = Key::minted(&minted);
        let url = sts.at(&format!("/{bucket}{}", self.path));
        let body = if self.method == "PUT" { "y" } else { "" };
        session.send("s3", self.method, &url, self.headers, body).await.status
    }

    /// Whether the server lets through and holds back as the condition says, in an Allow and in a Deny.
    pub(crate) async fn is_enforced(&self, sts: &Sts<'_>, bucket: &str) -> bool {
        let answers = [
            self.ask(sts, bucket, "Allow", &self.holds).await,
            self.ask(sts, bucket, "Allow", &self.fails).await,
            self.ask(sts, bucket, "Deny", &self.holds).await,
            self.ask(sts, bucket, "Deny", &self.fails).await,
        ];
        answers == [200, 403, 403, 200]
    }
}

/// Questions for every operator and every key that any dialect claims, and for some that none does.
pub(crate) fn questions() -> Vec<Question> {
    let hour =
        |hours: i64| (now() + time::Duration::hours(hours)).replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
    let (past, future) = (hour(-1), hour(1));
    let ask = Question::new;
    vec![
        ask("StringEquals", "s3:prefix", "a/", "b/"),
        ask("StringNotEquals", "s3:prefix", "b/", "a/"),
        ask("StringEqualsIgnoreCase", "s3:prefix", "A/", "b/"),
        ask("StringNotEqualsIgnoreCase", "s3:prefix", "b/", "A/"),
        ask("StringLike", "s3:prefix", "a/*", "b/*"),
        ask("StringNotLike", "s3:prefix", "b/*", "a/*"),
        ask("Null", "s3:prefix", "false", "true"),
        ask("StringEquals", "s3:delimiter", "/", "x"),
        ask("NumericEquals", "s3:max-keys", "5", "4"),
        ask("NumericLessThan", "s3:max-keys", "6", "5"),
        ask("NumericLessThanEquals", "s3:max-keys", "5", "4"),
        ask("NumericGreaterThan", "s3:max-keys", "4", "5"),
        ask("NumericGreaterThanEquals", "s3:max-keys", "5", "6"),
        ask("IpAddress", "aws:SourceIp", "127.0.0.0/8", "10.0.0.0/8"),
        ask("NotIpAddress", "aws:SourceIp", "10.0.0.0/8", "127.0.0.0/8"),
        ask("DateLessThan", "aws:CurrentTime", &future, &past),
        ask("DateLessThanEquals", "aws:CurrentTime", &future, &past),
        ask("DateGreaterThan", "aws:CurrentTime", &past, &future),
        ask("DateGreaterThanEquals", "aws:CurrentTime", &past, &future),
        ask("Bool", "aws:SecureTransport", "false", "true"),
        ask("StringEquals", "aws:UserAgent", "me/1", "you/1"),
        ask("StringEquals", "aws:Referer", "http://me/", "http://you/"),
        ask("StringEquals", "s3:ExistingObjectTag/k", "v", "w"),
        ask("StringEquals", "s3:RequestObjectTag/k", "v", "w"),
        ask("StringEquals", "s3:x-amz-acl", "private", "public-read"),
    ]
}

/// Every condition that the dialect claims is enforced, and every operator and key of its claim was asked for; a bucket
/// with the object `a/1`, tagged `k=v`, is there.
pub(crate) async fn enforces_its_conditions(sts: &Sts<'_>, capabilities: &Capabilities, bucket: &str) {
    let Conditions::Only { operators, keys } = capabilities.language.conditions else {
        panic!("a claim of everything")
    };
    let covers =
        |claimed: &str, asked: &str| claimed == asked || (claimed.ends_with('/') && asked.starts_with(claimed));
    let mut asked = Vec::new();
    for question in questions() {
        let claimed = operators.contains(&question.operator) && keys.iter().any(|key| covers(key, question.key));
        if claimed {
            assert!(question.is_enforced(sts, bucket).await, "{} on {}", question.operator, question.key);
            asked.push((question.operator, question.key));
        }
    }
    for operator in operators {
        assert!(asked.iter().any(|(asked, _)| asked == operator), "{operator} is claimed and was not asked for");
    }
    for key in keys {
        assert!(asked.iter().any(|(_, asked)| covers(key, asked)), "{key} is claimed and was not asked for");
    }
}

/// The condition is not enforced: the reason why the dialect does not claim it. If it is one day, that is good news.
pub(crate) async fn does_not_enforce(sts: &Sts<'_>, bucket: &str, operator: &str, key: &str) {
    let question = questions().into_iter().find(|question| (question.operator, question.key) == (operator, key));
    assert!(!question.expect("a known question").is_enforced(sts, bucket).await, "{operator} on {key} is enforced");
}

/// Whether a session policy of so many bytes, in resources short enough for every server, is taken.
pub(crate) async fn takes_a_policy_of(sts: &Sts<'_>, bytes: usize, letter: &str) -> bool {
    let of = |lengths: [usize; 2]| {
        let resources = lengths.map(|length| format!("arn:aws:s3:::b/{}", letter.repeat(length)));
        policy(&[allow(&["s3:GetObject"], &[&resources[0], &resources[1], "arn:aws:s3:::filler"])])
    };
    let letters = (bytes - of([0, 0]).len()) / letter.len();
    let mut text = of([letters / 2, letters - letters / 2]);
    // What a letter of several bytes leaves over.
    text = text.replacen("filler", &format!("filler{}", "x".repeat(bytes - text.len())), 1);
    assert_eq!(text.len(), bytes);
    sts.assume_role(&text, 900).await.status == 200
}

/// The shipped roles that hold `admin:` rights, which only MinIO has.
pub(crate) const ADMINS: [&str; 2] = ["documents/authentik Admins.json", "documents/spacemusic-admins.json"];

/// The main job before any server: a Keycloak token through the real `stint` gives credentials that do what the role may,
/// and no more. `object_server` is what is said of the server in the configuration, `owner` who makes the buckets.
pub(crate) async fn leases_through_the_service(object_server: &str, endpoint: &str, owner: &Key) {
    let (stint, _database, token) = leases_keep_to_their_role(object_server, endpoint, owner).await;
    // What the server would not enforce is refused, not passed on.
    let unenforced = stint.assume(&token, "studio", Some(&listing("s3:versionid"))).await;
    assert_eq!((unenforced.status, unenforced.element("Code")), (400, Some("MalformedPolicyDocument")));
}

/// The same before a server that is believed to enforce every condition. Returns the service, its log and a token.
pub(crate) async fn leases_keep_to_their_role(
    object_server: &str,
    endpoint: &str,
    owner: &Key,
) -> (Stint, Database, String) {
    let at = |path: &str| format!("{endpoint}{path}");
    for bucket in ["recordings", "assets", "foreign"] {
        assert_eq!(owner.s3("PUT", &at(&format!("/{bucket}")), "").await.status, 200, "{bucket}");
        assert_eq!(owner.s3("PUT", &at(&format!("/{bucket}/kept")), "x").await.status, 200, "{bucket}");
    }
    let (keycloak, database) = (Keycloak::shared().await, Database::start().await);
    let stint = Stint::start_before(object_server, &keycloak.issuer(), &database, "ttl = \"60m\"", &ADMINS).await;
    stint.until_ready().await;
    let token = keycloak.token("studio").await;

    let lease = stint.lease(&token, &json!({})).await;
    assert_eq!(lease.status, 201, "{}", lease.body);
    let studio = held(&lease);
    assert_eq!(studio.s3("PUT", &at("/recordings/take-1"), "y").await.status, 200);
    assert_eq!(studio.s3("GET", &at("/recordings/take-1"), "").await.body, "y");
    for (method, path, body) in [
        ("GET", "/foreign/kept", ""),
        ("PUT", "/foreign/x", "y"),
        ("GET", "/foreign", ""),
        ("DELETE", "/recordings", ""),
    ] {
        assert_eq!(studio.s3(method, &at(path), body).await.status, 403, "{method} {path}");
    }

    let narrowed = stint.assume(&token, "studio", Some(&listing("s3:prefix"))).await;
    assert_eq!(narrowed.status, 200, "{}", narrowed.body);
    let narrowed = held(&narrowed);
    assert_eq!(narrowed.s3("GET", &at("/assets?prefix=mine%2F"), "").await.status, 200);
    assert_eq!(narrowed.s3("GET", &at("/assets"), "").await.status, 403);
    assert_eq!(narrowed.s3("GET", &at("/recordings/kept"), "").await.status, 403);
    (stint, database, token)
}

/// A listing under a condition on this key.
fn listing(key: &str) -> String {
    let mut list = allow(&["s3:ListBucket"], &["arn:aws:s3:::assets"]);
    list["Condition"] = json!({"StringLike": {key: ["mine/*"]}});
    policy(&[list])
}

fn held(lease: &crate::harness::Answer) -> Key {
    let keys = lease.keys();
    Key { access: keys.access_key, secret: keys.secret_key, token: Some(keys.session_token) }
}

/// Each kind of probe, inside of a policy that allows it and of one that does not, on buckets that are there. Answers what is
/// said of a bucket that is nowhere: a server that tells anybody what is not there says so of objects too.
pub(crate) async fn probes_tell_what_a_session_may(
    sts: &Sts<'_>,
    deny: &Value,
    bucket: &str,
    other: &str,
) -> ProbeAnswer {
    let client = S3Settings {
        endpoint: sts.endpoint.to_owned(),
        region: "us-east-1".to_owned(),
        timeout: Duration::from_secs(10),
    };
    let prober = Prober::new(S3Client::new(client, Arc::new(SystemClock::start())).unwrap());
    let (whole, objects) = (format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*"));
    let prefixed = json!({"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [&whole],
                          "Condition": {"StringLike": {"s3:prefix": ["a/*"]}}});
    let get = allow(&["s3:GetObject"], &[&objects]);
    let nothing = leased(&sts.session(&[get, deny.clone()]).await);
    let objects_only = allow(&["s3:ListMultipartUploadParts"], &[&objects]);
    let mut nowhere = None;
    for statement in [
        allow(&["s3:ListBucket"], &[&whole]),
        prefixed,
        allow(&["s3:GetBucketLocation"], &[&whole]),
        allow(&["s3:ListBucketMultipartUploads"], &[&whole]),
    ] {
        let statements = [statement.clone(), deny.clone()];
        let text = policy(&statements);
        let session = leased(&sts.session(&statements).await);
        let inside = Probe::inside(&text, &[]).unwrap_or_else(|| panic!("{text}"));
        let outside = Probe::outside(&text, &[other]).unwrap();
        assert_eq!(prober.ask(&session, &inside).await.unwrap(), ProbeAnswer::Allowed, "{inside}");
        let refused = ProbeAnswer::Denied { code: "AccessDenied".to_owned() };
        assert_eq!(prober.ask(&session, &outside).await.unwrap(), refused, "{outside}");
        assert_eq!(prober.ask(&nothing, &inside).await.unwrap(), refused, "{inside} under a policy without it");
        if let Some(probe) = Probe::outside(&text, &[]).filter(|probe| probe.to_string().contains("stint-probe-")) {
            nowhere = Some(prober.ask(&session, &probe).await.unwrap());
        }
    }
    let nowhere = nowhere.expect("one policy lists all of its buckets");
    let statements = [objects_only, deny.clone()];
    let session = leased(&sts.session(&statements).await);
    let parts = Probe::inside(&policy(&statements), &[]).unwrap();
    let (yes, no) = if nowhere == ProbeAnswer::NotThere {
        (ProbeAnswer::NotThere, ProbeAnswer::NotThere)
    } else {
        (ProbeAnswer::Allowed, ProbeAnswer::Denied { code: "AccessDenied".to_owned() })
    };
    assert_eq!(prober.ask(&session, &parts).await.unwrap(), yes);
    assert_eq!(prober.ask(&nothing, &parts).await.unwrap(), no);
    nowhere
}

fn leased(key: &Key) -> TemporaryCredentials {
    TemporaryCredentials {
        access_key_id: AccessKeyId::parse(&key.access).unwrap(),
        secret_access_key: SecretString::from(key.secret.as_str()),
        session_token: SecretString::from(key.token.as_deref().unwrap()),
        expiration: OffsetDateTime::UNIX_EPOCH,
    }
}
