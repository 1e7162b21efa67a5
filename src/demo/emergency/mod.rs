//! `stint demo --emergency`: the identity provider and PostgreSQL are stopped, really, and three custodians of the demo's own
//! making break the glass; then everything comes back, and the log knows all of it. Each step is shown, and must end as it
//! must.

mod custodians;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::custodians::{Custodians, DRILL, ROLE};
use super::database::{DatabaseError, Durability, PrivatePostgres, PrivateSettings};
use super::directory::DemoDirectory;
use super::issuer::DemoIssuer;
use super::walk::{Walk, expect};
use super::{NoEnvironment, Places, ended, object_server};
use crate::app::App;
use crate::clock::{Clock, SystemClock};
use crate::command::Failure;
use crate::config::Config;
use crate::telemetry;

/// How long anything that is waited for may take: the outage alone takes half a minute.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Plays it on a database of its own, and stops everything it started, whatever happened in between.
pub(super) async fn play(
    directory: &DemoDirectory,
    out: &mut dyn Write,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    writeln!(out, "stint demo --emergency: starting in {}", directory.path().display())?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let mut database = Some(PrivatePostgres::start(&directory.postgres()).await.map_err(failure)?);
    let perform = Box::pin(perform(directory, &mut database, out, &tasks, &stop));
    let played = tokio::select! {
        played = perform => played,
        () = shutdown.cancelled() => Ok(()),
    };
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    match database {
        Some(database) => played.and(database.stop().await.map_err(failure)),
        None => played,
    }
}

