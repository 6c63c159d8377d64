//! What echolot's metrics say.

use crate::lab::Bench;

/// Upper bounds of the live ones' histogram, nanoseconds: those of echolot's own buckets, so that a quantile is known to within
/// a bucket. Eight to the octave up to 16 us, four up to 4 ms.
pub(crate) fn buckets() -> impl Iterator<Item = u64> {
    let of = |octaves: std::ops::Range<u32>, many: u64| {
        octaves.flat_map(move |octave| (1..=many).map(move |part| (1 << octave) + (part << octave) / many))
    };
    of(10..14, 8).chain(of(14..22, 4))
}

/// echolot's metrics.
pub(crate) fn scrape(bench: &Bench, listen: &str) -> Result<String, String> {
    let url = format!("http://{listen}/metrics");
    let mut curl = bench.lab().near("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", &url]);
    let output = curl.output().map_err(|error| format!("curl: {error}"))?;
    if !output.status.success() {
        return Err(format!("curl {url}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A family's series with all of these labels, added up; 0 where there is none.
pub(crate) fn sum(metrics: &str, family: &str, labels: &[&str]) -> f64 {
    series(metrics, family)
        .filter(|(has, _)| labels.iter().all(|label| has.contains(label)))
        // Of nothing a sum of floating-point numbers is -0.
        .fold(0.0, |sum, (_, value)| sum + value)
}

pub(crate) fn series<'a>(metrics: &'a str, family: &str) -> impl Iterator<Item = (&'a str, f64)> {
    metrics.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(family)?.strip_prefix('{')?.rsplit_once(' ')?;
        Some((labels, value.parse().ok()?))
    })
}

/// A quantile of a family of histograms between two scrapes, of the series with this label; evenly spread within a bucket. Not a number
/// where it is beyond the last bound.
pub(crate) fn quantile((before, after): (&str, &str), family: &str, label: &str, share: f64) -> f64 {
    let family = format!("{family}_bucket");
    let cumulative = |text: &str| -> Vec<(f64, f64)> {
        let chosen = series(text, &family).filter(|(labels, _)| labels.contains(label));
        let bound = |labels: &str| labels.split("le=\"").nth(1)?.split('"').next()?.replace("+Inf", "inf").parse().ok();
        chosen.filter_map(|(labels, count)| Some((bound(labels)?, count))).collect()
    };
    let counts = cumulative(before).into_iter().zip(cumulative(after));
    let counts: Vec<(f64, f64)> = counts.map(|((bound, before), (_, after))| (bound, after - before)).collect();
    let wanted = counts.last().map_or(f64::NAN, |(_, all)| all * share);
    let mut below = (0.0, 0.0);
    for (bound, count) in counts {
        if count >= wanted && bound.is_finite() {
            return below.0 + (bound - below.0) * (wanted - below.1) / (count - below.1);
        }
        below = (bound, count);
    }
    f64::NAN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_taken_between_two_scrapes_and_of_the_live_ones() {
        let text = |a: u32, b: u32, c: u32| {
            let line = |group: &str, bound: &str, count: u32| {
                format!("echolot_rtt_seconds_bucket{{group=\"{group}\",le=\"{bound}\"}} {count}\n")
            };
            let lines = |(bound, count)| line("live", bound, count) + &line("answering", bound, 7);
            [("0.001", a), ("0.002", b), ("+Inf", c)].map(lines).concat()
        };
        let of = |texts, share| quantile(texts, "echolot_rtt_seconds", "group=\"live\"", share);
        let (before, after) = (text(50, 50, 50), text(50, 150, 160));
        let median = of((&before, &after), 0.5);
        assert!((median - 0.001_55).abs() < 1e-9, "{median}");
        assert!(of((&before, &after), 0.99).is_nan(), "longer than the last bound");
        assert!(of((&before, &before), 0.5).is_nan() || of((&before, &before), 0.5) >= 0.0);
        assert_eq!(sum(&after, "echolot_rtt_seconds_bucket", &["le=\"+Inf\"", "group=\"live\""]), 160.0);
        assert_eq!(sum(&after, "echolot_rtt_seconds", &[]), 0.0);
    }

    #[test]
    fn bounds_ascend_and_are_as_many_as_a_group_may_have() {
        let bounds: Vec<u64> = buckets().collect();
        assert!(bounds.is_sorted_by(|a, b| a < b) && bounds.len() == 64, "{bounds:?}");
        assert_eq!((bounds[0], bounds[63]), (1_152, 4_194_304));
    }
}
