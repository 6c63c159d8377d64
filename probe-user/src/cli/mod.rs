//! The commands: what people type, and what they see.
//!
//! [`args`] is the command line, [`view`] what a terminal shows; both know nothing of packets. A command ends with a
//! [`Status`], or with a [`Failure`] that is printed as it is.

use crate::run::Live;
pub use crate::run::{Failure, Status};
use args::{Command, LogFormat};
use std::{
    io::{self, IsTerminal as _, Write},
    process::ExitCode,
    sync::OnceLock,
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

mod against;
pub mod args;
mod check;
mod doctor;
mod generate;
mod init;
mod mtu;
mod ping;
mod reflect;
mod run;
mod sweep;
mod trace;
pub mod view;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    crate::nic::give_back_tables();
    let cli = args::parse();
    begin_log(cli.log_format);
    let ended = match &cli.command {
        Command::Run(args) => run::run(args, cli.log_format),
        Command::Ping(args) => ping::run(args),
        Command::Sweep(args) => sweep::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Reflect(args) => reflect::run(args),
        Command::Check(args) => check::run(args),
        Command::Init(args) => init::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Generate(args) => generate::run(args),
    };
    match ended {
        Ok(status) => status.into(),
        Err(failure) => {
            // Whoever reads lines of JSON finds nothing else among them.
            match cli.log_format {
                LogFormat::Text => eprintln!("{failure}"),
                LogFormat::Json => tracing::error!("{}", failure.message),
            }
            failure.status.into()
        }
    }
}

/// The log goes to standard error: as plain lines, to which a journal adds the time, or as objects that have one.
fn begin_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("ECHOLOT_LOG").unwrap_or_else(|_| EnvFilter::new(LOG));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(Log);
    match format {
        // Colours are for eyes: a journal or a file gets none.
        LogFormat::Text => log.without_time().with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
}

/// What the log says unless ECHOLOT_LOG asks for something else. The resolver warns of every answer that isn't one, and quotes it: anybody
/// could write there.
const LOG: &str = "echolot=info,warn,hickory_net=off,hickory_proto=off,hickory_resolver=off";

/// The picture that the log is written above.
static LIVE: OnceLock<Option<Live>> = OnceLock::new();

/// From now on the log leaves this picture whole.
fn show_log_above(live: Option<&Live>) {
    LIVE.get_or_init(|| live.cloned());
}

/// The log: standard error.
struct Log;

impl<'a> MakeWriter<'a> for Log {
    type Writer = Box<dyn Write>;

    fn make_writer(&'a self) -> Self::Writer {
        match LIVE.get() {
            Some(Some(live)) => Box::new(live.clone()),
            _ => Box::new(io::stderr()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Summary;

    fn summary(settled: [u64; 5]) -> Summary {
        let probes = settled.iter().sum();
        Summary { probes, settled, ..view::tests::summary() }
    }

    #[test]
    fn ping_is_complete_when_all_is_answered() {
        let status = |settled| Status::of_ping(&summary(settled)).code();
        assert_eq!(status([3, 0, 0, 0, 0]), 0);
        for other in 1..5 {
            let mut settled = [3, 0, 0, 0, 0];
            settled[other] = 1;
            assert_eq!(status(settled), 1);
        }
        assert_eq!(status([0; 5]), 1, "nothing was sent");
    }

    #[test]
    fn a_sweep_is_incomplete_when_this_machine_was_in_the_way() {
        let status = |settled: [u64; 5]| Status::of_sweep(&summary(settled), 5).code();
        assert_eq!(status([3, 1, 1, 0, 0]), 0);
        assert_eq!(status([4, 0, 0, 1, 0]), 3);
        assert_eq!(status([4, 0, 0, 0, 1]), 3);
        assert_eq!(status([4, 0, 0, 0, 0]), 3, "interrupted before the last target");
        let dropped = Summary { drops: vec![("results".into(), 1)], ..summary([5, 0, 0, 0, 0]) };
        assert_eq!(Status::of_sweep(&dropped, 5).code(), 3);
        let frames = Summary { drops: vec![("receive_ring_full".into(), 1)], ..summary([5, 0, 0, 0, 0]) };
        assert_eq!(Status::of_sweep(&frames, 5).code(), 0, "a dropped frame that cost no probe");
    }

    #[test]
    fn a_failure_reads_as_the_program_says_it() {
        let failure = Failure::from(std::io::Error::other("eth9: no such interface"));
        assert_eq!((failure.to_string().as_str(), failure.status), ("echolot: eth9: no such interface", 2));
    }
}
