//! A child that takes its credentials from this process. Signals go through to it, and its exit code comes back. It sees
//! the endpoint and nothing of the workload's token; what SDKs would prefer to the endpoint is taken out of its sight.

use std::ffi::OsString;
use std::future::poll_fn;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::task::Poll;

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Received, SignalKind, signal};

use super::variables::{CLEARED, Variables};

/// Exit codes of a shell for a program that is not there, or cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;
/// A shell adds this to the signal that ended a program.
const BY_SIGNAL: i32 = 128;
/// In boto, keys of the shared file rank above the endpoint.
const NO_SHARED_FILE: (&str, &str) = ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");

/// Why a program did not start.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", program.display())]
pub struct ExecFault {
    program: OsString,
    error: io::Error,
}

impl ExecFault {
    /// As a shell would answer it.
    #[must_use]
    pub fn code(&self) -> u8 {
        if self.error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN }
    }
}

/// Signals for the child that arrive here.
#[derive(Debug)]
struct Signals(Vec<(Signal, Received)>);

impl Signals {
    /// From now on none of them ends this process.
    fn listen() -> io::Result<Self> {
        let passed = [
            (Signal::HUP, SignalKind::hangup()),
            (Signal::INT, SignalKind::interrupt()),
            (Signal::QUIT, SignalKind::quit()),
            (Signal::TERM, SignalKind::terminate()),
            (Signal::USR1, SignalKind::user_defined1()),
            (Signal::USR2, SignalKind::user_defined2()),
            (Signal::ALARM, SignalKind::alarm()),
            (Signal::WINCH, SignalKind::window_change()),
        ];
        let listening = passed.into_iter().map(|(name, kind)| Ok((name, signal(kind)?)));
        Ok(Self(listening.collect::<io::Result<_>>()?))
    }

    async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (name, received) in &mut self.0 {
                if received.poll_recv(context).is_ready() {
                    return Poll::Ready(*name);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Runs the program to its end; its exit code as a shell tells it. `hidden` names further variables it must not see.
pub async fn run(
    program: OsString,
    arguments: Vec<OsString>,
    variables: &Variables,
    hidden: &[&str],
) -> Result<u8, ExecFault> {
    run_with(program, arguments, variables.pairs(), hidden).await
}

/// The same with these variables and no others of credentials.
pub async fn run_with(
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, String)>,
    hidden: &[&str],
) -> Result<u8, ExecFault> {
    let mut command = Command::new(&program);
    command.args(arguments);
    for name in CLEARED.iter().chain(hidden) {
        command.env_remove(name);
    }
    command.envs(variables).env(NO_SHARED_FILE.0, NO_SHARED_FILE.1);
    let ended = async {
        // Before the child is there: a signal in between must not end this process and leave it behind.
        let mut signals = Signals::listen()?;
        let mut child = command.spawn()?;
        loop {
            tokio::select! {
                status = child.wait() => return status,
                signal = signals.next() => pass(&child, signal),
            }
        }
    };
    ended.await.map(code).map_err(|error| ExecFault { program, error })
}

fn pass(child: &Child, signal: Signal) {
    // A terminal has sent these to the child already: twice would be once too often.
    let by_terminal = matches!(signal, Signal::INT | Signal::QUIT | Signal::WINCH);
    if by_terminal && in_foreground() {
        return;
    }
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::warn!(%error, "a signal could not be passed on");
    }
}

/// This process and its child are what the terminal's keys act on.
fn in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    terminal.is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| BY_SIGNAL.saturating_add(signal)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::endpoint::Imds;

    fn variables() -> Variables {
        Variables { address: "127.0.0.1:1".parse().unwrap(), token_file: "/t".into(), imds: Imds::Off }
    }

    async fn sh(script: &str) -> u8 {
        run("/bin/sh".into(), vec!["-c".into(), script.into()], &variables(), &["STINT_PLANTED"]).await.unwrap()
    }

    #[tokio::test]
    async fn the_exit_code_comes_back_as_a_shell_tells_it() {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
            assert_eq!(sh(script).await, code, "{script}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_run_has_the_codes_of_a_shell() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for (program, code) in [(directory.path().join("missing"), 127), (file, 126)] {
            assert_eq!(run(program.into(), Vec::new(), &variables(), &[]).await.unwrap_err().code(), code);
        }
    }

    #[tokio::test]
    async fn the_child_is_told_both_variables() {
        let script = "[ \"$AWS_CONTAINER_CREDENTIALS_FULL_URI\" = http://127.0.0.1:1/credentials ] && [ \
                      \"$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE\" = /t ] && [ \"$AWS_EC2_METADATA_DISABLED\" = true ]";
        assert_eq!(sh(script).await, 0);
    }
}
