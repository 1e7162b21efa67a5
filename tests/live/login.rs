//! A person logs in at a real Keycloak, by both flows, with a browser that is played over HTTP; the token of the login is
//! good for a lease.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use reqwest::{Client, Url, redirect};
use serde_json::{Value, json};

use crate::harness::{Boto3, Installation, Keycloak, repository};

const PASSWORD: &str = "of-ada-at-the-live-tests";

/// A public client for people, and somebody of the studio.
async fn introduce(keycloak: &Keycloak) {
    let realm = std::fs::read_to_string(repository().join("docs/deploy/realm.json")).expect("the realm is shipped");
    let realm: Value = serde_json::from_str(&realm).expect("JSON");
    // The audience and the groups come by the mappers that every shipped client has.
    let mappers = realm["clients"][0]["protocolMappers"].clone();
    let client = json!({
        "clientId": "people", "publicClient": true, "standardFlowEnabled": true, "directAccessGrantsEnabled": false,
        "fullScopeAllowed": false, "redirectUris": ["http://127.0.0.1/callback"], "protocolMappers": mappers,
        "attributes": {"oauth2.device.authorization.grant.enabled": "true", "pkce.code.challenge.method": "S256"},
    });
    keycloak.administer("/clients", &client).await;
    let ada = json!({
        "username": "ada", "enabled": true, "email": "ada@studio.example", "emailVerified": true, "firstName": "Ada",
        "lastName": "L", "groups": ["/spacemusic-studio"],
        "credentials": [{"type": "password", "value": PASSWORD, "temporary": false}],
    });
    keycloak.administer("/users", &ada).await;
}

/// Follows redirects, keeps cookies, and fills in the forms it is shown.
struct Browser {
    http: Client,
    cookies: BTreeMap<String, String>,
}

struct Page {
    url: Url,
    body: String,
}

impl Browser {
    fn new() -> Self {
        let http = Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(Duration::from_secs(30));
        Self { http: http.build().expect("a client can be built"), cookies: BTreeMap::new() }
    }

    async fn open(&mut self, url: &str) -> Page {
        self.go(Url::parse(url).expect("a URL"), None).await
    }

    /// Sends the first form of a page.
    async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let action = page.body.split("action=\"").nth(1).and_then(|rest| rest.split('"').next());
        let action = action.unwrap_or_else(|| panic!("no form at {}: {}", page.url, page.body)).replace("&amp;", "&");
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        form.extend_pairs(hidden(&page.body));
        self.go(page.url.join(&action).expect("an address"), Some(form.finish())).await
    }

    async fn go(&mut self, mut url: Url, mut form: Option<String>) -> Page {
        for _ in 0..20 {
            let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let request = match form.take() {
                Some(form) => {
                    self.http.post(url.clone()).body(form).header("content-type", "application/x-www-form-urlencoded")
                }
                None => self.http.get(url.clone()),
            };
            let answer = request.header("cookie", cookies.join("; ")).send().await.expect("an answer");
            for cookie in answer.headers().get_all("set-cookie") {
                let pair = cookie.to_str().expect("text").split(';').next().unwrap_or("");
                let (name, value) = pair.split_once('=').expect("a cookie");
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
            match answer.headers().get("location") {
                Some(place) => url = url.join(place.to_str().expect("text")).expect("an address"),
                None => return Page { url, body: answer.text().await.expect("a page") },
            }
        }
        panic!("redirected for ever, to {url}");
    }
}

/// The hidden fields of a page's forms.
fn hidden(body: &str) -> Vec<(String, String)> {
    let attribute = |input: &str, name: &str| {
        let rest = input.split(&format!("{name}=\"")).nth(1)?;
        rest.split('"').next().map(str::to_owned)
    };
    let inputs = body.split("<input").skip(1).filter_map(|rest| rest.split('>').next());
    let hidden = inputs.filter(|input| input.contains("type=\"hidden\""));
    hidden
        .filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_default())))
        .collect()
}

fn stint(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stint"));
    command.arg("login").args(arguments).env_clear().env("HOME", home);
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    stint(home, arguments).output().expect("stint runs")
}

/// Begins a login, and reads what it asks for.
fn begin(home: &Path, issuer: &str, flow: &str) -> (Child, BufReader<std::process::ChildStdout>, Value) {
    let arguments = ["--issuer", issuer, "--client-id", "people", "--flow", flow, "--json"];
    let mut child = stint(home, &arguments).stdout(Stdio::piped()).spawn().expect("stint runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    let asked = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (child, lines, asked)
}

fn ended(mut child: Child, mut lines: BufReader<std::process::ChildStdout>) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert!(child.wait().expect("it ends").success(), "{line}");
    serde_json::from_str(&line).expect("JSON")
}

#[tokio::test]
async fn a_person_logs_in_by_each_flow_and_gets_a_lease() {
    let installation = Installation::start().await;
    let issuer = installation.keycloak.issuer();
    introduce(installation.keycloak).await;
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
    assert_eq!(run(home.path(), &["--status"]).status.code(), Some(1));

    for flow in ["device", "code"] {
        let (child, lines, asked) = begin(home.path(), &issuer, flow);
        let place = asked["complete"].as_str().or(asked["open"].as_str()).expect("an address");
        let mut browser = Browser::new();
        let page = browser.open(place).await;
        let mut page = browser.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
        if flow == "device" {
            page = browser.submit(&page, &[("accept", "Yes")]).await;
        } else {
            assert_eq!(page.body, "Back to the terminal: stint has what it needs.");
        }
        let told = tokio::task::spawn_blocking(move || ended(child, lines)).await.expect("it ends");
        assert_eq!(told["logged_in"], true, "{}: {}", page.url, page.body);
        assert_eq!((&told["login"]["issuer"], &told["login"]["renewable"]), (&json!(issuer), &json!(true)), "{told}");

        let token = run(home.path(), &["--token"]);
        assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
        let token = String::from_utf8(token.stdout).expect("text");
        let answer = installation.stint.lease(&token, &json!({"role": "studio"})).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let boto3 = Boto3::against(&installation.minio).holding(&answer.keys());
        assert_eq!(boto3.walk(&["put:assets/model", "put:foreign/x"]), ["ok", "AccessDenied"]);
        assert!(run(home.path(), &["--status"]).status.success());
    }

    // Keycloak is asked to take it back: a token that was kept is not renewed any more.
    let kept = home.path().join(".local/state/stint/login.json");
    let session = std::fs::read_to_string(&kept).expect("a login");
    let out = run(home.path(), &["--logout", "--json"]);
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), r#"{"logged_out":true,"withdrawn":true}"#);
    assert!(!kept.exists());
    let mut session: Value = serde_json::from_str(&session).expect("JSON");
    session["expires_at"] = 1.into();
    std::fs::write(&kept, session.to_string()).expect("our own directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&kept, mode).expect("our own file");
    let refused = run(home.path(), &["--token"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&refused.stderr).trim(), "stint: the login is over; log in again");
}
