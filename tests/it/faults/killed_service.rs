//! The service killed by SIGKILL: at each step of an exchange, and again and again under load.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use uuid::Uuid;

use super::{INTENDED, ISSUED};
use crate::harness::binary::eventually;
use crate::harness::faulted::{Hold, InProcess, Load, SetClock, Stage, Told, kill};
use crate::harness::proxy::Fault;
use crate::harness::witness::Log;

const CLIENTS: usize = 12;
const ROUNDS: usize = 8;
const SEED: u64 = 0x5717;

/// Starts the service again: it serves, and its stream names where the one that was cut stood. The log at its end.
async fn started_again(stage: &Stage) -> Log {
    let before = stage.witness().await;
    let cut = *before.streams().last().unwrap();
    let (mut service, address) = stage.serve().await;
    let told = stage.clients.exchange(address).await;
    assert!(told.lease().is_some(), "{told:?}");
    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));

    let log = stage.witness().await;
    let new = *log.streams().last().unwrap();
    assert_ne!(new, cut);
    assert_eq!(log.named_by(new), [before.head(cut)]);
    assert_eq!(log.rows[&new].last().unwrap().kind, "stream.closed");
    assert_ne!(log.rows[&cut].last().unwrap().kind, "stream.closed");
    log
}

/// The lease of the one exchange that was cut: nobody was told of it.
fn the_cut_lease(stage: &Stage, log: &Log) -> Uuid {
    let told: Vec<Uuid> = stage.clients.told().iter().filter_map(Told::lease).collect();
    let untold: Vec<Uuid> = log
        .of_kind("lease.intended")
        .iter()
        .filter_map(|row| row.lease_id)
        .filter(|lease| !told.contains(lease))
        .collect();
    let [lease] = untold.as_slice() else { panic!("{untold:?}") };
    *lease
}

#[tokio::test]
async fn killed_before_the_intent_is_committed_nothing_was_minted_and_nothing_is_on_record() {
    let stage = Stage::new().await;
    let (service, address) = stage.serve().await;
    let trap = stage.proxy.trap(INTENDED, Fault::HoldStatement, 1);
    let mut aside = stage.exchange_aside(address);
    trap.sprung(1).await;
    kill(service).await;
    assert_eq!(aside.join_next().await.unwrap().unwrap(), Told::Nothing);
    assert_eq!(stage.mint.minted(), []);
    let log = started_again(&stage).await;
    assert_eq!(log.of_kind("lease.intended").len(), 1, "the one after the restart");
}

#[tokio::test]
async fn an_intent_that_arrives_after_its_service_died_stands_alone_and_a_later_stream_names_it() {
    let stage = Stage::new().await;
    let (service, address) = stage.serve().await;
    let trap = stage.proxy.trap(INTENDED, Fault::HoldStatement, 1);
    let mut aside = stage.exchange_aside(address);
    trap.sprung(1).await;
    kill(service).await;
    assert_eq!(aside.join_next().await.unwrap().unwrap(), Told::Nothing);
    let log = started_again(&stage).await;
    let cut = log.streams()[0];
    let named = log.head(cut);

    trap.let_go();
    eventually("the late intent is there", async || Log::read(&stage.database).await.head(cut) != named).await;
    let log = stage.witness().await;
    assert_eq!(log.fate(the_cut_lease(&stage, &log)), ["lease.intended"]);
    assert!(stage.mint.minted().iter().all(|minted| minted.lease != the_cut_lease(&stage, &log)));

    let (mut service, _) = stage.serve().await;
    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));
    let log = stage.witness().await;
    let [_, second, third] = log.streams()[..] else { panic!("{:?}", log.streams()) };
    assert_eq!(log.named_by(third), [log.head(cut), log.head(second)]);
}

#[tokio::test]
async fn killed_between_the_intent_and_the_mint_the_intent_stands_alone() {
    let stage = Stage::new().await;
    let (service, address) = stage.serve().await;
    stage.mint.hold(Hold::BeforeMint);
    let mut aside = stage.exchange_aside(address);
    stage.mint.held(1).await;
    kill(service).await;
    assert_eq!(aside.join_next().await.unwrap().unwrap(), Told::Nothing);
    let log = stage.witness().await;
    let lease = the_cut_lease(&stage, &log);
    assert_eq!(log.fate(lease), ["lease.intended"]);
    // The call had been sent: the server may do it although nobody waits for it.
    stage.mint.hold(Hold::Nowhere);
    eventually("it is minted", async || stage.mint.minted().iter().any(|minted| minted.lease == lease)).await;
    started_again(&stage).await;
}

#[tokio::test]
async fn killed_while_the_mint_answers_the_intent_stands_alone() {
    let stage = Stage::new().await;
    let (service, address) = stage.serve().await;
    stage.mint.hold(Hold::AfterMint);
    let mut aside = stage.exchange_aside(address);
    stage.mint.held(1).await;
    kill(service).await;
    assert_eq!(aside.join_next().await.unwrap().unwrap(), Told::Nothing);
    stage.mint.hold(Hold::Nowhere);
    let log = stage.witness().await;
    assert_eq!(log.lone_intents().into_iter().collect::<Vec<_>>(), [stage.mint.minted()[0].lease]);
    started_again(&stage).await;
}

