//! `echolot doctor`: what this host can do, and what is in the way.

use super::{
    Failure, Status,
    args::{self, DoctorArgs},
};
use crate::doctor::{self, Options};

/// Runs every check and prints what it found.
pub(super) fn run(args: &DoctorArgs) -> Result<Status, Failure> {
    let (interface, targets) = (args.interface.clone(), args.targets.clone());
    let options = Options { interface, targets, sources: args::sources(&args.sources)? };
    let report = doctor::run(&options)?;
    report.print(args.json)?;
    Ok(if report.has_problem() { Status::Problem } else { Status::Complete })
}
