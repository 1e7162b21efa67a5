//! `stint object-server bootstrap` against servers that lie: a yes is worth nothing until it is read back, privacy nothing
//! until a stranger was refused, and one bucket's failure never hides another's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use stint::clock::SystemClock;
use stint::object_server::bootstrap::{Bootstrap, Change, Plan, Report, Traits};
use stint::object_server::s3::{S3Client, S3Key, S3Settings};
use stint::policy::{PolicyFiles, PolicySet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::binary::{DOCUMENT, Site, run};
use crate::harness::bucket_server::{BucketServer, Lie};

const RECORDINGS: &str = "[[bucket]]\nname = \"recordings\"\nprivate = true\nexpire_days = 30\n";
const EXPORTS: &str = "[[bucket]]\nname = \"exports\"\nprivate = true\nexpire_days = \"never\"\n";
const PUBLIC: &str = r#"{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::recordings/*"]}"#;
const KNOWN: &str = r#"{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::1:user/a"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::recordings/*"]}"#;

fn bootstrap(endpoint: &str, buckets: &str) -> Bootstrap {
    let files = BTreeMap::from([
        ("documents/a.json".to_owned(), DOCUMENT.as_bytes().to_vec()),
        ("buckets.toml".to_owned(), buckets.as_bytes().to_vec()),
    ]);
    let set = PolicySet::compile(&PolicyFiles(files), &[]).unwrap();
    let settings =
        S3Settings { endpoint: endpoint.to_owned(), region: "us-east-1".to_owned(), timeout: Duration::from_secs(2) };
    Bootstrap {
        client: S3Client::new(settings, Arc::new(SystemClock::start())).unwrap(),
        key: S3Key::long_lived(SecretString::from("root"), SecretString::from("rootsecret")),
        buckets: set.buckets().to_vec(),
        parents: Vec::new(),
        traits: Traits { removes_uploads_by_rule: true },
        run: Uuid::from_u128(7),
    }
}

async fn applied(server: &BucketServer, buckets: &str) -> (Plan, Report) {
    let bootstrap = bootstrap(server.endpoint(), buckets);
    let plan = bootstrap.plan().await;
    let report = bootstrap.apply(&plan, &CancellationToken::new(), |_| {}).await;
    (plan, report)
}

/// The problems of the only bucket, in one text.
async fn problems(lie: Lie, buckets: &str) -> String {
    let (_, report) = applied(&BucketServer::start(lie).await, buckets).await;
    assert!(!report.is_done(), "{lie:?}");
    report.steps[0].problems.join("\n")
}

fn policy(statements: &[&str]) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","))
}

#[tokio::test]
async fn an_honest_server_is_set_up_once_and_then_left_alone() {
    let server = BucketServer::start(Lie::Nothing).await;
    let both = format!("{RECORDINGS}versioning = true\n{EXPORTS}");
    let (plan, report) = applied(&server, &both).await;
    assert!(!plan.is_empty() && report.is_done(), "{report:?}");
    assert_eq!(report.steps[0].refused, ["list", "read", "write"]);
    let (plan, report) = applied(&server, &both).await;
    assert!(plan.is_empty() && report.is_done(), "{plan:?}");
    assert_eq!(server.objects(), Vec::<String>::new(), "the probes are gone");
}

