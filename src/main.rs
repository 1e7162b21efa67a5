//! One line per subcommand; the work is in the library.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stint::command::{self, Failure};

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
        /// Write `STINT_URL`, `STINT_S3_URL`, `STINT_TOKEN_URL`, `STINT_DATABASE_URL` and `STINT_CONFIG` to this file
        /// as shell lines, once everything is ready.
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
        /// Keep objects, policies and the log here between runs [default: a temporary directory, removed at the end].
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
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
    /// Prepare or examine the object server.
    #[command(subcommand)]
    ObjectServer(ObjectServerCommand),
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
        /// Answer in JSON: {"ok", "endpoint", "checks"}.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let out = &mut std::io::stdout();
    let result = match Arguments::parse().command {
        Command::Serve { config } => command::serve(&config),
        #[cfg(feature = "demo")]
        Command::Demo { once, env_file, data } => stint::demo::run(stint::demo::Options { once, env_file, data }, out),
        Command::Check { config, json } => command::check(&config, json, out),
        Command::ObjectServer(ObjectServerCommand::Bootstrap { config, plan, json }) => {
            command::object_server::bootstrap(&config, plan, json, out)
        }
        Command::ObjectServer(ObjectServerCommand::Verify { config, bucket, json }) => {
            command::object_server::verify(&config, json, bucket, out)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(message)) => {
            let _ = writeln!(std::io::stderr(), "stint: {message}");
            ExitCode::FAILURE
        }
    }
}
