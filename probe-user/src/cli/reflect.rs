//! `echolot reflect`: a test network's far end, at XDP speed.

use super::{Failure, Status, args::ReflectArgs};
use crate::run::Signals;
use crate::{
    nic::{Mode, Reflector},
    results::human::counted,
};
use std::time::Duration;

/// Answers echo requests until a signal comes, or for so many seconds.
pub(super) fn run(args: &ReflectArgs) -> Result<Status, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let reflector = Reflector::attach(&args.interface, Mode::Auto)?;
        let how = if reflector.is_generic() { ", generic mode" } else { "" };
        eprintln!("ready: answering echo requests on {}{how}", args.interface);
        let end = Duration::from_secs(args.seconds.unwrap_or(u64::from(u32::MAX)));
        tokio::select! {
            () = signals.next() => {}
            () = tokio::time::sleep(end) => {}
        }
        eprintln!("{} answered on {}", counted(reflector.answered()?, "echo request"), args.interface);
        Ok(Status::Complete)
    })
}
