//! The families of this machine and this program.

use super::{
    Source,
    families::{self as f, Family},
    format::{Cumulative, Float, Text, add_label},
};
use crate::{alert, discovery::SourceState, health::Hold, ledger::Snapshot, wire::RejectedReason};

/// Writes them all.
pub(super) fn write(text: &mut Text, source: &dyn Source, snapshot: &Snapshot) {
    text.header(f::REJECTED);
    text.split(
        f::REJECTED,
        "",
        "reason",
        RejectedReason::ALL.map(RejectedReason::name).into_iter().zip(snapshot.rejected),
    );
    text.header(f::RESETS);
    text.split(f::RESETS, "", "result", ["sent", "dropped"].into_iter().zip(snapshot.resets));
    let drops = source.drops();
    if !drops.is_empty() {
        text.header(f::LOCAL_DROPS);
    }
    for drop in drops {
        let labels = [("interface", &*drop.interface), ("direction", drop.direction), ("cause", drop.cause)];
        text.number(f::LOCAL_DROPS, &joined(&labels), drop.frames);
    }
    let (delays, dwells) = (bounds_from(0.000_01), bounds_from(0.000_001));
    for (family, values, bounds) in [
        (f::SEND_LAG, &snapshot.send_lag, &delays),
        (f::TRANSMIT_DWELL, &snapshot.transmit_dwell, &dwells),
        (f::RECEIVE_DELAY, &snapshot.receive_delay, &delays),
    ] {
        text.header(family);
        text.histogram(family, "", &Cumulative::of(values, bounds), bounds);
    }
    let interface = source.interface();
    let labels = [
        ("interface", &*interface.name),
        ("driver", &interface.driver),
        ("mode", interface.mode),
        ("engine", interface.engine),
        ("reason", &interface.reason),
    ];
    one(text, f::INTERFACE_INFO, &joined(&labels), 1);
    one(text, f::INTERFACE_UP, "", u64::from(interface.up));
    one(text, f::INTERFACE_QUEUES, "", interface.queues as u64);
    text.header(f::STATE_HOLD);
    text.split(f::STATE_HOLD, "", "reason", Hold::ALL.map(Hold::name).into_iter().zip(snapshot.held.map(u64::from)));
    one(text, f::EVENTS_DROPPED, "", snapshot.events_dropped);
    one(text, f::BUILD_INFO, &joined(&[("version", VERSION), ("revision", REVISION)]), 1);
    if let Some(vantage) = source.vantage() {
        one(text, f::VANTAGE_INFO, &joined(&[("vantage", &vantage)]), 1);
    }
    let reload = source.reload();
    one(text, f::RELOAD_SUCCESSFUL, "", u64::from(reload.successful));
    text.header(f::RELOAD_TIMESTAMP);
    text.sample((f::RELOAD_TIMESTAMP.name, ""), "", None, Float(reload.at_unix_seconds));
    one(text, f::CONFIG_HASH, "", source.config_hash().unwrap_or(0));
    sources(text, &source.sources());
    notifications(text, &source.alertmanagers());
}

/// Alerts that are pushed.
fn notifications(text: &mut Text, all: &[alert::Status]) {
    type Value = fn(&alert::Status) -> u64;
    if all.is_empty() {
        return;
    }
    let labels = |status: &alert::Status| joined(&[("alertmanager", &status.alertmanager)]);
    let families: [(Family, Value); 5] = [
        (f::NOTIFICATIONS_SENT, |status| status.sent),
        (f::NOTIFICATIONS_ERRORS, |status| status.errors),
        (f::NOTIFICATIONS_DROPPED, |status| status.dropped),
        (f::NOTIFICATIONS_QUEUE, |status| status.waiting as u64),
        (f::NOTIFICATIONS_CAPACITY, |status| status.capacity as u64),
    ];
    for (family, value) in families {
        text.header(family);
        all.iter().for_each(|status| text.number(family, &labels(status), value(status)));
    }
    text.header(f::NOTIFICATION_LATENCY);
    // From 1 ms to 16 s: no request takes longer than 10.
    let bounds: [f64; 15] = std::array::from_fn(|i| f64::from(1u32 << i) / 1_000.0);
    for status in all {
        text.histogram(f::NOTIFICATION_LATENCY, &labels(status), &Cumulative::of(&status.latency, &bounds), &bounds);
    }
}

/// Where targets come from.
fn sources(text: &mut Text, states: &[SourceState]) {
    type Value = fn(&SourceState) -> u64;
    if states.is_empty() {
        return;
    }
    let labels = |state: &SourceState| joined(&[("group", &state.group), ("source", &state.source)]);
    let families: [(Family, Value); 3] = [
        (f::SOURCE_UP, |state| u64::from(state.up == Some(true))),
        (f::SOURCE_TARGETS, |state| state.targets),
        (f::SOURCE_FAILURES, |state| state.failures),
    ];
    for (family, value) in families {
        text.header(family);
        states.iter().for_each(|state| text.number(family, &labels(state), value(state)));
    }
    let successes = states.iter().filter_map(|state| Some((state, state.last_success?)));
    for (place, (state, at)) in successes.enumerate() {
        if place == 0 {
            text.header(f::SOURCE_SUCCESS);
        }
        text.sample((f::SOURCE_SUCCESS.name, ""), &labels(state), None, Float(at));
    }
}

/// A family of one sample.
fn one(text: &mut Text, family: Family, labels: &str, value: u64) {
    text.header(family);
    text.number(family, labels, value);
}

fn joined(labels: &[(&str, &str)]) -> String {
    let mut all = String::new();
    labels.iter().for_each(|(name, value)| add_label(&mut all, name, value));
    all
}

/// This build's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What it was built from, where the build was told.
pub(crate) const REVISION: &str = match option_env!("ECHOLOT_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Bounds of the histograms of this machine's own delays: doubled 20 times, from 10 us to 10.5 s, or from 1 us to 1.05 s.
fn bounds_from(first: f64) -> [f64; 21] {
    let mut bound = first / 2.0;
    std::array::from_fn(|_| {
        bound *= 2.0;
        bound
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_counted_from_ten_microseconds_to_ten_seconds() {
        let bounds = bounds_from(0.000_01);
        assert_eq!(bounds[0].to_string(), "0.00001");
        assert_eq!(bounds[20].to_string(), "10.48576");
    }
}
