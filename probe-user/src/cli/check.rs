//! `echolot check`: is this configuration right, and what would it take?

use super::{
    Failure, Status,
    against::{self, Against},
    args::CheckArgs,
};
use crate::{
    alert, config,
    enrich::{AsnSource, AsnTable},
};
use serde::Serialize;

/// What is written with `--json`.
#[derive(Serialize)]
struct Checked {
    #[serde(flatten)]
    report: config::Report,
    /// Only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
}

/// Reads the file as `run` would, and says what it comes to.
pub(super) fn run(args: &CheckArgs) -> Result<Status, Failure> {
    let mut config = config::load(&args.file)?;
    config.allow_reserved = args.allow_reserved;
    // `run` reads these for each request, and goes on without them.
    for (i, alertmanager) in config.alerts.alertmanagers.iter().enumerate() {
        alert::check_secrets(alertmanager)
            .map_err(|why| Failure::new(format!("{}: alertmanagers[{i}]: {why}", args.file.display())))?;
    }
    // `run` reads it beside the measurement, and goes on without it.
    if let AsnSource::File(path) = &config.enrich.asn {
        AsnTable::open(path).map_err(std::io::Error::other)?;
    }
    let against = args.against.as_ref().map(|url| against::ask(&config, url)).transpose()?;
    config.alerts = super::run::in_state_directory(config.alerts);
    let report = config::report(&config, &config.plan()?);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&Checked { report, against })?);
        return Ok(Status::Complete);
    }
    println!("{report}");
    if let Some(against) = against {
        println!("\n{}", against.to_string().trim_end());
    }
    Ok(Status::Complete)
}
