//! Measurements of echolot. Each command is a file; [`lab`] and [`measure`] are what they share.
//!
//! Figures of one run can be compared with each other; those of another day or machine can't.

mod idle;
mod inside;
mod lab;
mod ladder;
mod measure;
mod memory;
mod micro;
mod peers;
mod plot;
mod report;
mod rungs;
mod scaling;
mod transmit;

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
    /// fping, masscan, zmap and echolot over the same addresses and the same reflector
    Peers(peers::Args),
    /// Each engine's send rate beside the bare loop of the same mechanism
    Transmit(transmit::Args),
    /// What a probe costs with a thousand to ten million others pending
    Scaling(scaling::Args),
    /// What a target takes, and how long starting takes, with a thousand to ten million of them
    Memory(memory::Args),
    /// From a loop that waits to echolot: probes kept up with, and the round-trip time that each reports
    Ladder(ladder::Args),
    /// Nanoseconds that operations of wire, ledger and schedule take
    Micro(micro::Args),
    /// CPU and memory of `run` at a probe a second to each target
    Idle(idle::Args),
    /// Hold what echolot says against an independent record
    #[command(subcommand)]
    Truth(bench::truth::Command),
    /// Turn what the other commands wrote with --json into plots and tables
    Plot(plot::Args),
    /// A measurement's part in a namespace of the lab
    #[command(hide = true)]
    Inside {
        #[command(subcommand)]
        part: inside::Part,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Peers(args) => peers::run(&args),
        Command::Transmit(args) => transmit::run(&args),
        Command::Scaling(args) => scaling::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Ladder(args) => ladder::run(&args),
        Command::Micro(args) => micro::run(&args),
        Command::Idle(args) => idle::run(&args),
        Command::Truth(command) => {
            bench::truth::perform(&command).map(|fine| if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Plot(args) => plot::run(&args),
        Command::Inside { part } => inside::run(&part).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(status) => status,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}
