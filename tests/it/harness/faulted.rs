//! The stage of the fault tests: the real program behind doubles that remember what they did. An object server that mints
//! a new credential for every call and can be told to wait, and clients that keep what they were told.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use stint::app::App;
use stint::clock::{Clock, SystemClock};
use stint::config::{Config, Environment};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::binary::{PATIENCE, Running, Site, eventually, http, run, stint};
use super::database::fresh_database;
use super::object_server::{Reply, assume_role_response};
use super::proxy::Proxy;
use super::service::now;
use super::tokens::Forge;
use super::witness::Log;

/// How long the object server's credentials really live.
pub(crate) const REAL_LIFE: Duration = Duration::from_secs(3590);

/// What the object server believes to have given away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Minted {
    pub(crate) lease: Uuid,
    pub(crate) access_key_id: String,
}

/// Where a mint is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Nowhere,
    /// The call has arrived, no credential exists.
    BeforeMint,
    /// The credential exists, nobody was told.
    AfterMint,
}

#[derive(Debug)]
struct Mind {
    clock: Arc<dyn Clock>,
    minted: Mutex<Vec<Minted>>,
    revoked: Mutex<Vec<Uuid>>,
    hold: watch::Sender<Hold>,
    held: watch::Sender<usize>,
    held_before: AtomicUsize,
}

/// An object server double: MinIO's `AssumeRole` and its revocation, a credential of its own for every call. It ends when
/// dropped.
#[derive(Debug)]
pub(crate) struct Mint {
    pub(crate) endpoint: String,
    mind: Arc<Mind>,
    _ends: DropGuard,
}

impl Mint {
    pub(crate) async fn start() -> Self {
        Self::with(Arc::new(SystemClock::start())).await
    }

    /// One whose credentials end by this clock.
    pub(crate) async fn with(clock: Arc<dyn Clock>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let mind = Arc::new(Mind {
            clock,
            minted: Mutex::default(),
            revoked: Mutex::default(),
            hold: watch::Sender::new(Hold::Nowhere),
            held: watch::Sender::new(0),
            held_before: AtomicUsize::new(0),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (ends, shared) = (stop.clone().drop_guard(), Arc::clone(&mind));
        tasks.clone().spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mind = Arc::clone(&shared);
                // Whoever asked may have died.
                tasks.spawn(stop.clone().run_until_cancelled_owned(async move { mind.answer(stream).await.ok() }));
            }
        }));
        Self { endpoint, mind, _ends: ends }
    }

    pub(crate) fn minted(&self) -> Vec<Minted> {
        self.mind.minted.lock().unwrap().clone()
    }

    /// Leases it was told to end.
    pub(crate) fn revoked(&self) -> Vec<Uuid> {
        self.mind.revoked.lock().unwrap().clone()
    }

    pub(crate) fn hold(&self, hold: Hold) {
        self.mind.held_before.store(*self.mind.held.borrow(), Ordering::SeqCst);
        self.mind.hold.send_replace(hold);
    }

    /// Waits until one more call is held than when it was last told to hold calls.
    pub(crate) async fn held_now(&self) {
        let before = self.mind.held_before.load(Ordering::SeqCst);
        self.held(before + 1).await;
    }

    /// Waits until so many calls were held.
    pub(crate) async fn held(&self, times: usize) {
        let mut held = self.mind.held.subscribe();
        let waited = timeout(PATIENCE, held.wait_for(|held| *held >= times)).await;
        assert!(waited.is_ok(), "no {times} calls were held");
    }
}

impl Mind {
    /// One request a connection.
    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !is_whole(&request) {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let reply = if let Some(lease) = after(&request, "TokenRevokeType=") {
            self.mint(lease).await
        } else if let Some(lease) = after(&request, "tokenRevokeType=") {
            self.revoked.lock().unwrap().push(lease);
            Reply::http(204, "text/plain", "")
        } else {
            Reply::http(200, "text/plain", "")
        };
        let Reply::Bytes(bytes) = reply else { unreachable!("whole answers only") };
        stream.write_all(bytes.as_bytes()).await
    }

    async fn mint(&self, lease: Uuid) -> Reply {
        self.wait_at(Hold::BeforeMint).await;
        let access_key_id = format!("AK{}", Uuid::now_v7().simple()).to_uppercase();
        self.minted.lock().unwrap().push(Minted { lease, access_key_id: access_key_id.clone() });
        self.wait_at(Hold::AfterMint).await;
        let end = (self.clock.now() + REAL_LIFE).replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
        let answer = assume_role_response(&end).replace("GGCTIHYG44N04A0X14LN", &access_key_id);
        Reply::http(200, "application/xml", &answer)
    }

    async fn wait_at(&self, place: Hold) {
        let mut hold = self.hold.subscribe();
        if *hold.borrow() == place {
            self.held.send_modify(|held| *held += 1);
            // The sender lives as long as this.
            let _ = hold.wait_for(|hold| *hold != place).await;
        }
    }
}