#[tokio::test]
async fn killed_between_the_mint_and_its_outcome_the_credential_never_left() {
    let stage = Stage::new().await;
    let (service, address) = stage.serve().await;
    let trap = stage.proxy.trap(ISSUED, Fault::HoldStatement, 1);
    let mut aside = stage.exchange_aside(address);
    trap.sprung(1).await;
    kill(service).await;
    assert_eq!(aside.join_next().await.unwrap().unwrap(), Told::Nothing);
    let log = stage.witness().await;
    assert_eq!(log.lone_intents().into_iter().collect::<Vec<_>>(), [stage.mint.minted()[0].lease]);
    started_again(&stage).await;
}

#[tokio::test]
async fn killed_between_the_outcome_and_the_answer_both_are_on_record() {
    let stage = Stage::new().await;
    let (service, address) = stage.serve().await;
    let trap = stage.proxy.trap(ISSUED, Fault::HoldAnswer, 1);
    let mut aside = stage.exchange_aside(address);
    trap.sprung(1).await;
    kill(service).await;
    assert_eq!(aside.join_next().await.unwrap().unwrap(), Told::Nothing);
    let log = started_again(&stage).await;
    let lease = the_cut_lease(&stage, &log);
    assert_eq!(log.fate(lease), ["lease.intended", "lease.issued"]);
    assert_eq!(stage.mint.minted()[0].lease, lease);
}

#[tokio::test]
async fn killed_again_and_again_under_load_no_client_holds_what_is_not_on_record() {
    let stage = Stage::new().await;
    let mut rng = StdRng::seed_from_u64(SEED);
    let (mut service, address) = stage.serve().await;
    let (at, asked) = watch::channel(address);
    let load = Load::start(&stage.clients, CLIENTS, &asked);
    for round in 0..ROUNDS {
        let more = rng.random_range(4..60);
        stage.clients.served(more).await;
        kill(service).await;
        let log = stage.witness().await;
        assert_eq!(log.streams().len(), round + 1);
        let (next, address) = stage.serve().await;
        (service, _) = (next, at.send_replace(address));
    }
    stage.clients.served(CLIENTS).await;
    load.end().await;
    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));
    let (mut last, _) = stage.serve().await;
    last.signal("TERM");
    assert_eq!(last.ended().await, Some(0));

    let log = stage.audited().await;
    assert_eq!(log.streams().len(), ROUNDS + 2);
    // Whatever the killed ones still committed was named by whoever came after.
    let named: Vec<_> = log.streams().iter().flat_map(|stream| log.named_by(*stream)).collect();
    for stream in &log.streams()[..=ROUNDS] {
        assert!(named.contains(&log.head(*stream)), "nobody names the end of {stream}");
    }
    let issued = stage.clients.told().iter().filter(|told| told.lease().is_some()).count();
    assert!(issued > 100, "{issued} exchanges are no load");
    assert!(!log.lone_intents().is_empty() || log.of_kind("lease.issued").len() > issued, "no kill met an exchange");
    nothing_is_in_doubt(&stage).await;
}

#[tokio::test]
async fn what_was_in_doubt_when_a_service_was_killed_is_closed_by_the_next_and_ended_at_the_object_server() {
    let stage = Stage::new().await;
    for hold in [Hold::BeforeMint, Hold::AfterMint] {
        let (service, address) = stage.serve().await;
        stage.mint.hold(hold);
        let mut aside = stage.exchange_aside(address);
        stage.mint.held_now().await;
        kill(service).await;
        assert_eq!(aside.join_next().await.unwrap().unwrap(), Told::Nothing);
        stage.mint.hold(Hold::Nowhere);
    }
    eventually("both are minted", async || stage.mint.minted().len() == 2).await;
    let lone: Vec<Uuid> = stage.witness().await.lone_intents().into_iter().collect();
    assert_eq!(lone.len(), 2);
    let log = nothing_is_in_doubt(&stage).await;
    let revoked = stage.mint.revoked();
    for lease in lone {
        assert_eq!(log.fate(lease), ["lease.intended", "lease.abandoned"]);
        assert!(revoked.contains(&lease));
    }
}

/// A service that runs for long enough closes every intent that was left alone, and none that somebody was told of.
async fn nothing_is_in_doubt(stage: &Stage) -> Log {
    let clock = Arc::new(SetClock::start());
    let service = InProcess::serve(&stage.site, clock.clone()).await;
    eventually("nothing is in doubt", async || {
        // Longer than any exchange takes, and than the service waits before it believes that.
        clock.pass(Duration::from_mins(2));
        tokio::time::sleep(Duration::from_millis(500)).await;
        Log::read(&stage.database).await.lone_intents().is_empty()
    })
    .await;
    service.end().await;
    let log = stage.audited().await;
    assert!(log.lone_intents().is_empty());
    log
}
