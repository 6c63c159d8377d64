//! Every metric's name, type and help: the one list that the exposition, docs/metrics.md and its test share.

/// A metric's type in the exposition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, sum and count.
    Histogram,
    /// Here always without quantiles: sum and count.
    Summary,
}

impl Kind {
    /// As in `# TYPE` lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// A metric family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// With prefix and base unit.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// One line for the `# HELP` line.
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, help }
}

// By group and its sum_by labels.
pub(super) const PROBES: Family = counter("echolot_probes_total", "Probes that came due, sent or not.");
pub(super) const SETTLED: Family = counter("echolot_probes_settled_total", "Probes that ended, by outcome.");
pub(super) const UNSENT: Family =
    counter("echolot_probes_unsent_total", "Probes that this machine did not send, by cause.");
pub(super) const IN_FLIGHT: Family = gauge("echolot_probes_in_flight", "Probes that came due and have not ended yet.");
pub(super) const SKIPPED: Family = counter(
    "echolot_probes_skipped_total",
    "Due times that passed without a probe: this machine did not keep the pace.",
);
pub(super) const LATE: Family = counter("echolot_replies_late_total", "Replies that came after their timeout.");
pub(super) const DUPLICATE: Family =
    counter("echolot_replies_duplicate_total", "Further replies to probes that were answered already.");
pub(super) const CONTRADICTED: Family =
    counter("echolot_replies_contradicted_total", "Replies in time to probes that had ended as unreachable or unsent.");
pub(super) const RTT: Family = histogram("echolot_rtt_seconds", "Round-trip times of answered probes.");
pub(super) const TARGETS: Family = gauge("echolot_targets", "Targets by state.");
pub(super) const FLAPPING: Family =
    gauge("echolot_targets_flapping", "Targets that changed between up and down more than six times lately.");

// By group and its sum_by labels, of groups whose paths are kept.
pub(super) const PATH_CHANGES: Family =
    counter("echolot_path_changes_total", "Changes of the paths to targets, of each flow.");
// By group, of those.
pub(super) const PATH_PROBES: Family =
    counter("echolot_path_probes_total", "Probes by which paths are found, sent or not.");
pub(super) const PATH_SETTLED: Family =
    counter("echolot_path_probes_settled_total", "Probes by which paths are found that ended, by outcome.");

pub(super) const GROUP_INFO: Family =
    gauge("echolot_group_info", "What a group asks of its targets, and over which families of addresses.");

pub(super) const SERIES_DROPPED: Family = gauge(
    "echolot_series_dropped",
    "Series of the group that this scrape leaves out, because limits.series has no room.",
);

// Of this machine.
pub(super) const RESETS: Family = counter(
    "echolot_tcp_resets_total",
    "RSTs to targets at which a TCP probe had half opened a connection, by what became of them.",
);
pub(super) const REJECTED: Family =
    counter("echolot_replies_rejected_total", "Frames that claimed to be replies and failed a check, by reason.");
pub(super) const LOCAL_DROPS: Family =
    counter("echolot_local_drops_total", "Frames that this machine dropped or could not send, by where and why.");
pub(super) const SEND_LAG: Family =
    histogram("echolot_send_lag_seconds", "From the configured due time of a probe to its hand-over for sending.");
pub(super) const TRANSMIT_DWELL: Family = histogram(
    "echolot_transmit_dwell_seconds",
    "From the send stamp of a probe to the moment by which it was surely handed to the driver.",
);
pub(super) const RECEIVE_DELAY: Family =
    histogram("echolot_receive_delay_seconds", "From the arrival stamp of a reply to its settling.");
pub(super) const INTERFACE_INFO: Family = gauge("echolot_interface_info", "The interface in use and how it is driven.");
pub(super) const INTERFACE_UP: Family = gauge("echolot_interface_up", "Whether the interface is up and has carrier.");
pub(super) const INTERFACE_QUEUES: Family = gauge("echolot_interface_queues", "Receive queues that have a socket.");
pub(super) const STATE_HOLD: Family =
    gauge("echolot_state_hold", "Whether states of targets are held because this machine is at fault, by reason.");
pub(super) const EVENTS_DROPPED: Family =
    counter("echolot_events_dropped_total", "Events that found their queue full or could not be written.");
pub(super) const BUILD_INFO: Family = gauge("echolot_build_info", "Version and revision of this build.");
pub(super) const VANTAGE_INFO: Family =
    gauge("echolot_vantage_info", "What this place of measuring is called; absent where it has no name.");
pub(super) const RELOAD_SUCCESSFUL: Family =
    gauge("echolot_config_last_reload_successful", "Whether the configuration that was read last was taken over.");
pub(super) const RELOAD_TIMESTAMP: Family = gauge(
    "echolot_config_last_reload_success_timestamp_seconds",
    "When a configuration was last taken over, Unix time.",
);
pub(super) const CONFIG_HASH: Family =
    gauge("echolot_config_hash", "A hash of the configuration in force and of all its targets.");

// Of where targets come from.
pub(super) const SOURCE_UP: Family =
    gauge("echolot_target_source_up", "Whether a source of targets or exclusions could be read the last time.");
pub(super) const SOURCE_TARGETS: Family =
    gauge("echolot_target_source_targets", "Targets that a source has; of exclusions, addresses.");
pub(super) const SOURCE_FAILURES: Family =
    counter("echolot_target_source_failures_total", "Readings of a source that failed or were refused.");
