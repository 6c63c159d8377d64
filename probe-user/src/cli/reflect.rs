//! `echolot reflect`: a test network's far end, at XDP speed.

use super::{Failure, Status, args::ReflectArgs};
use crate::run::Signals;
use crate::{
    nic::{Mode, Reflector},
    results::human::counted,
};
use std::time::Duration;

/// Answers echo requests, and TCP and UDP if asked, until a signal comes, or for so many seconds.
pub(super) fn run(args: &ReflectArgs) -> Result<Status, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let mut reflector = Reflector::attach(&args.interface, Mode::Auto)?;
        let (answers_tcp, answers_udp) = (!args.tcp.is_empty(), !args.udp.is_empty());
        if answers_tcp {
            reflector.answer_tcp(args.tcp.iter().cloned())?;
        }
        if answers_udp {
            reflector.answer_udp(args.udp.iter().cloned())?;
        }
        let how = if reflector.is_generic() { ", generic mode" } else { "" };
        // What is answered, and what of it is not.
        let (what, rest) = match (answers_tcp, answers_udp) {
            (false, false) => ("echo requests", None),
            (true, false) => ("echo requests and TCP", Some("other TCP segment")),
            (false, true) => ("echo requests and UDP", Some("UDP datagram")),
            (true, true) => ("echo requests, TCP and UDP", Some("other segment or datagram")),
        };
        eprintln!("ready: answering {what} on {}{how}", args.interface);
        let end = Duration::from_secs(args.seconds.unwrap_or(u64::from(u32::MAX)));
        tokio::select! {
            () = signals.next() => {}
            () = tokio::time::sleep(end) => {}
        }
        if let Some(rest) = rest {
            let (answered, swallowed) = (counted(reflector.answered()?, "request"), reflector.swallowed()?);
            let swallowed = counted(swallowed, rest);
            eprintln!("{answered} answered on {}, {swallowed} swallowed", args.interface);
        } else {
            eprintln!("{} answered on {}", counted(reflector.answered()?, "echo request"), args.interface);
        }
        Ok(Status::Complete)
    })
}
