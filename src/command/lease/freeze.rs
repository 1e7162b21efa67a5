//! `stint lease freeze` and `stint lease thaw`: nothing more is granted to somebody, a role or everybody, until it is lifted.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{self, FreezeError, FreezeWish};
use crate::audit::instant;
use crate::clock::{Clock, SystemClock};
use crate::command::audit::user;
use crate::command::{Failure, block_on, load, table, with_causes};
use crate::lease::{Freeze, FreezeId, Freezes, Frozen, FrozenParts, GivenFreeze};

/// What is frozen.
#[derive(Debug, Args)]
pub struct FreezeOptions {
    /// This holder: the `sub` claim, exact; needs --issuer.
    #[arg(long, value_name = "SUB", requires = "issuer")]
    subject: Option<String>,
    /// Everybody of this issuer, or the issuer of --subject, --group or --client: its configured name.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Everybody whose token names this group, exact.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Everybody whose token was made for this client: `azp` or `client_id`, exact.
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Every grant that this role is part of.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Everybody.
    #[arg(long)]
    everything: bool,
    /// Only list the freezes in force; that somebody was shown them is recorded.
    #[arg(long, conflicts_with_all = ["subject", "issuer", "group", "client", "role", "everything", "reason"])]
    list: bool,
    /// Why; recorded.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Answer in JSON: {"ok", "freezes"}.
    #[arg(long)]
    json: bool,
    /// The configuration file.
    #[arg(long, default_value = "stint.toml", value_name = "FILE")]
    config: PathBuf,
}

/// Which freeze is lifted.
#[derive(Debug, Args)]
pub struct ThawOptions {
    /// The freeze: `stint lease freeze --list` shows it.
    #[arg(value_name = "FREEZE_ID")]
    freeze: Uuid,
    /// Why; recorded.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Answer in JSON: {"ok", "freezes"}.
    #[arg(long)]
    json: bool,
    /// The configuration file.
    #[arg(long, default_value = "stint.toml", value_name = "FILE")]
    config: PathBuf,
}

impl From<FreezeError> for Failure {
    fn from(error: FreezeError) -> Self {
        Self(with_causes(&error))
    }
}

/// `stint lease freeze`
pub fn freeze(options: FreezeOptions, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let FreezeOptions { subject, issuer, group, client, role, everything, list, reason, json, config } = options;
    let wish = FreezeWish { why: reason, user: user() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    if list {
        let config = load(&config)?;
        return block_on(async { tell(&app::list_freezes(config, &wish, clock).await?, json, None, out) });
    }
    let given = GivenFreeze { subject, issuer, group, client, role, everything };
    let frozen = Frozen::one_of(given).map_err(|bad| Failure(bad.to_string()))?;
    let config = load(&config)?;
    block_on(async {
        let set = app::set_freeze(config, &wish, frozen, clock).await?;
        let said = "frozen: nothing is granted until it is thawed; leases that are out stay (`stint lease revoke`)";
        tell(&Freezes::new(vec![set]), json, Some(said), out)
    })
}

/// `stint lease thaw`
pub fn thaw(options: ThawOptions, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let ThawOptions { freeze, reason, json, config } = options;
    let wish = FreezeWish { why: reason, user: user() };
    let config = load(&config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    block_on(async {
        let lifted = app::thaw(config, &wish, FreezeId::from_uuid(freeze), clock).await?;
        tell(&Freezes::new(vec![lifted]), json, Some("thawed"), out)
    })
}

fn tell(freezes: &Freezes, json: bool, said: Option<&str>, out: &mut dyn Write) -> Result<(), Failure> {
    let freezes = Value::Array(freezes.iter().map(row).collect());
    if json {
        return Ok(writeln!(out, "{:#}", json!({"ok": true, "freezes": freezes}))?);
    }
    table::write(&freezes, &["freeze_id", "frozen", "set_at", "actor", "reason"], out)?;
    said.map_or(Ok(()), |said| Ok(writeln!(out, "{said}")?))
}

fn row(freeze: &Freeze) -> Value {
    let Freeze { id, frozen, set_at, actor, why } = freeze;
    let FrozenParts { issuer, subject, group, client, role } = frozen.parts();
    json!({
        "freeze_id": id.as_uuid(), "frozen": frozen.to_string(), "issuer": issuer, "subject": subject, "group": group,
        "client": client, "role": role, "everything": *frozen == Frozen::Everything,
        "set_at": instant::format(*set_at), "actor": actor, "reason": why,
    })
}
