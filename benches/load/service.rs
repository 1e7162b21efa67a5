//! The real binary, configured for one object server, and what it tells about itself while it works.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use secrecy::ExposeSecret;

use super::ground::Ground;
use super::{client, resident, wait_for};
use crate::cpu;

/// All of the shipped policies that an exchange of these benchmarks asks. The administrators' documents are left out, for
/// only MinIO takes them, and every server is to have the same.
const POLICIES: [&str; 2] = ["roles/livekit-egress.toml", "documents/egress-write.json"];

/// `stint serve`, ready.
pub(crate) struct Service {
    child: Child,
    url: String,
}

impl Service {
    /// Starts it and waits until it is ready; `object_server` are the lines of that section. Every exchange mints.
    pub(crate) async fn start(ground: &Ground, object_server: &str) -> Self {
        Self::start_with(ground, object_server, "[lease]\nreuse = false\n").await
    }

    /// The same with more sections of its configuration.
    pub(crate) async fn start_with(ground: &Ground, object_server: &str, more: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let policies = ground.directory().join(format!("policies-{port}"));
        for name in POLICIES {
            let copy = policies.join(name);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name), copy).unwrap();
        }
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:{port}\"\n[postgres]\nurl = \"{}\"\n[[issuer]]\nname = \"authentik\"\n\
             issuer = \"{}\"\naudiences = [\"stint\"]\nprofile = \"authentik\"\n[object_server]\n{object_server}\n\
             [policies]\ndirectory = \"{}\"\n[telemetry]\nlog = \"error\"\n{more}",
            ground.database().expose_secret(),
            ground.issuer,
            policies.display(),
        );
        let file = ground.directory().join(format!("stint-{port}.toml"));
        fs::write(&file, config).unwrap();
        let binary = env!("CARGO_BIN_EXE_stint");
        let child = Command::new(binary).arg("serve").arg("--config").arg(file).spawn().expect("stint starts");
        let service = Self { child, url: format!("http://127.0.0.1:{port}/") };
        wait_for(&format!("{}health/ready", service.url), Duration::from_mins(1)).await;
        service
    }

    /// The STS door.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn resident_mb(&self) -> f64 {
        resident::megabytes(self.child.id())
    }

    /// Processor time so far: the service's, and that of PostgreSQL with its sessions.
    pub(crate) fn cpu(&self, ground: &Ground) -> (Duration, Duration) {
        (cpu::of_process(self.child.id()), cpu::of_postgres(&ground.directory().join("postgres")))
    }

    /// Seconds spent so far in each step, over all exchanges.
    pub(crate) async fn steps(&self) -> Steps {
        let metrics = client(1).get(format!("{}metrics", self.url)).send().await.unwrap().text().await.unwrap();
        let sums = metrics.lines().filter_map(|line| line.strip_prefix("stint_step_duration_seconds_sum{step=\""));
        let sums = sums.filter_map(|line| line.split_once("\"} "));
        Steps(sums.map(|(step, sum)| (step.to_owned(), sum.parse().unwrap())).collect())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds by step, in the order of the steps.
pub(crate) struct Steps(pub(crate) Vec<(String, f64)>);

impl Steps {
    pub(crate) fn since(&self, before: &Self) -> Self {
        let earlier = |step: &str| before.0.iter().find(|(name, _)| name == step).map_or(0.0, |(_, sum)| *sum);
        Self(self.0.iter().map(|(step, sum)| (step.clone(), sum - earlier(step))).collect())
    }
}
