//! `stint completion` and `stint man`: what a shell and `man` are told of the commands, made from the commands themselves.

use std::io::Write;
use std::path::Path;

use clap::{Command, ValueEnum};

use super::Failure;

/// The program.
const NAME: &str = "stint";

/// A shell that completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// `source <(stint completion bash)`
    Bash,
    /// `stint completion zsh > "${fpath[1]}/_stint"`
    Zsh,
    /// `stint completion fish > ~/.config/fish/completions/stint.fish`
    Fish,
}

/// `stint completion`
pub fn completion(shell: Shell, mut command: Command, out: &mut dyn Write) -> Result<(), Failure> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // Through memory: the generator panics where a pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, NAME, &mut script);
    Ok(out.write_all(&script)?)
}

/// `stint man`: the page of the program, or with a directory one for each command.
pub fn man(command: Command, directory: Option<&Path>, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory)?;
        return Ok(clap_mangen::generate_to(command, directory)?);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(out.write_all(&page)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new(NAME)
            .about("Of work")
            .subcommand(Command::new("serve").about("Run").subcommand(Command::new("deep")))
    }

    #[test]
    fn each_shell_gets_a_script_that_knows_the_commands() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            completion(*shell, command(), &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("stint") && script.contains("serve"), "{shell:?}: {script}");
        }
    }

    #[test]
    fn a_page_is_printed_and_a_directory_gets_one_for_each_command() {
        let mut page = Vec::new();
        man(command(), None, &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains(".TH stint 1") && page.contains("serve"), "{page}");

        let directory = tempfile::tempdir().unwrap();
        let pages = directory.path().join("man1");
        man(command(), Some(&pages), &mut Vec::new()).unwrap();
        for page in ["stint.1", "stint-serve.1", "stint-serve-deep.1"] {
            assert!(pages.join(page).is_file(), "{page}");
        }
    }
}