fn after(request: &str, name: &str) -> Option<Uuid> {
    let (_, rest) = request.split_once(name)?;
    rest.get(..36)?.parse().ok()
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    request.len() >= head.len() + 4 + length.unwrap_or(0)
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// A credential.
    Issued { lease: Uuid, access_key_id: String },
    /// No, and for good: it is on record under this request id.
    Denied { request_id: Uuid },
    /// To come back, with this code.
    ComeBack { code: String },
    /// Nothing: the connection broke.
    Nothing,
    /// Something that nobody may be told.
    Strange(String),
}

impl Told {
    /// The lease of a credential.
    pub(crate) fn lease(&self) -> Option<Uuid> {
        match self {
            Self::Issued { lease, .. } => Some(*lease),
            Self::Denied { .. } | Self::ComeBack { .. } | Self::Nothing | Self::Strange(_) => None,
        }
    }
}

/// Clients of one or several services; what they were told stays.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    http: reqwest::Client,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Clients {
    pub(crate) fn new() -> Self {
        Self { http: http(), told: Arc::default() }
    }

    /// Everything that any of them was told.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// How many credentials were issued to them.
    pub(crate) fn issued(&self) -> usize {
        self.told.lock().unwrap().iter().filter(|told| told.lease().is_some()).count()
    }

    /// Waits until so many more were.
    pub(crate) async fn served(&self, more: usize) {
        let enough = self.issued() + more;
        eventually("clients are served", async || self.issued() >= enough).await;
    }

    /// Waits until one of them is told to come back because the log cannot be written.
    pub(crate) async fn turned_away(&self) {
        let away = || {
            self.told()
                .iter()
                .filter(|told| matches!(told, Told::ComeBack { code } if code == "log_unavailable"))
                .count()
        };
        let enough = away() + 1;
        eventually("a client is turned away", async || away() >= enough).await;
    }

    /// One exchange that is granted.
    pub(crate) async fn exchange(&self, address: SocketAddr) -> Told {
        let provider = &Forge::shared().authentik;
        let draft = provider.draft(now()).claim("nonce", Uuid::now_v7().to_string());
        self.present(address, &draft.sign(&provider.key)).await
    }

    /// One that is denied: a good token, no group.
    pub(crate) async fn ask_for_nothing(&self, address: SocketAddr) -> Told {
        let provider = &Forge::shared().authentik;
        let draft = provider.draft(now()).claim("nonce", Uuid::now_v7().to_string());
        self.present(address, &draft.claim("groups", serde_json::json!([])).sign(&provider.key)).await
    }

    /// Presents this token.
    pub(crate) async fn present(&self, address: SocketAddr, token: &str) -> Told {
        let told = self.ask(address, token).await.unwrap_or(Told::Nothing);
        self.told.lock().unwrap().push(told.clone());
        told
    }

    async fn ask(&self, address: SocketAddr, token: &str) -> Result<Told, reqwest::Error> {
        let request = self.http.post(format!("http://{address}/v1/leases")).bearer_auth(token);
        let request = request.header("content-type", "application/json").body(r#"{"fresh":true}"#);
        let answer = request.send().await?;
        let (status, retry_after) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let body = answer.text().await?;
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str);
        let told = match status {
            201 => text("/lease_id")
                .and_then(|lease| lease.parse().ok())
                .zip(text("/credentials/access_key_id"))
                .map(|(lease, access_key_id)| Told::Issued { lease, access_key_id: access_key_id.to_owned() }),
            403 => text("/request_id").and_then(|id| id.parse().ok()).map(|request_id| Told::Denied { request_id }),
            503 if retry_after => text("/code").map(|code| Told::ComeBack { code: code.to_owned() }),
            _ => None,
        };
        Ok(told.unwrap_or_else(|| Told::Strange(format!("{status} {body}"))))
    }
}

