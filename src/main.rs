//! One line per subcommand; the work is in the library.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use stint::app::ConformanceOptions;
use stint::command::agent::{CredentialProcessOptions, ExecOptions, FilesOptions, ServeOptions};
use stint::command::audit::{ExportOptions, QueryOptions, VerifyOptions};
use stint::command::break_glass::{BreakGlassCommand, break_glass};
use stint::command::lease::{ForecastOptions, FreezeOptions, ListOptions, RevokeOptions, ShowOptions, ThawOptions};
use stint::command::{self, Failure, LoginOptions, Shell};
use stint::evidence::Formats;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// OIDC tokens in, short-lived S3 credentials out, every one of them on record.
///
/// Workloads hand in the token of their identity provider and get S3 credentials that live 15 to 60 minutes, bounded
/// by a reviewed policy directory. Every issuance and refusal is in PostgreSQL before the credential leaves.
#[derive(Debug, Parser)]
#[command(name = "stint", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    ///
    /// Listens where [http] says, runs the database's migrations, and serves until SIGINT or SIGTERM; then it drains.
    /// SIGHUP, or a change of a file, loads the policy directory again; a faulty directory never replaces a good one.
    /// Every key can be overridden by the environment: `STINT_HTTP__LISTEN=0.0.0.0:8080` sets http.listen.
    Serve {
        /// The configuration file.
        #[arg(long, default_value = "stint.toml", value_name = "FILE")]
        config: PathBuf,
    },
    /// Run everything embedded: issuer, object server, private PostgreSQL and the service.
    ///
    /// Walks one exchange and shows each step, prints lines to paste for the aws CLI, and stays up until Ctrl-C. Needs
    /// the PostgreSQL server programs (initdb, postgres) installed, and nothing else. All of it listens on loopback and
    /// ends with this program.
    #[cfg(feature = "demo")]
    Demo {
        /// Walk the exchange, then end.
        #[arg(long)]
        once: bool,
        /// Stop the issuer and PostgreSQL and break the glass instead: a quorum signs, credentials arrive, and the log knows
        /// all of it afterwards. Takes about a minute, then ends.
        #[arg(long, conflicts_with_all = ["env_file", "data"])]
        emergency: bool,
        /// Write `STINT_URL`, `STINT_S3_URL`, `STINT_TOKEN_URL`, `STINT_DATABASE_URL` and `STINT_CONFIG` to this file
        /// as shell lines, once everything is ready.
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
        /// Keep objects, policies and the log here between runs [default: a temporary directory, removed at the end].
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Bring the database's schema up to date, as a user who may.
    ///
    /// The service does so itself at start where its own user may. Where it connects as a member of `stint_serve`, run
    /// this before each new version, with the owner's URL in `STINT_POSTGRES__URL`. It makes the roles `stint_owner`,
    /// `stint_serve` and `stint_audit` where it may. It can run again.
    Migrate {
        /// The configuration file.
        #[arg(long, default_value = "stint.toml", value_name = "FILE")]
        config: PathBuf,
    },
    /// Check the configuration and the policy directory: every error at once, no network.
    Check {
        /// The configuration file.
        #[arg(long, default_value = "stint.toml", value_name = "FILE")]
        config: PathBuf,
        /// Answer in JSON: {"ok", "errors", "warnings", "roles"}.
        #[arg(long)]
        json: bool,
    },
    /// Verify the issuance log, prove that it only grew, take it out as evidence.
    #[command(subcommand)]
    Audit(Audit),
    /// Prepare or examine the object server.
    #[command(subcommand)]
    ObjectServer(ObjectServerCommand),
    /// Do something about leases that are out.
    #[command(subcommand)]
    Lease(LeaseCommand),
    /// Reach the objects when the identity provider, or even the database, is down: together, briefly, and on record.
    ///
    /// Custodians make keys beforehand (keygen). In an emergency one writes a request, several sign it, anybody submits it, and
    /// whoever asked opens the answer. Everything but asking an instance works without a network. `docs/break-glass.md` is the
    /// page to have printed.
    #[command(subcommand)]
    BreakGlass(BreakGlassCommand),
    /// Run beside a workload, so that it never thinks about leases.
    #[command(subcommand)]
    Agent(Agent),
    /// Print credentials for `credential_process` of `~/.aws/config`.
    ///
    /// Keeps the lease in a private file of the user until it should be renewed; any number of runs at once fetch one. A lease
    /// that lives is printed through an outage, with a warning on stderr.
    CredentialProcess(Box<CredentialProcessOptions>),
    /// Log in at the identity provider as a person, and have the token of it for whatever asks the service.
    ///
    /// Says what to open and waits; it never starts a browser. The login is kept in a private file below `XDG_STATE_HOME` or
    /// `~/.local/state`, and renewed when its token is asked for: `curl -H "Authorization: Bearer $(stint login --token)" …`.
    Login(Box<LoginOptions>),
    /// Print a shell's completion script.
    Completion {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page, or write one for each command.
    Man {
        /// Write stint.1 and a page for each command there.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum Agent {
    /// Serve container credentials on loopback, renewed in time.
    ///
    /// Any SDK that takes `AWS_CONTAINER_CREDENTIALS_FULL_URI` gets its credentials here. Prints the variables to set, then
    /// a line that begins with `# ready` once it holds a lease. Keeps the last lease through an outage until it ends.
    /// SIGHUP asks for a new lease. Every option can be given by its variable.
    Serve(Box<ServeOptions>),
    /// Write files of credentials, always whole: an AWS profile, an rclone remote, the bare values.
    ///
    /// DIR/current is a link to the newest files; a refresh writes a directory beside them and swaps the link. On a full disk
    /// the old files stay. SIGHUP asks for a new lease.
    Files(Box<FilesOptions>),
    /// Run a program with a private endpoint of its own in its environment.
    ///
    /// Signals and the exit code pass through. The program sees nothing of the workload's token. It is started when there is a
    /// lease, and not at all when that is refused.
    Exec(Box<ExecOptions>),
}

#[derive(Debug, Subcommand)]
enum LeaseCommand {
    /// List leases, the latest first: open ones, unless --state says otherwise.
    ///
    /// Works beside the service and while it is down. That somebody asked is recorded before it is answered. Of each key only the
    /// first digits of its fingerprint are shown.
    List(ListOptions),
    /// Show one lease, with everything that the log says of it.
    ///
    /// Exit code 0: it is shown. 1: there is no lease of that id.
    Show(ShowOptions),
    /// Say how many leases the next hour is expected to ask for, a bar for every five minutes.
    ///
    /// Counted from the leases that are open, of all instances: as if every holder came back.
    Forecast(ForecastOptions),
    /// End leases before their time: one, or all of a holder, a role, a group, an issuer, or all.
    ///
    /// Each wish is recorded before the object server is asked, and then what was seen of it. Works beside the service and
    /// while it is down. Where the service is up, `DELETE /v1/leases/{id}` and `POST /v1/revocations` are the stronger proof:
    /// the service that minted a lease has its credential in memory, and asks S3 with it until it is refused.
    /// This command has none: it asks for the list of sessions once, at the end, which MinIO keeps and other servers do not.
    /// Ctrl-C stops between two leases; run again, it takes what is left. Ceph and AWS end all leases of a role at once, with
    /// an administrator's key for this command alone: `STINT_OBJECT_SERVER__BOOTSTRAP__ACCESS_KEY` and `…__SECRET_KEY`.
    /// Exit code 0: every lease was seen to be refused or gone. 1: at least one was not; the table says what happens and when.
    Revoke(RevokeOptions),
    /// Grant nothing more to a holder, a group, a client, an issuer, a role or everybody, until it is thawed.
    ///
    /// Every instance heeds it within a second, and after a restart; it works while the service is down. Leases that are out
    /// stay: end them with `stint lease revoke`. Each freeze has an id and is lifted by it, whatever others there are.
    Freeze(FreezeOptions),
    /// Lift a freeze.
    Thaw(ThawOptions),
}

#[derive(Debug, Subcommand)]
enum Audit {
    /// Find any edit, deletion, reorder, insertion, cut or forged seal, and name the first bad row.
    ///
    /// Reads the database that the configuration names, or a bundle that `stint audit export` wrote: then it needs no
    /// configuration and no network. Exit code 0: whole. 1: something was found, or could not be read.
    Verify {
        /// The configuration file.
        #[arg(long, default_value = "stint.toml", value_name = "FILE")]
        config: PathBuf,
        /// Verify this bundle instead of the database.
        #[arg(long, value_name = "DIR", conflicts_with = "config")]
        bundle: Option<PathBuf>,
        /// Trust this public key (PEM) and no other but those named so too [default: the keys kept beside the log].
        #[arg(long = "key", value_name = "PUBLIC.pem")]
        keys: Vec<PathBuf>,
        /// Prove that the log has only grown since this checkpoint, and verify what came after it.
        #[arg(long, value_name = "CHECKPOINT.json")]
        since: Option<PathBuf>,
        /// With --since: verify what was before the checkpoint too.
        #[arg(long, requires = "since")]
        all: bool,
        /// Answer in JSON: {"whole", "findings", "warnings", …}.
        #[arg(long)]
        json: bool,
    },
    /// Print a signed checkpoint: where every stream stands. Keep it away from the database.
    Head {
        /// The configuration file.
        #[arg(long, default_value = "stint.toml", value_name = "FILE")]
        config: PathBuf,
        /// The document that `verify --since` takes.
        #[arg(long)]
        json: bool,
    },
    /// Ask the log: who held a key, who could reach an object, what somebody got, which events and emergencies there were.
    ///
    /// Times are RFC 3339 with an explicit offset, and shown in UTC. That somebody asked is recorded before it is answered.
    Query(QueryOptions),
    /// Write an evidence bundle: events, seals, keys and policies, to be verified on another machine.
    ///
    /// A period takes every commit with an event inside, whole, so that the bundle can be verified. That somebody made it
    /// is recorded before it is written.
    Export {
        /// The configuration file.
        #[arg(long, default_value = "stint.toml", value_name = "FILE")]
        config: PathBuf,
        /// The bundle's directory, which must not be there yet.
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
        /// Events from this instant on: RFC 3339, as in 2026-01-01T00:00:00Z.
        #[arg(long, value_name = "TIME", value_parser = instant)]
        from: Option<OffsetDateTime>,
        /// Events before this instant.
        #[arg(long, value_name = "TIME", value_parser = instant)]
        to: Option<OffsetDateTime>,
        /// Only this stream, whole; may be given again.
        #[arg(long = "stream", value_name = "ID", conflicts_with_all = ["from", "to"])]
        streams: Vec<Uuid>,
        /// Renderings of the events.
        #[arg(long, value_delimiter = ',', default_value = "jsonl,csv,parquet", value_name = "FORMATS")]
        format: Vec<Format>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// events.jsonl: what is verified; always written.
    Jsonl,
    /// events.csv
    Csv,
    /// events.parquet
    Parquet,
}

fn instant(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "must be an RFC 3339 time, as in 2026-01-01T00:00:00Z".to_owned())
}

fn audit(command: Audit, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Audit::Verify { config, bundle, keys, since, all, json } => {
            command::audit::verify(&VerifyOptions { config, bundle, keys, since, all, json }, out)
        }
        Audit::Head { config, json } => command::audit::head(&config, json, out),
        Audit::Query(options) => command::audit::query(options, out),
        Audit::Export { config, output, from, to, streams, format } => {
            let formats = Formats { csv: format.contains(&Format::Csv), parquet: format.contains(&Format::Parquet) };
            command::audit::export(&ExportOptions { config, output, from, to, streams, formats }, out)
        }
    }
}

#[derive(Debug, Subcommand)]
enum ObjectServerCommand {
    /// Make the buckets of policies/buckets.toml, and prove them private.
    ///
    /// Shows what it will change, changes exactly that, reads everything back, and tries as a stranger to list, read and
    /// write. Can run again: then there is nothing to do. Needs an administrator's key, for this command alone:
    /// `STINT_OBJECT_SERVER__BOOTSTRAP__ACCESS_KEY` and `STINT_OBJECT_SERVER__BOOTSTRAP__SECRET_KEY` (or `…_FILE`). On
    /// MinIO, with `object_server.bootstrap.parent_policy_file`, it makes the parent user too.
    Bootstrap {
        /// The configuration file.
        #[arg(long, default_value = "stint.toml", value_name = "FILE")]
        config: PathBuf,
        /// Only show what would change.
        #[arg(long)]
        plan: bool,
        /// Answer in JSON: {"ok", "plan", "steps"}.
        #[arg(long)]
        json: bool,
    },
    /// Ask the object server whether it keeps what stint rests on.
    ///
    /// Mints two leases as the service would (on record, as nobody's) and tries what they must and must not be good for.
    /// Touches only names below `stint-verify/` and removes them again, also when interrupted. Exit code 1 when a check
    /// failed. With an administrator's key (`object_server.bootstrap`) it also tries a bucket of its own and a lifecycle.
    Verify {
        /// The configuration file.
        #[arg(long, default_value = "stint.toml", value_name = "FILE")]
        config: PathBuf,
        /// A bucket that the parent may use [default: the first of policies/buckets.toml].
        #[arg(long, value_name = "NAME")]
        bucket: Option<String>,
        /// Try everything as this role's parent; of the other parents, what is their own [default: the default parent].
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
        /// Answer in JSON: {"ok", "endpoint", "checks"}.
        #[arg(long)]
        json: bool,
    },
    /// Compare the object server's temporary credentials with the log: each needs a lease, each open lease its credential.
    ///
    /// What is out of place is looked at a second time, a minute later, when every exchange under way has ended. Credentials
    /// without a lease are on record as `orphan.found`. Exit code 0: nothing is orphaned or missing. Access keys are never
    /// shown, only their fingerprints. MinIO keeps such a list; servers whose tokens need no memory have none to compare.
    Reconcile {
        /// The configuration file.
        #[arg(long, default_value = "stint.toml", value_name = "FILE")]
        config: PathBuf,
        /// End credentials without a lease, where one can be ended alone.
        #[arg(long)]
        revoke_orphans: bool,
        /// Answer in JSON: {"ok", "credentials", "orphans", "missing", …}.
        #[arg(long)]
        json: bool,
    },
    /// Give a parent a new key without downtime, and end the old one.
    ///
    /// MinIO: makes a new user with exactly the old parent's policies, tries it as verify does (on record), and says what to
    /// put into the configuration. Once that is done everywhere, --finish disables and deletes the users of
    /// `[[object_server.retired_parent]]`, each when the log shows that no lease of it is open and nobody minted with it for an
    /// hour. Needs an administrator's key, for this command alone, as bootstrap does. For other servers it says the steps.
    Rotate(command::object_server::RotateOptions),
}

fn object_server(command: ObjectServerCommand, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    match command {
        ObjectServerCommand::Bootstrap { config, plan, json } => {
            command::object_server::bootstrap(&config, plan, json, out)
        }
        ObjectServerCommand::Verify { config, bucket, role, json } => {
            command::object_server::verify(&config, json, ConformanceOptions { bucket, role }, out)
        }
        ObjectServerCommand::Reconcile { config, revoke_orphans, json } => {
            command::object_server::reconcile(&config, revoke_orphans, json, out)
        }
        ObjectServerCommand::Rotate(options) => command::object_server::rotate(&options, out),
    }
}

fn main() -> ExitCode {
    let out = &mut std::io::stdout();
    let result = match Arguments::parse().command {
        Command::Serve { config } => command::serve(&config),
        #[cfg(feature = "demo")]
        Command::Demo { once, emergency, env_file, data } => {
            stint::demo::run(stint::demo::Options { once, emergency, env_file, data }, out)
        }
        Command::Migrate { config } => command::migrate(&config, out),
        Command::Check { config, json } => command::check(&config, json, out),
        Command::Audit(command) => audit(command, out),
        Command::ObjectServer(command) => object_server(command, out),
        Command::Lease(LeaseCommand::List(options)) => command::lease::list(options, out),
        Command::Lease(LeaseCommand::Show(options)) => command::lease::show(&options, out),
        Command::Lease(LeaseCommand::Forecast(options)) => command::lease::forecast(&options, out),
        Command::Lease(LeaseCommand::Revoke(options)) => command::lease::revoke(options, out),
        Command::Lease(LeaseCommand::Freeze(options)) => command::lease::freeze(options, out),
        Command::Lease(LeaseCommand::Thaw(options)) => command::lease::thaw(options, out),
        Command::BreakGlass(command) => match break_glass(command, out) {
            Ok(code) => return ExitCode::from(code),
            Err(failure) => Err(failure),
        },
        Command::Agent(Agent::Serve(options)) => command::agent::serve(*options, out),
        Command::Agent(Agent::Files(options)) => command::agent::files(*options, out),
        Command::Agent(Agent::Exec(options)) => match command::agent::exec(*options) {
            Ok(code) => return ExitCode::from(code),
            Err(failure) => Err(failure),
        },
        Command::CredentialProcess(options) => command::agent::credential_process(*options, out),
        Command::Login(options) => command::login(&options, out),
        Command::Completion { shell } => command::completion(shell, Arguments::command(), out),
        Command::Man { out: directory } => command::man(Arguments::command(), directory.as_deref(), out),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(message)) => {
            let _ = writeln!(std::io::stderr(), "stint: {message}");
            ExitCode::FAILURE
        }
    }
}
