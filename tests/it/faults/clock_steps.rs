//! A clock that steps back an hour while the service runs: the log is in the order in which it was said, whatever its
//! times are, and no lease is longer for it.

use std::sync::Arc;

use stint::clock::Clock;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::harness::binary::Site;
use crate::harness::database::fresh_database;
use crate::harness::faulted::{Clients, InProcess, Mint, REAL_LIFE, SetClock, Told, verified};
use crate::harness::tokens::Forge;
use crate::harness::witness::Log;

#[tokio::test]
async fn a_clock_that_steps_back_an_hour_changes_neither_the_order_nor_the_length_of_anything() {
    let clock = Arc::new(SetClock::start());
    let (database, mint) = (fresh_database().await, Mint::with(clock.clone()).await);
    let site = Site::new(&database, &mint.endpoint);
    let service = InProcess::serve(&site, clock.clone()).await;
    let clients = Clients::new();
    for hours in [0, -1, 1, -1] {
        clock.step(time::Duration::hours(hours));
        for _ in 0..3 {
            let provider = &Forge::shared().authentik;
            let draft = provider.draft(clock.now().unix_timestamp()).claim("nonce", Uuid::now_v7().to_string());
            let told = clients.present(service.address, &draft.sign(&provider.key)).await;
            assert!(told.lease().is_some(), "{told:?}");
        }
    }
    service.end().await;
    verified(&site, &[]).await;

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
