//! The issuer adapter against a scripted server: what a broken, slow, hostile or rotating provider does to requests.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use stint::issuer::{IssuerKeys, IssuerSettings, IssuerStatus, KeyLocation};
use stint::token::{IssuerName, KeyError, KeyId, KeySource as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::manual_clock::ManualClock;
use crate::harness::scripted_server::{Reply, ScriptedServer};
use crate::harness::tokens::{Forge, jwks};

const COOLDOWN: Duration = Duration::from_secs(30);
const MAX_AGE: Duration = Duration::from_mins(10);

/// One issuer whose keys are at `/jwks` of a scripted server.
struct Bench {
    server: ScriptedServer,
    clock: Arc<ManualClock>,
    keys: IssuerKeys,
}

fn name() -> IssuerName {
    IssuerName::parse("authentik").unwrap()
}

fn issuer_keys(issuer: &str, keys: KeyLocation, clock: &Arc<ManualClock>) -> IssuerKeys {
    let settings = IssuerSettings { name: name(), issuer: issuer.to_owned(), keys };
    IssuerKeys::new(vec![settings], clock.clone())
}

impl Bench {
    async fn at_jwks_uri() -> Self {
        let (server, clock) = (ScriptedServer::start().await, Arc::new(ManualClock::default()));
        let keys = issuer_keys("https://auth.example/", KeyLocation::JwksUri(server.url("/jwks")), &clock);
        Self { server, clock, keys }
    }

    async fn at_discovery(path: &str) -> Self {
        let (server, clock) = (ScriptedServer::start().await, Arc::new(ManualClock::default()));
        let keys = issuer_keys(&server.url(path), KeyLocation::Discovery, &clock);
        Self { server, clock, keys }
    }

    /// The provider publishes keys with these names.
    fn publish(&self, kids: &[&str]) {
        self.server.reply("/jwks", Reply::Json(published(kids)));
    }

    async fn ask(&self, kid: &str) -> Result<(), KeyError> {
        ask(&self.keys, kid).await
    }

    fn fetches(&self) -> usize {
        self.server.hits("/jwks")
    }

    async fn status(&self) -> IssuerStatus {
        self.keys.status().await.remove(0)
    }

    async fn detail(&self) -> String {
        self.status().await.detail.unwrap_or_default()
    }
}

fn published(kids: &[&str]) -> String {
    let key = |kid: &&str| {
        let mut jwk = Forge::shared().authentik.key.jwk();
        jwk["kid"] = json!(kid);
        jwk
    };
    jwks(&kids.iter().map(key).collect::<Vec<Value>>())
}

async fn ask(keys: &IssuerKeys, kid: &str) -> Result<(), KeyError> {
    keys.key(&name(), KeyId::parse(kid).as_ref()).await.map(drop)
}

#[tokio::test]
async fn keys_are_fetched_once_and_kept() {
    let bench = Bench::at_jwks_uri().await;
    bench.publish(&["a"]);
    assert_eq!(bench.detail().await, "not fetched yet");
    for _ in 0..3 {
        assert_eq!(bench.ask("a").await, Ok(()));
    }
    assert_eq!(bench.fetches(), 1);
    assert_eq!(bench.status().await, IssuerStatus { name: name(), ready: true, detail: None });
    assert!(!bench.server.last_request().contains("accept-encoding"));
}

#[tokio::test]
async fn another_issuer_has_no_keys_here() {
    let bench = Bench::at_jwks_uri().await;
    bench.publish(&["a"]);
    let other = bench.keys.key(&IssuerName::parse("other").unwrap(), KeyId::parse("a").as_ref()).await;
    assert_eq!((other.err(), bench.fetches()), (Some(KeyError::Unavailable), 0));
}

#[tokio::test]
async fn bad_answers_are_refused_and_a_good_one_after_the_cooldown_is_taken() {
    let large = " ".repeat(256 * 1024 + 1);
    let redirect = |to: &str| Reply::status("302 Found", &format!("location: {to}\r\n"), b"");
    let bench = Bench::at_jwks_uri().await;
    bench.server.reply("/elsewhere", Reply::Json(published(&["a"])));
    let gzip = "content-encoding: gzip\r\n";
    let declared = b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n{".to_vec();
    for (name, reply, detail) in [
        ("redirect", redirect(&bench.server.url("/elsewhere")), "status 302"),
        ("redirect to metadata", redirect("http://169.254.169.254/"), "status 302"),
        ("redirect to a file", redirect("file:///etc/passwd"), "status 302"),
        ("500", Reply::status("500 Oops", "", published(&["a"]).as_bytes()), "status 500"),
        ("204", Reply::status("204 No Content", "", b""), "status 204"),
        ("HTML", Reply::status("200 OK", "content-type: text/html\r\n", b"<html></html>"), "not a JSON object"),
        ("gzip", Reply::status("200 OK", gzip, published(&["a"]).as_bytes()), "compressed"),
        ("too large, declared", Reply::Raw(declared), "more than 256 KiB"),
        ("too large, streamed", Reply::Endless, "more than 256 KiB"),
        ("too large, whole", Reply::Json(large), "more than 256 KiB"),
        ("hang up", Reply::HangUp, "request failed"),
        ("cut short", Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}".to_vec()), "request failed"),
        ("not HTTP", Reply::Raw(b"SSH-2.0-x\r\n\r\n".to_vec()), "request failed"),
        ("too many keys", Reply::Json(jwks(&vec![json!(1); 65])), "more than 64 keys"),
    ] {
        bench.server.reply("/jwks", reply);
        assert_eq!(bench.ask("a").await, Err(KeyError::Unavailable), "{name}");
        assert!(bench.detail().await.contains(detail), "{name}: {}", bench.detail().await);
        assert!(!bench.status().await.ready, "{name}");
        bench.clock.advance(COOLDOWN);
    }
    assert_eq!(bench.server.hits("/elsewhere"), 0);
    bench.publish(&["a"]);
    assert_eq!(bench.ask("a").await, Ok(()));
}

#[tokio::test]
async fn a_slow_drip_ends_at_the_deadline() {
    let bench = Bench::at_jwks_uri().await;
    bench.server.reply("/jwks", Reply::Drip);
    let answer = timeout(Duration::from_secs(20), bench.ask("a")).await;
    assert_eq!(answer, Ok(Err(KeyError::Unavailable)));
    assert!(bench.detail().await.contains("5 seconds"), "{}", bench.detail().await);
}

#[tokio::test]
async fn a_failure_arms_the_cooldown() {
    let bench = Bench::at_jwks_uri().await;
    bench.server.reply("/jwks", Reply::status("500 Oops", "", b""));
    for _ in 0..20 {
        assert_eq!(bench.ask("a").await, Err(KeyError::Unavailable));
    }
    assert_eq!(bench.fetches(), 1);
    bench.clock.advance(Duration::from_secs(29));
    assert_eq!((bench.ask("a").await, bench.fetches()), (Err(KeyError::Unavailable), 1));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!((bench.ask("a").await, bench.fetches()), (Err(KeyError::Unavailable), 2));
}

#[tokio::test]
async fn a_storm_of_junk_kids_causes_one_fetch_per_cooldown_and_valid_traffic_goes_on() {
    let bench = Bench::at_jwks_uri().await;
    bench.publish(&["a"]);
    bench.keys.warm().await;
    for round in 1..=3 {
        bench.clock.advance(COOLDOWN);
        let junk: Vec<String> = (0..1000).map(|n| format!("junk-{round}-{n}")).collect();
        let answers = join_all(junk.iter().map(|kid| bench.ask(kid))).await;
        assert!(answers.into_iter().all(|answer| answer == Err(KeyError::Unknown)));
        assert_eq!((bench.ask("a").await, bench.fetches()), (Ok(()), 1 + round));
    }
}

#[tokio::test]
async fn concurrent_first_requests_share_one_fetch() {
    let bench = Bench::at_jwks_uri().await;
    let gate = Arc::new(Semaphore::new(0));
    bench.server.reply("/jwks", Reply::Held(Arc::clone(&gate), published(&["a"])));
    let asked = join_all((0..50).map(|_| bench.ask("a")));
    let (answers, ()) = tokio::join!(asked, async { gate.add_permits(50) });
    assert!(answers.into_iter().all(|answer| answer == Ok(())));
    assert_eq!(bench.fetches(), 1);
}

#[tokio::test]
async fn a_known_kid_is_answered_while_a_fetch_hangs() {
    let bench = Bench::at_jwks_uri().await;
    bench.publish(&["a"]);
    bench.keys.warm().await;
    bench.clock.advance(COOLDOWN);
    let gate = Arc::new(Semaphore::new(0));
    bench.server.reply("/jwks", Reply::Held(Arc::clone(&gate), published(&["a", "b"])));
    let (new, ()) = tokio::join!(bench.ask("b"), async {
        assert_eq!(bench.ask("a").await, Ok(()));
        gate.add_permits(1);
    });
    assert_eq!((new, bench.fetches()), (Ok(()), 2));
}

#[tokio::test]
async fn a_caller_who_hangs_up_takes_the_fetch_from_nobody() {
    let bench = Bench::at_jwks_uri().await;
    let gate = Arc::new(Semaphore::new(0));
    bench.server.reply("/jwks", Reply::Held(Arc::clone(&gate), published(&["a"])));
    {
        let first = bench.ask("a");
        tokio::pin!(first);
        assert!(futures::poll!(&mut first).is_pending());
    }
    gate.add_permits(1);
    assert_eq!((bench.ask("a").await, bench.fetches()), (Ok(()), 1));
}

#[tokio::test]
async fn a_rotated_key_is_found_at_once_after_the_cooldown_and_the_old_one_dies() {
    let bench = Bench::at_jwks_uri().await;
    bench.publish(&["old"]);
    assert_eq!(bench.ask("old").await, Ok(()));
    bench.publish(&["new"]);
    assert_eq!(bench.ask("new").await, Err(KeyError::Unknown));
    bench.clock.advance(COOLDOWN);
    assert_eq!(bench.ask("old").await, Ok(()));
    assert_eq!(bench.ask("new").await, Ok(()));
    assert_eq!(bench.ask("old").await, Err(KeyError::Unknown));
    assert_eq!(bench.fetches(), 2);
}

#[tokio::test]
async fn a_withdrawn_key_dies_when_the_keys_grow_old_though_nobody_asks_for_another() {
    let bench = Bench::at_jwks_uri().await;
    bench.publish(&["a", "b"]);
    assert_eq!(bench.ask("a").await, Ok(()));
    bench.publish(&["b"]);
    bench.clock.advance(MAX_AGE);
    assert_eq!(bench.ask("a").await, Err(KeyError::Unknown));
    assert_eq!(bench.ask("b").await, Ok(()));
}

#[tokio::test]
async fn while_the_provider_is_down_known_keys_are_served_for_an_hour_and_no_longer() {
    let bench = Bench::at_jwks_uri().await;
    bench.publish(&["a"]);
    bench.keys.warm().await;
    bench.server.reply("/jwks", Reply::status("503 Down", "", b""));
    bench.clock.advance(MAX_AGE);
    assert_eq!(bench.ask("a").await, Ok(()));
    let status = bench.status().await;
    assert!(status.ready && status.detail.unwrap().contains("status 503"));
    bench.clock.advance(Duration::from_secs(50 * 60 - 1));
    assert_eq!(bench.ask("a").await, Ok(()));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.ask("a").await, Err(KeyError::Unavailable));
    assert!(!bench.status().await.ready);
    bench.publish(&["a"]);
    bench.clock.advance(COOLDOWN);
    assert_eq!(bench.ask("a").await, Ok(()));
}

#[tokio::test]
async fn the_service_starts_while_the_provider_is_down() {
    let bench = Bench::at_jwks_uri().await;
    bench.server.reply("/jwks", Reply::HangUp);
    bench.keys.warm().await;
    assert!(!bench.status().await.ready);
    bench.publish(&["a"]);
    assert_eq!(bench.ask("a").await, Err(KeyError::Unavailable));
    bench.clock.advance(COOLDOWN);
    assert_eq!(bench.ask("a").await, Ok(()));
    assert!(bench.status().await.ready);
}

#[tokio::test]
async fn authentiks_empty_set_is_no_keys_and_says_how_to_cure_it() {
    let bench = Bench::at_jwks_uri().await;
    bench.server.reply("/jwks", Reply::Json("{}".to_owned()));
    assert_eq!(bench.ask("a").await, Err(KeyError::Unknown));
    assert!(!bench.status().await.ready);
    assert!(bench.detail().await.contains("assign an RSA signing key"), "{}", bench.detail().await);
}

#[tokio::test]
async fn a_published_private_key_is_not_used_and_shouts() {
    let bench = Bench::at_jwks_uri().await;
    let mut private = Forge::shared().authentik.key.jwk();
    private["d"] = json!("AQAB");
    let good = serde_json::from_str::<Value>(&published(&["a"])).unwrap()["keys"][0].clone();
    bench.server.reply("/jwks", Reply::Json(jwks(&[private, good])));
    assert_eq!(bench.ask("ak-1").await, Err(KeyError::Unknown));
    assert_eq!(bench.ask("a").await, Ok(()));
    assert!(bench.detail().await.contains("PRIVATE KEY"));
}

fn discovery(issuer: &str, jwks_uri: &str, algorithm: &str) -> Reply {
    let document = json!({
        "issuer": issuer, "authorization_endpoint": "https://auth.example/authorize", "jwks_uri": jwks_uri,
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [algorithm],
    });
    Reply::Json(document.to_string())
}

#[tokio::test]
async fn keys_are_discovered_with_and_without_a_final_slash() {
    for (path, document) in [
        ("/application/o/stint/", "/application/o/stint/.well-known/openid-configuration"),
        ("/realms/r", "/realms/r/.well-known/openid-configuration"),
        ("", "/.well-known/openid-configuration"),
    ] {
        let bench = Bench::at_discovery(path).await;
        bench.publish(&["a"]);
        bench.server.reply(document, discovery(&bench.server.url(path), &bench.server.url("/jwks"), "RS256"));
        assert_eq!(bench.ask("a").await, Ok(()), "{path}: {}", bench.detail().await);
        assert_eq!((bench.server.hits(document), bench.fetches()), (1, 1));
    }
}

#[tokio::test]
async fn discovery_of_another_issuer_or_origin_is_refused_and_says_what_to_do() {
    let path = "/application/o/stint/";
    let document = "/application/o/stint/.well-known/openid-configuration";
    let other_server = ScriptedServer::start().await;
    other_server.reply("/jwks", Reply::Json(published(&["a"])));
    for (issuer_path, to_other) in [("/", false), ("/application/o/stint", false), (path, true)] {
        let bench = Bench::at_discovery(path).await;
        bench.publish(&["a"]);
        let jwks = if to_other { other_server.url("/jwks") } else { bench.server.url("/jwks") };
        bench.server.reply(document, discovery(&bench.server.url(issuer_path), &jwks, "RS256"));
        assert_eq!(bench.ask("a").await, Err(KeyError::Unavailable));
        assert!(bench.detail().await.contains("keys = { jwks_uri"), "{}", bench.detail().await);
        assert_eq!((bench.fetches(), other_server.hits("/jwks")), (0, 0));
    }
    let bench = Bench::at_discovery("/").await;
    assert_eq!(bench.ask("a").await, Err(KeyError::Unavailable));
    assert!(bench.detail().await.contains("status 404") && bench.detail().await.contains("global issuer mode"));
}

#[tokio::test]
async fn a_provider_that_offers_hs256_alone_is_told_to_get_a_key() {
    let bench = Bench::at_discovery("/").await;
    let document = discovery(&bench.server.url("/"), &bench.server.url("/jwks"), "HS256");
    bench.server.reply("/.well-known/openid-configuration", document);
    bench.server.reply("/jwks", Reply::Json("{}".to_owned()));
    bench.keys.warm().await;
    assert!(!bench.status().await.ready);
    let detail = bench.detail().await;
    assert!(detail.contains("HS256 only") && detail.contains("assign an RSA signing key"), "{detail}");
}

#[tokio::test]
async fn addresses_beyond_https_and_loopback_are_never_asked() {
    for uri in ["http://auth.example/jwks", "file:///etc/passwd", "http://169.254.169.254/jwks", "nonsense"] {
        let clock = Arc::new(ManualClock::default());
        let keys = issuer_keys("https://auth.example/", KeyLocation::JwksUri(uri.to_owned()), &clock);
        assert_eq!(ask(&keys, "a").await, Err(KeyError::Unavailable), "{uri}");
        assert!(keys.status().await[0].detail.as_ref().unwrap().contains("must be an https address"), "{uri}");
    }
}

#[tokio::test]
async fn a_server_whose_certificate_nobody_vouches_for_is_not_believed() {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key.into()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let uri = format!("https://{}/jwks", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/jwks", axum::routing::get(|| async { published(&["a"]) }));
    let tls = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(tls));
    let server = axum_server::from_tcp_rustls(listener, tls).unwrap().serve(router.into_make_service());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { server.await.unwrap() });

    let clock = Arc::new(ManualClock::default());
    let keys = issuer_keys("https://auth.example/", KeyLocation::JwksUri(uri), &clock);
    assert_eq!(ask(&keys, "a").await, Err(KeyError::Unavailable));
    let detail = keys.status().await.remove(0).detail.unwrap();
    assert!(detail.contains("certificate"), "{detail}");
}

