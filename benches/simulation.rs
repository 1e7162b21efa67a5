//! The refresh simulation: 10,000 and 1,000,000 clients that started together, each by the refresh rule of its SDK, under a server
//! that gives every lease the same length, and under stint's own draws. Nothing is measured but the model, so every run prints the
//! same. Run by `tests/run bench simulation`, or `cargo bench --bench simulation`; `--help` names what can be set.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark is a program for one person at a terminal: it may print, time itself and give up"
)]

mod refreshes;

use std::path::Path;

use refreshes::chart;
use refreshes::rules::Fleet;
use refreshes::world::{Outcome, Server, simulate};

const HELP: &str = "\
The refresh simulation. Without arguments it prints the tables and writes nothing.
  --write DIR   also writes the load curves as SVG: DIR/refresh-10000.svg, DIR/refresh-1000000.svg

STINT_BENCH_SEED=1                  what the run is made from
STINT_BENCH_CLIENTS=10000,1000000   how many clients, one run each
";

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let directory = match arguments.as_slice() {
        [] => None,
        [write, directory] if write == "--write" => Some(Path::new(directory)),
        _ => return print!("{HELP}"),
    };
    let seed = std::env::var("STINT_BENCH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let clients = std::env::var("STINT_BENCH_CLIENTS").unwrap_or_else(|_| "10000,1000000".to_owned());
    for clients in clients.split(',').map(|clients| clients.parse().unwrap()) {
        run(clients, Fleet::Mixed, seed, directory);
        run(clients, Fleet::Agents, seed, None);
    }
}

fn run(clients: usize, fleet: Fleet, seed: u64, directory: Option<&Path>) {
    let cap = cap(clients, fleet);
    let servers = [
        Server::Fixed { client_jitter: false },
        Server::Fixed { client_jitter: true },
        Server::Stint { cap: None, instances: 1 },
        Server::Stint { cap: Some(cap), instances: 1 },
        Server::Stint { cap: Some(cap), instances: 3 },
    ];
    let outcomes: Vec<Outcome> = servers.iter().map(|server| simulate(clients, fleet, *server, seed)).collect();
    let who = match fleet {
        Fleet::Mixed => "clients of the stated mix",
        Fleet::Agents => "clients that read refresh_after",
    };
    println!("\n{clients} {who}, all started within 10 s; cap {cap}/s");
    println!(
        "| | peak of 5 s, mints/s | beside none | peak of a minute, mints/s | beside none | mean | half of all within | over the cap |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let (none, none_minute) = (outcomes[0].peak(5), outcomes[0].peak(60));
    for (server, outcome) in servers.iter().zip(&outcomes) {
        println!(
            "| {} | {:.1} | {:.3} | {:.1} | {:.3} | {:.1} | {} s | {} |",
            server.name(),
            outcome.peak(5),
            outcome.peak(5) / none,
            outcome.peak(60),
            outcome.peak(60) / none_minute,
            outcome.mean(),
            outcome.half_within(),
            outcome.over_cap.map_or_else(|| "-".to_owned(), |over| format!("{over:.2} %")),
        );
    }
    if let Some(directory) = directory {
        let shown: Vec<(String, &Outcome)> = servers.iter().map(Server::name).zip(&outcomes).take(4).collect();
        let file = directory.join(format!("refresh-{clients}.svg"));
        std::fs::write(&file, chart::draw(clients, &shown)).unwrap();
        println!("written: {}", file.display());
    }
}

/// A fifth over the rate that there would be if all came evenly; under it there is always room somewhere.
fn cap(clients: usize, fleet: Fleet) -> u32 {
    let every = match fleet {
        Fleet::Mixed => 2_000,
        Fleet::Agents => 1_300,
    };
    u32::try_from(clients / every).unwrap().max(1)
}
