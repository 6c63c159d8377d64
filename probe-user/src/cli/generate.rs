//! `echolot generate`: man pages and completions, made of the definitions that `--help` is made of. For packages.

use super::{
    Failure, Status,
    args::{Cli, GenerateArgs},
};
use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;
use std::{fs, path::Path};

/// Those for which there are completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes `man/echolot.1`, `man/echolot-COMMAND.1` and `completions/SHELL` below the folder.
pub(super) fn run(args: &GenerateArgs) -> Result<Status, Failure> {
    let [man, completions] = ["man", "completions"].map(|name| args.folder.join(name));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    }
    // A page for the whole and one for each command that is not hidden.
    clap_mangen::generate_to(Cli::command(), &man).map_err(|error| failed(&man, &error))?;
    for shell in Shell::value_variants().iter().filter(|shell| SHELLS.contains(shell)) {
        let mut text = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "echolot", &mut text);
        let file = completions.join(shell.to_string());
        fs::write(&file, text).map_err(|error| failed(&file, &error))?;
    }
    Ok(Status::Complete)
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: can't be written: {error}", path.display()))
}
