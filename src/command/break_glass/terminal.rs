//! Questions to the person at the terminal, whatever the output goes to: a passphrase without echo, and a plain yes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::files::read_secret;
use crate::command::Failure;

const TERMINAL: &str = "/dev/tty";
/// Far more than anybody types.
const LONGEST: usize = 4096;
/// What Ctrl-C sends.
const INTERRUPT: u8 = 0x03;

/// A passphrase: from a file (its first line), or asked for on the terminal.
pub(super) fn passphrase(file: Option<&Path>, question: &str) -> Result<SecretString, Failure> {
    if let Some(path) = file {
        let text = read_secret(path, LONGEST)?;
        return Ok(SecretString::from(text.lines().next().unwrap_or_default()));
    }
    let mut terminal = open("--passphrase-file FILE")?;
    write!(terminal, "{question}: ")?;
    let typed = without_echo(&terminal);
    // The newline that was typed was not shown.
    writeln!(terminal)?;
    Ok(SecretString::from(typed?.as_str()))
}

/// A new passphrase, typed twice: a slip would lock its owner out.
pub(super) fn new_passphrase(file: Option<&Path>) -> Result<SecretString, Failure> {
    use secrecy::ExposeSecret as _;
    let first = passphrase(file, "passphrase for the new key (at least 12 characters)")?;
    if file.is_none() {
        let second = passphrase(None, "the same again")?;
        if first.expose_secret() != second.expose_secret() {
            return Err(Failure("the two passphrases differ: nothing was written".to_owned()));
        }
    }
    Ok(first)
}

/// Shows a text, asks, and goes on at `yes` alone.
pub(super) fn confirm(shown: &str, question: &str) -> Result<(), Failure> {
    let mut terminal = open("--yes")?;
    write!(terminal, "{shown}\n{question} Type yes: ")?;
    let answer = line(&terminal)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Failure("nothing was signed".to_owned())) }
}

fn open(instead: &str) -> Result<File, Failure> {
    let terminal = File::options().read(true).write(true).open(TERMINAL);
    terminal.map_err(|_| Failure(format!("there is no terminal to ask on: use {instead}")))
}

fn without_echo(terminal: &File) -> Result<Zeroizing<String>, Failure> {
    let shown = tcgetattr(terminal).map_err(io::Error::from)?;
    let mut hidden = shown.clone();
    // Ctrl-C ends the line and not the process, which would leave the terminal without echo behind.
    hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
    let set = |modes: &Termios| tcsetattr(terminal, OptionalActions::Flush, modes).map_err(io::Error::from);
    set(&hidden)?;
    let typed = line(terminal);
    set(&shown)?;
    typed
}

fn line(terminal: &File) -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
    // A terminal hands out one line at a time: nothing after it is read ahead.
    let mut reader = BufReader::with_capacity(LONGEST, terminal);
    while !bytes.ends_with(b"\n") && !bytes.contains(&INTERRUPT) {
        let read = reader.fill_buf()?;
        if read.is_empty() || bytes.len() > LONGEST {
            return Err(Failure("no whole line was typed".to_owned()));
        }
        bytes.extend_from_slice(read);
        let length = read.len();
        reader.consume(length);
    }
    if bytes.contains(&INTERRUPT) {
        return Err(Failure("interrupted".to_owned()));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure("what was typed is not UTF-8".to_owned()))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
