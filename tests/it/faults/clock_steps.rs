//! A clock that steps back an hour while the service runs: the log is in the order in which it was said, whatever its
//! times are, and no lease is longer for it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use stint::app::App;
use stint::clock::{Clock, SystemClock};
use stint::config::{Config, Environment};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::binary::Site;
use crate::harness::database::fresh_database;
use crate::harness::faulted::{Clients, Mint, REAL_LIFE, Told};
use crate::harness::tokens::Forge;
use crate::harness::witness::Log;

/// The machine's clocks, the one on the wall set by a test.
#[derive(Debug)]
struct SetClock {
    machine: SystemClock,
    ahead: AtomicI64,
}

impl SetClock {
    /// Sets the clock on the wall; the time that only goes forward does.
    fn step(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> OffsetDateTime {
        self.machine.now() + time::Duration::seconds(self.ahead.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        self.machine.elapsed()
    }
}

struct NoEnvironment;

impl Environment for NoEnvironment {
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn read_file(&self, path: &Path) -> std::io::Result<String> {
        fs::read_to_string(path)
    }
}

#[tokio::test]
async fn a_clock_that_steps_back_an_hour_changes_neither_the_order_nor_the_length_of_anything() {
    let clock = Arc::new(SetClock { machine: SystemClock::start(), ahead: AtomicI64::new(0) });
    let (database, mint) = (fresh_database().await, Mint::with(clock.clone()).await);
    let site = Site::new(&database, &mint.endpoint);
    let text = fs::read_to_string(site.config()).unwrap();
    let app = App::build(Config::read(&text, site.path(), &NoEnvironment).unwrap(), clock.clone()).await.unwrap();
    let (address, stop, tasks) = (app.address(), CancellationToken::new(), TaskTracker::new());
    let running = stop.clone();
    tasks.spawn(async move { app.run(running).await.unwrap() });
    tasks.close();
    let guard = stop.drop_guard();

    let clients = Clients::new();
    for step in [0, -3600, 3600, -3600] {
        clock.step(step);
        for _ in 0..3 {
            let provider = &Forge::shared().authentik;
            let draft = provider.draft(clock.now().unix_timestamp()).claim("nonce", Uuid::now_v7().to_string());
            let told = clients.present(address, &draft.sign(&provider.key)).await;
            assert!(told.lease().is_some(), "{told:?}");
        }
    }
    drop(guard);
    tasks.wait().await;

    let log = Log::read(&database).await;
    log.assert_whole();
    log.assert_covers(&clients.told(), &mint.minted());
    // As it was said: by number, in one stream, although the times go back.
    let told: Vec<Uuid> = clients.told().iter().filter_map(Told::lease).collect();
    let issued = log.of_kind("lease.issued");
    assert_eq!(issued.iter().filter_map(|row| row.lease_id).collect::<Vec<_>>(), told);
    let times: Vec<OffsetDateTime> = log.all().map(|row| row.occurred_at).collect();
    assert!(!times.is_sorted(), "the clock stepped back, and the rows say so");
    for row in issued {
        let life = row.ends_at.unwrap() - row.occurred_at;
        assert!(life > time::Duration::minutes(15) && life <= time::Duration::hours(1), "{life}");
        assert!((life.whole_seconds() - i64::try_from(REAL_LIFE.as_secs()).unwrap()).abs() < 60, "{life}");
    }
}
