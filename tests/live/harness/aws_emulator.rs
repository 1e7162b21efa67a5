//! An emulator of AWS (`MiniStack`), which is never AWS: it evaluates roles, trust and session policies as AWS documents them
//! and ends sessions after any length, but what AWS itself does it cannot show.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::environment::named_by;
use super::{Answer, free_port, server::Server, until};
use crate::signed::{Answer as Signed, Key};

static SHARED: OnceCell<AwsEmulator> = OnceCell::const_new();

/// The one account it has.
const ACCOUNT: &str = "000000000000";

/// A running emulator.
pub(crate) struct AwsEmulator {
    _server: Server,
    _directory: TempDir,
    endpoint: String,
    minter: Key,
    administrator: Key,
}

impl AwsEmulator {
    /// The one that all tests share; each works in buckets and roles of its own.
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        let port = free_port();
        let mut ministack = Command::new(named_by("STINT_LIVE_AWS_EMULATOR"));
        ministack
            // Without it everything is allowed to everybody.
            .env("AUTH", "true")
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("SERVICES", "iam,s3,sts")
            .env("HOME", directory.path())
            .env("TMPDIR", directory.path())
            .current_dir(directory.path());
        let server = Server::start("aws-emulator", directory.path(), "KILL", &ministack);
        let endpoint = format!("http://127.0.0.1:{port}");
        let health = format!("{endpoint}/_ministack/health");
        until("the AWS emulator answers", Duration::from_mins(1), async || {
            Answer::to_get(&health).await.is_some_and(|answer| answer.status == 200)
        })
        .await;
        let nobody = Key { access: String::new(), secret: String::new(), token: None };
        let mut emulator =
            Self { _server: server, _directory: directory, endpoint, minter: nobody.clone(), administrator: nobody };
        emulator.minter = emulator.user("minter", &["sts:AssumeRole"]).await;
        emulator.administrator = emulator.user("administrator", &["s3:*"]).await;
        emulator.role("vend", &["s3:*"]).await;
        emulator
    }

    /// Makes a user that may do this everywhere, with a key.
    pub(crate) async fn user(&self, name: &str, actions: &[&str]) -> Key {
        self.iam(&[("Action", "CreateUser"), ("UserName", name)]).await;
        self.iam(&[
            ("Action", "PutUserPolicy"),
            ("UserName", name),
            ("PolicyName", "rights"),
            ("PolicyDocument", &rights(actions)),
        ])
        .await;
        let key = self.iam(&[("Action", "CreateAccessKey"), ("UserName", name)]).await;
        let element = |name| key.element(name).unwrap_or_else(|| panic!("{key:?}")).to_owned();
        Key { access: element("AccessKeyId"), secret: element("SecretAccessKey"), token: None }
    }

    /// Makes a role that may do this everywhere and trusts the minter alone.
    pub(crate) async fn role(&self, name: &str, actions: &[&str]) {
        let minter = format!("arn:aws:iam::{ACCOUNT}:user/minter");
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": [minter]}, "Action": ["sts:AssumeRole", "sts:TagSession"]}]});
        self.iam(&[
            ("Action", "CreateRole"),
            ("RoleName", name),
            ("Path", "/"),
            ("AssumeRolePolicyDocument", &trust.to_string()),
        ])
        .await;
        self.iam(&[
            ("Action", "PutRolePolicy"),
            ("RoleName", name),
            ("PolicyName", "rights"),
            ("PolicyDocument", &rights(actions)),
        ])
        .await;
    }

    /// A call of IAM as root, which must succeed.
    async fn iam(&self, fields: &[(&str, &str)]) -> Signed {
        // Whoever signs with this key is root here, whatever the secret.
        let root = Key { access: "test".to_owned(), secret: "test".to_owned(), token: None };
        let form = form_urlencoded::Serializer::new("Version=2010-05-08".to_owned()).extend_pairs(fields).finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let url = format!("{}/", self.endpoint);
        let answer = root.send("iam", "POST", &url, &headers, &form.replace('+', "%20")).await;
        assert_eq!(answer.status, 200, "{fields:?}: {}", answer.body);
        answer
    }

    /// The endpoint of S3, which is the one of the STS too.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The parent: it may assume roles, and nothing else.
    pub(crate) fn minter(&self) -> &Key {
        &self.minter
    }

    /// Who owns the buckets.
    pub(crate) fn administrator(&self) -> &Key {
        &self.administrator
    }

    /// The ARN of a role.
    pub(crate) fn arn(role: &str) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role/{role}")
    }

    /// What is said of it in a configuration.
    pub(crate) fn configuration(&self) -> String {
        format!(
            "kind = \"aws\"\nendpoint = \"{0}\"\nsts_endpoint = \"{0}\"\nrole_arn = \"{1}\"\nsession_tags = true\n\
             access_key = \"{2}\"\nsecret_key = \"{3}\"",
            self.endpoint,
            Self::arn("vend"),
            self.minter.access,
            self.minter.secret
        )
    }

    /// The release that runs.
    pub(crate) async fn release(&self) -> String {
        let health = Answer::to_get(&format!("{}/_ministack/health", self.endpoint)).await.expect("it answers");
        let version = &health.json()["version"];
        version.as_str().unwrap_or_else(|| panic!("{}", health.body)).to_owned()
    }
}

fn rights(actions: &[&str]) -> String {
    let statement: Value = json!({"Effect": "Allow", "Action": actions, "Resource": ["*"]});
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}
