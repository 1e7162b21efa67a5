//! Leases handed out again, each with its row committed, beside the server's own `AssumeRoleWithWebIdentity` for the same token: in
//! every round one right after the other, by turns first, so that what else the machine does weighs on both.

use std::sync::Arc;
use std::time::Duration;

use super::spread::Spread;
use super::web_identity::WebIdentity;
use super::{Kind, ObjectServer, load_average};
use crate::load::exchange::Exchange;
use crate::load::ground::Ground;
use crate::load::service::Service;
use crate::load::{Figures, Request, client, load, setting};

const CLIENTS: [usize; 3] = [1, 16, 64];
const KINDS: [Kind; 2] = [Kind::Minio, Kind::Seaweedfs];

/// One round at one number of clients.
struct Pair {
    direct: Figures,
    ours: Figures,
    /// Of the service, and of PostgreSQL, while the service was asked.
    cpu: (Duration, Duration),
}

/// These kinds of server, or both that are measured.
pub(crate) async fn measure(kinds: &[Kind]) {
    let (length, rounds) = (Duration::from_secs(setting("STINT_BENCH_SECONDS", 5)), setting("STINT_BENCH_ROUNDS", 5));
    println!(
        "leases handed out again by stint beside the object servers' own AssumeRoleWithWebIdentity: {rounds} rounds, {} s \
         per figure; each figure is the median of the rounds (least to most), each ratio that of the pairs; on a shared \
         machine only ratios mean anything",
        length.as_secs()
    );
    for kind in KINDS {
        if !kinds.is_empty() && !kinds.contains(&kind) {
            continue;
        }
        if !kind.is_here() {
            println!("\nSKIPPED: {}: {} names no program", kind.name(), kind.variable());
            continue;
        }
        let busy = load_average();
        let ground = Ground::start().await;
        let server = ObjectServer::start_trusting(kind, &ground.issuer).await;
        println!("\n## {}: {}\nload averages before: {busy}", kind.name(), server.release);
        one(&server, &ground, length, rounds).await;
        println!("load averages after: {}", load_average());
        drop(server);
        ground.end().await;
    }
}

async fn one(server: &ObjectServer, ground: &Ground, length: Duration, rounds: u64) {
    let service = Service::start_with(ground, &server.section(), "[lease]\nself_test = \"off\"\n").await;
    let exchange = Arc::new(Exchange::new(service.url(), &ground.token));
    exchange.send(&client(1)).await;
    let direct = Arc::new(WebIdentity::at(server, &ground.token));
    let mut pairs: Vec<(usize, Vec<Pair>)> = CLIENTS.map(|clients| (clients, Vec::new())).into();
    for round in 0..rounds {
        for (clients, pairs) in &mut pairs {
            let mut directly = None;
            if round % 2 == 0 {
                directly = Some(load(*clients, length, Arc::clone(&direct)).await);
            }
            let cpu = service.cpu(ground);
            let ours = load(*clients, length, Arc::clone(&exchange)).await;
            let then = service.cpu(ground);
            let direct = match directly {
                Some(direct) => direct,
                None => load(*clients, length, Arc::clone(&direct)).await,
            };
            pairs.push(Pair { direct, ours, cpu: (then.0.saturating_sub(cpu.0), then.1.saturating_sub(cpu.1)) });
        }
    }
    println!("{:>7}  {:<7} {:>28} {:>28} {:>28}", "clients", "", "answers/s", "p50, ms", "p99, ms");
    for (clients, pairs) in &pairs {
        tell(*clients, pairs);
    }
    let mints = service.steps().await.0.iter().find(|(step, _)| step == "mint").map_or(0.0, |(_, seconds)| *seconds);
    println!(
        "in all of it stint asked the object server for {mints:.3} s; resident memory {:.1} MB",
        service.resident_mb()
    );
}

fn tell(clients: usize, pairs: &[Pair]) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let row = |first: &str, name: &str, of: &dyn Fn(&Pair) -> [f64; 3], digits: [usize; 3]| {
        let [rate, p50, p99] = [0, 1, 2].map(|at| Spread::of(pairs.iter().map(|pair| of(pair)[at])).with(digits[at]));
        println!("{first:>7}  {name:<7} {rate:>28} {p50:>28} {p99:>28}");
    };
    let figures = |figures: &Figures| [figures.rate, ms(figures.p50), ms(figures.p99)];
    row(&clients.to_string(), "direct", &|pair| figures(&pair.direct), [0, 2, 2]);
    row("", "stint", &|pair| figures(&pair.ours), [0, 2, 2]);
    let over = |pair: &Pair| {
        let (ours, direct) = (figures(&pair.ours), figures(&pair.direct));
        [ours[0] / direct[0], ours[1] / direct[1], ours[2] / direct[2]]
    };
    row("", "ratio", &over, [1, 3, 3]);
    let each = |pair: &Pair, spent: Duration| spent.as_secs_f64() * 1e3 / pair.ours.count as f64;
    println!(
        "         CPU of one answer, ms: stint {}, PostgreSQL {}",
        Spread::of(pairs.iter().map(|pair| each(pair, pair.cpu.0))).with(2),
        Spread::of(pairs.iter().map(|pair| each(pair, pair.cpu.1))).with(2),
    );
}
