//! Three instances behind one balancer on one database, as they are deployed: one is killed, one hears of nothing, all are
//! replaced one by one, and the clients get their leases.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Executor;
use stint::clock::{Clock, SystemClock};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::harness::binary::{Running, Site, run, stint};
use crate::harness::database::{connect, fresh_database, one};
use crate::harness::faulted::Mint;
use crate::harness::service::{Service, Setup, now};
use crate::harness::tokens::Forge;

/// What a load balancer knows and does: who is there, who has requests under way, and the next one when a connection is refused.
#[derive(Clone, Default)]
struct Balancer {
    there: Arc<Mutex<Vec<SocketAddr>>>,
    turn: Arc<AtomicUsize>,
    busy: Arc<Mutex<Vec<SocketAddr>>>,
}

/// A request under way.
struct Sent(Arc<Mutex<Vec<SocketAddr>>>, SocketAddr);

impl Drop for Sent {
    fn drop(&mut self) {
        let mut busy = self.0.lock().unwrap();
        let one = busy.iter().position(|address| *address == self.1).unwrap();
        busy.swap_remove(one);
    }
}

impl Balancer {
    fn add(&self, address: SocketAddr) {
        self.there.lock().unwrap().push(address);
    }

    fn take_out(&self, address: SocketAddr) {
        self.there.lock().unwrap().retain(|there| *there != address);
    }

    /// The same, and waits for what it has under way, as balancers do before an instance is ended.
    async fn drain(&self, address: SocketAddr) {
        self.take_out(address);
        while self.busy.lock().unwrap().contains(&address) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn next(&self) -> Sent {
        let there = self.there.lock().unwrap();
        let address = there[self.turn.fetch_add(1, Ordering::SeqCst) % there.len()];
        self.busy.lock().unwrap().push(address);
        Sent(Arc::clone(&self.busy), address)
    }
}

/// What the clients got.
#[derive(Default)]
struct Got {
    leases: Mutex<Vec<String>>,
    failed: Mutex<Vec<String>>,
}

fn token(subject: &str) -> String {
    let provider = &Forge::shared().authentik;
    provider.draft(now()).claim("sub", subject).claim("groups", json!(["team-a"])).sign(&provider.key)
}

/// A connection for each request, as most clients of a token service have.
fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
    client.timeout(Duration::from_mins(1)).build().unwrap()
}

