//! May this process lock the memory that AF_XDP's frames lie in?

use super::{Check, Status, privileges};
use std::fs;

const NAME: &str = "locked memory";

/// Bit of CapEff, see linux/capability.h.
const IPC_LOCK: u64 = 1 << 14;
/// What the frames of one queue take at the most: 33,024 to receive, 4,096 to transmit and 4,096 for a zero-copy driver,
/// of 2 KiB each, rounded up.
const A_QUEUE: u64 = 81 << 20;

pub(super) fn check() -> Check {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    judge(privileges::effective().unwrap_or(0), limit(&limits))
}

/// Bytes; `u64::MAX` is no limit.
fn limit(limits: &str) -> Option<u64> {
    match limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        bytes => bytes.parse().ok(),
    }
}

fn judge(effective: u64, limit: Option<u64>) -> Check {
    match limit {
        _ if effective & IPC_LOCK != 0 => Check::new(NAME, Status::Ok, "not limited: CAP_IPC_LOCK"),
        Some(u64::MAX) => Check::new(NAME, Status::Ok, "not limited"),
        Some(bytes) => {
            let (most, a_queue) = (bytes >> 20, A_QUEUE >> 20);
            let status = if bytes < A_QUEUE { Status::Warning } else { Status::Ok };
            let check = Check::new(NAME, status, format!("at most {most} MiB; a queue takes 3 to {a_queue} MiB"));
            check.advise("LimitMEMLOCK=infinity in a systemd unit lifts the limit, and so does CAP_IPC_LOCK")
        }
        None => Check::new(NAME, Status::Skipped, "/proc/self/limits does not tell"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let text =
            |soft| format!("Limit  Soft Limit  Hard Limit  Units\nMax locked memory   {soft}   unlimited   bytes\n");
        assert_eq!(limit(&text("8388608")), Some(8 << 20));
        assert_eq!(limit(&text("unlimited")), Some(u64::MAX));
        assert_eq!(limit(""), None);
    }

    #[test]
    fn a_small_limit_is_told() {
        let small = judge(0, Some(8 << 20));
        assert_eq!(
            (small.status, small.detail.as_str()),
            (Status::Warning, "at most 8 MiB; a queue takes 3 to 81 MiB")
        );
        assert_eq!(judge(0, Some(A_QUEUE)).status, Status::Ok);
        assert_eq!(judge(IPC_LOCK, Some(0)).status, Status::Ok);
        assert_eq!(judge(!IPC_LOCK, Some(0)).status, Status::Warning);
        assert_eq!(judge(0, Some(u64::MAX)).advice, None);
        assert_eq!(judge(0, None).status, Status::Skipped);
    }
}
