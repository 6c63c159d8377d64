//! Cores for sender and receiver threads.

use super::{Check, Status};

pub(super) fn check() -> Check {
    match std::thread::available_parallelism() {
        Ok(count) if count.get() == 1 => {
            Check::new("cpus", Status::Warning, "1 core may be used: one thread both sends and receives")
                .advise("allow two or more (CPUAffinity=, CPUQuota=, cpusets) for high rates")
        }
        Ok(count) => Check::new("cpus", Status::Ok, format!("{count} cores may be used")),
        Err(error) => Check::new("cpus", Status::Skipped, error.to_string()),
    }
}
