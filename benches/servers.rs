//! The object servers' benchmark: `stint` beside `AssumeRole` at each of them, and what MinIO pays for the temporary
//! credentials that it keeps. Run by `tests/run bench servers` and `tests/run bench growth`, or `cargo bench --bench
//! servers`; `--help` names what can be set.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a benchmark is a program for one person at a terminal: it may print, time itself and give up"
)]

#[path = "ledger/cpu.rs"]
mod cpu;
#[path = "../tests/live/harness"]
#[expect(dead_code, reason = "the live tests' servers as they start them; they ask more of them")]
mod harness {
    mod answer;
    mod ceph;
    mod environment;
    mod minio;
    mod patience;
    mod seaweedfs;
    mod server;

    pub(crate) use answer::{Answer, Keys};
    pub(crate) use ceph::Ceph;
    pub(crate) use environment::{named_by, told};
    pub(crate) use minio::{Minio, PARENT};
    pub(crate) use patience::{free_port, free_ports, until};
    pub(crate) use seaweedfs::Seaweedfs;
}
mod load;
mod object_server;
#[path = "../tests/it/harness/signed.rs"]
#[expect(dead_code, reason = "the tests' own client; they ask more of it")]
mod signed;

use object_server::Kind;

const HELP: &str = "\
The object servers' benchmark. The first argument names the part to run:
  beside [MinIO|SeaweedFS|Ceph]...   exchanges beside the server's own AssumeRole, in interleaved rounds; all servers
                                     that STINT_LIVE_MINIO, STINT_LIVE_WEED and STINT_LIVE_RADOSGW name, or these
  reuse [MinIO|SeaweedFS]...         leases handed out again beside the server's own AssumeRoleWithWebIdentity
  leases                             what leases that are out cost the service in memory
  growth                             what temporary credentials cost a MinIO that keeps 0, 1,000, 10,000, 50,000

STINT_BENCH_SECONDS=5                    how long each figure is measured
STINT_BENCH_ROUNDS=5                     rounds of `beside` and `reuse`; restarts at each level of `growth`
STINT_BENCH_LEASES=100000                how many leases `leases` has out
STINT_BENCH_CREDENTIALS=1000,10000,50000 the levels of `growth`, rising
STINT_BENCH_COMMIT_DELAY_US=0            makes PostgreSQL wait before each flush, as a disk would
";

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let Some((part, rest)) = arguments.split_first() else { return print!("{HELP}") };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let kinds: Option<Vec<Kind>> = rest.iter().map(|name| Kind::named(name)).collect();
    match (part.as_str(), kinds) {
        ("beside", Some(kinds)) => runtime.block_on(object_server::beside::measure(&kinds)),
        ("reuse", Some(kinds)) => runtime.block_on(object_server::reuse::measure(&kinds)),
        ("leases", Some(kinds)) if kinds.is_empty() => runtime.block_on(object_server::leases::measure()),
        ("growth", Some(kinds)) if kinds.is_empty() => runtime.block_on(object_server::growth::measure()),
        _ => print!("{HELP}"),
    }
}
