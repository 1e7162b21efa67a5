//! Exchanges beside the server's own `AssumeRole` with the same session policy. Both are measured in every round, one
//! right after the other and by turns first, so that what else the machine does weighs on both; a ratio is of one pair.

use std::sync::Arc;
use std::time::Duration;

use super::spread::Spread;
use super::{Kind, ObjectServer, load_average};
use crate::load::exchange::Exchange;
use crate::load::ground::Ground;
use crate::load::mint::DirectMint;
use crate::load::service::{Service, Steps};
use crate::load::{Figures, Request, client, load, setting};

const CLIENTS: [usize; 3] = [1, 16, 64];

/// One round at one number of clients.
struct Pair {
    direct: Figures,
    ours: Figures,
    /// Of the service, and of PostgreSQL, while the service was asked.
    cpu: (Duration, Duration),
    steps: Steps,
}

/// These kinds of server, or all that are here.
pub(crate) async fn measure(kinds: &[Kind]) {
    let (length, rounds) = (Duration::from_secs(setting("STINT_BENCH_SECONDS", 5)), setting("STINT_BENCH_ROUNDS", 5));
    println!(
        "stint beside the object servers' own AssumeRole: {rounds} rounds, {} s per figure; each figure is the median of the \
         rounds (least to most), each ratio that of the pairs; on a shared machine only ratios mean anything",
        length.as_secs()
    );
    for kind in Kind::ALL {
        if !kinds.is_empty() && !kinds.contains(&kind) {
            continue;
        }
        if !kind.is_here() {
            println!("\nSKIPPED: {}: {} names no program", kind.name(), kind.variable());
            continue;
        }
        let busy = load_average();
        let ground = Ground::start().await;
        let server = ObjectServer::start(kind).await;
        println!("\n## {}: {}\nload averages before: {busy}", kind.name(), server.release);
        one(&server, &ground, length, rounds).await;
        println!("load averages after: {}", load_average());
        drop(server);
        ground.end().await;
    }
}

async fn one(server: &ObjectServer, ground: &Ground, length: Duration, rounds: u64) {
    let service = Service::start(ground, &server.section()).await;
    let exchange = Arc::new(Exchange::new(service.url(), &ground.token));
    exchange.send(&client(1)).await;
    let policy = ground.session_policy().await;
    let direct = Arc::new(DirectMint::new(&server.endpoint, &server.parent, &policy, &server.beside()));
    let mut pairs: Vec<(usize, Vec<Pair>)> = CLIENTS.map(|clients| (clients, Vec::new())).into();
    for round in 0..rounds {
        for (clients, pairs) in &mut pairs {
            let mut directly = None;
            if round % 2 == 0 {
                directly = Some(load(*clients, length, Arc::clone(&direct)).await);
            }
            let (cpu, steps) = (service.cpu(ground), service.steps().await);
            let ours = load(*clients, length, Arc::clone(&exchange)).await;
            let (cpu_then, steps) = (service.cpu(ground), service.steps().await.since(&steps));
            let direct = match directly {
                Some(direct) => direct,
                None => load(*clients, length, Arc::clone(&direct)).await,
            };
            let cpu = (cpu_then.0.saturating_sub(cpu.0), cpu_then.1.saturating_sub(cpu.1));
            pairs.push(Pair { direct, ours, cpu, steps });
        }
    }
    println!("{:>7}  {:<7} {:>28} {:>28} {:>28}", "clients", "", "requests/s", "p50, ms", "p99, ms");
    for (clients, pairs) in &pairs {
        tell(*clients, pairs);
    }
    println!("resident memory of stint after the load: {:.1} MB", service.resident_mb());
}

fn tell(clients: usize, pairs: &[Pair]) {
    let row = |first: &str, name: &str, digits: [usize; 3], of: [&dyn Fn(&Pair) -> f64; 3]| {
        let [rate, p50, p99] = [0, 1, 2].map(|at| Spread::of(pairs.iter().map(of[at])).with(digits[at]));
        println!("{first:>7}  {name:<7} {rate:>28} {p50:>28} {p99:>28}");
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let over = |ours: Duration, direct: Duration| ours.as_secs_f64() / direct.as_secs_f64();
    row(
        &clients.to_string(),
        "direct",
        [0, 2, 2],
        [&|pair| pair.direct.rate, &|pair| ms(pair.direct.p50), &|pair| ms(pair.direct.p99)],
    );
    row("", "stint", [0, 2, 2], [&|pair| pair.ours.rate, &|pair| ms(pair.ours.p50), &|pair| ms(pair.ours.p99)]);
    row(
        "",
        "ratio",
        [2, 2, 2],
        [&|pair| pair.ours.rate / pair.direct.rate, &|pair| over(pair.ours.p50, pair.direct.p50), &|pair| {
            over(pair.ours.p99, pair.direct.p99)
        }],
    );
    let each = |pair: &Pair, seconds: f64| seconds * 1e3 / pair.ours.count as f64;
    let steps: Vec<String> = ["verify", "decide", "plan", "intend", "mint", "conclude"]
        .into_iter()
        .map(|step| {
            let spent = |pair: &Pair| pair.steps.0.iter().filter(|(name, _)| name == step).map(|(_, sum)| sum).sum();
            format!("{step} {:.3}", Spread::of(pairs.iter().map(|pair| each(pair, spent(pair)))).median)
        })
        .collect();
    println!(
        "         mean of one exchange, ms: {}; CPU: stint {}, PostgreSQL {}",
        steps.join(", "),
        Spread::of(pairs.iter().map(|pair| each(pair, pair.cpu.0.as_secs_f64()))).with(2),
        Spread::of(pairs.iter().map(|pair| each(pair, pair.cpu.1.as_secs_f64()))).with(2),
    );
}
