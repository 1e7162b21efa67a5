//! Quotas end to end: each is a refusal of its own that tells when to come back, over all instances within the stated error,
//! and one workload without measure starves no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use stint::clock::{Clock, SystemClock};
use tokio::task::JoinSet;

use crate::harness::clock::MovedClock;
use crate::harness::database::{connect, one};
use crate::harness::faulted::{Hold, Mint};
use crate::harness::service::{Seen, Service, Setup, now};
use crate::harness::tokens::Forge;

const POLICIES: &[(&str, &str)] =
    &[("roles/second.toml", "documents = [\"recordings\"]\n[[allow]]\ngroups = [\"team-b\"]\n")];

/// So long that every count of what is out is too old, however slow the machine is.
const LONG: Duration = Duration::from_mins(2);

async fn start(mint: &Mint, more: &'static str) -> Service {
    start_by(&Arc::new(MovedClock::start()), mint, more, None).await
}

/// By a clock that the test moves, on a log that is there if it is given.
async fn start_by(clock: &Arc<MovedClock>, mint: &Mint, more: &'static str, log: Option<&Service>) -> Service {
    let database = log.map(|service| service.database.clone());
    let clock: Arc<dyn Clock> = clock.clone();
    Service::start_by(clock, Setup { policies: POLICIES, more, database, ..Setup::with(&mint.endpoint) }).await
}

fn token(subject: &str, group: &str) -> String {
    let provider = &Forge::shared().authentik;
    provider.draft(now()).claim("sub", subject).claim("groups", json!([group])).sign(&provider.key)
}

async fn lease(service: &Service, subject: &str, group: &str) -> Seen {
    service.lease(&token(subject, group), &json!({})).await
}

fn told(seen: &Seen) -> (u16, String) {
    (seen.status.as_u16(), seen.json()["code"].as_str().unwrap_or("").to_owned())
}

fn over(code: &str) -> (u16, String) {
    (429, code.to_owned())
}

