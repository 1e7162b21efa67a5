//! Clients that ask for leases again and again while something happens to a server, and keep what they were told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Answer, Keys, Stint, until};

/// What a client was told.
#[derive(Clone)]
pub(crate) enum Told {
    /// A lease and its credentials.
    Issued(String, Keys),
    /// To come back, with this code.
    ComeBack(String),
    /// What nobody may be told.
    Strange(String),
}

impl Told {
    fn of(answer: Option<&Answer>) -> Self {
        let Some(answer) = answer else { return Self::Strange("no answer".to_owned()) };
        let json = answer.json();
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        match answer.status {
            201 => Self::Issued(text("lease_id"), answer.keys()),
            503 if answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()) => {
                Self::ComeBack(text("code"))
            }
            status => Self::Strange(format!("{status} {}", answer.body)),
        }
    }
}

/// Clients under way.
pub(crate) struct Load {
    clients: JoinSet<()>,
    stop: CancellationToken,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Load {
    /// So many clients with this token, each with one request at a time.
    pub(crate) fn start(stint: &Stint, token: &str, count: usize) -> Self {
        let (stop, mut clients) = (CancellationToken::new(), JoinSet::new());
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        for _ in 0..count {
            let (url, token, stop, told) = (stint.url("/v1/leases"), token.to_owned(), stop.clone(), Arc::clone(&told));
            clients.spawn(async move {
                while !stop.is_cancelled() {
                    // A new lease each time, were leases handed out again one day.
                    let answer = Answer::to_json(&url, &token, &json!({"fresh": true})).await;
                    let said = Told::of(answer.as_ref());
                    let away = matches!(said, Told::ComeBack(_));
                    told.lock().expect("no client panics").push(said);
                    if away {
                        // As a client does: not in a tight loop.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
        Self { clients, stop, told }
    }

    fn count(&self, what: impl Fn(&Told) -> bool) -> usize {
        self.told.lock().expect("no client panics").iter().filter(|told| what(told)).count()
    }

    /// Waits until so many more leases were issued.
    pub(crate) async fn issues(&self, more: usize) {
        let issued = || self.count(|told| matches!(told, Told::Issued(..)));
        let enough = issued() + more;
        until("leases are issued", Duration::from_mins(1), async || issued() >= enough).await;
    }

    /// Waits until so many more clients were told to come back.
    pub(crate) async fn turns_away(&self, more: usize) {
        let away = || self.count(|told| matches!(told, Told::ComeBack(_)));
        let enough = away() + more;
        until("clients are turned away", Duration::from_mins(1), async || away() >= enough).await;
    }

    /// Ends it, each client with its last answer; everything that was told.
    pub(crate) async fn end(mut self) -> Vec<Told> {
        self.stop.cancel();
        while let Some(client) = self.clients.join_next().await {
            client.expect("no client panics");
        }
        std::mem::take(&mut *self.told.lock().expect("no client panics"))
    }
}
