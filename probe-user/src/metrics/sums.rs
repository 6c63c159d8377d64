//! The families of sums. The prometheus crate's own vectors want the same label names in all rows of a family; here
//! each group has its own `sum_by`, so the families are built from the snapshot and only encoded by the crate.

use super::{
    ExpositionError, Source, families as f,
    families::{Family, Kind},
    process,
};
use crate::{
    base::{Cause, Nanos, Outcome, State},
    health::Hold,
    ledger::{Snapshot, SumRow, histogram::Distribution},
    targets::{self, Plan},
    wire::RejectedReason,
};
use prometheus::{
    TextEncoder,
    proto::{self, LabelPair, Metric, MetricFamily, MetricType},
};
use std::sync::Arc;

/// Every family but those of single targets, in the text format 0.0.4.
///
/// # Errors
/// A label name that Prometheus would refuse; a reload in the middle, three times in a row.
pub fn sums(source: &dyn Source) -> Result<String, ExpositionError> {
    let (plan, snapshot) = consistent(source)?;
    let mut families = by_group(&plan, &snapshot)?;
    families.extend(local(source, &snapshot));
    families.extend(process::families());
    // The encoder refuses an empty family: no group, no drop counter.
    families.retain(|family| !family.get_metric().is_empty());
    Ok(TextEncoder::new().encode_to_string(&families)?)
}

/// A plan and the counters that belong to it.
pub(crate) fn consistent(source: &dyn Source) -> Result<(Arc<Plan>, Snapshot), ExpositionError> {
    for _ in 0..3 {
        let plan = source.plan();
        let snapshot = source.snapshot();
        if Arc::ptr_eq(&plan, &source.plan()) && plan.sums.len() == snapshot.sums.len() {
            return Ok((plan, snapshot));
        }
    }
    Err(ExpositionError::Reloaded)
}

fn by_group(plan: &Plan, snapshot: &Snapshot) -> Result<Vec<MetricFamily>, ExpositionError> {
    for group in &plan.groups {
        for name in &group.sum_by {
            targets::check_label_name(name).map_err(|why| ExpositionError::Label { group: group.name.clone(), why })?;
        }
    }
    let rows: Vec<(Vec<LabelPair>, &SumRow, &[f64])> = plan
        .sums
        .iter()
        .zip(&snapshot.sums)
        .map(|(sum, row)| {
            let group = &plan.groups[sum.group];
            let own = group.sum_by.iter().zip(&sum.values).map(|(name, value)| label(name, value));
            let labels = std::iter::once(label("group", &group.name)).chain(own).collect();
            (labels, row, group.buckets.as_slice())
        })
        .collect();
    let plain = |what: Family, value: fn(&SumRow) -> u64| {
        family(what, rows.iter().map(|(labels, row, _)| number(what, labels.clone(), value(row))))
    };
    let split = |what: Family, name: &'static str, values: &[&'static str], counts: fn(&SumRow) -> &[u64]| {
        let cells = rows.iter().flat_map(|(labels, row, _)| {
            values.iter().zip(counts(row)).map(|(value, &n)| {
                let mut labels = labels.clone();
                labels.push(label(name, value));
                number(what, labels, n)
            })
        });
        family(what, cells)
    };
    let distributions = rows.iter().map(|(labels, row, bounds)| distribution(labels.clone(), &row.rtt, bounds));
    Ok(vec![
        plain(f::PROBES, |row| row.probes),
        split(f::SETTLED, "outcome", &Outcome::ALL.map(Outcome::name), |row| &row.settled),
        split(f::UNSENT, "cause", &Cause::ALL.map(Cause::name), |row| &row.unsent),
        plain(f::IN_FLIGHT, SumRow::in_flight),
        plain(f::SKIPPED, |row| row.skipped),
        plain(f::LATE, |row| row.late),
        plain(f::DUPLICATE, |row| row.duplicate),
        plain(f::CONTRADICTED, |row| row.contradicted),
        family(f::RTT, distributions),
        split(f::TARGETS, "state", &State::ALL.map(State::name), |row| &row.states),
        plain(f::FLAPPING, |row| row.flapping),
    ])
}