fn retry_after(seen: &Seen) -> u64 {
    seen.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

async fn issued(service: &Service) -> i64 {
    one(&mut connect(&service.database).await, "select count(*) from audit_event where type = 'lease.issued'").await
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_when_to_come_back_and_has_one_row() {
    let mint = Mint::start().await;
    let service = start(&mint, "[lease]\njitter = 0.0\nreuse = false\nrate_per_subject = \"3/h\"\n").await;
    // Also one whom policy grants nothing: each refusal of that is a row.
    assert_eq!(lease(&service, "ada", "none").await.status.as_u16(), 403);
    for _ in 0..2 {
        assert_eq!(lease(&service, "ada", "team-a").await.status.as_u16(), 201);
    }
    let seen = lease(&service, "ada", "team-a").await;
    assert_eq!(told(&seen), over("rate_limited"));
    assert!((890..=900).contains(&retry_after(&seen)), "of twenty minutes a quarter of an hour is told: {seen:?}");
    for _ in 0..4 {
        assert_eq!(lease(&service, "ada", "none").await.status.as_u16(), 429);
    }
    let container = service.container(&token("ada", "team-a"), "team").await;
    assert_eq!((container.status.as_u16(), container.json()["Code"].clone()), (429, json!("rate_limited")));
    let sts = service.sts(&token("ada", "team-a"), &[]).await;
    assert_eq!((sts.status.as_u16(), sts.element("Code")), (503, Some("Throttling")));
    assert_eq!(sts.headers["x-amz-retry-after"].to_str().unwrap(), format!("{}000", retry_after(&sts)));
    assert_eq!(lease(&service, "bob", "team-a").await.status.as_u16(), 201, "nobody else notices");

    let rows = service.rows().await;
    let refused: Vec<_> = rows.iter().filter(|row| row.kind == "exchange.refused").collect();
    let reasons: Vec<_> = refused.iter().map(|row| row.reason.as_str()).collect();
    assert_eq!(reasons, ["no_role", "rate_per_subject"], "the rest is counted");
    assert_eq!(refused[1].subject.as_deref(), Some("ada"));
    let log = service.log().await;
    service.end().await;
    let counted = log.recent(20).await.unwrap().into_iter().find(|row| row.count.is_some()).unwrap();
    assert_eq!(
        (counted.reason.as_str(), counted.count, counted.subject.as_deref()),
        ("rate_per_subject", Some(6), Some("ada"))
    );
}

#[tokio::test]
async fn a_role_is_limited_whoever_asks_and_nobody_uses_up_a_role_that_is_not_granted() {
    let mint = Mint::start().await;
    let service = start(&mint, "[lease]\njitter = 0.0\nreuse = false\nrate_per_role = \"2/h\"\n").await;
    for n in 0..5 {
        let asked = service.lease(&token(&n.to_string(), "team-b"), &json!({"role": "team"})).await;
        assert_eq!(asked.status.as_u16(), 403);
    }
    for subject in ["ada", "bob"] {
        assert_eq!(lease(&service, subject, "team-a").await.status.as_u16(), 201);
    }
    assert_eq!(told(&lease(&service, "eve", "team-a").await), over("rate_limited"));
    assert_eq!(lease(&service, "eve", "team-b").await.status.as_u16(), 201);
}

#[tokio::test]
async fn only_so_many_leases_are_out_of_a_holder_under_a_role_and_in_all() {
    let mint = Mint::start().await;
    for (more, same, other) in [
        (
            "[lease]\njitter = 0.0\nreuse = false\nmax_outstanding_per_subject = 2\n",
            ("ada", "team-b"),
            Some(("bob", "team-a")),
        ),
        (
            "[lease]\njitter = 0.0\nreuse = false\nmax_outstanding_per_role = 2\n",
            ("bob", "team-a"),
            Some(("ada", "team-b")),
        ),
        ("[lease]\njitter = 0.0\nreuse = false\nmax_outstanding = 2\n", ("bob", "team-b"), None),
    ] {
        let clock = Arc::new(MovedClock::start());
        let service = start_by(&clock, &mint, more, None).await;
        for _ in 0..2 {
            assert_eq!(lease(&service, "ada", "team-a").await.status.as_u16(), 201, "{more}");
        }
        let refused = lease(&service, same.0, same.1).await;
        assert_eq!(told(&refused), over("quota_exceeded"), "{more}");
        assert!(retry_after(&refused) >= 1, "{refused:?}");
        let sts = service.sts(&token(same.0, same.1), &[]).await;
        assert_eq!((sts.status.as_u16(), sts.element("Code")), (503, Some("Throttling")));
        if let Some((subject, group)) = other {
            assert_eq!(lease(&service, subject, group).await.status.as_u16(), 201, "{more}");
        }
        // An ended lease makes room: by the row, whoever ended it.
        let ended = "insert into audit_event (stream, seq, id, occurred_at, type, effect, reason, lease_id)
            select gen_random_uuid(), 0, gen_random_uuid(), now(), 'lease.revoked', 'deny', 'refused_at_server', lease_id
            from audit_event where type = 'lease.issued' and subject = 'ada' and roles = '{team}' limit 1";
        sqlx::query(ended).execute(&mut connect(&service.database).await).await.unwrap();
        clock.advance(LONG);
        assert_eq!(lease(&service, same.0, same.1).await.status.as_u16(), 201, "{more}");
        assert_eq!(told(&lease(&service, same.0, same.1).await), over("quota_exceeded"), "{more}");
    }
}

#[tokio::test]
async fn of_many_that_come_at_once_exactly_as_many_as_allowed_get_a_lease() {
    let mint = Mint::start().await;
    for more in [
        "[lease]\njitter = 0.0\nreuse = false\nmax_outstanding_per_subject = 7\n",
        "[lease]\njitter = 0.0\nreuse = false\nmax_outstanding_per_role = 7\n",
        "[lease]\njitter = 0.0\nreuse = false\nmax_outstanding = 7\n",
    ] {
        let service = start(&mint, more).await;
        let seen = join_all((0..40).map(|_| lease(&service, "ada", "team-a"))).await;
        let got = seen.iter().filter(|seen| seen.status.as_u16() == 201).count();
        assert_eq!((got, seen.iter().filter(|seen| seen.status.as_u16() == 429).count()), (7, 33), "{more}");
        assert_eq!(issued(&service).await, 7, "{more}");
    }
}

#[tokio::test]
async fn quotas_hold_across_three_instances_within_the_stated_error() {
    let mint = Mint::start().await;
    let more = "[lease]\njitter = 0.0\nreuse = false\nmax_outstanding_per_subject = 9\nmax_outstanding = 12\n";
    let clock = Arc::new(MovedClock::start());
    let first = start_by(&clock, &mint, more, None).await;
    let second = start_by(&clock, &mint, more, Some(&first)).await;
    let services = [start_by(&clock, &mint, more, Some(&first)).await, second, first];
    // One after the other, each at another instance: a holder's limit is exact.
    let mut got = 0;
    for n in 0..15 {
        got += i64::from(lease(&services[n % 3], "ada", "team-a").await.status.as_u16() == 201);
    }
    assert_eq!((got, issued(&services[0]).await), (9, 9));
    // All at once at all of them: beyond a limit is at most what the other instances have under way, which is what that limit
    // leaves each of them.
    clock.advance(LONG);
    let asked = (0..60).map(|n: usize| {
        let services = &services;
        async move { lease(&services[n % 3], &format!("s{n}"), "team-a").await.status.as_u16() }
    });
    let statuses = join_all(asked).await;
    assert!(statuses.iter().all(|status| matches!(status, 201 | 429)), "{statuses:?}");
    let out = issued(&services[0]).await;
    assert!((12..=9 + 3 * 3).contains(&out), "three left, to each of three instances: {out}");
    clock.advance(LONG);
    for service in &services {
        assert_eq!(told(&lease(service, "late", "team-a").await), over("quota_exceeded"));
    }
}

#[tokio::test]
async fn a_workload_without_measure_does_not_keep_another_from_its_lease() {
    let mint = Mint::start().await;
    let service = Arc::new(start(&mint, "[lease]\njitter = 0.0\nreuse = false\nrate_per_subject = \"30/h\"\n").await);
    let (stop, flooded) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut flood = JoinSet::new();
    for _ in 0..32 {
        let (service, stop, flooded) = (Arc::clone(&service), Arc::clone(&stop), Arc::clone(&flooded));
        let token = token("flood", "team-a");
        flood.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let status = service.lease(&token, &json!({})).await.status.as_u16();
                assert!(matches!(status, 201 | 429), "{status}");
                flooded.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    while flooded.load(Ordering::SeqCst) < 200 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for n in 0..20 {
        let began = SystemClock::start();
        assert_eq!(lease(&service, &format!("quiet-{n}"), "team-a").await.status.as_u16(), 201);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(ended) = flood.join_next().await {
        ended.unwrap();
    }
    let rows: i64 = one(
        &mut connect(&service.database).await,
        "select count(*) from audit_event where subject = 'flood' and type = 'exchange.refused' and count is null",
    )
    .await;
    assert_eq!(rows, 1, "of {} requests", flooded.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_holder_with_all_its_exchanges_hanging_leaves_places_for_the_others() {
    let mint = Mint::start().await;
    let service = start(&mint, "[lease]\njitter = 0.0\nreuse = false\n").await;
    mint.hold(Hold::BeforeMint);
    let mut hanging = JoinSet::new();
    // All the places there are, and more.
    for _ in 0..1_100 {
        let (http, url, token) = (service.http.clone(), service.url("/v1/leases"), token("flood", "team-a"));
        hanging.spawn(async move {
            let request = http.post(url).header("authorization", format!("Bearer {token}"));
            request
                .header("content-type", "application/json")
                .body("{}")
                .send()
                .await
                .map(|answer| answer.status().as_u16())
        });
    }
    // Those beyond half of the places are turned away at once, and the others hang.
    let mut turned_away = 0;
    while turned_away < 1_100 - 512 {
        let status = hanging.join_next().await.unwrap().unwrap().unwrap();
        // Or at the door itself, while those before are still being verified.
        assert!(matches!(status, 429 | 503), "{status}");
        turned_away += 1;
    }
    mint.hold(Hold::Nowhere);
    assert_eq!(lease(&service, "quiet", "team-a").await.status.as_u16(), 201);
    hanging.abort_all();
}