#[tokio::test]
async fn a_plan_changes_nothing() {
    let server = BucketServer::start(Lie::Nothing).await;
    server.with_policy("recordings", &policy(&[PUBLIC]));
    let plan = bootstrap(server.endpoint(), RECORDINGS).plan().await;
    assert!(!plan.is_empty() && !plan.is_incomplete());
    assert_eq!(server.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_public_goes_and_what_is_not_stays() {
    let server = BucketServer::start(Lie::Nothing).await;
    server.with_policy("recordings", &policy(&[PUBLIC, KNOWN]));
    let (plan, report) = applied(&server, RECORDINGS).await;
    let lines: Vec<String> = plan.buckets()[0].changes().unwrap().iter().flat_map(Change::lines).collect();
    assert!(lines[0].starts_with("- policy: everybody may [\"s3:GetObject\"]"), "{lines:?}");
    assert!(report.is_done(), "{report:?}");
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(json(&server.policy("recordings").unwrap()), json(&policy(&[KNOWN])));
}

#[tokio::test]
async fn a_policy_that_was_not_in_the_plan_is_not_removed_but_told() {
    let server = BucketServer::start(Lie::Nothing).await;
    let bootstrap = bootstrap(server.endpoint(), RECORDINGS);
    assert!(applied(&server, RECORDINGS).await.1.is_done());
    let plan = bootstrap.plan().await;
    server.with_policy("recordings", &policy(&[PUBLIC]));
    let report = bootstrap.apply(&plan, &CancellationToken::new(), |_| {}).await;
    assert!(report.steps[0].problems[0].contains("read back, still to do: - policy: everybody may"), "{report:?}");
    assert!(server.policy("recordings").is_some());
}

#[tokio::test]
async fn a_bucket_that_strangers_may_use_is_never_called_private() {
    assert!(problems(Lie::StaysPublic, RECORDINGS).await.contains("PUBLIC: a stranger may list"));
    assert!(problems(Lie::StaysPublic, RECORDINGS).await.contains("PUBLIC: a stranger may read"));
    assert!(problems(Lie::TakesFromStrangers, RECORDINGS).await.contains("PUBLIC: a stranger may write"));
}

#[tokio::test]
async fn what_a_stranger_wrote_to_try_is_removed() {
    let server = BucketServer::start(Lie::TakesFromStrangers).await;
    applied(&server, RECORDINGS).await;
    assert_eq!(server.objects(), Vec::<String>::new());
}

#[tokio::test]
async fn an_answer_to_a_stranger_that_is_no_refusal_proves_nothing() {
    for lie in [Lie::RedirectsStrangers, Lie::FailsStrangers] {
        assert!(problems(lie, RECORDINGS).await.contains("not proven private"), "{lie:?}");
    }
}

#[tokio::test]
async fn a_yes_that_does_not_read_back_is_a_failure() {
    let still = "read back, still to do: ";
    assert!(problems(Lie::ForgetsLifecycle, RECORDINGS).await.contains(&format!("{still}+ lifecycle: objects expire")));
    let versioned = format!("{RECORDINGS}versioning = true\n");
    assert!(problems(Lie::ForgetsVersioning, &versioned).await.contains(&format!("{still}+ versioning")));
    let server = BucketServer::start(Lie::KeepsPolicy).await;
    server.with_policy("recordings", &policy(&[PUBLIC]));
    let (_, report) = applied(&server, RECORDINGS).await;
    assert!(report.steps[0].problems[0].starts_with(&format!("{still}- policy")), "{report:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_never_taken_for_nothing() {
    for (lie, told) in [
        (Lie::CutsLifecycle, "reading the lifecycle: incomplete XML"),
        (Lie::EndlessPolicy, "reading policy: the object server's answer is longer than"),
        (Lie::AclIsAPage, "reading the ACL: not well-formed XML"),
        (Lie::Hangs, "reading acl: the object server did not answer in time"),
    ] {
        let server = BucketServer::start(lie).await;
        server.with_policy("recordings", &policy(&[]));
        let (plan, report) = applied(&server, RECORDINGS).await;
        assert!(plan.is_incomplete() && !plan.is_empty(), "{lie:?}");
        assert!(report.steps[0].problems[0].starts_with(told), "{lie:?}: {report:?}");
        assert_eq!(server.writes(), Vec::<String>::new(), "{lie:?}: what is not known is not changed");
    }
}

#[tokio::test]
async fn one_failure_hides_no_other_bucket() {
    let server = BucketServer::start(Lie::RefusesBuckets).await;
    server.with_policy("exports", &policy(&[PUBLIC]));
    let (_, report) = applied(&server, &format!("{RECORDINGS}{EXPORTS}")).await;
    let [recordings, exports] = report.steps.as_slice() else { panic!("{report:?}") };
    assert_eq!(recordings.problems, ["+ the bucket, private: HTTP 403 AccessDenied"]);
    assert_eq!((exports.name.as_str(), &exports.problems), ("bucket exports", &Vec::new()));
}

#[tokio::test]
async fn once_interrupted_nothing_more_is_begun() {
    let server = BucketServer::start(Lie::Nothing).await;
    let (bootstrap, interrupted) = (bootstrap(server.endpoint(), RECORDINGS), CancellationToken::new());
    let plan = bootstrap.plan().await;
    interrupted.cancel();
    let report = bootstrap.apply(&plan, &interrupted, |_| {}).await;
    assert_eq!(report.steps[0].problems, ["not begun: interrupted"]);
    assert_eq!(server.writes(), Vec::<String>::new());
}

/// A configuration for `stint object-server bootstrap`; its database is not there.
fn site(endpoint: &str) -> Site {
    let site = Site::new(&SecretString::from("postgres://nobody@127.0.0.1:1/none"), endpoint);
    site.write("policies/buckets.toml", RECORDINGS);
    site
}

async fn told(site: &Site, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = crate::harness::binary::stint(["object-server", "bootstrap", "--config"]);
    command.arg(site.config()).args(more);
    let ended = run(command).await;
    (ended.code, ended.stdout, ended.stderr)
}

#[tokio::test]
async fn without_a_key_of_its_own_or_with_the_parents_it_refuses_in_words() {
    let server = BucketServer::start(Lie::Nothing).await;
    let site = site(server.endpoint());
    let (code, _, stderr) = told(&site, &[]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("STINT_OBJECT_SERVER__BOOTSTRAP__ACCESS_KEY"), "{stderr}");

    site.configure(
        "[lease]",
        "[object_server.bootstrap]\naccess_key = \"parent\"\nsecret_key = \"parent-secret\"\n[lease]",
    );
    let (code, _, stderr) = told(&site, &[]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("is the parent's own"), "{stderr}");

    site.configure(
        "access_key = \"parent\"\nsecret_key = \"parent-secret\"\n[lease]",
        "access_key = \"root\"\n[lease]",
    );
    let (code, _, stderr) = told(&site, &[]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("object_server.bootstrap.secret_key"), "{stderr}");
    assert_eq!(server.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn the_command_plans_applies_and_ends_with_what_it_found() {
    let server = BucketServer::start(Lie::Nothing).await;
    let site = site(server.endpoint());
    site.configure("[lease]", "[object_server.bootstrap]\naccess_key = \"root\"\nsecret_key = \"rootsecret\"\n[lease]");
    let (code, stdout, _) = told(&site, &["--plan"]).await;
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains(
            "  bucket recordings\n    + the bucket, private\n    + lifecycle: objects expire after 30 days\n"
        ),
        "{stdout}"
    );
    let (code, stdout, stderr) = told(&site, &[]).await;
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let (code, stdout, _) = told(&site, &["--json"]).await;
    assert_eq!(code, Some(0));
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["ok"], &report["plan"][0]["changes"]), (&true.into(), &serde_json::json!([])));
    assert!(!stdout.contains("rootsecret"));
}

/// The service reads the same file, and must not need, or hold, the administrator's key.
#[tokio::test]
async fn other_commands_pass_over_the_administrators_key() {
    let site = site("http://127.0.0.1:1");
    site.configure(
        "[lease]",
        "[object_server.bootstrap]\naccess_key = \"root\"\nsecret_key_file = \"/nowhere/root\"\n[lease]",
    );
    let checked = run(site.stint("check", &[])).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let (code, _, stderr) = told(&site, &[]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("secret_key_file"), "{stderr}");
    site.configure("secret_key_file", "secret_file");
    let checked = run(site.stint("check", &[])).await;
    assert!(checked.stderr.contains("object_server.bootstrap.secret_file"), "a misspelt key is a fault: {checked:?}");
}