async fn ask(http: &reqwest::Client, address: SocketAddr, token: &str) -> reqwest::Result<(u16, Value)> {
    let request = http.post(format!("http://{address}/v1/leases")).header("authorization", format!("Bearer {token}"));
    let answer = request.header("content-type", "application/json").body(r#"{"fresh":true}"#).send().await?;
    let status = answer.status().as_u16();
    Ok((status, serde_json::from_str(&answer.text().await?).unwrap()))
}

/// Clients that ask without a pause until told to stop.
struct Load {
    got: Arc<Got>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(balancer: &Balancer) -> Self {
        let (got, stop, mut clients) = (Arc::<Got>::default(), Arc::<AtomicBool>::default(), JoinSet::new());
        for n in 0..6 {
            let (balancer, got, stop) = (balancer.clone(), Arc::clone(&got), Arc::clone(&stop));
            clients.spawn(async move {
                let (http, token) = (client(), token(&format!("client-{n}")));
                while !stop.load(Ordering::SeqCst) {
                    let sent = balancer.next();
                    match ask(&http, sent.1, &token).await {
                        Ok((201, lease)) => {
                            got.leases.lock().unwrap().push(lease["lease_id"].as_str().unwrap().to_owned());
                        }
                        Ok((status, body)) => got.failed.lock().unwrap().push(format!("{status} {body}")),
                        Err(error) if error.is_connect() => {}
                        Err(error) => got.failed.lock().unwrap().push(error.to_string()),
                    }
                }
            });
        }
        Self { got, stop, clients }
    }

    /// Waits until so many more leases are out.
    async fn served(&self, more: usize) {
        let leases = || self.got.leases.lock().unwrap().len();
        let before = leases();
        while leases() < before + more {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(mut self) -> Arc<Got> {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        self.got
    }
}

/// Three of them, and what they stand on.
struct Deployment {
    site: Site,
    _mint: Mint,
    database: secrecy::SecretString,
    balancer: Balancer,
    running: Vec<(Running, SocketAddr)>,
}

impl Deployment {
    async fn start() -> Self {
        let (mint, database) = (Mint::start().await, fresh_database().await);
        let site = Site::new(&database, &mint.endpoint);
        let mut deployment = Self { site, _mint: mint, database, balancer: Balancer::default(), running: Vec::new() };
        for _ in 0..3 {
            deployment.one_more().await;
        }
        deployment
    }

    async fn one_more(&mut self) {
        let (running, address) = self.site.serve().await;
        self.balancer.add(address);
        self.running.push((running, address));
    }

    async fn lone(&self, what: &str) -> i64 {
        one(&mut connect(&self.database).await, what).await
    }

    async fn cli(&self, arguments: &[&str]) -> String {
        let mut command = stint(arguments);
        command.arg("--config").arg(self.site.config());
        let ended = run(command).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    }
}

/// Every lease that a client holds is on record as issued, by the instance that gave it.
async fn all_on_record(deployment: &Deployment, got: &Got) {
    let leases: Vec<uuid::Uuid> = got.leases.lock().unwrap().iter().map(|lease| lease.parse().unwrap()).collect();
    let on_record: i64 = sqlx::query_scalar(
        "select count(distinct lease_id) from audit_event where type = 'lease.issued' and lease_id = any($1)",
    )
    .bind(&leases)
    .fetch_one(&mut connect(&deployment.database).await)
    .await
    .unwrap();
    assert_eq!(usize::try_from(on_record).unwrap(), leases.len());
}

#[tokio::test]
async fn a_rolling_restart_fails_no_exchange() {
    let mut deployment = Deployment::start().await;
    let load = Load::start(&deployment.balancer);
    load.served(20).await;
    for _ in 0..3 {
        let (mut old, address) = deployment.running.remove(0);
        deployment.one_more().await;
        deployment.balancer.drain(address).await;
        old.signal("TERM");
        assert_eq!(old.ended().await, Some(0));
        load.served(20).await;
    }
    let got = load.end().await;
    assert_eq!(*got.failed.lock().unwrap(), Vec::<String>::new());
    all_on_record(&deployment, &got).await;
    let intents = "select count(*) from audit_event i where type = 'lease.intended'
        and not exists (select from audit_event f where f.lease_id = i.lease_id and f.type <> 'lease.intended')";
    assert_eq!(deployment.lone(intents).await, 0, "a drain leaves nothing half done");
}

#[tokio::test]
async fn an_instance_that_is_killed_fails_only_what_it_had_under_way() {
    let mut deployment = Deployment::start().await;
    let load = Load::start(&deployment.balancer);
    load.served(20).await;
    let (mut victim, address) = deployment.running.remove(0);
    victim.signal("KILL");
    victim.ended().await;
    // The balancer has not noticed yet: whoever comes to the dead one is refused the connection, and goes on to the next.
    load.served(40).await;
    deployment.balancer.take_out(address);
    load.served(10).await;
    let got = load.end().await;
    let failed = got.failed.lock().unwrap().len();
    assert!(failed <= 6, "one of each client at most: {:?}", got.failed.lock().unwrap());
    all_on_record(&deployment, &got).await;
}

#[tokio::test]
async fn under_load_a_freeze_of_the_command_line_reaches_all_of_them_also_one_that_is_cut_off() {
    let deployment = Deployment::start().await;
    // Every listener is ended as soon as it listens, and every connection for freezes and quotas now and then: they heal.
    let mut administrator = connect(&deployment.database).await;
    let cutting = TaskTracker::new().spawn(async move {
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where datname = current_database() and query ilike 'listen%'";
        loop {
            administrator.execute(cut).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let load = Load::start(&deployment.balancer);
    load.served(20).await;
    let (http, ada) = (client(), token("ada"));
    for (_, address) in &deployment.running {
        assert_eq!(ask(&http, *address, &ada).await.unwrap().0, 201);
    }
    deployment.cli(&["lease", "freeze", "--subject", "ada", "--issuer", "authentik", "--reason", "test"]).await;
    let frozen = SystemClock::start();
    for (_, address) in &deployment.running {
        loop {
            let asked = frozen.elapsed();
            match ask(&http, *address, &ada).await.unwrap().0 {
                403 => break,
                201 => assert!(asked < Duration::from_secs(1), "granted {asked:?} after the freeze"),
                other => panic!("{other}"),
            }
        }
    }
    load.served(10).await;
    let got = load.end().await;
    assert_eq!(*got.failed.lock().unwrap(), Vec::<String>::new(), "nobody else noticed");
    cutting.abort();
}

#[tokio::test]
async fn lost_database_connections_heal_alone() {
    let deployment = Deployment::start().await;
    let (http, ada) = (client(), token("ada"));
    for _ in 0..3 {
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()";
        assert!(deployment.lone(cut).await >= 3);
        for (_, address) in &deployment.running {
            let healed = SystemClock::start();
            // The writer's connection is found lost by the write that needs it: that one may be refused.
            while ask(&http, *address, &ada).await.unwrap().0 != 201 {
                assert!(healed.elapsed() < Duration::from_secs(10), "{address} does not heal");
            }
        }
    }
    // Those who listen do so again.
    let listening =
        "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'";
    let began = SystemClock::start();
    while deployment.lone(listening).await < 3 {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody listens");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_lease_that_was_revoked_at_one_instance_is_handed_out_again_by_none() {
    const POLICIES: &[(&str, &str)] = &[(
        "operators.toml",
        "[[operator]]\nissuer = \"authentik\"\nsubjects = [\"olga\"]\npermissions = [\"lease.revoke\"]\n",
    )];
    let mint = Mint::start().await;
    let setup = |database| Setup {
        policies: POLICIES,
        more: "[lease]\njitter = 0.0\n",
        reuse: true,
        database,
        ..Setup::with(&mint.endpoint)
    };
    let minting = Service::start(setup(None)).await;
    let other = Service::start(setup(Some(minting.database.clone()))).await;
    let ada = token("ada");
    let lease = async || minting.lease(&ada, &json!({})).await.json()["lease_id"].clone();
    let first = lease().await;
    assert_eq!(lease().await, first, "the same lease again");
    let url = other.url(&format!("/v1/leases/{}", first.as_str().unwrap()));
    let revoked = other.send(other.http.delete(url).header("authorization", format!("Bearer {}", token("olga")))).await;
    assert!(revoked.status.is_success(), "{}", revoked.body);
    let began = SystemClock::start();
    let mut asked = Duration::ZERO;
    while lease().await == first {
        assert!(asked < Duration::from_secs(1), "handed out {asked:?} after its end was on record");
        asked = began.elapsed();
    }
    assert_eq!(lease().await, lease().await);
}
