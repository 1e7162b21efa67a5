//! A commit slower than the deadline: whoever waits is refused when it passes, no credential leaves, and what commits late
//! can be told from what was in time.

use std::time::Duration;

use stint::clock::{Clock, SystemClock};

use super::{INTENDED, ISSUED};
use crate::harness::binary::eventually;
use crate::harness::faulted::{Stage, Told};
use crate::harness::proxy::Fault;
use crate::harness::witness::Log;

const DEADLINE: Duration = Duration::from_secs(1);

fn turned_away() -> Told {
    Told::ComeBack { code: "log_unavailable".to_owned() }
}

/// What one client is told whose commit is held, and that it was told when the deadline passed: not before, not long after.
async fn told_at_the_deadline(stage: &Stage, address: std::net::SocketAddr) {
    let clock = SystemClock::start();
    assert_eq!(stage.clients.exchange(address).await, turned_away());
    let waited = clock.elapsed();
    assert!(waited >= DEADLINE && waited < DEADLINE * 4, "{waited:?}");
}

#[tokio::test]
async fn an_intent_that_commits_late_mints_nothing_and_stands_without_an_outcome() {
    let stage = Stage::new().await.deadline("1s");
    let (_service, address) = stage.serve().await;
    let trap = stage.proxy.trap(INTENDED, Fault::HoldAnswer, 1);
    told_at_the_deadline(&stage, address).await;
    trap.let_go();
    eventually("the service serves", async || stage.clients.exchange(address).await.lease().is_some()).await;
    let log = stage.witness().await;
    let late = log.of_kind("lease.intended")[0].lease_id.unwrap();
    assert!(!log.fate(late).contains(&"lease.issued"), "{:?}", log.fate(late));
    assert!(stage.mint.minted().iter().all(|minted| minted.lease != late));
}

#[tokio::test]
async fn an_intent_that_arrives_late_is_committed_once_and_mints_nothing() {
    let stage = Stage::new().await.deadline("1s");
    let (_service, address) = stage.serve().await;
    let trap = stage.proxy.trap(INTENDED, Fault::HoldStatement, 1);
    told_at_the_deadline(&stage, address).await;
    // By now the writer has asked, heard that nothing is there, and may have offered it again.
    trap.let_go();
    eventually("the service serves", async || stage.clients.exchange(address).await.lease().is_some()).await;
    let log = stage.witness().await;
    let served: Vec<_> = stage.clients.told().iter().filter_map(Told::lease).collect();
    for row in log.of_kind("lease.intended") {
        let lease = row.lease_id.unwrap();
        let minted = stage.mint.minted().iter().any(|minted| minted.lease == lease);
        assert_eq!(minted, served.contains(&lease), "{:?}", log.fate(lease));
    }
}

#[tokio::test]
async fn an_outcome_that_commits_late_leaves_no_credential_with_anybody() {
    let stage = Stage::new().await.deadline("1s");
    let (_service, address) = stage.serve().await;
    let trap = stage.proxy.trap(ISSUED, Fault::HoldAnswer, 1);
    told_at_the_deadline(&stage, address).await;
    let lease = stage.mint.minted()[0].lease;
    eventually("the credential is revoked", async || stage.mint.revoked() == [lease]).await;
    trap.let_go();
    let log = stage.witness().await;
    assert_eq!(log.fate(lease)[0], "lease.intended");
}

#[tokio::test]
async fn an_outcome_that_arrives_late_leaves_no_credential_with_anybody() {
    let stage = Stage::new().await.deadline("1s");
    let (_service, address) = stage.serve().await;
    let trap = stage.proxy.trap(ISSUED, Fault::HoldStatement, 1);
    told_at_the_deadline(&stage, address).await;
    let lease = stage.mint.minted()[0].lease;
    eventually("the credential is revoked", async || stage.mint.revoked() == [lease]).await;
    trap.let_go();
    eventually("the service serves", async || stage.clients.exchange(address).await.lease().is_some()).await;
    let log = stage.witness().await;
    assert_eq!(log.fate(lease)[0], "lease.intended");
}

#[tokio::test]
async fn a_refusal_that_cannot_be_recorded_in_time_is_not_told() {
    let stage = Stage::new().await.deadline("1s");
    let (_service, address) = stage.serve().await;
    let trap = stage.proxy.trap(r#""type":"exchange.refused""#, Fault::HoldAnswer, 1);
    assert_eq!(stage.clients.ask_for_nothing(address).await, turned_away());
    trap.let_go();
    eventually("refusals are recorded again", async || {
        matches!(stage.clients.ask_for_nothing(address).await, Told::Denied { .. })
    })
    .await;
    let log: Log = stage.witness().await;
    assert!(log.of_kind("exchange.refused").len() >= 2);
}
