//! Are there ports that TCP and UDP probes can be sent from?

use super::{Check, Status};
use crate::nic::room_for_source_ports;
use std::ops::RangeInclusive;

pub(super) fn check() -> Check {
    let (room, local) = room_for_source_ports();
    judge(room, &local)
}

fn judge(room: u32, local: &RangeInclusive<u16>) -> Check {
    let range = format!("net.ipv4.ip_local_port_range, {} to {}", local.start(), local.end());
    let check = |status, detail| Check::new("source ports", status, detail);
    match room {
        0 => check(Status::Warning, format!("none is left for TCP and UDP probes: {range}, has them all"))
            .advise("sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\", if groups or commands probe TCP or UDP"),
        _ => check(Status::Ok, format!("{room} in a row for TCP and UDP probes, beside {range}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_leaves_nothing_is_told() {
        let fine = judge(31_744, &(32_768..=60_999));
        let detail = "31744 in a row for TCP and UDP probes, beside net.ipv4.ip_local_port_range, 32768 to 60999";
        assert_eq!((fine.status, fine.detail.as_str(), fine.advice), (Status::Ok, detail, None));
        let none = judge(0, &(1_024..=65_535));
        assert_eq!(none.status, Status::Warning);
        assert!(none.detail.contains("1024 to 65535, has them all"), "{none:?}");
        assert!(none.advice.is_some_and(|advice| advice.contains("sysctl -w")));
    }
}
