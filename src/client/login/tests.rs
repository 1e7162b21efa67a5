//! Logins at a double of an identity provider: what it hears is looked at, and what it answers is broken one thing at a time.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::SeedableRng;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::*;
use crate::client::fault::Answered;
use crate::client::token_source::TokenSource;
use crate::clock::SystemClock;

type Form = BTreeMap<String, String>;

/// What the double says and has heard.
#[derive(Debug, Default)]
struct Said {
    /// Members of the discovery document that replace the usual ones; null removes one.
    discovery: Value,
    /// Answers of the token endpoint, in order; the last one again and again.
    token: VecDeque<(u16, Value)>,
    /// What is put into the ID token, over what belongs there.
    id_token: Value,
    /// The nonce that the browser carried.
    nonce: String,
    heard: Vec<(&'static str, Form)>,
}

/// A double of an identity provider: discovery, device, token and revocation endpoint.
struct Double {
    url: String,
    said: Arc<Mutex<Said>>,
    directory: TempDir,
    _ends: DropGuard,
}

fn jwt(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn granted(more: &Value) -> (u16, Value) {
    let mut answer = json!({"access_token": jwt(&json!({"sub": "ada"})), "token_type": "Bearer", "expires_in": 300});
    merge(&mut answer, more);
    (200, answer)
}

fn refused(error: &str) -> (u16, Value) {
    (400, json!({"error": error}))
}

fn merge(into: &mut Value, more: &Value) {
    for (name, value) in more.as_object().into_iter().flatten() {
        into[name] = value.clone();
    }
}

fn form(body: &str) -> Form {
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

impl Double {
    async fn start(token: Vec<(u16, Value)>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let said = Arc::new(Mutex::new(Said {
            token: token.into(),
            discovery: json!({}),
            id_token: json!({}),
            ..Said::default()
        }));
        let (discovery, token) = (Arc::clone(&said), Arc::clone(&said));
        let (base, issuer) = (url.clone(), url.clone());
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || {
                    let mut document = json!({
                        "issuer": base, "authorization_endpoint": format!("{base}/authorize"),
                        "token_endpoint": format!("{base}/token"), "revocation_endpoint": format!("{base}/revoke"),
                        "device_authorization_endpoint": format!("{base}/device"),
                        "code_challenge_methods_supported": ["plain", "S256"],
                        "authorization_response_iss_parameter_supported": true,
                    });
                    merge(&mut document, &discovery.lock().unwrap().discovery);
                    document.as_object_mut().unwrap().retain(|_, value| !value.is_null());
                    document.to_string()
                }),
            )
            .route(
                "/device",
                post(async |State(said): State<Arc<Mutex<Said>>>, body: String| {
                    said.lock().unwrap().heard.push(("device", form(&body)));
                    json!({"device_code": "planted-device", "user_code": "WDJB\u{1b}-MJHT", "expires_in": 60, "interval": 1,
                        "verification_uri": "https://auth.example/device"})
                    .to_string()
                }),
            )
            .route(
                "/token",
                post(async move |body: String| {
                    let mut said = token.lock().unwrap();
                    let form = form(&body);
                    let by_code = form.get("grant_type").is_some_and(|grant| grant == "authorization_code");
                    said.heard.push(("token", form));
                    let last = said.token.len() == 1;
                    let (status, mut answer) = if last { said.token[0].clone() } else { said.token.pop_front().unwrap() };
                    if by_code && status == 200 {
                        let mut claims = json!({"iss": issuer, "aud": "people", "nonce": said.nonce});
                        merge(&mut claims, &said.id_token);
                        answer["id_token"] = jwt(&claims).into();
                    }
                    (StatusCode::from_u16(status).unwrap(), answer.to_string())
                }),
            )
            .route(
                "/revoke",
                post(async |State(said): State<Arc<Mutex<Said>>>, body: String| {
                    said.lock().unwrap().heard.push(("revoke", form(&body)));
                }),
            )
            .with_state(Arc::clone(&said));
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(axum::serve(listener, router).into_future()));
        Self { url, said, directory: tempfile::tempdir().unwrap(), _ends: stop.drop_guard() }
    }

    fn login(&self) -> Login {
        Login {
            issuer: self.url.clone(),
            client_id: "people".to_owned(),
            scope: "openid".to_owned(),
            insecure_http: false,
            transport: Transport::new(None).unwrap(),
            clock: Arc::new(SystemClock::start()),
        }
    }

