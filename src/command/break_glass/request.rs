//! `stint break-glass request`: writes what custodians sign, and the key pair that the answer is sealed for.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use rand::RngExt;
use serde_json::{Value, json};
use uuid::Uuid;

use super::files::{create, create_envelope};
use super::keygen::custodian;
use super::randomness;
use crate::audit::Digest;
use crate::break_glass::ceremony::{
    Document, Envelope, Nonce, RecipientSecret, RequestDocument, RequestDraft, UseKind,
};
use crate::client::{Address, EmergencyService, Transport};
use crate::clock::{Clock, SystemClock};
use crate::command::{Failure, block_on};
use crate::policy::{CustodianName, PolicyFiles, RoleName};

/// What is asked for, and of whom.
#[derive(Debug, Args)]
pub struct RequestOptions {
    /// The emergency role, as break-glass.toml names it.
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: RoleName,
    /// Why, on one line: everybody who signs reads it, and it stays in the log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The incident this belongs to, as your team names it.
    #[arg(long, value_name = "ID")]
    incident: String,
    /// You: a custodian, and one of those who will sign.
    #[arg(long, value_name = "NAME", value_parser = custodian)]
    requester: CustodianName,
    /// outage: the service sees it itself. declared: the higher quorum says so. drill: to practise.
    #[arg(long, value_name = "KIND", default_value = "outage")]
    kind: Kind,
    /// How long: 1m to 15m.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = length)]
    length: Duration,
    /// Ask this instance for its id and its policies.
    #[arg(long, value_name = "URL", env = "STINT_URL")]
    url: Option<String>,
    /// Without --url: the policy directory that is in force there.
    #[arg(long, value_name = "DIR", conflicts_with = "policy_hash")]
    policies: Option<PathBuf>,
    /// Without --url: the hash of the policies in force there, 64 hex digits.
    #[arg(long, value_name = "HASH", value_parser = hash)]
    policy_hash: Option<Digest>,
    /// Without --url: the instance that may honour it, as `stint break-glass status` names it.
    #[arg(long, value_name = "UUID", conflicts_with = "any_instance")]
    instance: Option<Uuid>,
    /// Let any instance honour it. That works only while `PostgreSQL` is up.
    #[arg(long)]
    any_instance: bool,
    /// The file to make.
    #[arg(long, value_name = "FILE", default_value = "request.json")]
    out: PathBuf,
    /// The file for the private key that opens the answer [default: FILE.key].
    #[arg(long, value_name = "FILE")]
    recipient_key: Option<PathBuf>,
    /// Trust these roots (PEM) besides the system's.
    #[arg(long, value_name = "PEM", env = "STINT_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Take an http address of another machine.
    #[arg(long, env = "STINT_INSECURE_HTTP")]
    insecure_http: bool,
    /// Answer in JSON: `{"request", "recipient_key", "nonce", "instance", "policy_hash", "sha256"}`.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Outage,
    Declared,
    Drill,
}

impl From<Kind> for UseKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Outage => Self::Outage,
            Kind::Declared => Self::Declared,
            Kind::Drill => Self::Drill,
        }
    }
}

fn role(text: &str) -> Result<RoleName, String> {
    RoleName::parse(text).ok_or_else(|| "must be a role's name".to_owned())
}

fn length(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).ok().filter(|length| length.subsec_nanos() == 0);
    length.ok_or_else(|| "must be a time in whole seconds, as in 15m".to_owned())
}

fn hash(text: &str) -> Result<Digest, String> {
    Digest::parse(text).ok_or_else(|| "must be 64 lower-case hex digits".to_owned())
}

/// Which policies the request is for, and which instance may honour it.
struct Target {
    policy_hash: Digest,
    instance: Option<Uuid>,
}

