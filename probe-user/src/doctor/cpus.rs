//! Cores for sender and receiver threads.

use super::{Check, Status};
use crate::nic;

pub(super) fn check() -> Check {
    match std::thread::available_parallelism() {
        Ok(count) if count.get() == 1 => {
            Check::new("cpus", Status::Warning, "1 core may be used: one thread both sends and receives")
                .advise("allow two or more (CPUAffinity=, CPUQuota=, cpusets) for high rates")
        }
        Ok(count) if nic::thread::may_go_first() => Check::new(
            "cpus",
            Status::Ok,
            format!("{count} cores may be used, and packet loops go before other threads"),
        ),
        Ok(count) => {
            let detail = format!("{count} cores may be used; packet loops may not go before other threads");
            Check::new("cpus", Status::Warning, detail).advise(
                "grant CAP_SYS_NICE, or LimitNICE=-10 in a systemd unit: what else runs on these cores delays probes otherwise",
            )
        }
        Err(error) => Check::new("cpus", Status::Skipped, error.to_string()),
    }
}