    async fn by_device(&self) -> (Result<Session, LoginFault>, Vec<Prompt>) {
        let mut prompts = Vec::new();
        let mut rng = StdRng::seed_from_u64(1);
        let session = self.login().run(Flow::Device, &mut rng, &mut |prompt| prompts.push(prompt)).await;
        (session, prompts)
    }

    /// Plays the browser: comes back with the code, and with what `change` makes of the answer.
    async fn by_code(&self, change: impl Fn(&mut Form)) -> Result<Session, LoginFault> {
        let browsers = TaskTracker::new();
        let mut rng = StdRng::seed_from_u64(2);
        let mut ask = |prompt: Prompt| {
            let Prompt::Open { url } = prompt else { panic!("{prompt:?}") };
            let asked: Form = reqwest::Url::parse(&url).unwrap().query_pairs().into_owned().collect();
            self.said.lock().unwrap().nonce.clone_from(&asked["nonce"]);
            let mut answer: Form = [("code", "planted-code"), ("state", &asked["state"]), ("iss", &self.url)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
            change(&mut answer);
            self.said.lock().unwrap().heard.push(("authorize", asked.clone()));
            let mut back = reqwest::Url::parse(&asked["redirect_uri"]).unwrap();
            let (mut stray, other) = (back.clone(), back.join("/favicon.ico").unwrap());
            back.query_pairs_mut().extend_pairs(&answer);
            stray.query_pairs_mut().extend_pairs([("code", "of-somebody-else"), ("state", "guessed")]);
            browsers.spawn(async move {
                let http = reqwest::Client::builder().no_proxy().build().unwrap();
                // Neither ends the login that is under way.
                assert_eq!(http.get(stray).send().await.unwrap().status(), 400);
                assert_eq!(http.get(other).send().await.unwrap().status(), 404);
                http.get(back).send().await.unwrap().text().await.unwrap()
            });
        };
        let session = self.login().run(Flow::AuthorizationCode, &mut rng, &mut ask).await;
        browsers.close();
        browsers.wait().await;
        session
    }

    fn heard(&self, at: &str) -> Vec<Form> {
        let said = self.said.lock().unwrap();
        said.heard.iter().filter(|(endpoint, _)| *endpoint == at).map(|(_, form)| form.clone()).collect()
    }

    fn store(&self) -> Locked {
        Store::in_directory(&self.directory.path().join("state")).lock().unwrap()
    }
}

fn nonsense(outcome: Result<Session, LoginFault>) -> &'static str {
    match outcome {
        Err(LoginFault::Nonsense(why) | LoginFault::Discovery(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_device_flow_asks_until_the_person_has_typed_the_code() {
    let pending = refused("authorization_pending");
    let double =
        Double::start(vec![pending.clone(), pending, granted(&json!({"refresh_token": "planted-refresh"}))]).await;
    let (session, prompts) = double.by_device().await;
    let session = session.unwrap();
    assert_eq!(session.status(SystemClock::start().now()).subject, "ada");
    let enter = Prompt::Enter {
        url: "https://auth.example/device".to_owned(),
        // A code that would steer the terminal does not.
        user_code: "WDJB -MJHT".to_owned(),
        complete: None,
    };
    assert_eq!(prompts, [enter]);
    let asked = double.heard("token");
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|form| form["device_code"] == "planted-device" && form["client_id"] == "people"));
    assert!(!format!("{session:?}").contains("planted"));
}

#[tokio::test]
async fn a_device_login_that_is_refused_or_late_ends() {
    for (answer, expected) in [
        (refused("access_denied"), LoginFault::Denied),
        (refused("expired_token"), LoginFault::TimedOut),
        (refused("invalid_client"), LoginFault::Refused(Answered::of(400, "invalid_client"))),
    ] {
        let double = Double::start(vec![answer]).await;
        assert_eq!(double.by_device().await.0.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn a_code_is_had_with_a_proof_and_exchanged_once() {
    let double = Double::start(vec![granted(&json!({}))]).await;
    double.by_code(|_| {}).await.unwrap();
    let (asked, exchanged) = (double.heard("authorize").remove(0), double.heard("token"));
    assert_eq!((asked["response_type"].as_str(), asked["code_challenge_method"].as_str()), ("code", "S256"));
    assert!(asked["redirect_uri"].starts_with("http://127.0.0.1:"));
    assert!(asked["state"].len() == 43 && asked["nonce"].len() == 43 && asked["state"] != asked["nonce"]);
    let [exchanged] = exchanged.as_slice() else { panic!("{exchanged:?}") };
    assert_eq!((exchanged["code"].as_str(), &exchanged["redirect_uri"]), ("planted-code", &asked["redirect_uri"]));
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, exchanged["code_verifier"].as_bytes()));
    assert_eq!(challenge, asked["code_challenge"]);
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_not_exchanged() {
    let double = Double::start(vec![granted(&json!({}))]).await;
    let other = double.by_code(|answer| drop(answer.insert("iss".to_owned(), "https://evil.example".to_owned()))).await;
    assert_eq!(nonsense(other), "it comes from another issuer");
    let silent = double.by_code(|answer| drop(answer.remove("iss"))).await;
    assert_eq!(nonsense(silent), "it does not say which issuer it comes from");
    assert!(double.heard("token").is_empty());
    // A provider that never names itself need not.
    double.said.lock().unwrap().discovery = json!({"authorization_response_iss_parameter_supported": null});
    assert!(double.by_code(|answer| drop(answer.remove("iss"))).await.is_ok());
}

#[tokio::test]
async fn a_refusal_in_the_browser_is_told() {
    let double = Double::start(vec![granted(&json!({}))]).await;
    let refusing = |error: &'static str| {
        move |answer: &mut Form| {
            answer.remove("code");
            answer.insert("error".to_owned(), error.to_owned());
        }
    };
    assert_eq!(double.by_code(refusing("access_denied")).await.unwrap_err(), LoginFault::Denied);
    let told = double.by_code(refusing("invalid_scope")).await.unwrap_err();
    assert_eq!(told.to_string(), "the identity provider refuses: 302 invalid_scope");
    assert!(double.heard("token").is_empty());
}

#[tokio::test]
async fn an_id_token_that_is_not_of_this_login_is_not_believed() {
    let double = Double::start(vec![granted(&json!({}))]).await;
    for (claims, why) in [
        (json!({"nonce": "of another request"}), "its ID token is of another request"),
        (json!({"nonce": ""}), "its ID token is of another request"),
        (json!({"aud": "others"}), "its ID token is for another client"),
        (json!({"aud": ["others"]}), "its ID token is for another client"),
        (json!({"iss": "https://evil.example"}), "its ID token is another issuer's"),
        (json!({"aud": 1}), "its ID token cannot be read"),
    ] {
        double.said.lock().unwrap().id_token = claims;
        assert_eq!(nonsense(double.by_code(|_| {}).await), why);
    }
    double.said.lock().unwrap().id_token = json!({"aud": ["others", "people"]});
    assert!(double.by_code(|_| {}).await.is_ok());
}

#[tokio::test]
async fn a_discovery_document_that_leads_elsewhere_is_not_followed() {
    let double = Double::start(vec![granted(&json!({}))]).await;
    for change in [
        json!({"issuer": format!("{}/", double.url)}),
        json!({"token_endpoint": "https://evil.example/token"}),
        json!({"token_endpoint": null}),
        json!({"device_authorization_endpoint": "http://127.0.0.1:1/device"}),
        json!({"revocation_endpoint": "ftp://evil.example/"}),
    ] {
        double.said.lock().unwrap().discovery = change.clone();
        let outcome = double.by_device().await.0;
        assert!(matches!(outcome, Err(LoginFault::Discovery(_))), "{change}: {outcome:?}");
    }
    double.said.lock().unwrap().discovery = json!({"code_challenge_methods_supported": ["plain"]});
    let unproven = double.by_code(|_| {}).await;
    assert_eq!(nonsense(unproven), "names no authorization_endpoint that takes PKCE with S256");
    assert!(double.heard("token").is_empty() && double.heard("device").is_empty());

    let elsewhere = Login { issuer: "http://auth.example".to_owned(), ..double.login() };
    let refused = elsewhere.run(Flow::Device, &mut StdRng::seed_from_u64(3), &mut |_| {}).await;
    assert!(matches!(refused, Err(LoginFault::Issuer(_))), "{refused:?}");
}

#[tokio::test]
async fn a_session_is_kept_private_and_renewed_before_its_token_is_shown() {
    let first = granted(&json!({"refresh_token": "r-1", "expires_in": 30}));
    let second = granted(
        &json!({"access_token": jwt(&json!({"sub": "ada", "n": 2})), "refresh_token": "r-2", "expires_in": 30}),
    );
    let third = granted(&json!({"expires_in": 3600}));
    let double = Double::start(vec![first, second, third, refused("invalid_grant")]).await;
    let store = double.store();
    assert!(store.read().unwrap().is_none());
    store.write(&double.by_device().await.0.unwrap()).unwrap();
    let path = double.directory.path().join("state/login.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);

    let read = || store.read().unwrap().unwrap();
    let token = double.login().token(read(), &store).await.unwrap();
    assert_eq!(token.expose_secret(), jwt(&json!({"sub": "ada", "n": 2})));
    double.login().token(read(), &store).await.unwrap();
    let used: Vec<String> =
        double.heard("token").into_iter().filter_map(|form| form.get("refresh_token").cloned()).collect();
    assert_eq!(used, ["r-1", "r-2"]);
    // The third was granted without a refresh token and lives: nobody is asked, and the old one is kept.
    assert_eq!(read().refresh_token(), Some("r-2"));
    double.login().token(read(), &store).await.unwrap();
    assert_eq!(double.heard("token").len(), 3);

    double.login().withdraw(&read()).await.unwrap();
    assert_eq!(double.heard("revoke")[0]["token"], "r-2");
    assert!(store.remove().unwrap() && !store.remove().unwrap());
}

#[tokio::test]
async fn what_runs_beside_a_persons_programs_has_the_logins_token() {
    let second = granted(&json!({"access_token": jwt(&json!({"sub": "ada", "n": 2}))}));
    let double = Double::start(vec![granted(&json!({"refresh_token": "r-1", "expires_in": 30})), second]).await;
    let place = double.directory.path().join("state");
    let source = TokenSource::Person(Box::new(PersonalToken {
        store: Store::in_directory(&place),
        insecure_http: false,
        transport: Transport::new(None).unwrap(),
        clock: Arc::new(SystemClock::start()),
    }));
    let nobody = source.token().await.unwrap_err();
    assert_eq!((nobody.code(), nobody.to_string().contains("nobody is logged in")), ("token_unavailable", true));
    assert_eq!(source.identity().await, "login");
    let session = double.by_device().await.0.unwrap();
    double.store().write(&session).unwrap();
    assert_eq!(source.identity().await, format!("login {} people ada", double.url));
    assert_eq!(source.token().await.unwrap().expose(), jwt(&json!({"sub": "ada", "n": 2})));
    // It was kept: nobody is asked a second time.
    source.token().await.unwrap();
    assert_eq!(double.heard("token").len(), 2);
}

#[tokio::test]
async fn a_session_that_cannot_be_renewed_is_over() {
    let double = Double::start(vec![granted(&json!({"expires_in": 1})), refused("invalid_grant")]).await;
    let store = double.store();
    let session = double.by_device().await.0.unwrap();
    assert_eq!(double.login().token(session, &store).await.unwrap_err(), LoginFault::Over);
    let double =
        Double::start(vec![granted(&json!({"expires_in": 1, "refresh_token": "r"})), refused("invalid_grant")]).await;
    let session = double.by_device().await.0.unwrap();
    assert_eq!(double.login().token(session, &store).await.unwrap_err(), LoginFault::Over);
}

#[test]
fn a_file_that_others_may_reach_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let store = || Store::in_directory(&state);
    let whole =
        r#"{"issuer":"i","client_id":"c","scope":"openid","access_token":"a.b.c","refresh_token":null,"expires_at":1}"#;
    let why = |fault: LoginFault| fault.to_string();
    let locked = store().lock().unwrap();
    let path = store().path().to_owned();
    let place = |text: &str, mode: u32| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    place(whole, 0o600);
    assert!(locked.read().unwrap().is_some());
    for mode in [0o640, 0o604, 0o660, 0o666] {
        place(whole, mode);
        assert!(why(locked.read().unwrap_err()).contains("others may read or write it"), "{mode:o}");
    }
    for text in ["", "{}", "null", &whole.replace("scope", "scopes"), &" ".repeat(300_000)] {
        place(text, 0o600);
        assert!(why(locked.read().unwrap_err()).contains("is no login"), "{text:.40}");
    }
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
    assert!(why(locked.read().unwrap_err()).contains("is no regular file"));
    drop(locked);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(why(store().lock().unwrap_err()).contains("others may write into it: chmod 700"));
}
