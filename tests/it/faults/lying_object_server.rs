//! The object server at fault, before the real program: it answers too late, dies while it mints, or goes by another clock.
//! The caller is told to come back, the log says why, and nothing that was minted is left.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::harness::binary::{Site, eventually};
use crate::harness::clock::MovedClock;
use crate::harness::database::fresh_database;
use crate::harness::faulted::{Clients, Hold, Mint, Stage, Told};
use crate::harness::proxy::Proxy;

/// One that lives by the clock of this double.
async fn stage(mint: Mint) -> Stage {
    let database = fresh_database().await;
    let proxy = Proxy::before(&database).await;
    let site = Site::new(&proxy.url(&database), &mint.endpoint);
    Stage { database, proxy, mint, site, clients: Clients::new() }
}

fn come_back() -> Told {
    Told::ComeBack { code: "object_server_unavailable".to_owned() }
}

/// The one lease that was intended, with the reason for which it failed.
async fn failed(stage: &Stage) -> (Uuid, String) {
    let log = stage.witness().await;
    let [failed] = log.of_kind("lease.failed")[..] else { panic!("one failure") };
    (failed.lease_id.unwrap(), failed.reason.clone())
}

#[tokio::test]
async fn an_answer_after_the_time_limit_reaches_nobody_and_its_credential_is_ended() {
    let stage = Stage::new().await;
    let (_service, address) = stage.serve().await;
    stage.mint.hold(Hold::AfterMint);
    let told = stage.clients.exchange(address).await;
    assert_eq!(told, come_back());
    let (lease, reason) = failed(&stage).await;
    assert_eq!(reason, "object_server_interrupted");
    assert_eq!(stage.mint.minted().iter().map(|minted| minted.lease).collect::<Vec<_>>(), [lease]);
    eventually("it is revoked", async || stage.mint.revoked() == [lease]).await;
    stage.mint.hold(Hold::Nowhere);
    assert!(stage.clients.exchange(address).await.lease().is_some(), "the near twin: an answer in time");
    stage.witness().await;
}

#[tokio::test]
async fn a_server_that_dies_while_it_mints_fails_the_lease_at_once() {
    let stage = Stage::new().await;
    let (_service, address) = stage.serve().await;
    stage.mint.hold(Hold::AfterMint);
    let mut aside = stage.exchange_aside(address);
    stage.mint.held(1).await;
    let Stage { database, proxy, mint, site, clients } = stage;
    let minted = mint.minted();
    // Its port closes, and with it the connection that waits.
    drop(mint);
    assert_eq!(aside.join_next().await.unwrap().unwrap(), come_back());
    let stage = Stage { database, proxy, mint: Mint::start().await, site, clients };
    let (lease, reason) = failed(&stage).await;
    assert_eq!((minted[0].lease, reason.as_str()), (lease, "object_server_interrupted"));
    assert_eq!(stage.clients.exchange(address).await, come_back(), "while it is away");
    let log = stage.witness().await;
    assert_eq!(log.of_kind("lease.failed")[1].reason, "object_server_unreachable");
}

#[tokio::test]
async fn a_server_whose_clock_is_an_hour_ahead_is_not_believed() {
    let clock = Arc::new(MovedClock::start());
    let stage = stage(Mint::with(clock.clone()).await).await;
    let (_service, address) = stage.serve().await;
    assert!(stage.clients.exchange(address).await.lease().is_some(), "the near twin: a clock that is right");
    clock.advance(Duration::from_hours(1));
    assert_eq!(stage.clients.exchange(address).await, come_back());
    let (lease, reason) = failed(&stage).await;
    assert_eq!(reason, "object_server_expiration");
    eventually("it is revoked", async || stage.mint.revoked() == [lease]).await;
}