async fn perform(
    directory: &DemoDirectory,
    database: &mut Option<PrivatePostgres>,
    out: &mut dyn Write,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let mut rng =
        StdRng::try_from_rng(&mut SysRng).map_err(|_| Failure("the system's random source failed".to_owned()))?;
    let (s3, parent) = object_server(directory, &mut rng, Arc::clone(&clock), tasks, stop).await?;
    let mut issuer_stop = stop.child_token();
    let issuer = DemoIssuer::start(Arc::clone(&clock), tasks, issuer_stop.clone()).await?;
    let running = database.as_ref().ok_or_else(|| Failure("no database".to_owned()))?;
    let (url, port) = (running.url().clone(), running.port());

    let mut custodians = Custodians::new(rng)?;
    directory.write_policies()?;
    directory.write_break_glass(&custodians.policy(), &custodians::documents())?;
    let key = directory.write_signing_key()?;
    let config_path = directory.write_config(&issuer.issuer(), &s3, &parent, &url)?;
    directory.append_config(&config_path, "\n[break_glass]\njournal = \"journal\"\n")?;
    let config = Config::load(&config_path, &NoEnvironment);
    let config =
        config.map_err(|problems| Failure(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    // What is stopped here is missed by everything that needs it, once a second: the story is told on standard output.
    let quiet = telemetry::TelemetrySettings { log: "off".to_owned(), ..config.telemetry.clone() };
    let telemetry = telemetry::init(&quiet)?;
    let app = App::build(config, Arc::clone(&clock)).await?;
    let places =
        Places { stint: format!("http://{}", app.address()), s3, token: issuer.token_url(), config: config_path };
    tasks.spawn(ended(app, stop.clone()));
    let walk = Walk::new(&places, &url, key).await?;
    walk.ready().await?;
    custodians.ask(&places.stint);

    writeln!(out, "\n1. an ordinary day: studio exchanges its token")?;
    let token = walk.token("studio").await?;
    exchanged(out, &walk, &token, StatusCode::CREATED).await?;

    writeln!(out, "\n2. the identity provider and PostgreSQL stop")?;
    issuer_stop.cancel();
    if let Some(running) = database.take() {
        running.stop().await.map_err(failure)?;
    }
    exchanged(out, &walk, &token, StatusCode::SERVICE_UNAVAILABLE).await?;

    writeln!(out, "\n3. alice writes a request, and she and bob sign it, each with a key of their own")?;
    let request = custodians.request("outage", ROLE).await?;
    for line in request.shown().lines() {
        writeln!(out, "     {line}")?;
    }
    writeln!(out, "\n4. an outage of seconds is none: stint goes by what it saw itself, for 30 s")?;
    let early = custodians.submit(&request).await?;
    told(out, "submitted at once", &early)?;
    expect(early.0.is_client_error() || early.0.is_server_error(), "an outage of seconds was taken for one")?;
    custodians.until_down(out).await?;

    writeln!(out, "\n5. the very same request now")?;
    let granted = custodians.submit(&request).await?;
    expect(granted.0 == StatusCode::CREATED, &format!("the glass did not break: {}", granted.1))?;
    for condition in granted.1.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        writeln!(out, "     {}", condition.as_str().unwrap_or_default())?;
    }
    let credentials = request.open(&granted.1)?;
    writeln!(
        out,
        "     sealed for alice's key; ends {}; on this machine's disk before it left",
        credentials.expiration
    )?;
    walk.write(out, &credentials, "recordings/rescue/take-1.mp4", StatusCode::OK).await?;
    walk.write(out, &credentials, "backups/not-mine.sql", StatusCode::FORBIDDEN).await?;

    writeln!(out, "\n6. it works once, and the next use waits for the review of this one")?;
    let again = custodians.submit(&request).await?;
    told(out, "the same again", &again)?;
    let next = custodians.request("outage", ROLE).await?;
    let blocked = custodians.submit(&next).await?;
    told(out, "another", &blocked)?;
    expect(!again.0.is_success() && !blocked.0.is_success(), "a second use was granted")?;

    writeln!(out, "\n7. carol ends it before its time")?;
    told(out, "cancelled", &custodians.cancel(&request).await?)?;
    walk.write(out, &credentials, "recordings/rescue/take-2.mp4", StatusCode::FORBIDDEN).await?;

    writeln!(
        out,
        "\n8. PostgreSQL and the identity provider are back; the journal is merged before anything else is said"
    )?;
    let settings = PrivateSettings { durability: Durability::Full, port: Some(port) };
    *database = Some(PrivatePostgres::start_with(&directory.postgres(), settings).await.map_err(failure)?);
    custodians.until_merged().await?;
    issuer_stop = stop.child_token();
    let address: SocketAddr = issuer.address()?;
    DemoIssuer::start_at(address, Arc::clone(&clock), tasks, issuer_stop.clone()).await?;
    let token = walk.token("studio").await?;
    let began = clock.elapsed();
    while walk.lease_request(&token).await?.0 != StatusCode::CREATED {
        expect(clock.elapsed().saturating_sub(began) < PATIENCE, "no exchange succeeds again")?;
        sleep(LOOK).await;
    }
    exchanged(out, &walk, &token, StatusCode::CREATED).await?;
    walk.verified(out).await?;

    writeln!(out, "\n9. bob and carol, who did not ask for it, close the review")?;
    let reviewed = custodians.review(&request).await?;
    told(out, "reviewed", &reviewed)?;
    expect(reviewed.0.is_success(), "the review was not closed")?;

    writeln!(out, "\n10. a drill: the whole way with a harmless role, while nothing is down")?;
    let drill = custodians.request("drill", DRILL).await?;
    let drilled = custodians.submit(&drill).await?;
    told(out, "granted", &drilled)?;
    let over = custodians.cancel(&drill).await?;
    told(out, "ended", &over)?;
    expect(over.1.get("drill").and_then(Value::as_str) == Some("passed"), "the drill did not pass")?;
    walk.verified(out).await?;
    telemetry.shutdown().await;
    Ok(())
}

async fn exchanged(
    out: &mut dyn Write,
    walk: &Walk,
    token: &SecretString,
    expected: StatusCode,
) -> Result<(), Failure> {
    let (status, body) = walk.lease_request(token).await?;
    let what = body.get("code").or_else(|| body.get("role")).and_then(Value::as_str).unwrap_or_default();
    writeln!(out, "     POST /v1/leases   {} {what}", status.as_u16())?;
    expect(status == expected, &format!("the exchange should have ended with {expected}"))
}

/// What the service said, in few words.
fn told(out: &mut dyn Write, what: &str, answer: &(StatusCode, Value)) -> Result<(), Failure> {
    let words = ["reason", "outcome", "lease_id", "use"].into_iter().find_map(|name| answer.1.get(name)?.as_str());
    Ok(writeln!(out, "     {what:17} {} {}", answer.0.as_u16(), words.unwrap_or_default())?)
}

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err")]
fn failure(error: DatabaseError) -> Failure {
    Failure(error.to_string())
}
