//! What is told after new files are in place: a command, or a signal to the process that a file names. A failure is said,
//! and changes nothing of the files.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::timeout;

/// How long a command may take: the next refresh must not wait for it.
const DEADLINE: Duration = Duration::from_mins(1);
/// Where the command finds the files.
const VARIABLE: &str = "STINT_FILES";

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// A line for `/bin/sh`.
    Command(String),
    /// A signal to the process whose id this file holds.
    Signal(Signal, PathBuf),
}

impl Hook {
    /// A signal by its name, with or without `SIG`: those that ask a program to read its files again.
    #[must_use]
    pub fn signal(name: &str) -> Option<Signal> {
        match name.strip_prefix("SIG").unwrap_or(name) {
            "HUP" => Some(Signal::HUP),
            "USR1" => Some(Signal::USR1),
            "USR2" => Some(Signal::USR2),
            "TERM" => Some(Signal::TERM),
            "INT" => Some(Signal::INT),
            _ => None,
        }
    }

    /// Tells, and says what went wrong.
    pub(super) async fn run(&self, files: &Path) -> Result<(), String> {
        match self {
            Self::Command(line) => command(line, files).await,
            Self::Signal(signal, file) => notify(*signal, file).await,
        }
    }
}

async fn command(line: &str, files: &Path) -> Result<(), String> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]).env(VARIABLE, files).stdin(Stdio::null()).kill_on_drop(true);
    match timeout(DEADLINE, command.status()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("--after ended with {status}")),
        Ok(Err(error)) => Err(format!("--after: {error}")),
        Err(_) => Err("--after did not end within a minute and was killed".to_owned()),
    }
}

async fn notify(signal: Signal, file: &Path) -> Result<(), String> {
    let told = |why: String| format!("--pid-file {}: {why}", file.display());
    let text = tokio::fs::read_to_string(file).await.map_err(|error| told(error.to_string()))?;
    // 0 and -1 are no processes but groups, or everybody; 1 is the machine's own.
    let pid = text.trim_ascii().parse::<i32>().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| told("holds no process id".to_owned()))?;
    kill_process(pid, signal).map_err(|error| told(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_is_told_where_the_files_are_and_its_failure_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let wrote = directory.path().join("wrote");
        let hook = Hook::Command(format!("printf %s \"$STINT_FILES\" > {}", wrote.display()));
        hook.run(Path::new("/x/current")).await.unwrap();
        assert_eq!(std::fs::read_to_string(&wrote).unwrap(), "/x/current");
        let failed = Hook::Command("exit 3".to_owned()).run(Path::new("/x")).await;
        assert_eq!(failed.unwrap_err(), "--after ended with exit status: 3");
    }

    #[tokio::test]
    async fn a_signal_goes_to_one_process_or_to_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        for text in ["", "0", "-1", "1", "1x", "99999999999", "-5"] {
            std::fs::write(&file, text).unwrap();
            let refused = Hook::Signal(Signal::HUP, file.clone()).run(Path::new("/x")).await;
            assert!(refused.unwrap_err().ends_with("holds no process id"), "{text:?}");
        }
        let mut child = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        std::fs::write(&file, format!("{}\n", child.id().unwrap())).unwrap();
        Hook::Signal(Signal::TERM, file).run(Path::new("/x")).await.unwrap();
        let ended = child.wait().await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(15));
    }

    #[test]
    fn signals_are_named_as_kill_names_them() {
        assert_eq!(Hook::signal("SIGHUP"), Hook::signal("HUP"));
        for name in ["", "KILL", "hup", "9", "SIG"] {
            assert!(Hook::signal(name).is_none(), "{name}");
        }
    }
}
