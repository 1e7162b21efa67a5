//! One exchange, walked as a workload would and shown step by step: token, role, credentials, an allowed write, a
//! refused write, what the log says about it, and what it says of somebody who changes it.

use std::io::Write;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Places, tamper};
use crate::audit::{AuditRow, VerifyingKey};
use crate::clock::{Clock, SystemClock};
use crate::command::Failure;
use crate::postgres::PostgresStore;

/// How long the service may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
const WRITER: &str = "livekit-egress";

/// A workload with the addresses it needs.
pub(super) struct Walk {
    http: Client,
    places: Places,
    log: PostgresStore,
    database: SecretString,
    /// The public half of the key that seals the log.
    key: VerifyingKey,
    clock: SystemClock,
}

/// The part of `POST /v1/leases`' answer that a workload uses.
#[derive(Deserialize)]
struct Lease {
    #[serde(rename = "lease_id")]
    id: Uuid,
    role: String,
    credentials: LeaseCredentials,
    refresh_after: String,
    ttl_seconds: i64,
    shortened_by: Option<String>,
}

/// What a holder signs with.
#[derive(Deserialize)]
pub(super) struct LeaseCredentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: SecretString,
    pub(super) session_token: SecretString,
    pub(super) expiration: String,
}

impl Walk {
    pub(super) async fn new(places: &Places, database: &SecretString, key: VerifyingKey) -> Result<Self, Failure> {
        let http = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(10))
            .build()
            .map_err(failure)?;
        let log = PostgresStore::connect(database, Duration::from_secs(2)).await;
        let log = log.map_err(|error| Failure(error.to_string()))?;
        Ok(Self { http, places: places.clone(), log, database: database.clone(), key, clock: SystemClock::start() })
    }

    /// Waits until the service says it is ready.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        let url = format!("{}/health/ready", self.places.stint);
        loop {
            let status = self.http.get(&url).send().await.map(|answer| answer.status());
            match status {
                Ok(StatusCode::OK) => return Ok(()),
                _ if self.clock.elapsed() > READY_WITHIN => {
                    return Err(Failure(format!("stint is not ready after {READY_WITHIN:?}: see {url}")));
                }
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// A token of one of the demo's clients, by client credentials.
    pub(super) async fn token(&self, client: &str) -> Result<SecretString, Failure> {
        let form = format!("grant_type=client_credentials&client_id={client}&client_secret=demo");
        let request = self.http.post(&self.places.token).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer: Value = parse(&request.send().await.map_err(failure)?.bytes().await.map_err(failure)?)?;
        let token = answer.get("access_token").and_then(Value::as_str);
        token.map(SecretString::from).ok_or_else(|| Failure("the demo's issuer gave no token".to_owned()))
    }

    /// Walks the exchange and shows it; fails if any step does not end as it must.
    pub(super) async fn show(&self, out: &mut dyn Write) -> Result<(), Failure> {
        writeln!(out, "\n1. {WRITER} gets a token from its identity provider")?;
        let token = self.token(WRITER).await?;
        let claims = claims(&token)?;
        for name in ["iss", "sub", "aud", "azp", "groups", "exp"] {
            writeln!(out, "     {name:7} {}", claims.get(name).unwrap_or(&Value::Null))?;
        }

        writeln!(out, "\n2. stint exchanges it: POST {}/v1/leases {{\"role\":\"any\"}}", self.places.stint)?;
        let lease = self.lease(&token).await?;
        writeln!(out, "     role           {}", lease.role)?;
        writeln!(out, "     lease          {}", lease.id)?;
        writeln!(out, "     access key     {}… (secret and session token not shown)", prefix(&lease.credentials))?;
        let because = lease.shortened_by.map(|cause| format!(", shortened by {cause}")).unwrap_or_default();
        writeln!(out, "     ends           {} ({} s{because})", lease.credentials.expiration, lease.ttl_seconds)?;
        writeln!(out, "     refresh after  {}", lease.refresh_after)?;

        writeln!(out, "\n3. the object server enforces the role")?;
        self.write(out, &lease.credentials, "recordings/demo/take-1.mp4", StatusCode::OK).await?;
        self.write(out, &lease.credentials, "backups/not-mine.sql", StatusCode::FORBIDDEN).await?;

        writeln!(out, "\n4. nobody (a valid token, no group) is refused")?;
        let refused = self.lease_request(&self.token("nobody").await?).await?;
        writeln!(out, "     {} {}", refused.0.as_u16(), refused.1.get("code").unwrap_or(&Value::Null))?;
        expect(refused.0 == StatusCode::FORBIDDEN, "nobody should have been refused")?;

        writeln!(out, "\n5. what the log says (audit_event in PostgreSQL, committed before each answer)")?;
        let mut rows = self.log.recent(8).await.map_err(|error| Failure(error.to_string()))?;
        rows.sort_by_key(|row| (row.stream, row.seq));
        for row in &rows {
            writeln!(out, "     {}", line(row))?;
        }
        let said = |kind: &str| rows.iter().any(|row| row.kind == kind);
        expect(said("lease.intended") && said("lease.issued") && said("exchange.refused"), "the log lacks a row")?;

        writeln!(out, "\n6. an administrator changes who got the lease, and the log tells")?;
        self.verified(out).await?;
        tamper::show(out, &self.database, self.key, lease.id).await?;
        self.verified(out).await
    }

    /// Verifies the whole log: every row, seal and signature.
    pub(super) async fn verified(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let report = tamper::verify(&self.log, self.key).await?;
        for finding in &report.findings {
            writeln!(out, "     FOUND {finding}")?;
        }
        expect(report.is_whole(), "the log is not whole")?;
        writeln!(out, "     verify         whole: {} rows under {} seals", report.rows, report.seals)?;
        Ok(())
    }

    async fn lease(&self, token: &SecretString) -> Result<Lease, Failure> {
        let (status, body) = self.lease_request(token).await?;
        expect(status == StatusCode::CREATED, &format!("the exchange was refused with {status}"))?;
        serde_json::from_value(body).map_err(|error| Failure(format!("the answer is not a lease: {error}")))
    }

    pub(super) async fn lease_request(&self, token: &SecretString) -> Result<(StatusCode, Value), Failure> {
        let request = self.http.post(format!("{}/v1/leases", self.places.stint));
        let request = request.bearer_auth(token.expose_secret()).header("content-type", "application/json");
        let answer = request.body(json!({"role": "any"}).to_string()).send().await.map_err(failure)?;
        let status = answer.status();
        Ok((status, parse(&answer.bytes().await.map_err(failure)?)?))
    }

    pub(super) async fn write(
        &self,
        out: &mut dyn Write,
        credentials: &LeaseCredentials,
        path: &str,
        expected: StatusCode,
    ) -> Result<(), Failure> {
        let status = self.put(credentials, path, b"written by stint demo").await?;
        let verdict = if status == StatusCode::OK { "allowed" } else { "refused" };
        writeln!(out, "     PUT s3://{path:28} {} {verdict}", status.as_u16())?;
        expect(status == expected, &format!("writing {path} should have ended with {expected}"))
    }

    async fn put(
        &self,
        credentials: &LeaseCredentials,
        path: &str,
        body: &'static [u8],
    ) -> Result<StatusCode, Failure> {
        let url = format!("{}/{path}", self.places.s3);
        let identity = Credentials::new(
            &credentials.access_key_id,
            credentials.secret_access_key.expose_secret(),
            Some(credentials.session_token.expose_secret().to_owned()),
            None,
            "lease",
        )
        .into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let unsignable = |_| Failure("the demo's request cannot be signed".to_owned());
        let params = SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("s3")
            .time(self.clock.now().into())
            .settings(settings)
            .build()
            .map_err(|error| Failure(error.to_string()))?;
        let signable = SignableRequest::new("PUT", &url, std::iter::empty(), SignableBody::Bytes(body));
        let signed = sign(signable.map_err(unsignable)?, &params.into()).map_err(unsignable)?;
        let mut request = self.http.request(Method::PUT, &url).body(body);
        for (name, value) in signed.output().headers() {
            request = request.header(name, value);
        }
        Ok(request.send().await.map_err(failure)?.status())
    }
}

/// One row in less than 100 columns: ids by the end that tells them apart.
fn line(row: &AuditRow) -> String {
    let lease = row.lease_id.map(|id| id.to_string());
    let lease = lease.and_then(|id| id.rsplit('-').next().map(|end| format!("lease …{end}")));
    let subject = row.subject.as_deref().map(|subject| format!("sub {}…", subject.get(..8).unwrap_or(subject)));
    let about: Vec<String> = row.role.clone().into_iter().chain(lease).chain(subject).collect();
    let effect = if row.effect == "not_applicable" { "-" } else { &row.effect };
    let line = format!("{:>3}  {:17} {effect:6} {:9} {}", row.seq, row.kind, row.reason, about.join("  "));
    line.trim_end().to_owned()
}

fn claims(token: &SecretString) -> Result<Value, Failure> {
    let payload = token.expose_secret().split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    parse(&payload.unwrap_or_default())
}

fn prefix(credentials: &LeaseCredentials) -> &str {
    credentials.access_key_id.get(..4).unwrap_or_default()
}

fn parse(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure(format!("an answer is not JSON: {error}")))
}

pub(super) fn expect(holds: bool, otherwise: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure(format!("the walk failed: {otherwise}"))) }
}

fn failure(error: reqwest::Error) -> Failure {
    // The address is ours, but a query or user in it would not be for the screen.
    Failure(error.without_url().to_string())
}
