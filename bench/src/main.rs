//! Measurements of echolot. Each command is a file; [`lab`] and [`measure`] are what they share.
//!
//! Figures of one run can be compared with each other; those of another day or machine can't.

mod idle;
mod lab;
mod measure;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "bench",
    about = "Measurements of echolot, in a lab of network namespaces. Needs root, and `cargo build --release` before",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// CPU and memory of `run` at a probe a second to each target
    Idle(idle::Args),
    /// Hold what echolot says against an independent record
    #[command(subcommand)]
    Truth(bench::truth::Command),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Idle(args) => idle::run(&args),
        Command::Truth(command) => {
            bench::truth::perform(&command).map(|fine| if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    };
    match done {
        Ok(status) => status,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}
