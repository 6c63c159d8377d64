//! `echolot check`: is this configuration right, and what would it take?

use super::{Failure, Status, args::CheckArgs};
use crate::{
    alert, config,
    enrich::{AsnSource, AsnTable},
};

/// Reads the file as `run` would, and says what it comes to.
pub(super) fn run(args: &CheckArgs) -> Result<Status, Failure> {
    let mut config = config::load(&args.file)?;
    config.allow_reserved = args.allow_reserved;
    super::run::in_state_directory(&mut config);
    // `run` reads these for each request, and goes on without them.
    for (i, alertmanager) in config.alerts.alertmanagers.iter().enumerate() {
        alert::check_secrets(alertmanager)
            .map_err(|why| Failure::new(format!("{}: alertmanagers[{i}]: {why}", args.file.display())))?;
    }
    // `run` reads it beside the measurement, and goes on without it.
    if let AsnSource::File(path) = &config.enrich.asn {
        AsnTable::open(path).map_err(std::io::Error::other)?;
    }
    let report = config::report(&config, &config.plan()?);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(Status::Complete)
}
