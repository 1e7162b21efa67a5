//! `stint break-glass request`: writes what custodians sign, and the key pair that the answer is sealed for.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use rand::RngExt;
use serde_json::{Value, json};
use uuid::Uuid;

use super::files::{create, create_envelope, is_there};
use super::keygen::custodian;
use super::offered::{Wanted, offered};
use super::randomness;
use crate::audit::Digest;
use crate::break_glass::ceremony::{
    Document, Envelope, Nonce, RecipientSecret, RequestDocument, RequestDraft, UseKind,
};
use crate::client::{Address, EmergencyService, Fault, Transport};
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
    /// How long: 1m to 15m [default: the role's with --url, else 15m]. MinIO, `RustFS`, AWS, Ceph, `SeaweedFS` and Garage give
    /// 15m and nothing shorter.
    #[arg(long, value_name = "TIME", value_parser = length)]
    length: Option<Duration>,
    /// Ask this instance for its id, its policies and its roles.
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
    /// The longest that the role is given for there.
    length: Option<Duration>,
}

/// What is asked for when nobody says: no role is given for longer.
const USUAL_LENGTH: Duration = Duration::from_mins(15);

/// Writes the request.
pub(super) fn request(options: &RequestOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let key_file = options.recipient_key.clone().unwrap_or_else(|| beside(&options.out));
    // Both, before anything is written or asked: a new key beside an old request would open nothing.
    for path in [&options.out, &key_file] {
        if is_there(path) {
            let path = path.display();
            let told = format!("{path}: is there already, and is not written over: use an empty directory, or --out");
            return Err(Failure(told));
        }
    }
    let target = target(options)?;
    let mut rng = randomness()?;
    let recipient = RecipientSecret::generate(&mut rng)?;
    let nonce = Nonce::from_random(rng.random());
    let document = Document::Request(RequestDocument::write(RequestDraft {
        kind: options.kind.into(),
        role: options.role.clone(),
        reason: options.reason.clone(),
        incident: options.incident.clone(),
        length: options.length.or(target.length).unwrap_or(USUAL_LENGTH),
        recipient: recipient.public(),
        nonce,
        requested_at: SystemClock::start().now(),
        requester: options.requester.clone(),
        policy_hash: target.policy_hash,
        instance: target.instance,
    })?);
    // The key first: a request without it could be honoured and never be opened.
    create(&key_file, recipient.to_pem()?.as_bytes())?;
    if let Err(failure) = create_envelope(&options.out, &Envelope::unsigned(document.clone())) {
        // It was made a moment ago, and opens nothing.
        let _ = std::fs::remove_file(&key_file);
        return Err(failure);
    }
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
        match ask(options, url) {
            Ok(told) => return asked(options, by_hand, &told).map_err(|Failure(why)| Failure(format!("{url}: {why}"))),
            // Who knows both needs nobody to ask: what cannot be reached must not stop an emergency.
            Err(Asked::Away(why)) if by_hand.is_some() && (options.instance.is_some() || options.any_instance) => {
                let warning = "nobody was asked whether these are its policies, and whether it has this role";
                let _ = writeln!(std::io::stderr(), "stint: warning: {url}: {why}: {warning}");
            }
            Err(Asked::Away(why)) => {
                let instead = "name the policies (--policies DIR or --policy-hash HASH) and the instance (--instance UUID or \
                               --any-instance), and it need not answer";
                return Err(Failure(format!("{url}: {why}\n{instead}")));
            }
            Err(Asked::Failed(why)) => return Err(Failure(format!("{url}: {why}"))),
        }
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
    Ok(Target { policy_hash, instance: options.instance, length: None })
}

fn hash_of(directory: &Path) -> Result<Digest, Failure> {
    let files = PolicyFiles::read(directory).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure(format!("{}: cannot be read\n{}", directory.display(), lines.join("\n")))
    })?;
    Digest::parse(&files.hash().to_hex()).ok_or_else(|| Failure("the policies have no hash".to_owned()))
}

/// Why an instance said nothing of use.
enum Asked {
    /// Nobody answers there.
    Away(String),
    /// Somebody does, or nobody could be asked.
    Failed(String),
}

fn ask(options: &RequestOptions, url: &str) -> Result<Value, Asked> {
    let failed = |fault: Fault| Asked::Failed(fault.to_string());
    let address = Address::parse(url, options.insecure_http).map_err(|fault| Asked::Failed(fault.to_string()))?;
    let transport = Transport::new(options.ca_file.as_deref()).map_err(failed)?;
    let mut status = Err(Asked::Failed("was not asked".to_owned()));
    let service = EmergencyService { address, transport };
    let ran = block_on(async {
        let told = service.status().await;
        status = told.map_err(|fault| {
            if matches!(fault, Fault::Unreachable(_)) { Asked::Away(fault.to_string()) } else { failed(fault) }
        });
        Ok(())
    });
    ran.map_err(|Failure(why)| Asked::Failed(why))?;
    status
}

/// What the instance says, and whether it would honour such a request: better told before anybody signs.
fn asked(options: &RequestOptions, by_hand: Option<Digest>, status: &Value) -> Result<Target, Failure> {
    let member = |name: &str| status.get(name).and_then(Value::as_str);
    let instance = member("instance").and_then(|id| Uuid::try_parse(id).ok());
    let policy_hash = member("policy_hash").and_then(Digest::parse);
    let (Some(instance), Some(policy_hash)) = (instance, policy_hash) else {
        return Err(Failure("the answer names no instance and no policy hash".to_owned()));
    };
    if by_hand.is_some_and(|hash| hash != policy_hash) {
        return Err(Failure("the instance has other policies than those named here: nothing was written".to_owned()));
    }
    let wanted = Wanted {
        kind: options.kind.into(),
        role: options.role.as_str(),
        requester: options.requester.as_str(),
        length: options.length,
    };
    let named = if options.any_instance { None } else { options.instance.or(Some(instance)) };
    Ok(Target { policy_hash, instance: named, length: offered(&wanted, status)? })
}
