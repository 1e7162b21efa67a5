//! The demo's object server: what a session may do, and everything that ends it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use stint::demo::object_server::{DemoObjectServer, ParentKey};
use stint::lease::LeaseId;
use stint::object_server::{MinioServer, ObjectServer, ServerSettings};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing_subscriber::fmt::format::FmtSpan;
use uuid::Uuid;

use crate::harness::clock::MovedClock;
use crate::harness::signed::{Answer, Key, unsigned};

const FORM: &str = "Action=AssumeRole&Version=2011-06-15&DurationSeconds=900&RoleSessionName=alice";

struct Demo {
    endpoint: String,
    clock: Arc<MovedClock>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    _ends: DropGuard,
    _directory: TempDir,
}

impl Demo {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (clock, tasks, shutdown) = (Arc::new(MovedClock::start()), TaskTracker::new(), CancellationToken::new());
        let parent = ParentKey { access_key: "minter".to_owned(), secret_key: SecretString::from("mintersecret") };
        let server =
            DemoObjectServer::start(listener, directory.path(), parent, clock.clone(), &tasks, shutdown.clone());
        let ends = shutdown.clone().drop_guard();
        Self {
            endpoint: server.unwrap().endpoint().to_owned(),
            clock,
            tasks,
            shutdown,
            _ends: ends,
            _directory: directory,
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint)
    }

    async fn assume_role(&self, extra: &str) -> Answer {
        Key::parent().sts(&self.endpoint, &format!("{FORM}{extra}")).await
    }

    async fn session(&self) -> Key {
        Key::minted(&self.assume_role("").await)
    }

    /// A session under a policy of one statement after another.
    async fn session_under(&self, statements: &str) -> Key {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{statements},{{"Effect":"Deny","Action":["admin:*"]}}]}}"#
        );
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("Policy", &policy).finish();
        Key::minted(&self.assume_role(&format!("&{form}")).await)
    }

    fn adapter(&self) -> MinioServer {
        let settings = ServerSettings {
            endpoint: self.endpoint.clone(),
            region: "us-east-1".to_owned(),
            access_key: "minter".to_owned(),
            secret_key: SecretString::from("mintersecret"),
            timeout: Duration::from_secs(5),
        };
        MinioServer::new(settings, self.clock.clone()).unwrap()
    }
}

#[tokio::test]
async fn a_session_reads_what_it_wrote() {
    let demo = Demo::start().await;
    let session = demo.session().await;
    let object = demo.at("/recordings/take%201.wav");
    assert_eq!(session.s3("PUT", &object, "music").await.status, 200);
    let read = session.s3("GET", &object, "").await;
    assert_eq!((read.status, read.body.as_str()), (200, "music"));
    let listed = session.s3("GET", &demo.at("/recordings?delimiter=&list-type=2&prefix="), "").await;
    assert_eq!((listed.status, listed.element("Key")), (200, Some("take 1.wav")));
    for bucket in ["assets", "backups", "exports", "recordings", "textures"] {
        assert_eq!(session.s3("HEAD", &demo.at(&format!("/{bucket}")), "").await.status, 200);
    }
}

#[tokio::test]
async fn a_session_key_is_worth_nothing_without_its_own_token() {
    let demo = Demo::start().await;
    let (session, other) = (demo.session().await, demo.session().await);
    let object = demo.at("/recordings/a");
    assert_eq!(session.s3("PUT", &object, "x").await.status, 200);
    for token in [None, Some("x"), other.token.as_deref()] {
        let refused = session.with_token(token).s3("GET", &object, "").await;
        assert_eq!(refused.refusal(), (403, "InvalidTokenId"), "{token:?}");
    }
    let parent = Key::parent().with_token(session.token.as_deref());
    assert_eq!(parent.s3("GET", &object, "").await.refusal(), (403, "InvalidTokenId"));
    assert_eq!(Key::parent().s3("GET", &object, "").await.status, 200);
}

