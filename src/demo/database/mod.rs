//! A private PostgreSQL from the installed binaries: for the demo, whose rows survive from run to run, and for the tests.
//! It listens on the loopback interface only, demands a random password, and dies with this process.

mod account;
mod binaries;
mod stale;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use secrecy::{ExposeSecret, SecretString};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use self::account::Account;
use self::binaries::Binaries;

/// The superuser that initdb makes.
const USER: &str = "stint";
/// How long the server may take to start: a crashed one replays its log first.
const START: Duration = Duration::from_secs(30);
/// How long initdb, or an orderly stop, may take.
const STEP: Duration = Duration::from_mins(1);
/// How often another free port is tried: somebody else may take one between our look and the server's bind.
const ATTEMPTS: usize = 4;

/// Why there is no private database. Every message names the cure where one is known.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// No `initdb` and `postgres` anywhere.
    #[error(
        "PostgreSQL is not installed: `apt install postgresql` (14 or newer) brings the initdb and postgres programs"
    )]
    NotInstalled,
    /// Run by root, and there is nobody to run PostgreSQL as.
    #[error("PostgreSQL refuses to run as root, and /etc/passwd has neither a user postgres nor nobody")]
    NoAccount,
    /// The other user cannot get to the data.
    #[error(
        "PostgreSQL has to run as another user, who cannot enter {}: `chmod o+x` it, or choose another directory",
        directory.display()
    )]
    NotTraversable {
        /// The first directory of the path that is closed.
        directory: PathBuf,
    },
    /// A file or a program could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed:\n{log}")]
    Failed {
        /// Which.
        program: &'static str,
        /// The last lines it wrote.
        log: String,
    },
    /// A program did not end, or the server did not come up.
    #[error("{program} did not finish within {} s:\n{log}", within.as_secs())]
    Timeout {
        /// Which.
        program: &'static str,
        /// How long it was waited for.
        within: Duration,
        /// The last lines it wrote.
        log: String,
    },
}

/// Whether an acknowledged commit survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `fsync = on`, PostgreSQL's default: what the demo shows is what a real installation does.
    Full,
    /// `fsync = off`: for throwaway databases of tests.
    None,
}

/// How to run it.
#[derive(Debug, Clone, Copy)]
pub struct PrivateSettings {
    /// What survives.
    pub durability: Durability,
    /// The port to listen on; a free one where none is given.
    pub port: Option<u16>,
}

/// A running server. Ends when dropped, or when this process dies in whatever way (where `setpriv` is installed).
#[derive(Debug)]
pub struct PrivatePostgres {
    server: Child,
    site: Site,
    port: u16,
    url: SecretString,
}

impl PrivatePostgres {
    /// Starts a server on the data in `directory`, which is made if it is not there: fsync on, a free port. Call it on a
    /// thread that lives as long as the process: the kernel ends the server with the thread that started it.
    pub async fn start(directory: &Path) -> Result<Self, DatabaseError> {
        Self::start_with(directory, PrivateSettings { durability: Durability::Full, port: None }).await
    }

