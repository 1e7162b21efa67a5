//! Everything embedded, for newcomers: the `SpaceMusic` installation in small. A real PostgreSQL, the real service with
//! its real adapters, and doubles only for what a newcomer does not have at hand: an issuer shaped like Authentik and
//! an object server that speaks MinIO's dialect of STS. It never stands in for a live test.

pub mod database;
pub mod directory;
mod emergency;
pub mod issuer;
pub mod object_server;
mod tamper;
mod walk;

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::SeedableRng;
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::{StdRng, SysRng};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::clock::{Clock, SystemClock};
use crate::command::{self, Failure};
use crate::config::{Config, ProcessEnvironment};
use crate::telemetry;

use database::{DatabaseError, PrivatePostgres};
use directory::{DemoDirectory, about};
use issuer::DemoIssuer;
use object_server::{DemoObjectServer, ParentKey};
use walk::Walk;

/// How `stint demo` was called.
#[derive(Debug)]
pub struct Options {
    /// End after the walk.
    pub once: bool,
    /// Break the glass instead, then end.
    pub emergency: bool,
    /// Where to write the shell lines.
    pub env_file: Option<PathBuf>,
    /// What to keep between runs.
    pub data: Option<PathBuf>,
}

/// `stint demo`
pub fn run(options: Options, out: &mut dyn Write) -> Result<(), Failure> {
    command::block_on(async move {
        let shutdown = CancellationToken::new();
        let stage = async {
            let played = Box::pin(play(options, out, shutdown.clone())).await;
            shutdown.cancel();
            played
        };
        // Signals first: from the moment anything is started, Ctrl-C ends it in good order.
        tokio::join!(command::cancel_on_signal(shutdown.clone()), stage).1
    })
}

/// Starts everything, shows one exchange, stays, and stops everything it started, whatever happened in between.
async fn play(options: Options, out: &mut dyn Write, shutdown: CancellationToken) -> Result<(), Failure> {
    if let Some(file) = &options.env_file {
        make_room(file)?;
    }
    let directory = DemoDirectory::prepare(options.data.as_deref()).await?;
    let played = if options.emergency {
        Box::pin(emergency::play(&directory, out, &shutdown)).await
    } else {
        Box::pin(with_database(&options, &directory, out, &shutdown)).await
    };
    let place = directory.path().to_owned();
    let cleaned = directory.clean().map_err(about("removing", &place));
    played.and(cleaned)?;
    writeln!(out, "\nstint demo: everything it started has ended")?;
    Ok(())
}

async fn with_database(
    options: &Options,
    directory: &DemoDirectory,
    out: &mut dyn Write,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let failure = |error: DatabaseError| Failure(error.to_string());
    writeln!(out, "stint demo: starting in {}", directory.path().display())?;
    write!(out, "  PostgreSQL     ")?;
    out.flush()?;
    let database = match PrivatePostgres::start(&directory.postgres()).await {
        Ok(database) => database,
        Err(error) => {
            writeln!(out, "does not start")?;
            return Err(failure(error));
        }
    };
    // An error from here on must not end this function before the server has been stopped.
    let told = writeln!(out, "127.0.0.1:{}", database.port());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let perform = async {
        told?;
        Box::pin(perform(options, directory, &database, out, &tasks, &stop, shutdown)).await
    };
    let played = tokio::select! {
        played = perform => played,
        () = shutdown.cancelled() => Ok(()),
    };
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    played.and(database.stop().await.map_err(failure))
}

/// The servers' addresses.
#[derive(Debug, Clone)]
struct Places {
    stint: String,
    s3: String,
    token: String,
    config: PathBuf,
}

