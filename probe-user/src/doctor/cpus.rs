//! Cores for sender and receiver threads.

use super::{Check, Status};
use crate::nic;

pub(super) fn check() -> Check {
    match std::thread::available_parallelism() {
        Ok(count) => judge(count.get(), nic::thread::may_go_first()),
        Err(error) => Check::new("cpus", Status::Skipped, error.to_string()),
    }
}

fn judge(count: usize, may_go_first: bool) -> Check {
    let detail = format!(
        "{} may be used{}, and packet loops {} before other threads",
        if count == 1 { "1 core".to_owned() } else { format!("{count} cores") },
        if count == 1 { ": one thread both sends and receives" } else { "" },
        if may_go_first { "go" } else { "may not go" },
    );
    match (count, may_go_first) {
        (_, false) => Check::new("cpus", Status::Warning, detail).advise(
            "grant CAP_SYS_NICE, or LimitNICE=-10 in a systemd unit: what else runs on these cores delays probes otherwise",
        ),
        (1, true) => Check::new("cpus", Status::Warning, detail)
            .advise("allow two or more (CPUAffinity=, CPUQuota=, cpusets) for high rates"),
        _ => Check::new("cpus", Status::Ok, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_core_and_no_precedence_are_each_told() {
        let told = |count, may| (judge(count, may).status, judge(count, may).detail);
        let all_is_well = "2 cores may be used, and packet loops go before other threads";
        assert_eq!(told(2, true), (Status::Ok, all_is_well.into()));
        assert_eq!(told(1, true).0, Status::Warning);
        for count in [1, 2] {
            let (status, detail) = told(count, false);
            assert!(status == Status::Warning && detail.contains("may not go before"), "{detail}");
        }
    }
}
