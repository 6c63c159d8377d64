//! Measurements of echolot. Each command is a file; [`lab`] and [`measure`] are what they share.
//!
//! Figures of one run can be compared with each other; those of another day or machine can't.

mod beside;
mod changes;
mod connects;
mod idle;
mod inside;
mod kinds;
mod lab;
mod ladder;
mod measure;
mod memory;
mod micro;
mod paths;
mod peers;
mod pending;
mod plot;
mod reload;
mod report;
mod rungs;
mod scaling;
mod scraped;
mod serving;
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
    /// Each kind of probe by the same engines, where all are answered
    Kinds(kinds::Args),
    /// What a probe costs with a thousand to ten million others pending
    Scaling(scaling::Args),
    /// What up to a million silent TCP ports cost a thousand that answer, beside programs that connect
    Pending(pending::Args),
    /// What a target takes, and how long starting takes, with a thousand to ten million of them
    Memory(memory::Args),
    /// From a loop that waits to echolot: probes kept up with, and the round-trip time that each reports
    Ladder(ladder::Args),
    /// Nanoseconds that operations of wire, ledger and schedule take
    Micro(micro::Args),
    /// CPU and memory of `run` at a probe a second to each target
    Idle(idle::Args),
    /// Paths of 30 hops beside name servers that are quick, slow and dead, and a hundred thousand paths at a time
    Paths(paths::Args),
    /// Half a million probes a second while a tenth of a million targets changes every 2 s, beside the same without it
    Reload(reload::Args),
    /// Half a million probes a second while ten thousand targets a second go down or come up, told as events and alerts, beside the same
    /// without it
    Changes(changes::Args),
    /// Hold what echolot says against an independent record
    #[command(subcommand)]
    Truth(Truth),
    /// Turn what the other commands wrote with --json into plots and tables
    Plot(plot::Args),
    /// A measurement's part in a namespace of the lab
    #[command(hide = true)]
    Inside {
        #[command(subcommand)]
        part: inside::Part,
    },
}

#[derive(Subcommand)]
enum Truth {
    #[command(flatten)]
    Judged(bench::truth::Command),
    /// The path's own time as echolot has it, alone and beside other traffic, beside what fping and ping report
    Beside(beside::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Peers(args) => peers::run(&args),
        Command::Transmit(args) => transmit::run(&args),
        Command::Kinds(args) => kinds::run(&args),
        Command::Scaling(args) => scaling::run(&args),
        Command::Pending(args) => pending::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Changes(args) => changes::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Ladder(args) => ladder::run(&args),
        Command::Micro(args) => micro::run(&args),
        Command::Idle(args) => idle::run(&args),
        Command::Paths(args) => paths::run(&args),
        Command::Truth(Truth::Beside(args)) => beside::run(&args),
        Command::Truth(Truth::Judged(command)) => {
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
