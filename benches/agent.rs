//! What a credential read costs beside a workload: the real `stint agent serve`, in front of a service that answers at
//! once, read over kept and over new connections. Prints percentiles, resident memory, and the processor time of an idle
//! minute. `STINT_BENCH_SECONDS` sets the length of the idle stretch (60).
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark is a program for one person at a terminal: it may print, time itself and give up"
)]

#[path = "load/resident.rs"]
mod resident;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const READS: usize = 20_000;
const WARM: usize = 500;

/// Ends the agent with the benchmark.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service that leases for an hour from a fixed instant, whose clock stands there.
fn service() -> SocketAddr {
    let body = r#"{"lease_id":"01935a00-0000-7000-8000-000000000001","role":"bench","credentials":{"access_key_id":"AKIABENCH","secret_access_key":"secret","session_token":"token","expiration":"2026-11-22T13:00:00Z"},"issued_at":"2026-11-22T12:00:00Z","refresh_after":"2026-11-22T12:33:00Z","ttl_seconds":3600}"#;
    let answer = format!(
        "HTTP/1.1 201 Created\r\ndate: Sun, 22 Nov 2026 12:00:00 GMT\r\ncontent-type: application/json\r\ncontent-length: \
         {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 8192]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

struct Endpoint {
    address: SocketAddr,
    request: Vec<u8>,
}

impl Endpoint {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn read(&self, stream: &mut TcpStream) {
        stream.write_all(&self.request).unwrap();
        let (mut answer, mut length) = ([0; 4096], 0);
        loop {
            let read = stream.read(answer.get_mut(length..).unwrap()).unwrap();
            assert!(read > 0, "the agent closed the connection");
            length += read;
            if answer.get(..length).unwrap().ends_with(b"}") {
                break;
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
}

fn percentiles(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: usize| took.get((took.len() - 1) * share / 1000).unwrap().as_secs_f64() * 1e6;
    println!("{what:34} p50 {:>6.0} µs  p99 {:>6.0} µs  p99.9 {:>6.0} µs", at(500), at(990), at(999));
}

fn kept(endpoint: &Endpoint, reads: usize) -> Vec<Duration> {
    let mut stream = endpoint.connect();
    (0..reads)
        .map(|_| {
            let begun = Instant::now();
            endpoint.read(&mut stream);
            begun.elapsed()
        })
        .collect()
}

fn new(endpoint: &Endpoint, reads: usize) -> Vec<Duration> {
    (0..reads)
        .map(|_| {
            let begun = Instant::now();
            endpoint.read(&mut endpoint.connect());
            begun.elapsed()
        })
        .collect()
}

/// Processor time in clock ticks, a hundredth of a second each on Linux.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rsplit_once(") ").unwrap().1;
    after.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn start(directory: &Path) -> (Agent, Endpoint) {
    let (token, lines) = (directory.join("token"), directory.join("lines"));
    fs::write(&token, "e30.e30.c2ln").unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_stint"))
        .args(["agent", "serve", "--server", &format!("http://{}", service()), "--log", "warn", "--token-file"])
        .arg(&token)
        .args(["--authorization-token-file".as_ref(), directory.join("caller").as_os_str()])
        .args(["--env-file".as_ref(), lines.as_os_str()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let agent = Agent(child);
    while !lines.exists() {
        thread::sleep(Duration::from_millis(5));
    }
    let text = fs::read_to_string(&lines).unwrap();
    let address = text.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().parse().unwrap();
    let caller = fs::read_to_string(directory.join("caller")).unwrap();
    let request =
        format!("GET /credentials HTTP/1.1\r\nhost: {address}\r\nauthorization: {caller}\r\n\r\n").into_bytes();
    (agent, Endpoint { address, request })
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let (agent, endpoint) = start(directory.path());
    let pid = agent.0.id();
    println!("load average before: {}", fs::read_to_string("/proc/loadavg").unwrap().trim());
    kept(&endpoint, WARM);
    println!("resident after the first lease      {:.1} MB", resident::megabytes(pid));
    percentiles("one caller, kept connection", kept(&endpoint, READS));
    percentiles("one caller, a connection a read", new(&endpoint, READS / 4));
    let many: Vec<Duration> = thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| kept(&endpoint, READS / 4))).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    percentiles("eight callers, kept connections", many);
    println!("resident after the load             {:.1} MB", resident::megabytes(pid));
    let seconds = std::env::var("STINT_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let before = ticks(pid);
    thread::sleep(Duration::from_secs(seconds));
    let used = ticks(pid) - before;
    println!("processor time of {seconds} idle seconds      {used}0 ms");
    println!("load average after: {}", fs::read_to_string("/proc/loadavg").unwrap().trim());
}
