//! `cargo run --release -p bench -- --help`

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Measurements of echolot, and the proof that what it says is true
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Hold what echolot says against an independent record
    #[command(subcommand)]
    Truth(bench::truth::Command),
}

fn main() -> ExitCode {
    let What::Truth(command) = Cli::parse().what;
    match bench::truth::perform(&command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::from(2)
        }
    }
}
