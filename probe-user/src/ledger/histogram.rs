//! A log-linear histogram of nanoseconds, written by one thread and read by any while it is written.
//!
//! 16 buckets to the octave from 1 us to 64 s and more: a value is known to within 1/32 of itself when its bucket's
//! middle stands for it. Below 1,024 ns buckets are 64 ns wide.

use crate::base::Nanos;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
};

/// log2 of buckets to the octave.
const SUB_BITS: u32 = 4;
/// Below 2^10 ns buckets are 2^6 ns wide.
const LINEAR_BITS: u32 = 10;
/// The last octave is 2^36 to 2^37 ns: 68 to 137 s. What is longer counts in its last bucket.
const TOP_BITS: u32 = 37;
/// Buckets in all.
pub const BUCKETS: usize = ((TOP_BITS - LINEAR_BITS + 1) << SUB_BITS) as usize;

/// The bucket that a value counts in, 0 to `BUCKETS - 1`.
#[inline]
pub fn bucket_of(value: Nanos) -> usize {
    let v = value.0;
    if v < 1 << LINEAR_BITS {
        return (v >> (LINEAR_BITS - SUB_BITS)) as usize;
    }
    let log = 63 - v.leading_zeros();
    if log >= TOP_BITS {
        return BUCKETS - 1;
    }
    let sub = (v >> (log - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    (((log - LINEAR_BITS + 1) << SUB_BITS) as usize) + sub as usize
}

/// First value of a bucket, and the first value after it.
pub fn bounds_of(bucket: usize) -> (Nanos, Nanos) {
    let (block, sub) = ((bucket >> SUB_BITS) as u32, (bucket & ((1 << SUB_BITS) - 1)) as u64);
    if block == 0 {
        let width = 1u64 << (LINEAR_BITS - SUB_BITS);
        return (Nanos(sub * width), Nanos((sub + 1) * width));
    }
    let log = LINEAR_BITS + block - 1;
    let width = 1u64 << (log - SUB_BITS);
    let low = (1u64 << log) + sub * width;
    (Nanos(low), Nanos(low + width))
}

/// Counts by bucket, with the exact count, sum, sum of squares, least and greatest.
///
/// One thread records; readers see each word whole, and a snapshot that may lack what is being recorded just then.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    squares: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            squares: AtomicU64::new(0f64.to_bits()),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

/// Adds without a locked instruction: the caller is the only writer.
#[inline]
pub fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Release);
}

/// A value by itself. Signed, because processors convert that in one step; no time is so long that it matters.
#[inline]
fn square(value: Nanos) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a standard deviation needs no more than 53 bits")]
    let value = value.0.cast_signed() as f64;
    value * value
}

impl Histogram {
    /// Counts a value. Only ever called by the one thread that owns the histogram.
    #[inline]
    pub fn record(&self, value: Nanos) {
        add(&self.buckets[bucket_of(value)], 1);
        add(&self.sum, value.0);
        self.squares.store((f64::from_bits(self.squares.load(Relaxed)) + square(value)).to_bits(), Relaxed);
        if value.0 < self.min.load(Relaxed) {
            self.min.store(value.0, Relaxed);
        }
        if value.0 > self.max.load(Relaxed) {
            self.max.store(value.0, Relaxed);
        }
    }

    /// Counts many values as [`Histogram::record`] counts each, for less, above all where neighbours are alike.
    #[inline]
    pub fn record_all(&self, values: impl IntoIterator<Item = Nanos>) {
        let (mut sum, mut squares) = (0u64, 0f64);
        let (mut min, mut max) = (u64::MAX, 0);
        // One store for a stretch of values in the same bucket: each has to wait for the one before.
        let (mut bucket, mut many) = (0, 0);
        for value in values {
            let next = bucket_of(value);
            if next != bucket {
                add(&self.buckets[bucket], many);
                (bucket, many) = (next, 0);
            }
            many += 1;
            sum = sum.wrapping_add(value.0);
            squares += square(value);
            min = min.min(value.0);
            max = max.max(value.0);
        }
        add(&self.buckets[bucket], many);
        add(&self.sum, sum);
        self.squares.store((f64::from_bits(self.squares.load(Relaxed)) + squares).to_bits(), Relaxed);
        self.min.store(self.min.load(Relaxed).min(min), Relaxed);
        self.max.store(self.max.load(Relaxed).max(max), Relaxed);
    }

    /// What has been counted so far.
    pub fn snapshot(&self) -> Distribution {
        let mut all = Distribution::default();
        self.add_to(&mut all);
        all
    }

    /// Adds what has been counted so far to `all`.
    pub fn add_to(&self, all: &mut Distribution) {
        for (sum, bucket) in all.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Relaxed);
        }
        all.sum += self.sum.load(Relaxed);
        all.squares += f64::from_bits(self.squares.load(Relaxed));
        all.min = all.min.min(Nanos(self.min.load(Relaxed)));
        all.max = all.max.max(Nanos(self.max.load(Relaxed)));
    }
}

