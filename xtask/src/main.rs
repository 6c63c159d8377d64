//! `cargo xtask`: chores that need more than Cargo.

use std::process::ExitCode;

use xtask::lab;

const USAGE: &str = "\
cargo xtask lab ...           the lab of network namespaces (cargo xtask lab --help)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (chore, rest) = arguments.split_first().map_or(("--help", &[][..]), |(first, rest)| (first.as_str(), rest));
    let done = match chore {
        "lab" => lab::cli::parse(rest).and_then(lab::cli::perform),
        "-h" | "--help" | "help" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("{chore} is no chore\n\n{USAGE}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(told) => {
            eprintln!("xtask: {told}");
            ExitCode::FAILURE
        }
    }
}
