//! Connections cut while a commit is under way: nothing twice, nothing lost, and nobody refused for what the writer can
//! prove to be there.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use super::{CLOSED, INTENDED, ISSUED, OPENED};
use crate::harness::binary::eventually;
use crate::harness::faulted::{Load, Stage, Told};
use crate::harness::proxy::Fault;

const WHOLE: [&str; 2] = ["lease.intended", "lease.issued"];
/// Stands in the query for the last seal of a stream, and in no other.
const HEAD: &str = "order by number desc";

/// A service whose next statement of either kind meets the fault, once; what the client was told, and its lease's fate.
async fn one_exchange(needle: &'static str, fault: Fault) {
    let stage = Stage::new().await;
    let (_service, address) = stage.serve().await;
    let trap = stage.proxy.trap(needle, fault, 1);
    let told = stage.clients.exchange(address).await;
    trap.sprung(1).await;
    let log = stage.witness().await;
    let lease = told.lease().unwrap_or_else(|| panic!("{told:?} for {needle} {fault:?}"));
    assert_eq!(log.fate(lease), WHOLE, "{needle} {fault:?}");
    assert_eq!(stage.mint.minted().len(), 1);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_proven_and_nobody_is_refused() {
    one_exchange(INTENDED, Fault::CutAfter).await;
    one_exchange(ISSUED, Fault::CutAfter).await;
}

#[tokio::test]
async fn a_statement_that_arrives_by_half_is_offered_again_and_committed_once() {
    one_exchange(INTENDED, Fault::CutHalf).await;
    one_exchange(ISSUED, Fault::CutHalf).await;
}

#[tokio::test]
async fn a_statement_that_never_arrives_is_offered_again_and_committed_once() {
    one_exchange(INTENDED, Fault::CutBefore).await;
    one_exchange(ISSUED, Fault::CutBefore).await;
}

#[tokio::test]
async fn an_intent_that_is_lost_twice_refuses_and_mints_nothing() {
    let stage = Stage::new().await;
    let (_service, address) = stage.serve().await;
    let trap = stage.proxy.trap(INTENDED, Fault::CutHalf, 2);
    let told = stage.clients.exchange(address).await;
    trap.sprung(2).await;
    assert_eq!(told, Told::ComeBack { code: "log_unavailable".to_owned() });
    assert_eq!(stage.mint.minted(), []);
    heals(&stage, address).await;
    let log = stage.witness().await;
    assert_eq!(log.lone_intents().len(), 0);
}

#[tokio::test]
async fn an_outcome_that_is_lost_twice_refuses_and_ends_the_credential() {
    let stage = Stage::new().await;
    let (_service, address) = stage.serve().await;
    let trap = stage.proxy.trap(ISSUED, Fault::CutHalf, 2);
    let told = stage.clients.exchange(address).await;
    trap.sprung(2).await;
    assert_eq!(told, Told::ComeBack { code: "log_unavailable".to_owned() });
    let lease = stage.mint.minted()[0].lease;
    assert_eq!(stage.mint.revoked(), [lease]);
    heals(&stage, address).await;
    let log = stage.witness().await;
    assert!(!log.fate(lease).contains(&"lease.issued"), "{:?}", log.fate(lease));
}

#[tokio::test]
async fn a_commit_that_nobody_can_prove_refuses_and_its_intent_stands_alone() {
    let stage = Stage::new().await;
    let (_service, address) = stage.serve().await;
    let commit = stage.proxy.trap(INTENDED, Fault::CutAfter, 1);
    let question = stage.proxy.trap(HEAD, Fault::CutBefore, 1);
    let told = stage.clients.exchange(address).await;
    commit.sprung(1).await;
    question.sprung(1).await;
    assert_eq!(told, Told::ComeBack { code: "log_unavailable".to_owned() });
    assert_eq!(stage.mint.minted(), []);
    heals(&stage, address).await;
    let log = stage.witness().await;
    let intents = log.of_kind("lease.intended");
    let refused = intents[0].lease_id.unwrap();
    assert!(!log.fate(refused).contains(&"lease.issued"), "{:?}", log.fate(refused));
    assert!(stage.mint.minted().iter().all(|minted| minted.lease != refused));
}

#[tokio::test]
async fn a_cut_while_the_stream_is_opened_leaves_one_stream_and_nobody_is_refused() {
    for fault in [Fault::CutAfter, Fault::CutHalf, Fault::CutBefore] {
        let stage = Stage::new().await;
        let trap = stage.proxy.trap(OPENED, fault, 1);
        let (_service, address) = stage.serve().await;
        trap.sprung(1).await;
        let told = stage.clients.exchange(address).await;
        let log = stage.witness().await;
        assert_eq!(told.lease().map(|lease| log.fate(lease)), Some(WHOLE.into()), "{fault:?}");
        assert_eq!(log.streams().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_cut_while_the_stream_is_closed_closes_it_once_at_most_and_the_service_ends_in_good_order() {
    for fault in [Fault::CutAfter, Fault::CutHalf, Fault::CutBefore] {
        let stage = Stage::new().await;
        let (mut service, _) = stage.serve().await;
        let trap = stage.proxy.trap(CLOSED, fault, 1);
        service.signal("TERM");
        trap.sprung(1).await;
        assert_eq!(service.ended().await, Some(0), "{fault:?}");
        let closed = stage.witness().await.of_kind("stream.closed").len();
        assert!(if fault == Fault::CutAfter { closed == 1 } else { closed <= 1 }, "{fault:?}: {closed}");
    }
}

#[tokio::test]
async fn cuts_of_every_kind_under_load_refuse_nobody() {
    let stage = Stage::new().await.deadline("10s");
    let (mut service, address) = stage.serve().await;
    let (_at, asked) = watch::channel(address);
    let load = Load::start(&stage.clients, 8, &asked);
    let mut rng = StdRng::seed_from_u64(4);
    for _ in 0..24 {
        let needle = [INTENDED, ISSUED][rng.random_range(0..2)];
        let fault = [Fault::CutAfter, Fault::CutHalf, Fault::CutBefore][rng.random_range(0..3)];
        stage.proxy.trap(needle, fault, 1).sprung(1).await;
        // More than were under way: the writer has recovered, and the next cut is not the second of one commit.
        stage.clients.served(9).await;
    }
    load.end().await;
    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));
    let told = stage.clients.told();
    let turned_away: Vec<&Told> =
        told.iter().filter(|told| !matches!(told, Told::Issued { .. } | Told::Denied { .. })).collect();
    assert_eq!(turned_away, Vec::<&Told>::new());
    let log = stage.audited().await;
    assert_eq!(log.streams().len(), 1);
    assert_eq!(log.lone_intents().len(), 0);
    assert_eq!(log.of_kind("lease.issued").len(), told.iter().filter(|told| told.lease().is_some()).count());
}

/// The service serves again by itself.
async fn heals(stage: &Stage, address: std::net::SocketAddr) {
    eventually("the service heals", async || stage.clients.exchange(address).await.lease().is_some()).await;
}