/// Clients that exchange in a loop until they are told to stop.
pub(crate) struct Load {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Load {
    /// Each client asks the service that is at `address` at the time; every eighth exchange is one that is denied.
    pub(crate) fn start(clients: &Clients, count: usize, address: &watch::Receiver<SocketAddr>) -> Self {
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for client in 0..count {
            let (clients, address, stop) = (clients.clone(), address.clone(), stop.clone());
            tasks.spawn(async move {
                for turn in client.. {
                    if stop.is_cancelled() {
                        break;
                    }
                    let asked = *address.borrow();
                    let told = if turn % 8 == 0 {
                        clients.ask_for_nothing(asked).await
                    } else {
                        clients.exchange(asked).await
                    };
                    if matches!(told, Told::Nothing | Told::ComeBack { .. }) {
                        // As a client does: not in a tight loop.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
        Self { tasks, stop }
    }

    /// Ends it; every client has its last answer.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while let Some(client) = self.tasks.join_next().await {
            client.expect("a client does not panic");
        }
    }
}

/// A site whose service reaches its database through a proxy.
pub(crate) struct Stage {
    pub(crate) database: SecretString,
    pub(crate) proxy: Proxy,
    pub(crate) mint: Mint,
    pub(crate) site: Site,
    pub(crate) clients: Clients,
}

impl Stage {
    /// On a database of its own.
    pub(crate) async fn new() -> Self {
        Self::on(fresh_database().await).await
    }

    /// On this database.
    pub(crate) async fn on(database: SecretString) -> Self {
        let (proxy, mint) = (Proxy::before(&database).await, Mint::start().await);
        let site = Site::new(&proxy.url(&database), &mint.endpoint);
        Self { database, proxy, mint, site, clients: Clients::new() }
    }

    /// With another deadline of the log than two seconds.
    pub(crate) fn deadline(self, deadline: &str) -> Self {
        self.site.configure("[lease]\n", &format!("[audit]\ndeadline = \"{deadline}\"\n[lease]\n"));
        self
    }

    pub(crate) async fn serve(&self) -> (Running, SocketAddr) {
        self.site.serve().await
    }

    /// One exchange that may take until something else happens.
    pub(crate) fn exchange_aside(&self, address: SocketAddr) -> JoinSet<Told> {
        let (clients, mut aside) = (self.clients.clone(), JoinSet::new());
        aside.spawn(async move { clients.exchange(address).await });
        aside
    }

    /// The same, and what `stint audit verify` says of it.
    pub(crate) async fn audited(&self) -> Log {
        let log = self.witness().await;
        verified(&self.site, &[]).await;
        log
    }

    /// The log as it stands, which verifies, and holds whatever anybody was told.
    pub(crate) async fn witness(&self) -> Log {
        // What was told before the log is read must be in it.
        let (told, minted) = (self.clients.told(), self.mint.minted());
        let log = Log::read(&self.database).await;
        log.assert_whole();
        log.assert_covers(&told, &minted);
        log
    }
}

/// `stint audit verify` finds nothing, with these keys trusted, or those in the database.
pub(crate) async fn verified(site: &Site, keys: &[&str]) {
    let mut command = stint(["audit", "verify", "--config"]);
    command.arg(site.config());
    for key in keys {
        command.args(["--key", key]);
    }
    let ended = run(command).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}

/// The machine's clocks, each moved by a test.
#[derive(Debug)]
pub(crate) struct SetClock {
    machine: SystemClock,
    wall: Mutex<time::Duration>,
    passed: Mutex<Duration>,
}

impl SetClock {
    pub(crate) fn start() -> Self {
        Self { machine: SystemClock::start(), wall: Mutex::default(), passed: Mutex::default() }
    }

    /// Sets the clock on the wall; the time that only goes forward does.
    pub(crate) fn step(&self, by: time::Duration) {
        *self.wall.lock().unwrap() += by;
    }

    /// Time passes, which the clock on the wall does not notice.
    pub(crate) fn pass(&self, time: Duration) {
        *self.passed.lock().unwrap() += time;
    }
}

impl Clock for SetClock {
    fn now(&self) -> OffsetDateTime {
        self.machine.now() + *self.wall.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.machine.elapsed() + *self.passed.lock().unwrap()
    }
}

struct NoEnvironment;

impl Environment for NoEnvironment {
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn read_file(&self, path: &Path) -> std::io::Result<String> {
        fs::read_to_string(path)
    }
}

/// The service of a site in this process, by a clock of the test's choice.
pub(crate) struct InProcess {
    pub(crate) address: SocketAddr,
    tasks: TaskTracker,
    ends: DropGuard,
}

impl InProcess {
    pub(crate) async fn serve(site: &Site, clock: Arc<dyn Clock>) -> Self {
        let text = fs::read_to_string(site.config()).expect("written");
        let config = Config::read(&text, site.path(), &NoEnvironment).expect("a good configuration");
        let app = App::build(config, clock).await.expect("a service");
        let (address, stop, tasks) = (app.address(), CancellationToken::new(), TaskTracker::new());
        let running = stop.clone();
        tasks.spawn(async move { app.run(running).await.expect("it ends in good order") });
        tasks.close();
        Self { address, tasks, ends: stop.drop_guard() }
    }

    /// Drains and ends.
    pub(crate) async fn end(self) {
        drop(self.ends);
        self.tasks.wait().await;
    }
}

/// Has the site's service seal with this key, in PKCS#8 PEM.
pub(crate) fn seal_with(site: &Site, key: &str) {
    site.write("audit.pem", key);
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(site.path().join("audit.pem"), private).expect("our own file");
    site.configure("[lease]\n", "[audit]\nsigning_key_file = \"audit.pem\"\n[lease]\n");
}

/// Ends a service as the kernel does when it runs out of memory: nobody is told, nothing is flushed.
pub(crate) async fn kill(mut service: Running) {
    service.signal("KILL");
    assert_eq!(service.ended().await, None, "killed, not ended");
}
