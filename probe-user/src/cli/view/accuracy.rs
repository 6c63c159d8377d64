//! What part of the measured times is this machine's own.

use crate::{ledger::Snapshot, nic::InterfaceInfo, results::human::span};

/// One line, without its end; None where nothing was sent.
pub fn accuracy(snapshot: &Snapshot, interface: &InterfaceInfo) -> Option<String> {
    let dwell = &snapshot.transmit_dwell;
    let (median, p99) = (dwell.quantile(0.5)?, dwell.quantile(0.99)?);
    let stamped = if interface.mode == "generic" { "XDP, behind the driver" } else { "XDP" };
    let to = if interface.mode == "zero-copy" { "the card's ring" } else { "the driver" };
    Some(format!(
        "accuracy: of these times at most {} (median; p99 {}) passed in this machine between send stamp and {to}; arrival was \
         stamped in {stamped}: a late softirq is in them, our receiver is not",
        span(median),
        span(p99)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::interface;
    use super::*;
    use crate::{base::Nanos, ledger::histogram::Histogram};

    #[test]
    fn the_line_names_both_ends() {
        assert_eq!(accuracy(&Snapshot::default(), &interface()), None, "nothing was sent");
        let dwell = Histogram::default();
        (0..100).for_each(|i| dwell.record(Nanos::from_micros(if i < 98 { 3 } else { 12 })));
        let snapshot = Snapshot { transmit_dwell: dwell.snapshot(), ..Snapshot::default() };
        let line = accuracy(&snapshot, &interface()).unwrap_or_default();
        assert!(line.starts_with("accuracy: of these times at most 3."), "{line}");
        assert!(
            line.contains("(median; p99 12.")
                && line.contains(" us) passed in this machine between send stamp and the driver"),
            "{line}"
        );
        let card = InterfaceInfo { mode: "zero-copy", ..interface() };
        assert!(accuracy(&snapshot, &card).is_some_and(|line| line.contains("the card's ring")));
        let generic = InterfaceInfo { mode: "generic", ..interface() };
        assert!(accuracy(&snapshot, &generic).is_some_and(|line| line.contains("behind the driver")));
    }
}
