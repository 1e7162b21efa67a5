//! The checker itself: it must find what the fault tests trust it to find.

use uuid::Uuid;

use crate::harness::faulted::{Minted, Stage, Told};
use crate::harness::witness::Log;

/// A log of a few exchanges, and what is known of them.
async fn a_good_log() -> (Log, Vec<Told>, Vec<Minted>) {
    let stage = Stage::new().await;
    let (mut service, address) = stage.serve().await;
    for _ in 0..3 {
        assert!(stage.clients.exchange(address).await.lease().is_some());
    }
    assert!(matches!(stage.clients.ask_for_nothing(address).await, Told::Denied { .. }));
    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));
    (stage.witness().await, stage.clients.told(), stage.mint.minted())
}

#[tokio::test]
async fn every_kind_of_tampering_is_found() {
    let (log, _, _) = a_good_log().await;
    let stream = log.streams()[0];
    let mut tampered: Vec<(&str, Log)> = Vec::new();
    let mut tamper = |what, change: &dyn Fn(&mut Log)| {
        let mut changed = log.clone();
        change(&mut changed);
        tampered.push((what, changed));
    };
    tamper("an edited row", &|log| log.rows.get_mut(&stream).unwrap()[2].reason = "other".to_owned());
    tamper("a lost row", &|log| drop(log.rows.get_mut(&stream).unwrap().remove(2)));
    tamper("a lost end", &|log| drop(log.rows.get_mut(&stream).unwrap().pop()));
    tamper("rows in another order", &|log| log.rows.get_mut(&stream).unwrap().swap(2, 3));
    tamper("a row more", &|log| {
        let rows = log.rows.get_mut(&stream).unwrap();
        rows.push(rows[2].clone());
    });
    tamper("a lost seal", &|log| drop(log.seals.get_mut(&stream).unwrap().remove(1)));
    tamper("a seal of another time", &|log| {
        let seal = &mut log.seals.get_mut(&stream).unwrap()[1];
        seal.sealed_at += time::Duration::seconds(1);
    });
    tamper("a seal of another key", &|log| log.keys.clear());
    tamper("a stream without seals", &|log| log.seals.clear());
    for (what, log) in tampered {
        assert!(!log.findings().is_empty(), "{what} is not found");
    }
}

#[tokio::test]
async fn what_a_client_was_told_and_the_log_does_not_hold_is_found() {
    let (log, told, minted) = a_good_log().await;
    assert_eq!(log.missing(&told, &minted), Vec::<String>::new());
    let stranger = Uuid::now_v7();
    let another_key = told.iter().find_map(Told::lease).unwrap();
    for wrong in [
        Told::Issued { lease: stranger, access_key_id: minted[0].access_key_id.clone() },
        Told::Issued { lease: another_key, access_key_id: "AKOTHER".to_owned() },
        Told::Denied { request_id: stranger },
        Told::ComeBack { code: "internal".to_owned() },
        Told::Strange("201".to_owned()),
    ] {
        assert_eq!(log.missing(std::slice::from_ref(&wrong), &[]).len(), 1, "{wrong:?}");
    }
    let unknown = Minted { lease: stranger, access_key_id: "AKOTHER".to_owned() };
    assert_eq!(log.missing(&[], &[unknown]).len(), 1);

    let mut lost = log.clone();
    for rows in lost.rows.values_mut() {
        rows.retain(|row| row.kind != "lease.issued");
    }
    assert_eq!(lost.missing(&told, &minted).len(), 3);
    assert_eq!(lost.lone_intents().len(), 3);
}