#[tokio::test]
async fn a_key_file_is_read_again_when_it_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    let clock = Arc::new(ManualClock::default());
    let keys = issuer_keys("https://auth.example/", KeyLocation::JwksFile(path.clone()), &clock);
    assert_eq!(ask(&keys, "a").await, Err(KeyError::Unavailable));
    std::fs::write(&path, published(&["a"])).unwrap();
    assert_eq!(ask(&keys, "a").await, Ok(()));
    std::fs::write(&path, published(&["bb", "cc"])).unwrap();
    assert_eq!(ask(&keys, "cc").await, Ok(()));
    assert_eq!(ask(&keys, "a").await, Err(KeyError::Unknown));

    std::fs::write(&path, "broken").unwrap();
    assert_eq!(ask(&keys, "cc").await, Ok(()));
    let status = keys.status().await.remove(0);
    assert!(status.ready && status.detail.unwrap().contains("key set cannot be used"));
    clock.advance(Duration::from_hours(1));
    assert_eq!(ask(&keys, "cc").await, Err(KeyError::Unavailable));
}

#[tokio::test]
async fn a_key_file_that_is_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let keys = issuer_keys("https://auth.example/", KeyLocation::JwksFile(directory.path().to_owned()), &clock);
    assert_eq!(timeout(Duration::from_secs(20), ask(&keys, "a")).await, Ok(Err(KeyError::Unavailable)));
    assert!(keys.status().await[0].detail.as_ref().unwrap().contains("not a regular file"));
}

#[tokio::test]
async fn blocks_with_one_kid_and_one_server_keep_their_keys_apart() {
    let (server, clock) = (ScriptedServer::start().await, Arc::new(ManualClock::default()));
    let providers = &Forge::shared().global;
    let settings = providers.iter().map(|provider| {
        let path = format!("/{}/jwks", provider.name);
        server.reply(&path, Reply::Json(provider.jwks()));
        let name = IssuerName::parse(provider.name).unwrap();
        IssuerSettings { name, issuer: provider.issuer.clone(), keys: KeyLocation::JwksUri(server.url(&path)) }
    });
    let keys = Arc::new(IssuerKeys::new(settings.collect(), clock.clone()));
    crate::token::of_two_blocks_each_verifies_only_its_own_tokens(keys).await;
    assert!(providers.iter().all(|provider| server.hits(&format!("/{}/jwks", provider.name)) == 1));
}