/// Writes the request.
pub(super) fn request(options: &RequestOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let key_file = options.recipient_key.clone().unwrap_or_else(|| beside(&options.out));
    let target = target(options)?;
    let mut rng = randomness()?;
    let recipient = RecipientSecret::generate(&mut rng)?;
    let nonce = Nonce::from_random(rng.random());
    let document = Document::Request(RequestDocument::write(RequestDraft {
        kind: options.kind.into(),
        role: options.role.clone(),
        reason: options.reason.clone(),
        incident: options.incident.clone(),
        length: options.length,
        recipient: recipient.public(),
        nonce,
        requested_at: SystemClock::start().now(),
        requester: options.requester.clone(),
        policy_hash: target.policy_hash,
        instance: target.instance,
    })?);
    // The key first: a request without it could be honoured and never be opened.
    create(&key_file, recipient.to_pem()?.as_bytes())?;
    create_envelope(&options.out, &Envelope::unsigned(document.clone()))?;
    if options.json {
        let made = json!({
            "request": options.out,
            "recipient_key": key_file,
            "nonce": nonce.to_string(),
            "instance": target.instance,
            "policy_hash": target.policy_hash.to_hex(),
            "sha256": document.digest().to_hex(),
        });
        return Ok(writeln!(out, "{made}")?);
    }
    let (file, key) = (options.out.display(), key_file.display());
    write!(
        out,
        "{}\n{file} is to be signed, and used within 30 minutes. {key} opens the answer: keep it here.\n",
        document.shown()
    )?;
    writeln!(out, "Next: stint break-glass sign {file} --custodian {} --key KEY.pem", options.requester)?;
    Ok(writeln!(out, "and send {file} to the others; each signs, and sends it on or back.")?)
}

fn beside(request: &Path) -> PathBuf {
    let mut name = request.as_os_str().to_owned();
    name.push(".key");
    PathBuf::from(name)
}

fn target(options: &RequestOptions) -> Result<Target, Failure> {
    let by_hand = match (&options.policies, options.policy_hash) {
        (Some(directory), _) => Some(hash_of(directory)?),
        (None, by_hand) => by_hand,
    };
    if let Some(url) = &options.url {
        let told = ask(options, url)?;
        if by_hand.is_some_and(|hash| hash != told.policy_hash) {
            return Err(Failure(
                "the instance has other policies than those named here: nothing was written".to_owned(),
            ));
        }
        let named = if options.any_instance { None } else { Some(options.instance).flatten().or(told.instance) };
        return Ok(Target { instance: named, ..told });
    }
    let policy_hash = by_hand.ok_or_else(|| {
        Failure(
            "name the policies with --policies DIR or --policy-hash HASH, or an instance to ask with --url".to_owned(),
        )
    })?;
    if options.instance.is_none() && !options.any_instance {
        let told = "name the instance that may honour it with --instance UUID (its status says it, and its journal's file \
                    `instance`), or --any-instance where PostgreSQL is up";
        return Err(Failure(told.to_owned()));
    }
    Ok(Target { policy_hash, instance: options.instance })
}

fn hash_of(directory: &Path) -> Result<Digest, Failure> {
    let files = PolicyFiles::read(directory).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure(format!("{}: cannot be read\n{}", directory.display(), lines.join("\n")))
    })?;
    Digest::parse(&files.hash().to_hex()).ok_or_else(|| Failure("the policies have no hash".to_owned()))
}

fn ask(options: &RequestOptions, url: &str) -> Result<Target, Failure> {
    let failure = |why: String| Failure(format!("{url}: {why}"));
    let address = Address::parse(url, options.insecure_http).map_err(|fault| failure(fault.to_string()))?;
    let transport = Transport::new(options.ca_file.as_deref()).map_err(|fault| failure(fault.to_string()))?;
    let mut told = Value::Null;
    block_on(async {
        let status = EmergencyService { address, transport }.status().await;
        told = status.map_err(|fault| failure(fault.to_string()))?;
        Ok(())
    })?;
    let member = |name: &str| told.get(name).and_then(Value::as_str);
    let instance = member("instance").and_then(|id| Uuid::try_parse(id).ok());
    let policy_hash = member("policy_hash").and_then(Digest::parse);
    let (Some(instance), Some(policy_hash)) = (instance, policy_hash) else {
        return Err(failure("the answer names no instance and no policy hash".to_owned()));
    };
    Ok(Target { policy_hash, instance: Some(instance) })
}
