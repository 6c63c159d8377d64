//! Receive queues: one AF_XDP socket each.

use super::{Check, Status};
use crate::route::{
    Interface,
    ethtool::{Channels, channels},
};

pub(super) fn check(interface: &Interface) -> Check {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    judge(interface, channels(interface.index), cores)
}

fn judge(interface: &Interface, channels: Option<Channels>, cores: u64) -> Check {
    let Interface { name, rx_queues, tx_queues, .. } = interface;
    let title = format!("{name} queues");
    let most = channels.map(|channels| format!(" (at most {})", channels.max)).unwrap_or_default();
    let check = Check::new(title, Status::Ok, format!("{rx_queues} receive, {tx_queues} transmit{most}"));
    let Some(Channels { count, max }) = channels else { return check };
    match interface.driver.as_deref() {
        Some(driver @ ("ena" | "gve")) if count * 2 > max && max > 1 => Check { status: Status::Problem, ..check }
            .advise(format!(
                "{driver} allows XDP on at most half of its channels: ethtool -L {name} combined {}",
                max / 2
            )),
        Some("virtio_net") if count + cores > max => {
            let fewer = max.saturating_sub(cores).max(1);
            let fewer = if fewer < count { format!(", or ethtool -L {name} combined {fewer}") } else { String::new() };
            Check { status: Status::Warning, ..check }.advise(format!(
                "virtio_net wants a spare transmit queue for each core with XDP, else cores share one under a lock: give \
                 the machine more queues{fewer}"
            ))
        }
        _ => check,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::link::tests::interface;

    fn of(driver: &str, count: u64, max: u64, cores: u64) -> Check {
        judge(&Interface { driver: Some(driver.to_owned()), ..interface() }, Some(Channels { count, max }), cores)
    }

    #[test]
    fn drivers_that_need_spare_queues_say_so() {
        assert_eq!(of("ice", 8, 8, 8).status, Status::Ok);
        assert_eq!(of("ena", 4, 8, 8).status, Status::Ok);
        let ena = of("ena", 8, 8, 8);
        assert_eq!(ena.status, Status::Problem);
        assert!(ena.advice.is_some_and(|advice| advice.ends_with("ethtool -L eth0 combined 4")));
        assert_eq!(of("virtio_net", 4, 8, 4).status, Status::Ok);
        assert!(of("virtio_net", 4, 4, 2).advice.is_some_and(|advice| advice.ends_with("ethtool -L eth0 combined 2")));
        let least = of("virtio_net", 1, 1, 2);
        assert_eq!(least.status, Status::Warning);
        assert!(least.advice.is_some_and(|advice| advice.ends_with("more queues")), "it has no fewer");
        assert_eq!(judge(&interface(), None, 4).detail, "4 receive, 4 transmit");
    }
}
