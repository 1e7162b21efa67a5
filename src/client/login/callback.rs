//! The redirect's end on loopback (RFC 8252 section 7.3): one path of a port of our own, open for one login. What comes with
//! another state is answered and passed over, so that nobody else on this machine can end a login that is under way.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::fault::LoginFault;
use crate::client::fault::one_line;

const PATH: &str = "/callback";
/// The longest that anybody is waited for.
const LONGEST: Duration = Duration::from_mins(10);
/// How long the last page may take to leave.
const DRAIN: Duration = Duration::from_secs(1);

/// What the provider sent the browser back with.
#[derive(Debug)]
pub(super) struct Callback {
    pub(super) code: Option<SecretString>,
    pub(super) iss: Option<String>,
    /// The OAuth error, cut to a line.
    pub(super) error: Option<String>,
}

/// A port that listens.
pub(super) struct Loopback {
    listener: TcpListener,
    port: u16,
}

#[derive(Clone)]
struct Waiting {
    state: String,
    heard: mpsc::Sender<Callback>,
}

impl Loopback {
    /// Takes a free port. The literal address: a name could be resolved to somebody else (section 8.3).
    pub(super) async fn open() -> Result<Self, LoginFault> {
        let failed = |error: std::io::Error| LoginFault::Loopback(error.to_string());
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self { listener, port })
    }

    pub(super) fn redirect_uri(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Waits for the browser to come with this state.
    pub(super) async fn wait(self, state: &str) -> Result<Callback, LoginFault> {
        let (heard, mut callbacks) = mpsc::channel(1);
        let waiting = Waiting { state: state.to_owned(), heard };
        let router = Router::new().route(PATH, get(arrive)).with_state(waiting);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(self.listener, router).with_graceful_shutdown(async {
            // The sender gone means the same.
            let _ = stopped.await;
        });
        let mut serving = std::pin::pin!(serving.into_future());
        let callback = tokio::select! {
            callback = timeout(LONGEST, callbacks.recv()) => callback.ok().flatten(),
            _ = &mut serving => None,
        };
        drop(stop);
        let _ = timeout(DRAIN, serving).await;
        callback.ok_or(LoginFault::TimedOut)
    }
}

async fn arrive(State(waiting): State<Waiting>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let query = query.unwrap_or_default();
    let told = match read(&query, &waiting.state) {
        Some(callback) => {
            let said = if callback.error.is_none() {
                "Back to the terminal: stint has what it needs."
            } else {
                "The login was refused."
            };
            // A second one finds the channel full: the first counts.
            let _ = waiting.heard.try_send(callback);
            (StatusCode::OK, said)
        }
        None => (StatusCode::BAD_REQUEST, "This is not the login that stint waits for."),
    };
    (told.0, [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")], told.1)
}

fn read(query: &str, state: &str) -> Option<Callback> {
    let value = |name: &str| {
        let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(given, _)| given == name);
        // One that is sent twice is not believed at all.
        values.next().map(|(_, value)| value.into_owned()).filter(|_| values.next().is_none())
    };
    let given = value("state")?;
    verify_slices_are_equal(given.as_bytes(), state.as_bytes()).ok()?;
    let (code, error) = (value("code").map(SecretString::from), value("error").map(|error| one_line(&error)));
    (code.is_some() || error.is_some()).then(|| Callback { code, iss: value("iss"), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_with_the_state_counts() {
        let whole = read("code=c&state=s&iss=https%3A%2F%2Fa.example", "s").unwrap();
        assert_eq!((whole.iss.as_deref(), whole.error), (Some("https://a.example"), None));
        assert_eq!(read("error=access_denied&state=s", "s").unwrap().error.as_deref(), Some("access_denied"));
        for query in
            ["", "code=c", "code=c&state=", "code=c&state=S", "code=c&state=s&state=s", "state=s", "code=c&state=ss"]
        {
            assert!(read(query, "s").is_none(), "{query}");
        }
        assert!(read("code=c&code=d&state=s", "s").is_none());
    }
}
