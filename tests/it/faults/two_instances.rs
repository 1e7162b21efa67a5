//! Two instances with one key file on one database: each writes a stream of its own and waits for nobody.

use stint::audit::SigningKey;
use tokio::sync::watch;

use super::INTENDED;
use crate::harness::binary::Site;
use crate::harness::faulted::{Load, Stage, seal_with, verified};
use crate::harness::proxy::Fault;

/// Written by `openssl genpkey -algorithm ed25519`, for this test only.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIO4yn+A53sCFyv6/JDtYlljAza5CsOePpTDv34cO5VBm\n-----END PRIVATE KEY-----\n";

#[tokio::test]
async fn under_load_each_has_a_whole_stream_of_its_own_and_whoever_comes_later_names_both() {
    let one = Stage::new().await;
    let mut two = Stage::on(one.database.clone()).await;
    // One memory of what clients were told, and one object server, as behind one load balancer.
    two.clients = one.clients.clone();
    two.site = Site::new(&two.proxy.url(&two.database), &one.mint.endpoint);
    seal_with(&one.site, KEY);
    seal_with(&two.site, KEY);
    let (mut first, first_address) = one.serve().await;
    let (mut second, second_address) = two.serve().await;

    // A commit of the first that takes for ever costs the second nothing.
    let trap = one.proxy.trap(INTENDED, Fault::HoldAnswer, 1);
    let mut aside = one.exchange_aside(first_address);
    trap.sprung(1).await;
    for _ in 0..5 {
        assert!(two.clients.exchange(second_address).await.lease().is_some());
    }
    trap.let_go();
    let told = aside.join_next().await.unwrap().unwrap();
    assert!(told.lease().is_some(), "held for less than the deadline: {told:?}");

    let ((_a, first_asked), (_b, second_asked)) = (watch::channel(first_address), watch::channel(second_address));
    let loads = [Load::start(&one.clients, 6, &first_asked), Load::start(&two.clients, 6, &second_asked)];
    one.clients.served(200).await;
    for load in loads {
        load.end().await;
    }
    for service in [&mut first, &mut second] {
        service.signal("TERM");
        assert_eq!(service.ended().await, Some(0));
    }
    let log = one.witness().await;
    let [older, newer] = log.streams()[..] else { panic!("{:?}", log.streams()) };
    for stream in [older, newer] {
        assert!(log.rows[&stream].iter().filter(|row| row.kind == "lease.issued").count() > 20);
    }

    let (mut third, _) = one.serve().await;
    third.signal("TERM");
    assert_eq!(third.ended().await, Some(0));
    let log = one.witness().await;
    let last = *log.streams().last().unwrap();
    assert_eq!(log.named_by(last), [log.head(older), log.head(newer)]);
    // One key for all of them, which an auditor can know beforehand.
    let public = *SigningKey::from_pem(KEY.as_bytes()).unwrap().public();
    assert_eq!(log.keys.into_values().collect::<Vec<_>>(), [public]);
    one.site.write("public.pem", public.to_pem());
    verified(&one.site, &[one.site.path().join("public.pem").to_str().unwrap()]).await;
}
