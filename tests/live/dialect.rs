//! What the live tests of every dialect ask in the same way: with the form that the adapters send, signed by hand.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use stint::lease::{Capabilities, Conditions, OnUnknownAction};
use stint::object_server::ServerSettings;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::now;
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
    for action in actions() {
        let action = format!("s3:{action}");
        let named = policy(&[allow(&[&action], &["arn:aws:s3:::any/*"])]);
        let taken = sts.assume_role(&named, 900).await.status == 200;
        assert_eq!(taken, !language.unknown_actions.contains(&action.as_str()), "{action}");
    }
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
        statements.push(allow(&["s3:PutObjectTagging", "s3:PutObjectAcl", "s3:GetObjectTagging"], &[&objects]));
        let session = sts.session(&statements).await;
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
