//! What drivers call the frames that they dropped for want of buffers.
//!
//! Read in the kernel's sources (6.12, drivers/net). Taken is what a card or its driver dropped because it had no buffer, no
//! descriptor or no memory: the sums of names that count *different* frames. Left out, beside what is plainly something else:
//! - Frames for which room came just in time: Intel's `rx_no_buffer_count` counts those too.
//! - Copies of a number: Intel's `rx_fifo_errors` is `rx_missed_errors` and the queues' drops added up.
//! - Refills that failed (`alloc_failed` of most drivers): a ring that is shorter for a moment has dropped nothing.
//! - What filters and XDP programs dropped, or frames that were broken.

use crate::base::Nanos;

/// A driver's names. In each, `#` stands for a number: of a queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Lists to be added up: the first whose first name the driver has is it. Names changed with time.
    pub(super) dropped: &'static [&'static [&'static str]],
    /// To be taken off that sum.
    pub(super) except: &'static [&'static str],
    /// How late a drop may come to be in these numbers.
    pub(super) refresh: Nanos,
}

const AT_ONCE: Nanos = Nanos::ZERO;

const fn names(dropped: &'static [&'static [&'static str]], refresh: Nanos) -> Names {
    Names { dropped, except: &[], refresh }
}

/// By driver.
const DRIVERS: &[(&str, Names)] = &[
    // Counted by the chip, whose registers are read whenever these are asked for. `rx_queue_#_drops`: no descriptor in the
    // queue (RQDPC); `rx_missed_errors`: no room in the chip's memory (MPC).
    ("igb", names(&[&["rx_missed_errors", "rx_queue_#_drops"]], AT_ONCE)),
    ("igc", names(&[&["rx_missed_errors", "rx_queue_#_drops"]], AT_ONCE)),
    // MPC and, behind it, QPRDC.
    ("ixgbe", names(&[&["rx_missed_errors", "rx_no_dma_resources"]], AT_ONCE)),
    // Of the interface (GLV_RDPC) and of the port. Before 6.9 the first was called `rx_dropped`; later that is what filters drop.
    ("i40e", names(&[&["rx_missed_errors", "port.rx_discards"], &["rx_dropped", "port.rx_discards"]], AT_ONCE)),
    // This driver's own `rx_dropped` is the card's count of discards (GLV_RDPC), and no other's.
    ("ice", names(&[&["rx_dropped", "rx_dropped.nic"]], AT_ONCE)),
    // The physical function tells it every two seconds.
    ("iavf", names(&[&["rx_discards"]], Nanos::from_secs(2))),
    // No work entry for it; no room in the port. The firmware is asked whenever these are.
    ("mlx5_core", names(&[&["rx_out_of_buffer", "rx_discards_phy"]], AT_ONCE)),
    // The card writes its counters to memory once a second, the driver adds them up once a second. Without `oom`: no memory for
    // the frame.
    (
        "bnxt_en",
        names(&[&["rx_total_ring_discards", "rx_total_oom_discards"], &["[#]: rx_discards"]], Nanos::from_secs(2)),
    ),
    // No memory for the frame. The card's own counts (`rx_queue_drop_cnt`) come every 20 seconds and only if asked for.
    ("gve", names(&[&["rx_skb_alloc_fail"]], AT_ONCE)),
    ("vmxnet3", names(&[&["pkts rx OOB"]], AT_ONCE)),
    ("hv_netvsc", names(&[&["rx_no_memory"]], AT_ONCE)),
    // What the driver has no memory for. `drops` has everything that did not become a packet, with what XDP dropped or could not
    // redirect; the latter is in `xdp_drops` too, but not in zero-copy mode. Named by queue alone from 6.10 on.
    (
        "virtio_net",
        Names {
            dropped: &[&["rx#_drops"], &["rx_queue_#_drops"]],
            except: &["rx#_xdp_drops", "rx_queue_#_xdp_drops"],
            refresh: AT_ONCE,
        },
    ),
];

/// The names of a driver, if they are known.
pub(super) fn of(driver: &str) -> Option<&'static Names> {
    DRIVERS.iter().find(|(name, _)| *name == driver).map(|(_, names)| names)
}

/// Which of a driver's statistics are to be added up, and which taken off, by their places.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    dropped: Vec<usize>,
    except: Vec<usize>,
}