#[tokio::test]
async fn nobody_and_forgers_are_refused() {
    let demo = Demo::start().await;
    let session = demo.session().await;
    let object = demo.at("/recordings/a");
    assert_eq!(unsigned("GET", &object, &[], "").await.refusal(), (403, "AccessDenied"));
    assert_eq!(unsigned("GET", &demo.at("/"), &[], "").await.refusal(), (403, "AccessDenied"));
    let forger = Key { secret: "wrong".to_owned(), ..session.clone() };
    assert_eq!(forger.s3("GET", &object, "").await.refusal(), (403, "SignatureDoesNotMatch"));
    let unknown = Key { access: "A".repeat(20), ..session.clone() };
    assert_eq!(unknown.s3("GET", &object, "").await.refusal(), (403, "InvalidAccessKeyId"));
    let old = [("authorization", format!("AWS {}:{}", session.access, "c2ln")), ("date", "now".to_owned())];
    let old: Vec<_> = old.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(unsigned("GET", &object, &old, "").await.status, 403);
}

#[tokio::test]
async fn a_session_ends_when_it_was_said_to() {
    let demo = Demo::start().await;
    let session = demo.session().await;
    let list = demo.at("/recordings?list-type=2");
    demo.clock.advance(Duration::from_secs(898));
    assert_eq!(session.s3("GET", &list, "").await.status, 200);
    demo.clock.advance(Duration::from_secs(3));
    assert_eq!(session.s3("GET", &list, "").await.refusal(), (403, "InvalidAccessKeyId"));
}

#[tokio::test]
async fn the_adapter_finds_it_ready_and_revokes_one_lease_alone() {
    let demo = Demo::start().await;
    demo.adapter().ready().await.unwrap();
    let lease = LeaseId::from_uuid(Uuid::from_u128(7));
    let doomed = Key::minted(&demo.assume_role(&format!("&TokenRevokeType={lease}")).await);
    let spared = demo.session().await;
    let list = demo.at("/recordings?list-type=2");
    assert_eq!(doomed.s3("GET", &list, "").await.status, 200);
    demo.adapter().revoke(&lease.into()).await.unwrap();
    assert_eq!(doomed.s3("GET", &list, "").await.refusal(), (403, "InvalidAccessKeyId"));
    assert_eq!(spared.s3("GET", &list, "").await.status, 200);
}

