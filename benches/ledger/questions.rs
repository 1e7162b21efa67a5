//! The five questions, asked as the command line asks them: read from their parameters, put on record by a commit of their
//! own, answered, and masked. What they ask about is spread over the whole year.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use secrecy::SecretString;
use stint::audit::question::Given;
use stint::audit::{AuditLog, Checkpoint, FingerprintKey, Ledger as _, LogParts, LogSettings, SigningKey, instant};
use stint::clock::{Clock, SystemClock};
use stint::inquiry::{Answer, Archive, ArchiveParts, Kind, Reader};
use stint::lease::{LeaseRules, SelfTesting};
use stint::postgres::PostgresStore;
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::append::ms;
use super::world::{FINGERPRINTS, Landmark};

/// How often each question is asked.
const TIMES: usize = 100;
/// The same of a verification, which reads more.
const FEWER: usize = 5;

type Pairs = Vec<(&'static str, String)>;

/// The table of this part. `year` is the key that sealed the year: it signs the checkpoint that is asked about.
pub(crate) async fn measure(url: &SecretString, year: &SigningKey, landmarks: &[Landmark]) {
    let store = Arc::new(PostgresStore::connect(url, Duration::from_secs(5)).await.expect("the schema"));
    let tasks = TaskTracker::new();
    let clock = Arc::new(SystemClock::start());
    let settings = LogSettings { deadline: Duration::from_secs(5), queue: 64 };
    let (key, rng) = (SigningKey::generate().expect("a key"), StdRng::seed_from_u64(3));
    let log = AuditLog::open(LogParts { store: store.clone(), clock: clock.clone(), rng, key, settings }, &tasks);
    let fingerprints = FingerprintKey::derive(FINGERPRINTS);
    let heads = store.heads().await.expect("the log can be read");
    let checkpoint = Checkpoint::take(heads, SystemClock::start().now(), year).to_json();
    let archive = Archive::new(ArchiveParts {
        log: Arc::new(log),
        questions: store.clone(),
        ledger: store,
        signing_key: None,
        fingerprints,
        lease_rules: LeaseRules {
            ttl: Duration::from_hours(1),
            jitter: 0.2,
            grace: Duration::from_mins(5),
            self_test: SelfTesting::First,
            reuse: true,
            mints_per_second: None,
        },
        clock,
    });
    println!(
        "\n## The five questions, each {TIMES} times (the last {FEWER}), its own row in the log included\n{:42} {:>10} {:>10} {:>10} {:>10}",
        "", "p50", "p99", "largest", "answers"
    );
    let hour = Duration::from_hours(1);
    ask(&archive, landmarks, "who held this access key at T", Kind::Access, |at| {
        vec![("key", at.access_key.clone()), ("at", text(at.issued_at + hour / 4))]
    })
    .await;
    ask(&archive, landmarks, "who could reach this object at T", Kind::Access, |at| {
        let object = "demo/take-1.mp4".to_owned();
        vec![("bucket", "recordings".to_owned()), ("object", object), ("at", text(at.issued_at + hour / 4))]
    })
    .await;
    ask(&archive, landmarks, "what did this subject get in 30 days", Kind::Grants, |at| {
        let (subject, issuer) = (at.subject.clone(), at.issuer.clone());
        vec![
            ("subject", subject),
            ("issuer", issuer),
            ("from", text(at.issued_at)),
            ("to", text(at.issued_at + hour * 720)),
        ]
    })
    .await;
    ask(&archive, landmarks, "what did this group get in 30 days", Kind::Grants, |at| {
        vec![("group", at.group.clone()), ("from", text(at.issued_at)), ("to", text(at.issued_at + hour * 720))]
    })
    .await;
    ask(&archive, landmarks, "refusals for one reason in a day", Kind::Events, |at| {
        let (kind, reason) = ("exchange.refused".to_owned(), "no_role".to_owned());
        vec![("type", kind), ("reason", reason), ("from", text(at.issued_at)), ("to", text(at.issued_at + hour * 24))]
    })
    .await;
    ask(&archive, landmarks, "which emergencies in 90 days", Kind::Emergencies, |at| {
        vec![("from", text(at.issued_at)), ("to", text(at.issued_at + hour * 2160))]
    })
    .await;
    ask(&archive, landmarks, "is the log whole since a checkpoint", Kind::Verify, |_at| {
        vec![("checkpoint", checkpoint.clone())]
    })
    .await;
    drop(archive);
    tasks.close();
    tasks.wait().await;
}

async fn ask(archive: &Archive, landmarks: &[Landmark], name: &str, kind: Kind, about: impl Fn(&Landmark) -> Pairs) {
    let mut rng = StdRng::seed_from_u64(4);
    let (mut times, mut answers) = (Vec::new(), 0);
    // Every seal is chained again, whatever the checkpoint covers.
    let rounds = if kind == Kind::Verify { FEWER } else { TIMES };
    for _ in 0..rounds {
        let landmark = &landmarks[rng.random_range(0..landmarks.len())];
        let given = Given::new(about(landmark).into_iter().map(|(name, value)| (name.to_owned(), value)));
        let reader = Reader::at_the_console(Some("uid 0".to_owned()), Uuid::now_v7());
        let begun = Instant::now();
        let answer = archive.answer(&reader, kind, given).await.expect("an answer");
        times.push(begun.elapsed());
        answers += match answer {
            Answer::Events(answer) => answer.events.len(),
            Answer::Key(answer) => {
                let held = answer.leases.iter().filter(|lease| lease.lease_id == landmark.lease.as_uuid()).count();
                assert_eq!(held, 1, "the holder is found");
                held
            }
            Answer::Object(answer) => answer.holders.len(),
            Answer::Grants(answer) => answer.leases.len(),
            Answer::Emergencies(answer) => answer.emergencies.len(),
            Answer::Verified(answer) => {
                assert!(answer.whole, "{:?}", answer.report.findings);
                1
            }
            Answer::Head(_) => 0,
        };
    }
    times.sort_unstable();
    let at = |percent: usize| ms(times[(rounds - 1) * percent / 100]);
    println!("{name:42} {:>10} {:>10} {:>10} {:>10.1}", at(50), at(99), at(100), answers as f64 / rounds as f64);
}

fn text(at: OffsetDateTime) -> String {
    instant::format(at)
}