/// Starts the embedded object server, on a free port: its endpoint, and the parent key that it knows.
async fn object_server(
    directory: &DemoDirectory,
    rng: &mut StdRng,
    clock: Arc<dyn Clock>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(String, ParentKey), Failure> {
    let access_key = "stint-parent".to_owned();
    let parent = ParentKey { access_key, secret_key: SecretString::from(Alphanumeric.sample_string(rng, 40)) };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    DemoObjectServer::start(listener, &directory.objects(), parent.clone(), clock, tasks, stop.clone())
        .map_err(|error| Failure(error.to_string()))?;
    Ok((endpoint, parent))
}

async fn perform(
    options: &Options,
    directory: &DemoDirectory,
    database: &PrivatePostgres,
    out: &mut dyn Write,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let mut rng =
        StdRng::try_from_rng(&mut SysRng).map_err(|_| Failure("the system's random source failed".to_owned()))?;
    let (s3, parent) = object_server(directory, &mut rng, Arc::clone(&clock), tasks, stop).await?;
    let issuer = DemoIssuer::start(Arc::clone(&clock), tasks, stop.clone()).await?;
    writeln!(out, "  issuer         {}", issuer.issuer())?;
    writeln!(out, "  object server  {s3}")?;

    directory.write_policies()?;
    let key = directory.write_signing_key()?;
    let config_path = directory.write_config(&issuer.issuer(), &s3, &parent, database.url())?;
    let problems = |problems: Vec<crate::config::Problem>| {
        Failure(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let config = Config::load(&config_path, &NoEnvironment).map_err(problems)?;
    let telemetry = telemetry::init(&config.telemetry)?;
    let app = App::build(config, clock).await?;
    let places =
        Places { stint: format!("http://{}", app.address()), s3, token: issuer.token_url(), config: config_path };
    tasks.spawn(ended(app, stop.clone()));
    writeln!(out, "  stint          {}", places.stint)?;

    let walk = Walk::new(&places, database.url(), key).await?;
    walk.ready().await?;
    walk.show(out).await?;
    let tokens = directory.write_token("studio", &walk.token("studio").await?)?;
    if let Some(file) = &options.env_file {
        write_env_file(file, &places, database.url()).map_err(about("writing", file))?;
    }
    if !options.once {
        paste_lines(out, &places, &tokens)?;
        writeln!(out, "\nEverything is up. Ctrl-C ends it.")?;
        out.flush()?;
        keep_token_fresh(directory, &walk, shutdown).await;
    }
    telemetry.shutdown().await;
    Ok(())
}

async fn ended(app: App, stop: CancellationToken) {
    if let Err(error) = app.run(stop).await {
        tracing::error!(%error, "the service ended");
    }
}

/// The token file that was printed stays usable while the demo is up, as a projected Kubernetes token would.
async fn keep_token_fresh(directory: &DemoDirectory, walk: &Walk, shutdown: &CancellationToken) {
    let half_life = issuer::TOKEN_LIFETIME / 2;
    while tokio::time::timeout(half_life, shutdown.cancelled()).await.is_err() {
        match walk.token("studio").await {
            Ok(token) => drop(directory.write_token("studio", &token)),
            Err(error) => tracing::warn!(error = error.0, "the token file could not be renewed"),
        }
    }
}

fn paste_lines(out: &mut dyn Write, places: &Places, token_file: &Path) -> Result<(), Failure> {
    writeln!(
        out,
        "\nWith an unmodified AWS SDK or the aws CLI, as `studio` (paste):\n\
         \n  export AWS_ENDPOINT_URL_STS={}\
         \n  export AWS_ENDPOINT_URL_S3={}\
         \n  export AWS_ROLE_ARN=arn:aws:iam::000000000000:role/studio\
         \n  export AWS_WEB_IDENTITY_TOKEN_FILE={}\
         \n  export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true\
         \n  echo hello | aws s3 cp - s3://textures/hello.txt\
         \n  aws s3 ls s3://textures/\n\
         \nA token of another client (admin, studio, viewer, livekit-egress, studio-rclone, backup-agent, nobody):\n\
         \n  curl -s -d grant_type=client_credentials -d client_id=viewer -d client_secret=demo \\\
         \n    {}",
        places.stint,
        places.s3,
        quoted(token_file.display()),
        places.token,
    )?;
    Ok(())
}

/// Written whole and then renamed into place: whoever waits for the file never reads half of it.
fn write_env_file(file: &Path, places: &Places, database: &SecretString) -> std::io::Result<()> {
    let lines = format!(
        "export STINT_URL={}\nexport STINT_S3_URL={}\nexport STINT_TOKEN_URL={}\nexport STINT_DATABASE_URL={}\n\
         export STINT_CONFIG={}\n",
        quoted(&places.stint),
        quoted(&places.s3),
        quoted(&places.token),
        quoted(database.expose_secret()),
        quoted(places.config.display()),
    );
    directory::write_private(file, lines.as_bytes())
}

/// The file of an earlier run names servers that are gone, and whoever waits for the new one must not read it; a place
/// that cannot be written is told before anything is started.
fn make_room(file: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(about("replacing", file)(error)),
        Ok(()) | Err(_) => {}
    }
    match file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) if !parent.is_dir() => {
            Err(Failure(format!("--env-file {}: there is no directory {}", file.display(), parent.display())))
        }
        Some(_) | None => Ok(()),
    }
}

/// A word of a POSIX shell that stands for exactly this text.
fn quoted(text: impl Display) -> String {
    format!("'{}'", text.to_string().replace('\'', r"'\''"))
}

/// The demo's configuration is its own file: a stray `STINT_…` variable must not bend it.
struct NoEnvironment;

impl crate::config::Environment for NoEnvironment {
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn read_file(&self, path: &Path) -> std::io::Result<String> {
        ProcessEnvironment.read_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_is_the_same_word_to_a_shell() {
        for text in ["plain", "with space", "it's $HOME `id` \"x\" \\", ""] {
            let echo = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(text))]).output();
            assert_eq!(String::from_utf8(echo.unwrap().stdout).unwrap(), text);
        }
    }
}
