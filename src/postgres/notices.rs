//! LISTEN: another instance, or a command line, said something that all should hear of. A notification is never believed, only
//! taken as a reason to read; and whoever misses one reads a moment later all the same.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{PostgresError, PostgresStore};

/// The channel that the trigger on `audit_event` notifies.
const CHANNEL: &str = "stint_audit_event";
/// How long a silent connection is believed: one that was cut without a word hears nothing for ever.
const SILENCE: Duration = Duration::from_secs(30);
/// Between two attempts to listen.
const PAUSE: Duration = Duration::from_secs(1);

impl PostgresStore {
    /// Wakes whoever waits on `wake`, until `stop`: at each notification, and whenever some may have been missed. It outlives
    /// every lost connection.
    pub async fn listen(&self, wake: &Notify, stop: &CancellationToken) {
        let listening = async {
            let mut told = false;
            loop {
                let Err(error) = self.listen_once(wake, &mut told).await;
                if told {
                    tracing::warn!(%error, "notifications of other instances are not heard: they are asked for instead");
                    told = false;
                }
                sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = listening => {}
        }
    }

    /// Listens on one connection for as long as it lasts. `heard` becomes true once it does.
    async fn listen_once(&self, wake: &Notify, heard: &mut bool) -> Result<std::convert::Infallible, PostgresError> {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(self.connect_timeout);
        let pool = Arc::new(pool.connect_lazy_with(self.options.clone()));
        let mut listener = PgListener::connect_with(&pool).await.map_err(PostgresError::Connect)?;
        listener.listen(CHANNEL).await?;
        *heard = true;
        loop {
            // Also at the first: what was said before is unheard.
            wake.notify_one();
            match timeout(SILENCE, listener.try_recv()).await {
                Ok(Ok(Some(_said))) => {}
                Ok(Ok(None)) => return Err(PostgresError::Query(sqlx::Error::PoolClosed)),
                Ok(Err(error)) => return Err(error.into()),
                Err(_silence) => match timeout(self.connect_timeout, listener.execute("select 1")).await {
                    Ok(answered) => {
                        answered?;
                    }
                    Err(_elapsed) => return Err(PostgresError::Timeout { within: self.connect_timeout }),
                },
            }
        }
    }
}
