//! What the driver dropped on the way in, before XDP saw it: where that is counted, chosen once.
//!
//! The interface's own `rx_dropped` won't do. The kernel adds to it each frame that no protocol wanted
//! (`__netif_receive_skb_core`, `dev_get_stats`): a neighbour's spanning-tree or LLDP frames. So the first of these that the driver
//! has is read:
//! 1. `qstats-get` of the kernel's netdev family: what the card dropped, by a name that means the same for every driver.
//! 2. The driver's own statistics, by the names in [`names`](super::names). virtio_net's are about its own memory and its
//!    `qstats` about the device: both are read.
//! 3. For a veth, and for ena, which have no other count: `rx_dropped`, less the frames that `steer` passed and for which the kernel
//!    has no protocol. A veth counts there what found its ring full or no memory, for its own side and (as
//!    `xdp_tx_errors`) for the other's; its own statistics show the one half here and the other half at the peer.
//! 4. `rx_missed_errors`, `rx_fifo_errors` and `rx_over_errors`. Many drivers have the same number in several, so the largest
//!    counts, and not their sum.
//!
//! Where the program runs behind the driver, a frame may also find the queue of its CPU full: `/proc/net/softnet_stat`.

use super::{
    ethtool::Statistics,
    names::{self, Names, Places},
};
use crate::{
    base::Nanos,
    route::{
        Interface,
        genl::{self, Answer, attribute},
    },
};
use std::{fs, io, path::PathBuf};

/// See linux/netdev.h.
const QSTATS_GET: u8 = 12;
const QSTATS_IFINDEX: u16 = 1;
const QSTATS_RX_ALLOC_FAIL: u16 = 12;
const QSTATS_RX_HW_DROPS: u16 = 13;
const QSTATS_RX_HW_DROP_OVERRUNS: u16 = 14;

/// How late a card's drops may come to be in counters of which nothing else is known: drivers ask their cards every second or two.
const UNKNOWN_REFRESH: Nanos = Nanos::from_secs(2);
/// The same of ena, whose card tells once a second (ENA_ADMIN_KEEP_ALIVE).
const ENA_REFRESH: Nanos = Nanos::from_secs(1);

/// The counts that were chosen, and what they were.
#[derive(Debug)]
pub(super) struct DriverDrops {
    sources: Vec<(Source, Option<u64>)>,
    refresh: Nanos,
    /// Frames that steer dropped are counted here too.
    again_refused: bool,
    /// Frames that their socket had no room for are.
    again_lost: bool,
    mixed: bool,
}

/// Somewhere where drops are counted.
#[derive(Debug)]
enum Source {
    Queues {
        interface: u32,
    },
    Own {
        statistics: Statistics,
        names: &'static Names,
        places: Places,
        many: usize,
    },
    /// The largest of these.
    Interface {
        counters: Vec<PathBuf>,
    },
    Softnet,
}

impl DriverDrops {
    /// Chooses for an interface whose program runs in the driver or behind it (`generic`), with sockets that are bound so.
    pub(super) fn of(interface: &Interface, generic: bool, zero_copy: bool) -> Self {
        let driver = interface.driver.as_deref().unwrap_or_default();
        let mut chosen = Self::none();
        let mut queues = Source::Queues { interface: interface.index };
        let has_queues = queues.read().is_ok();
        if has_queues {
            chosen.add(queues, Nanos::ZERO);
        }
        if !has_queues || driver == "virtio_net" {
            chosen.add_own(&interface.name, driver);
            // Its zero-copy path counts what a program dropped or could not redirect as `drops`, and nowhere else.
            (chosen.again_refused, chosen.again_lost) =
                (driver == "virtio_net" && zero_copy, driver == "virtio_net" && zero_copy);
        }
        // Behind the driver a veth has no ring, and its peer counts what the CPU's queue has no room for.
        if chosen.sources.is_empty() && driver == "veth" && !generic {
            chosen.add_interface(&interface.name, &["rx_dropped"], Nanos::ZERO);
            // What could not be redirected is there, what a program dropped is not.
            (chosen.again_lost, chosen.mixed) = (true, true);
        }
        if chosen.sources.is_empty() && driver == "ena" {
            chosen.add_interface(&interface.name, &["rx_dropped"], ENA_REFRESH);
            // The other way round.
            (chosen.again_refused, chosen.mixed) = (true, true);
        }
        if chosen.sources.is_empty() {
            let is_card = fs::exists(format!("/sys/class/net/{}/device", interface.name)).unwrap_or(false);
            let refresh = if is_card { UNKNOWN_REFRESH } else { Nanos::ZERO };
            let counters = ["rx_missed_errors", "rx_fifo_errors", "rx_over_errors"];
            chosen.add_interface(&interface.name, &counters, refresh);
        }
        if generic {
            chosen.add(Source::Softnet, Nanos::ZERO);
        }
        chosen.read();
        chosen
    }

