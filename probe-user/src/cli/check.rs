//! `echolot check`: is this configuration right, and what would it take?

use super::{Failure, Status, args::CheckArgs};
use crate::config;

/// Reads the file as `run` would, and says what it comes to.
pub(super) fn run(args: &CheckArgs) -> Result<Status, Failure> {
    let config = config::load(&args.file)?;
    let report = config::report(&config, &config.plan()?);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(Status::Complete)
}