#[tokio::test]
async fn only_the_parent_mints_and_revokes() {
    let demo = Demo::start().await;
    let session = demo.session().await;
    for key in [session.clone(), session.with_token(None), Key { secret: "wrong".to_owned(), ..Key::parent() }] {
        let refused = key.sts(&demo.endpoint, FORM).await;
        assert_eq!(refused.refusal(), (403, "AccessDenied"));
        assert!(refused.body.contains("<ErrorResponse xmlns="), "{}", refused.body);
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(unsigned("POST", &demo.at("/"), &form, FORM).await.refusal(), (403, "AccessDenied"));
    // Signed for S3, it is no request to the STS.
    assert_eq!(Key::parent().send("s3", "POST", &demo.at("/"), &form, FORM).await.refusal(), (403, "AccessDenied"));
    let revoke = demo.at("/minio/admin/v3/revoke-tokens/builtin?fullRevoke=true&user=minter");
    assert_eq!(session.s3("POST", &revoke, "").await.status, 403);
    assert_eq!(session.s3("GET", &demo.at("/recordings?list-type=2"), "").await.status, 200);
    assert_eq!(Key::parent().s3("POST", &revoke, "").await.status, 204);
    assert_eq!(session.s3("GET", &demo.at("/recordings?list-type=2"), "").await.status, 403);
}

#[tokio::test]
async fn a_fault_of_the_form_is_answered_as_minio_answers_it() {
    let demo = Demo::start().await;
    let sts = async |form: &str| {
        let answer = Key::parent().sts(&demo.endpoint, form).await;
        let (status, code) = answer.refusal();
        (status, code.to_owned())
    };
    assert_eq!(sts("Action=AssumeRole").await, (400, "MissingParameter".to_owned()));
    let invalid = (400, "InvalidParameterValue".to_owned());
    assert_eq!(sts("Action=GetCallerIdentity&Version=2011-06-15").await, invalid);
    assert_eq!(sts("Action=AssumeRole&Version=2011-06-15&DurationSeconds=899").await, invalid);
    let long = format!("Action=AssumeRole&Version=2011-06-15&x={}", "x".repeat(70_000));
    assert_eq!(sts(&long).await.0, 403);
}

#[tokio::test]
async fn a_key_cannot_climb_into_another_bucket() {
    let demo = Demo::start().await;
    let session = demo.session().await;
    assert_eq!(session.s3("PUT", &demo.at("/backups/x"), "secret").await.status, 200);
    for path in ["/recordings/..%2Fbackups%2Fx", "/recordings/a%2F..%2F..%2Fbackups%2Fx", "/recordings/%2Fx"] {
        let refused = session.s3("GET", &demo.at(path), "").await;
        assert!((400..=403).contains(&refused.status) && !refused.body.contains("secret"), "{path} {refused:?}");
    }
    let copy = demo.at("/recordings/copy");
    let source = |from| [("x-amz-copy-source", from)];
    assert_eq!(session.send("s3", "PUT", &copy, &source("/backups/x"), "").await.status, 200);
    let climbed = session.send("s3", "PUT", &copy, &source("/recordings/../backups/x"), "").await;
    assert_eq!(climbed.status, 400, "{climbed:?}");
    let twice = demo.at("/recordings?list-type=2&prefix=a&prefix=b");
    assert_eq!(session.s3("GET", &twice, "").await.status, 400);
}

#[tokio::test]
async fn a_presigned_url_works_with_its_token_only() {
    let demo = Demo::start().await;
    let session = demo.session().await;
    let object = demo.at("/exports/mix.wav");
    assert_eq!(session.s3("PUT", &object, "mix").await.status, 200);
    let url = session.presign(&object);
    assert_eq!(unsigned("GET", &url, &[], "").await.body, "mix");
    let without = session.with_token(None).presign(&object);
    assert_eq!(unsigned("GET", &without, &[], "").await.refusal(), (403, "InvalidTokenId"));
    demo.clock.advance(Duration::from_secs(901));
    assert_eq!(unsigned("GET", &url, &[], "").await.refusal(), (403, "InvalidAccessKeyId"));
}

#[tokio::test]
async fn an_upload_in_parts_outlives_the_lease_that_began_it() {
    let demo = Demo::start().await;
    let (first, second) = (demo.session().await, demo.session().await);
    let object = demo.at("/recordings/long.wav");
    let begun = first.s3("POST", &format!("{object}?uploads="), "").await;
    let upload = begun.element("UploadId").unwrap();
    let part = format!("{object}?partNumber=1&uploadId={upload}");
    assert_eq!(first.s3("PUT", &part, "long").await.status, 200);
    let done = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>";
    let finished = second.s3("POST", &format!("{object}?uploadId={upload}"), done).await;
    assert_eq!(finished.status, 200, "{finished:?}");
    assert_eq!(second.s3("GET", &object, "").await.body, "long");
}

#[tokio::test]
async fn an_operation_nobody_thought_of_is_refused() {
    let demo = Demo::start().await;
    let session = demo.session().await;
    for (method, path) in [
        ("GET", "/recordings?policy="),
        ("PUT", "/recordings?policy="),
        ("PUT", "/recordings?acl="),
        ("GET", "/recordings?versioning="),
        ("PUT", "/recordings/a?tagging="),
    ] {
        let refused = session.s3(method, &demo.at(path), "").await;
        assert!(matches!(refused.status, 403 | 501), "{method} {path}: {refused:?}");
    }
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_or_span_holds_a_secret() {
    let (captured, demo) = (Captured::default(), Demo::start().await);
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("trace,hyper=off,hyper_util=off,reqwest=off,aws_sigv4=off")
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // With only one subscriber in the process, a thread that has none could switch call sites off for this one too.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("this is heard");
    let session = demo.session().await;
    let object = demo.at("/recordings/a");
    assert_eq!(session.s3("PUT", &object, "x").await.status, 200);
    assert_eq!(unsigned("GET", &session.presign(&object), &[], "").await.status, 200);
    assert_eq!(session.with_token(None).s3("GET", &object, "").await.status, 403);
    let log = captured.text();
    assert!(log.contains("this is heard"));
    for secret in [session.token.as_deref().unwrap(), &session.secret, &session.access, "Signature=", "mintersecret"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn it_stops_when_it_is_told_to() {
    let demo = Demo::start().await;
    demo.shutdown.cancel();
    demo.tasks.close();
    tokio::time::timeout(Duration::from_secs(20), demo.tasks.wait()).await.unwrap();
    assert!(demo.adapter().ready().await.is_err());
}

mod under_a_session_policy {
    use super::*;

    const READ_A: &str = r#"{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::recordings/a/*"]},
        {"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::recordings"],
         "Condition":{"StringLike":{"s3:prefix":["a/*"]}}}"#;

    async fn filled() -> Demo {
        let demo = Demo::start().await;
        for object in ["/recordings/a/1", "/recordings/b/1", "/backups/a/1"] {
            assert_eq!(Key::parent().s3("PUT", &demo.at(object), "x").await.status, 200);
        }
        demo
    }

    #[tokio::test]
    async fn only_what_it_allows_is_done() {
        let demo = filled().await;
        let session = demo.session_under(READ_A).await;
        for (method, path, status) in [
            ("GET", "/recordings/a/1", 200),
            ("HEAD", "/recordings/a/1", 200),
            ("GET", "/recordings/b/1", 403),
            ("GET", "/backups/a/1", 403),
            ("PUT", "/recordings/a/1", 403),
            ("DELETE", "/recordings/a/1", 403),
            ("POST", "/recordings/a/1?uploads=", 403),
            ("GET", "/recordings?list-type=2&prefix=a%2F", 200),
            ("GET", "/recordings?list-type=2&prefix=b%2F", 403),
            ("GET", "/recordings?list-type=2", 403),
            ("GET", "/", 403),
            ("DELETE", "/recordings", 403),
        ] {
            let answer = session.s3(method, &demo.at(path), "").await;
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn a_copy_needs_the_right_to_its_source() {
        let demo = filled().await;
        let write = r#"{"Effect":"Allow","Action":["s3:PutObject"],"Resource":["arn:aws:s3:::exports/*"]}"#;
        let session = demo.session_under(&format!("{READ_A},{write}")).await;
        let copy = async |source| {
            let headers = [("x-amz-copy-source", source)];
            session.send("s3", "PUT", &demo.at("/exports/copy"), &headers, "").await.status
        };
        assert_eq!(copy("/recordings/a/1").await, 200);
        assert_eq!(copy("/recordings/b/1").await, 403);
    }

    #[tokio::test]
    async fn a_bulk_deletion_needs_the_right_to_every_key() {
        let demo = filled().await;
        let delete = r#"{"Effect":"Allow","Action":["s3:DeleteObject"],"Resource":["arn:aws:s3:::recordings/b/*"]}"#;
        let session = demo.session_under(delete).await;
        let delete = async |keys: &[&str]| {
            let keys: Vec<_> = keys.iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
            session
                .s3("POST", &demo.at("/recordings?delete="), &format!("<Delete>{}</Delete>", keys.concat()))
                .await
                .status
        };
        assert_eq!(delete(&["b/1", "a/1"]).await, 403);
        assert_eq!(delete(&["b/../a/1"]).await, 400);
        assert_eq!(Key::parent().s3("GET", &demo.at("/recordings/a/1"), "").await.status, 200);
        assert_eq!(delete(&["b/1"]).await, 200);
    }

    #[tokio::test]
    async fn a_policy_that_is_none_or_too_long_mints_nothing() {
        let demo = Demo::start().await;
        let mint = async |policy: &str| {
            let form = form_urlencoded::Serializer::new(String::new()).append_pair("Policy", policy).finish();
            demo.assume_role(&format!("&{form}")).await
        };
        assert_eq!(mint("no").await.refusal(), (400, "InvalidParameterValue"));
        // Two resources, for one alone may have 1,100 characters.
        let long = |length: usize| {
            let (one, two) = ("x".repeat(length / 2), "y".repeat(length - length / 2));
            let resources = format!(r#"["arn:aws:s3:::b/{one}","arn:aws:s3:::b/{two}"]"#);
            let statement = format!(r#"{{"Effect":"Allow","Action":["s3:GetObject"],"Resource":{resources}}}"#);
            format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#)
        };
        let rest = long(0).len();
        assert_eq!(mint(&long(2048 - rest)).await.status, 200);
        assert_eq!(mint(&long(2049 - rest)).await.refusal(), (400, "InvalidParameterValue"));
    }
}
