//! `cargo xtask`: chores that need more than Cargo.

use std::process::ExitCode;

use xtask::command::become_root;
use xtask::lab::cli::LabCommand;
use xtask::{demo, fuzz, lab, package, setup, vm};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (chore, rest) = arguments.split_first().map_or(("--help", &[][..]), |(first, rest)| (first.as_str(), rest));
    let done = match chore {
        "setup" => setup::perform(rest),
        "lab" => lab::cli::parse(rest).and_then(|command| {
            if command != LabCommand::Help {
                become_root()?;
            }
            lab::cli::perform(command)
        }),
        "demo" => rest.is_empty().then(become_root).transpose().and_then(|_| demo::perform(rest)),
        "fuzz" => fuzz::perform(rest),
        "vm" => vm::perform(rest),
        "package" => package::perform(rest),
        "-h" | "--help" | "help" => {
            println!("{}\n{}\n{}", setup::USAGE, demo::USAGE, fuzz::USAGE);
            println!("\n{}\n\n{}\n\n{}", lab::cli::USAGE, package::USAGE, vm::USAGE);
            Ok(())
        }
        _ => Err(format!("{chore} is no chore: see cargo xtask --help")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(told) => {
            eprintln!("xtask: {told}");
            ExitCode::FAILURE
        }
    }
}