/// A histogram at rest: the sum of several, for reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Counts by bucket, see [`bounds_of`].
    pub buckets: Vec<u64>,
    /// Exact sum, nanoseconds.
    pub sum: u64,
    /// Sum of squares, square nanoseconds.
    pub squares: f64,
    /// Exact least value; `Nanos::MAX` when empty.
    pub min: Nanos,
    /// Exact greatest value.
    pub max: Nanos,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], sum: 0, squares: 0.0, min: Nanos::MAX, max: Nanos::ZERO }
    }
}

impl Distribution {
    /// Adds the values of another.
    pub fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, many)| *sum += many);
        self.sum += other.sum;
        self.squares += other.squares;
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many values lie at or below `bound`, counting whole buckets whose middle does.
    pub fn at_most(&self, bound: Nanos) -> u64 {
        let middle = |i: usize| {
            let (low, high) = bounds_of(i);
            (low.0 + high.0) / 2
        };
        self.buckets.iter().enumerate().take_while(|(i, _)| middle(*i) <= bound.0).map(|(_, n)| n).sum()
    }

    /// The value below which `share` (0 to 1) of all lie, to within 1/32; None when empty.
    pub fn quantile(&self, share: f64) -> Option<Nanos> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank"
        )]
        let rank = ((count as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                let (low, high) = bounds_of(i);
                return Some(Nanos((low.0 + high.0) / 2).clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    /// Arithmetic mean, nanoseconds; None when empty.
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 53 bits")]
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// Population standard deviation, nanoseconds; None when empty.
    #[expect(clippy::cast_precision_loss, reason = "a deviation needs no more than 53 bits")]
    pub fn stddev(&self) -> Option<f64> {
        let mean = self.mean()?;
        Some((self.squares / self.count() as f64 - mean * mean).max(0.0).sqrt())
    }

    /// Adds another.
    pub fn merge(&mut self, other: &Self) {
        for (sum, n) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += n;
        }
        self.sum += other.sum;
        self.squares += other.squares;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other_without_gap() {
        for bucket in 0..BUCKETS {
            let (low, high) = bounds_of(bucket);
            assert_eq!(bucket_of(low), bucket);
            assert_eq!(bucket_of(Nanos(high.0 - 1)), bucket);
            if bucket + 1 < BUCKETS {
                assert_eq!(bounds_of(bucket + 1).0, high);
            }
        }
        assert_eq!(bucket_of(Nanos::MAX), BUCKETS - 1);
        assert!(bounds_of(BUCKETS - 1).1 > Nanos::from_secs(60));
    }

    proptest! {
        #[test]
        fn a_value_is_known_to_five_per_cent(value in 1_000u64..60_000_000_000) {
            let histogram = Histogram::default();
            // Others on both sides, so that least and greatest don't give it away.
            for v in [1, value, 70_000_000_000] {
                histogram.record(Nanos(v));
            }
            let said = histogram.snapshot().quantile(0.5).expect("not empty").0;
            prop_assert!(said.abs_diff(value) * 20 <= value, "{said} for {value}");
        }

        #[test]
        fn sums_are_exact(values in proptest::collection::vec(0u64..60_000_000_000, 1..200)) {
            let (a, b) = (Histogram::default(), Histogram::default());
            for (i, v) in values.iter().enumerate() {
                if i % 2 == 0 { &a } else { &b }.record(Nanos(*v));
            }
            let mut all = a.snapshot();
            all.merge(&b.snapshot());
            prop_assert_eq!(all.count(), values.len() as u64);
            prop_assert_eq!(all.sum, values.iter().sum::<u64>());
            prop_assert_eq!(all.min.0, *values.iter().min().expect("not empty"));
            prop_assert_eq!(all.max.0, *values.iter().max().expect("not empty"));
            prop_assert_eq!(all.at_most(Nanos::MAX), values.len() as u64);
            let quantiles: Vec<_> = [0.0, 0.5, 0.9, 0.99, 1.0].iter().filter_map(|q| all.quantile(*q)).collect();
            prop_assert!(quantiles.is_sorted());
        }
    }

    proptest! {
        /// Stretches of values in the same bucket or in one and the next.
        #[test]
        fn many_at_once_count_like_one_by_one(
            runs in proptest::collection::vec((0u64..60_000_000_000, 0usize..20), 0..40),
        ) {
            let values = || runs.iter().flat_map(|(value, many)| (0..*many).map(move |i| Nanos(value + i as u64)));
            let (together, single) = (Histogram::default(), Histogram::default());
            together.record_all(values());
            together.record_all(values());
            for value in values().chain(values()) {
                single.record(value);
            }
            let (together, single) = (together.snapshot(), single.snapshot());
            prop_assert_eq!(&together.buckets, &single.buckets);
            prop_assert_eq!((together.sum, together.min, together.max), (single.sum, single.min, single.max));
            prop_assert!((together.squares - single.squares).abs() <= single.squares * 1e-9);
        }
    }

    #[test]
    fn nothing_measured_is_nothing_said() {
        let empty = Distribution::default();
        assert_eq!((empty.quantile(0.5), empty.mean(), empty.stddev()), (None, None, None));
    }
}