pub(super) const SOURCE_SUCCESS: Family = gauge(
    "echolot_target_source_last_success_timestamp_seconds",
    "When a source was last read well, Unix time; absent before the first.",
);

// Of alerts, by the names that Prometheus' own have.
pub(super) const NOTIFICATIONS_SENT: Family =
    counter("echolot_notifications_sent_total", "Alerts that an Alertmanager took, again and again while they fire.");
pub(super) const NOTIFICATIONS_ERRORS: Family =
    counter("echolot_notifications_errors_total", "Alerts in requests to an Alertmanager that failed.");
pub(super) const NOTIFICATIONS_DROPPED: Family = counter(
    "echolot_notifications_dropped_total",
    "Alerts that an Alertmanager refused, or that found no room to wait for it.",
);
pub(super) const NOTIFICATIONS_QUEUE: Family =
    gauge("echolot_notifications_queue_length", "Alerts that wait for an Alertmanager.");
pub(super) const NOTIFICATIONS_CAPACITY: Family =
    gauge("echolot_notifications_queue_capacity", "Alerts that may wait for an Alertmanager.");
pub(super) const NOTIFICATION_LATENCY: Family =
    histogram("echolot_notification_latency_seconds", "How long requests to an Alertmanager took.");

// Of the process, by the names that Prometheus' client libraries share.
pub(super) const PROCESS_CPU: Family =
    counter("process_cpu_seconds_total", "User and system CPU time of all threads, seconds.");
pub(super) const PROCESS_OPEN_FDS: Family = gauge("process_open_fds", "Open file descriptors.");
pub(super) const PROCESS_MAX_FDS: Family = gauge("process_max_fds", "Most file descriptors that may be open.");
pub(super) const PROCESS_VIRTUAL: Family = gauge("process_virtual_memory_bytes", "Virtual memory size, bytes.");
pub(super) const PROCESS_RESIDENT: Family = gauge("process_resident_memory_bytes", "Resident memory size, bytes.");
pub(super) const PROCESS_START: Family =
    gauge("process_start_time_seconds", "When the process started, Unix time, seconds.");
pub(super) const PROCESS_THREADS: Family = gauge("process_threads", "Threads of the process.");

// Of single targets.
pub(super) const TARGET_UP: Family =
    gauge("echolot_target_up", "1 while the target is up, 0 while it is down; absent while neither is known.");
pub(super) const TARGET_SETTLED: Family =
    counter("echolot_target_probes_settled_total", "The target's probes that ended, by outcome.");
pub(super) const TARGET_RTT: Family =
    Family { name: "echolot_target_rtt_seconds", kind: Kind::Summary, help: "The target's round-trip times." };
pub(super) const TARGET_LAST_REPLY: Family = gauge(
    "echolot_target_last_reply_timestamp_seconds",
    "When the target's last reply in time arrived, Unix time; absent before the first.",
);
pub(super) const PATH_HOPS: Family = gauge(
    "echolot_path_hops",
    "How many hops the target is away, where its path is kept; absent while it is not known.",
);
pub(super) const TARGET_INFO: Family = gauge("echolot_target_info", "The target's address and labels.");

/// All, in the order of the exposition.
pub fn all() -> impl Iterator<Item = Family> {
    let sums = [
        PROBES,
        SETTLED,
        UNSENT,
        IN_FLIGHT,
        SKIPPED,
        LATE,
        DUPLICATE,
        CONTRADICTED,
        RTT,
        TARGETS,
        FLAPPING,
        PATH_CHANGES,
        PATH_PROBES,
        PATH_SETTLED,
        GROUP_INFO,
        SERIES_DROPPED,
    ];
    let local = [
        REJECTED,
        RESETS,
        LOCAL_DROPS,
        SEND_LAG,
        TRANSMIT_DWELL,
        RECEIVE_DELAY,
        INTERFACE_INFO,
        INTERFACE_UP,
        INTERFACE_QUEUES,
        STATE_HOLD,
        EVENTS_DROPPED,
    ];
    let program = [
        BUILD_INFO,
        VANTAGE_INFO,
        RELOAD_SUCCESSFUL,
        RELOAD_TIMESTAMP,
        CONFIG_HASH,
        SOURCE_UP,
        SOURCE_TARGETS,
        SOURCE_FAILURES,
        SOURCE_SUCCESS,
    ];
    let alerts = [
        NOTIFICATIONS_SENT,
        NOTIFICATIONS_ERRORS,
        NOTIFICATIONS_DROPPED,
        NOTIFICATIONS_QUEUE,
        NOTIFICATIONS_CAPACITY,
        NOTIFICATION_LATENCY,
    ];
    let process = [
        PROCESS_CPU,
        PROCESS_OPEN_FDS,
        PROCESS_MAX_FDS,
        PROCESS_VIRTUAL,
        PROCESS_RESIDENT,
        PROCESS_START,
        PROCESS_THREADS,
    ];
    let targets = [TARGET_UP, TARGET_SETTLED, TARGET_RTT, TARGET_LAST_REPLY, TARGET_INFO, PATH_HOPS];
    sums.into_iter().chain(local).chain(program).chain(alerts).chain(process).chain(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_family_is_listed_twice() {
        let mut names: Vec<_> = all().map(|f| f.name).collect();
        let listed = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), listed);
    }
}