impl Places {
    /// None where the driver has none of these names.
    pub(super) fn find(names: &Names, all: &[String]) -> Option<Self> {
        let places = |wanted: &[&str]| -> Vec<usize> {
            let fits = |name: &String| wanted.iter().any(|pattern| matches(pattern, name));
            all.iter().enumerate().filter(|(_, name)| fits(name)).map(|(place, _)| place).collect()
        };
        let is_there = |list: &&&[&str]| list.first().is_some_and(|first| !places(&[first]).is_empty());
        let dropped = places(names.dropped.iter().find(is_there)?);
        Some(Self { dropped, except: places(names.except) })
    }

    /// The frames dropped, of the values of all.
    pub(super) fn sum(&self, values: &[u64]) -> u64 {
        let sum = |places: &[usize]| places.iter().filter_map(|place| values.get(*place)).sum::<u64>();
        sum(&self.dropped).saturating_sub(sum(&self.except))
    }
}

/// Whether a name is this pattern, `#` being any number.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('#') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// Names and values as `ethtool -S` prints them.
    fn sum(driver: &str, text: &str) -> Option<u64> {
        let lines = text.lines().skip(1).map(|line| line.trim().rsplit_once(": ").unwrap());
        let (names, values): (Vec<_>, Vec<u64>) =
            lines.map(|(name, value)| (name.to_owned(), value.parse::<u64>().unwrap())).unzip();
        Places::find(of(driver)?, &names).map(|places| places.sum(&values))
    }

    /// Linux 6.18; the values of the drops are the test's.
    const VIRTIO_NET: &str = "NIC statistics:
     rx_drops: 9
     rx_xdp_packets: 0
     rx_xdp_tx: 0
     rx_xdp_redirects: 0
     rx_xdp_drops: 4
     rx_kicks: 4909
     tx_xdp_tx: 0
     tx_xdp_tx_drops: 0
     tx_kicks: 16725
     tx_tx_timeouts: 0
     rx0_drops: 9
     rx0_xdp_packets: 0
     rx0_xdp_tx: 0
     rx0_xdp_redirects: 0
     rx0_xdp_drops: 4
     rx0_kicks: 4909
     tx0_xdp_tx: 0
     tx0_xdp_tx_drops: 8
     tx0_kicks: 16725
     tx0_tx_timeouts: 0";

    #[test]
    fn virtio_net_has_dropped_what_no_program_did() {
        assert_eq!(sum("virtio_net", VIRTIO_NET), Some(5));
        let older = "NIC statistics:
     rx_queue_0_packets: 70
     rx_queue_0_bytes: 7000
     rx_queue_0_drops: 3
     rx_queue_0_xdp_packets: 0
     rx_queue_0_xdp_drops: 1
     rx_queue_1_drops: 40
     rx_queue_1_xdp_drops: 0
     tx_queue_0_packets: 5";
        assert_eq!(sum("virtio_net", older), Some(42));
    }

    #[test]
    fn copies_and_refills_are_left_out() {
        let igb = "NIC statistics:
     rx_packets: 100
     rx_no_buffer_count: 70
     rx_missed_errors: 5
     rx_over_errors: 0
     rx_fifo_errors: 7
     rx_queue_0_packets: 100
     rx_queue_0_drops: 2
     rx_queue_0_alloc_failed: 30
     rx_queue_1_drops: 0";
        assert_eq!(sum("igb", igb), Some(7));
        let mlx5 = "NIC statistics:
     rx_packets: 100
     rx_out_of_buffer: 6
     rx_steer_missed_packets: 900
     rx_discards_phy: 1
     rx0_buff_alloc_err: 50";
        assert_eq!(sum("mlx5_core", mlx5), Some(7));
    }

    #[test]
    fn the_newer_names_hold_where_there_are_both() {
        let newer = "NIC statistics:\n rx_dropped: 500\n rx_missed_errors: 3\n port.rx_discards: 1";
        let older = "NIC statistics:\n rx_dropped: 5\n port.rx_discards: 1";
        assert_eq!((sum("i40e", newer), sum("i40e", older)), (Some(4), Some(6)));
    }

    #[test]
    fn who_has_none_of_the_names_is_not_taken() {
        assert_eq!(sum("igb", "NIC statistics:\n peer_ifindex: 7"), None);
        assert_eq!(sum("e1000", "NIC statistics:\n rx_missed_errors: 7"), None);
    }

    #[test]
    fn a_pattern_is_a_name_with_a_number() {
        assert!(matches("rx#_drops", "rx12_drops") && matches("[#]: rx_discards", "[3]: rx_discards"));
        assert!(!matches("rx#_drops", "rx_drops") && !matches("rx#_drops", "rx0_xdp_drops"));
        assert!(!matches("rx_drops", "rx_drops_2"));
    }
}