    const fn none() -> Self {
        Self { sources: Vec::new(), refresh: Nanos::ZERO, again_refused: false, again_lost: false, mixed: false }
    }

    fn add(&mut self, source: Source, refresh: Nanos) {
        self.sources.push((source, None));
        self.refresh = self.refresh.max(refresh);
    }

    fn add_own(&mut self, interface: &str, driver: &str) {
        let Some(names) = names::of(driver) else { return };
        let Ok(mut statistics) = Statistics::of(interface) else { return };
        let Ok(all) = statistics.names() else { return };
        let Some(places) = Places::find(names, &all) else { return };
        self.add(Source::Own { statistics, names, places, many: all.len() }, names.refresh);
    }

    fn add_interface(&mut self, interface: &str, counters: &[&str], refresh: Nanos) {
        let path = |counter: &&str| PathBuf::from(format!("/sys/class/net/{interface}/statistics/{counter}"));
        self.add(Source::Interface { counters: counters.iter().map(path).collect() }, refresh);
    }

    /// How late a drop may come to be counted.
    pub(super) const fn refresh(&self) -> Nanos {
        self.refresh
    }

    /// Of frames that steer refused, and of those that their socket had no room for: how many are counted here too.
    pub(super) const fn counted_again(&self, refused: u64, lost: u64) -> u64 {
        let of_refused = if self.again_refused { refused } else { 0 };
        of_refused + if self.again_lost { lost } else { 0 }
    }

    /// Whether frames that no protocol wanted are among them.
    pub(super) const fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// Frames that were dropped since the last time. A counter that can't be read now, or that has begun anew (queues were
    /// added, the card was reset), says nothing this time.
    pub(super) fn read(&mut self) -> u64 {
        let since_last = |(source, seen): &mut (Source, Option<u64>)| {
            let before = seen.take();
            *seen = source.read().ok();
            before.zip(*seen).map_or(0, |(before, now)| now.saturating_sub(before))
        };
        self.sources.iter_mut().map(since_last).sum()
    }
}

