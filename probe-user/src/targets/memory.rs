//! Whether so many targets fit into memory, asked before they are expanded.

use super::Target;
use std::fmt;

/// Bytes of a target's account, its window of up to [`super::INLINE_PLACES`] included. The ledger does not compile with another size.
pub const ACCOUNT_BYTES: usize = 84;

/// Bytes that a target takes in a running echolot: its row in the plan, its account in the ledger with a window of up to 64
/// places, and, until the ledger has it, its next hop. Longer windows come on top, see [`super::Group::bytes_per_target`]; so
/// do names, and send times where results are written (6 bytes a place of the window).
pub const BYTES_PER_TARGET: u64 = (size_of::<Target>() + ACCOUNT_BYTES + size_of::<u32>()) as u64;

/// Bytes that a send time takes, for each place of a window.
const SENT_BYTES: u64 = 6;

/// Bytes that a target takes in the table by which an answer's address leads to it.
pub const FLOW_BYTES: u64 = 11;

/// Bytes that a target takes besides where answers bring no send time back: a send time for each place of its window, and its entry in that
/// table.
pub(super) const fn kept_bytes(places: u32) -> u64 {
    SENT_BYTES * places as u64 + FLOW_BYTES
}

/// With windows of up to eight places, 10 million targets of probes to a port in 1.6 GB.
const _: () = assert!(BYTES_PER_TARGET + kept_bytes(8) <= 160);

/// Ten million targets in 1.3 GB: what the rest of the machine can count on.
const _: () = assert!(BYTES_PER_TARGET <= 128);

/// Bytes that the kernel thinks can be had without swapping (`MemAvailable`); None where /proc doesn't say.
pub fn available() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes in the unit that suits them.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..0x400 => return write!(f, "{} bytes", self.0),
            0x400..0x10_0000 => (10, "KiB"),
            0x10_0000..0x4000_0000 => (20, "MiB"),
            _ => (30, "GiB"),
        };
        write!(f, "{:.1} {name}", self.0 as f64 / (1u64 << unit) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_meminfo() {
        let text = "MemTotal:        8000000 kB\nMemFree:  1 kB\nMemAvailable:    2048 kB\nBuffers: 0 kB\n";
        assert_eq!(parse(text), Some(2048 * 1024));
        for broken in ["", "MemAvailable:", "MemAvailable: x kB", "MemAvailable: 99999999999999999999 kB"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn shows_bytes_in_a_fitting_unit() {
        let shown = [1023, 1024, 3 << 19, 1 << 31].map(|n| Bytes(n).to_string());
        assert_eq!(shown, ["1023 bytes", "1.0 KiB", "1.5 MiB", "2.0 GiB"]);
    }
}
