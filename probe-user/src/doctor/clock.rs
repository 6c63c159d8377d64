//! Do userspace and the kernel tell the same time?

use super::{Check, Status};
use crate::route::clock_offset;

pub(super) fn check() -> Check {
    let name = "clock";
    match clock_offset() {
        Ok(0) => Check::new(name, Status::Ok, "CLOCK_MONOTONIC is the kernel's own"),
        Ok(offset) => {
            let detail = format!(
                "in a time namespace whose CLOCK_MONOTONIC is {offset} ns from the kernel's: send and arrival stamps don't \
                 compare"
            );
            Check::new(name, Status::Problem, detail).advise("run it outside of that time namespace")
        }
        Err(error) => Check::new(name, Status::Skipped, error.to_string()),
    }
}