impl Source {
    fn read(&mut self) -> io::Result<u64> {
        match self {
            Self::Queues { interface } => {
                let question = attribute(QSTATS_IFINDEX, &interface.to_ne_bytes());
                let answers = genl::dump("netdev", QSTATS_GET, &question)?;
                dropped_by_queues(&answers).ok_or_else(|| io::ErrorKind::Unsupported.into())
            }
            Self::Own { statistics, names, places, many } => {
                let values: Vec<u64> = statistics.values()?.collect();
                if values.len() != *many {
                    // Queues came or went, and all have other places.
                    let all = statistics.names()?;
                    *places = Places::find(names, &all).ok_or(io::ErrorKind::Unsupported)?;
                    *many = all.len();
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Ok(places.sum(&values))
            }
            Self::Interface { counters } => {
                let read = |path: &PathBuf| fs::read_to_string(path).ok()?.trim().parse().ok();
                counters.iter().filter_map(read).max().ok_or_else(|| io::ErrorKind::NotFound.into())
            }
            Self::Softnet => softnet(&fs::read_to_string("/proc/net/softnet_stat")?),
        }
    }
}

/// Of the answers to `qstats-get`, for a whole interface or for each of its queues. Overruns are what had no buffer; where a driver
/// doesn't tell them apart, all that the card dropped, which may have broken frames among it (enic).
///
/// None where the card's drops are not told. A failed allocation alone is not enough: mlx5 and gve count refills there, and what
/// was dropped because of one is counted elsewhere.
fn dropped_by_queues(answers: &[Answer]) -> Option<u64> {
    let sum = |kind| {
        let numbers = answers.iter().filter_map(|answer| answer.number(kind));
        numbers.fold(None, |sum, number| Some(sum.unwrap_or(0) + number))
    };
    let dropped = sum(QSTATS_RX_HW_DROP_OVERRUNS).or_else(|| sum(QSTATS_RX_HW_DROPS))?;
    Some(dropped + sum(QSTATS_RX_ALLOC_FAIL).unwrap_or(0))
}

/// The second number of each line, hexadecimal: frames that found the queue of that CPU full (net/core/net-procfs.c).
fn softnet(text: &str) -> io::Result<u64> {
    let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    let lines: Option<Vec<u64>> = text.lines().map(dropped).collect();
    Ok(lines.ok_or(io::ErrorKind::InvalidData)?.iter().sum())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// virtio_net on Linux 6.18, whose device tells no drops: packets and bytes, `tx-stop` and `tx-wake`, and that was all.
    const TOLD: &str = "4c00000014000000010000000f6900000c010000080001000400000008000800656b000008000900b0e3353608000a00e649\
                        000008000b006c951400080021000000000008002200000000001400000003000200010000000f69000000000000";
    /// The loopback device: not supported.
    const REFUSED: &str = "140000000300020001000000c00d0000a1ffffff";

    /// As the first, with further attributes in its message.
    fn told_and(more: &[(u16, u64)]) -> Vec<u8> {
        let mut told = bytes(TOLD);
        let done = told.split_off(0x4c);
        for (kind, number) in more {
            // The kernel writes small numbers in 4 bytes, and large ones in 8 (nla_put_uint).
            match u32::try_from(*number) {
                Ok(small) => told.extend(attribute(*kind, &small.to_ne_bytes())),
                Err(_) => told.extend(attribute(*kind, &number.to_ne_bytes())),
            }
        }
        let length = u32::try_from(told.len()).unwrap();
        told[..4].copy_from_slice(&length.to_ne_bytes());
        told.extend(done);
        told
    }

    #[test]
    fn queues_that_tell_no_drops_are_no_source() {
        let answers = genl::answers(&[&bytes(TOLD)]);
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].number(8), Some(0x6b65), "packets");
        assert_eq!(dropped_by_queues(&answers), None);
        let refills = told_and(&[(QSTATS_RX_ALLOC_FAIL, 7)]);
        assert_eq!(dropped_by_queues(&genl::answers(&[&refills])), None);
        assert!(std::panic::catch_unwind(|| genl::answers(&[&bytes(REFUSED)])).is_err());
    }

    #[test]
    fn overruns_are_taken_before_all_drops() {
        let of = |more: &[(u16, u64)]| dropped_by_queues(&genl::answers(&[&told_and(more)]));
        assert_eq!(of(&[(QSTATS_RX_HW_DROPS, 0)]), Some(0), "a zero is a word too");
        assert_eq!(of(&[(QSTATS_RX_HW_DROPS, 9), (QSTATS_RX_HW_DROP_OVERRUNS, 5)]), Some(5));
        assert_eq!(of(&[(QSTATS_RX_HW_DROPS, 1 << 40), (QSTATS_RX_ALLOC_FAIL, 3)]), Some((1 << 40) + 3));
        let [a, b] = [told_and(&[(QSTATS_RX_HW_DROPS, 4)]), told_and(&[(QSTATS_RX_HW_DROPS, 30)])];
        assert_eq!(dropped_by_queues(&genl::answers(&[&a[..a.len() - 20], &b])), Some(34), "of two queues");
    }

    #[test]
    fn the_cpus_queues_are_added_up() {
        let text = "00000007 0000000a 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
                    00000000 00000000 00000000\n\
                    00006b7b 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
                    00000001 00000000 00000000\n";
        assert_eq!(softnet(text).unwrap(), 11);
        assert!(softnet("what").is_err());
        assert!(Source::Softnet.read().is_ok(), "this kernel's own");
    }

    #[test]
    fn copies_of_a_number_count_once_and_what_is_counted_anew_not_at_all() {
        let folder = std::env::temp_dir().join(format!("echolot-driver-drops-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let counters: Vec<_> = ["missed", "fifo", "over"].map(|name| folder.join(name)).into();
        let write = |numbers: [u64; 3]| {
            counters.iter().zip(numbers).for_each(|(path, number)| fs::write(path, format!("{number}\n")).unwrap());
        };
        let source = Source::Interface { counters: counters.clone() };
        let mut drops = DriverDrops { sources: vec![(source, None)], ..DriverDrops::none() };
        let mut told = Vec::new();
        for numbers in [[70, 70, 0], [72, 72, 0], [72, 75, 1], [0, 0, 0], [1, 1, 1]] {
            write(numbers);
            told.push(drops.read());
        }
        fs::remove_dir_all(&folder).unwrap();
        told.push(drops.read());
        assert_eq!(told, [0, 2, 3, 0, 1, 0], "the first is where it begins; the fourth, a card that was reset");
    }
}