    /// Starts a server on the data in `directory` in a chosen way. A server of an earlier run on the same data is stopped
    /// first.
    pub async fn start_with(directory: &Path, settings: PrivateSettings) -> Result<Self, DatabaseError> {
        let site = Site::prepare(directory)?;
        let password = site.password()?;
        if !site.data().join("PG_VERSION").exists() {
            site.initialize(&password).await?;
        }
        stale::stop(&site).await?;
        let mut attempt = 1;
        loop {
            let port = settings.port.map_or_else(free_port, Ok)?;
            match site.launch(port, settings.durability).await {
                Ok(server) => {
                    let url = url(port, &password);
                    return Ok(Self { server, site, port, url });
                }
                Err(DatabaseError::Failed { .. }) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends a server that an earlier run left behind on the data in `directory`, if there is one.
    pub async fn stop_stale(directory: &Path) -> Result<(), DatabaseError> {
        if !directory.join("data").exists() {
            return Ok(());
        }
        stale::stop(&Site::prepare(directory)?).await
    }

    /// `postgres://stint:<password>@127.0.0.1:<port>/postgres`, the password percent-encoded. The user is a superuser.
    #[must_use]
    pub fn url(&self) -> &SecretString {
        &self.url
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it in good order: sessions are cut, everything is flushed. After a bounded time it is killed.
    pub async fn stop(mut self) -> Result<(), DatabaseError> {
        let stopped = self.site.stop().await;
        if timeout(STEP, self.server.wait()).await.is_err() {
            self.server.kill().await.map_err(io("killing postgres"))?;
        }
        stopped
    }

    /// Ends it as a power cut would: SIGKILL, nothing flushed, nobody told. A session may live on for an instant, and
    /// finish what it has begun.
    pub async fn kill(mut self) -> Result<(), DatabaseError> {
        self.server.kill().await.map_err(io("killing postgres"))
    }
}

/// Where one server lives, and as whom.
#[derive(Debug)]
struct Site {
    directory: PathBuf,
    account: Account,
    binaries: Binaries,
}

impl Site {
    fn prepare(directory: &Path) -> Result<Self, DatabaseError> {
        fs::create_dir_all(directory).map_err(io(format!("making {}", directory.display())))?;
        let directory = directory.canonicalize().map_err(io(format!("finding {}", directory.display())))?;
        let account = Account::choose()?;
        account.admit(&directory)?;
        let version = fs::read_to_string(directory.join("data/PG_VERSION")).ok();
        Ok(Self { directory, account, binaries: Binaries::find(version.as_deref().map(str::trim)) })
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// The password of an earlier run, or a new one.
    fn password(&self) -> Result<SecretString, DatabaseError> {
        let path = self.directory.join("password");
        if self.data().join("PG_VERSION").exists() {
            let password = fs::read_to_string(&path).map_err(io(format!("reading {}", path.display())))?;
            return Ok(SecretString::from(password.trim().to_owned()));
        }
        let password = hex::encode(rand::make_rng::<StdRng>().random::<[u8; 24]>());
        write_private(&path, &password)?;
        Ok(SecretString::from(password))
    }

    async fn initialize(&self, password: &SecretString) -> Result<(), DatabaseError> {
        // What an initdb that was cut off left behind is of no use to anybody.
        let data = self.data();
        if data.exists() {
            fs::remove_dir_all(&data).map_err(io(format!("clearing {}", data.display())))?;
        }
        fs::create_dir(&data).map_err(io(format!("making {}", data.display())))?;
        self.account.own(&data)?;
        let password_file = self.directory.join("initdb-password");
        write_private(&password_file, password.expose_secret())?;
        self.account.own(&password_file)?;

        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(&data).args(["-U", USER, "--auth=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]);
        initdb.arg("--pwfile").arg(&password_file);
        let ran = self.run("initdb", initdb).await;
        let removed = fs::remove_file(&password_file).map_err(io("removing the password file of initdb"));
        ran.and(removed)
    }

    /// Starts the server and waits until it takes connections.
    async fn launch(&self, port: u16, durability: Durability) -> Result<Child, DatabaseError> {
        let log = File::create(self.log()).map_err(io("making the server's log"))?;
        let mut postgres = self.command_that_dies_with_us("postgres").await;
        postgres.arg("-D").arg(self.data());
        for setting in [
            "listen_addresses=127.0.0.1",
            &format!("port={port}"),
            "unix_socket_directories=",
            "max_connections=200",
            match durability {
                Durability::Full => "fsync=on",
                Durability::None => "fsync=off",
            },
        ] {
            postgres.args(["-c", setting]);
        }
        postgres.stdout(log.try_clone().map_err(io("sharing the server's log"))?).stderr(log);
        let mut server = postgres.spawn().map_err(not_installed)?;
        match timeout(START, self.ready(&mut server, port)).await {
            Ok(Ok(())) => Ok(server),
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Err(DatabaseError::Timeout { program: "postgres", within: START, log: self.last_words() }),
        }
    }

    /// What `pg_ctl --wait` looks at: the server writes `ready` into its pid file once it takes connections.
    async fn ready(&self, server: &mut Child, port: u16) -> Result<(), DatabaseError> {
        loop {
            if server.try_wait().map_err(io("waiting for postgres"))?.is_some() {
                return Err(DatabaseError::Failed { program: "postgres", log: self.last_words() });
            }
            let pid_file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let ours = pid_file.lines().next().and_then(|pid| pid.parse().ok()) == server.id();
            let ready = pid_file.lines().nth(7).is_some_and(|status| status.trim() == "ready");
            if ours && ready && tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fast shutdown of whatever server holds the data.
    async fn stop(&self) -> Result<(), DatabaseError> {
        let mut pg_ctl = self.command("pg_ctl");
        pg_ctl.arg("stop").arg("-D").arg(self.data()).args(["-m", "fast", "-w", "-t", "30"]);
        self.run("pg_ctl", pg_ctl).await
    }

    async fn run(&self, program: &'static str, mut command: Command) -> Result<(), DatabaseError> {
        let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(not_installed)?;
        let output = match timeout(STEP, running.wait_with_output()).await {
            Ok(output) => output.map_err(io(format!("waiting for {program}")))?,
            Err(_elapsed) => return Err(DatabaseError::Timeout { program, within: STEP, log: String::new() }),
        };
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(DatabaseError::Failed { program, log: last_lines(&String::from_utf8_lossy(&said)) })
    }

    /// A program of PostgreSQL, as the account that runs it.
    fn command(&self, program: &str) -> Command {
        self.as_account(Command::new(self.binaries.path(program)))
    }

    /// The same behind `setpriv`, which asks the kernel to interrupt it when this process dies, even by SIGKILL.
    async fn command_that_dies_with_us(&self, program: &str) -> Command {
        let setpriv = |program: PathBuf| {
            let mut command = Command::new("setpriv");
            command.arg("--pdeathsig=INT").arg("--").arg(program);
            self.as_account(command)
        };
        let mut probe = setpriv(PathBuf::from("true"));
        let works =
            probe.stdout(Stdio::null()).stderr(Stdio::null()).status().await.is_ok_and(|status| status.success());
        if works { setpriv(self.binaries.path(program)) } else { self.command(program) }
    }

    fn as_account(&self, mut command: Command) -> Command {
        // Not our working directory: the account may have no right to be there.
        command.current_dir(&self.directory).stdin(Stdio::null()).kill_on_drop(true);
        // A group of its own: Ctrl-C in a terminal reaches the whole group, and would end the server under its users.
        command.process_group(0);
        self.account.apply(&mut command);
        command
    }

    fn last_words(&self) -> String {
        last_lines(&fs::read_to_string(self.log()).unwrap_or_default())
    }
}

fn url(port: u16, password: &SecretString) -> SecretString {
    let password = percent_encoding::utf8_percent_encode(password.expose_secret(), percent_encoding::NON_ALPHANUMERIC);
    SecretString::from(format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres"))
}

fn free_port() -> Result<u16, DatabaseError> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(io("looking for a free port"))?;
    Ok(listener.local_addr().map_err(io("looking for a free port"))?.port())
}

fn write_private(path: &Path, text: &str) -> Result<(), DatabaseError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).map_err(io(format!("making {}", path.display())))?;
    file.write_all(text.as_bytes()).map_err(io(format!("writing {}", path.display())))
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let (_, last) = lines.split_at(lines.len().saturating_sub(12));
    last.join("\n")
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DatabaseError {
    let what = what.into();
    move |source| DatabaseError::Io { what, source }
}

fn not_installed(error: std::io::Error) -> DatabaseError {
    if error.kind() == std::io::ErrorKind::NotFound {
        return DatabaseError::NotInstalled;
    }
    DatabaseError::Io { what: "starting a program of PostgreSQL".to_owned(), source: error }
}