fn local(source: &dyn Source, snapshot: &Snapshot) -> Vec<MetricFamily> {
    let rejected = RejectedReason::ALL.iter().zip(snapshot.rejected);
    let rejected = rejected.map(|(reason, n)| number(f::REJECTED, vec![label("reason", reason.name())], n));
    let drops = source.drops();
    let drops = drops.iter().map(|drop| {
        let labels =
            vec![label("interface", &drop.interface), label("direction", drop.direction), label("cause", drop.cause)];
        number(f::LOCAL_DROPS, labels, drop.frames)
    });
    let interface = source.interface();
    let interface_info = vec![
        label("interface", &interface.name),
        label("driver", &interface.driver),
        label("mode", interface.mode),
        label("engine", interface.engine),
        label("reason", &interface.reason),
    ];
    let build = vec![label("version", VERSION), label("revision", REVISION)];
    let reload = source.reload();
    let delays = bounds_from(0.000_01);
    let dwells = bounds_from(0.000_001);
    let holds = Hold::ALL.iter().zip(snapshot.held);
    let holds = holds.map(|(hold, held)| number(f::STATE_HOLD, vec![label("reason", hold.name())], u64::from(held)));
    vec![
        family(f::REJECTED, rejected),
        family(f::LOCAL_DROPS, drops),
        family(f::SEND_LAG, [distribution(Vec::new(), &snapshot.send_lag, &delays)]),
        family(f::TRANSMIT_DWELL, [distribution(Vec::new(), &snapshot.transmit_dwell, &dwells)]),
        family(f::RECEIVE_DELAY, [distribution(Vec::new(), &snapshot.receive_delay, &delays)]),
        family(f::INTERFACE_INFO, [number(f::INTERFACE_INFO, interface_info, 1)]),
        family(f::INTERFACE_UP, [number(f::INTERFACE_UP, Vec::new(), u64::from(interface.up))]),
        family(f::INTERFACE_QUEUES, [number(f::INTERFACE_QUEUES, Vec::new(), interface.queues as u64)]),
        family(f::STATE_HOLD, holds),
        family(f::EVENTS_DROPPED, [number(f::EVENTS_DROPPED, Vec::new(), snapshot.events_dropped)]),
        family(f::BUILD_INFO, [number(f::BUILD_INFO, build, 1)]),
        family(f::RELOAD_SUCCESSFUL, [number(f::RELOAD_SUCCESSFUL, Vec::new(), u64::from(reload.successful))]),
        family(f::RELOAD_TIMESTAMP, [value(f::RELOAD_TIMESTAMP, Vec::new(), reload.at_unix_seconds)]),
    ]
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

pub(super) fn family(what: Family, metrics: impl IntoIterator<Item = Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(what.name.to_owned());
    family.set_help(what.help.to_owned());
    family.set_field_type(match what.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
        Kind::Summary => MetricType::SUMMARY,
    });
    family.set_metric(metrics.into_iter().collect());
    family
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the format's numbers are f64: exact to 2^53, a rate of 1 M/s for 285 years"
)]
fn number(what: Family, labels: Vec<LabelPair>, n: u64) -> Metric {
    value(what, labels, n as f64)
}

pub(super) fn value(what: Family, labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::from_label(labels);
    if what.kind == Kind::Counter {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

/// `bounds` in seconds, ascending, without +Inf, which the encoder adds with the count.
fn distribution(labels: Vec<LabelPair>, values: &Distribution, bounds: &[f64]) -> Metric {
    let mut histogram = proto::Histogram::default();
    histogram.set_sample_count(values.count());
    histogram.set_sample_sum(Nanos(values.sum).as_secs_f64());
    let bucket = |&bound: &f64| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(values.at_most(nanos(bound)));
        bucket
    };
    histogram.set_bucket(bounds.iter().map(bucket).collect());
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}

/// Saturates: a negative bound counts nothing, a huge one everything.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate, as is wanted here")]
fn nanos(seconds: f64) -> Nanos {
    Nanos((seconds * 1e9).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::histogram::Histogram;

    #[test]
    fn delays_are_counted_from_ten_microseconds_to_ten_seconds() {
        let bounds = bounds_from(0.000_01);
        assert_eq!(bounds[0].to_string(), "0.00001");
        assert_eq!(bounds[20].to_string(), "10.48576");
    }

    #[test]
    fn buckets_are_cumulative_and_end_in_the_count() {
        let rtt = Histogram::default();
        for micros in [5, 15, 15, 90, 3_000_000, 500_000_000] {
            rtt.record(Nanos::from_micros(micros));
        }
        let metric = distribution(Vec::new(), &rtt.snapshot(), &[0.00001, 0.0001, 1.0, 10.0, f64::MAX]);
        let histogram = metric.get_histogram();
        let counts: Vec<_> = histogram.get_bucket().iter().map(proto::Bucket::cumulative_count).collect();
        assert_eq!(counts, [1, 4, 4, 5, 6]);
        assert_eq!(histogram.get_sample_count(), 6);
        assert!((histogram.get_sample_sum() - 503.000_125).abs() < 1e-9, "{}", histogram.get_sample_sum());
    }
}
