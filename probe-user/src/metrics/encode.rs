//! Families and samples as the prometheus crate encodes them.

use super::families::{Family, Kind};
use crate::{base::Nanos, ledger::histogram::Distribution};
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

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

pub(super) fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the format's numbers are f64: exact to 2^53, a rate of 1 M/s for 285 years"
)]
pub(super) fn number(what: Family, labels: Vec<LabelPair>, n: u64) -> Metric {
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
pub(super) fn distribution(labels: Vec<LabelPair>, values: &Distribution, bounds: &[f64]) -> Metric {
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
