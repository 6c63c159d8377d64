//! Numbers as people read them: `1,048,576`, `41.2 us`, `99.98 %`. What was not measured is `-`, never a zero or "nan".

use super::fields::push_u64;
use crate::base::Nanos;

/// What stands where nothing was measured.
pub const NOTHING: &str = "-";

/// A whole number with thousands separators.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 target", "2 targets".
pub fn counted(n: u64, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A short span with its unit and three figures: `870 ns`, `41.2 us`, `1.23 ms`, `1.05 s`.
pub fn span(span: Nanos) -> String {
    let mut out = Vec::with_capacity(16);
    push_span(&mut out, span);
    String::from_utf8_lossy(&out).into_owned()
}

/// As [`span`], or `-`.
pub fn span_or_nothing(value: Option<Nanos>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), span)
}

/// Appends a span as [`span`] writes it, without allocating.
pub(super) fn push_span(out: &mut Vec<u8>, span: Nanos) {
    const UNITS: [(u64, &[u8]); 4] = [(1, b" ns"), (1_000, b" us"), (1_000_000, b" ms"), (1_000_000_000, b" s")];
    for (i, &(unit, name)) in UNITS.iter().enumerate() {
        // Rounded to a whole number of units; 1,000 of them are one of the next, which has more figures to show.
        let whole = span.0.saturating_add(unit / 2) / unit;
        if whole >= 1_000 && i + 1 < UNITS.len() {
            continue;
        }
        let hundredths = span.0.saturating_mul(100).saturating_add(unit / 2) / unit;
        let tenths = span.0.saturating_mul(10).saturating_add(unit / 2) / unit;
        if unit == 1 || tenths >= 1_000 {
            push_u64(out, whole);
        } else if hundredths >= 1_000 {
            push_u64(out, tenths / 10);
            out.extend_from_slice(&[b'.', b'0' + (tenths % 10) as u8]);
        } else {
            push_u64(out, hundredths / 100);
            out.extend_from_slice(&[b'.', b'0' + (hundredths / 10 % 10) as u8, b'0' + (hundredths % 10) as u8]);
        }
        out.extend_from_slice(name);
        return;
    }
}

/// A long span in its two greatest units: `8 s`, `1 m 23 s`, `2 h 05 m`, `3 d 04 h`.
pub fn elapsed(span: Nanos) -> String {
    let seconds = span.0 / 1_000_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} m {:02} s", seconds % 60),
        (0, ..) => format!("{hours} h {:02} m", minutes % 60),
        _ => format!("{days} d {:02} h", hours % 24),
    }
}

/// A part of a whole in per cent with two decimals, cut off: `100 %` means all and `0 %` means none, `-` that there is no
/// whole.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return NOTHING.to_owned();
    }
    if part >= whole {
        return "100 %".to_owned();
    }
    match u128::from(part) * 10_000 / u128::from(whole) {
        0 if part > 0 => "<0.01 %".to_owned(),
        0 => "0 %".to_owned(),
        hundredths => format!("{}.{:02} %", hundredths / 100, hundredths % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_048_576, "1,048,576"), (100_000, "100,000")] {
            assert_eq!(count(n), text);
        }
        assert_eq!((counted(1, "target"), counted(2_000, "target")), ("1 target".into(), "2,000 targets".into()));
    }

    #[test]
    fn spans_have_three_figures_and_carry_into_the_next_unit() {
        for (ns, text) in [
            (0, "0 ns"),
            (870, "870 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (9_994, "9.99 us"),
            (9_996, "10.0 us"),
            (41_234, "41.2 us"),
            (99_949, "99.9 us"),
            (99_951, "100 us"),
            (999_400, "999 us"),
            (999_600, "1.00 ms"),
            (1_230_000, "1.23 ms"),
            (1_051_000_000, "1.05 s"),
            (75_300_000_000, "75.3 s"),
            (7_200_000_000_000, "7200 s"),
        ] {
            assert_eq!(span(Nanos(ns)), text, "{ns} ns");
        }
        assert!(span(Nanos::MAX).ends_with(" s"));
        assert_eq!(span_or_nothing(None), "-");
    }

    #[test]
    fn long_spans_have_two_units() {
        for (seconds, text) in [(8, "8 s"), (83, "1 m 23 s"), (7_500, "2 h 05 m"), (273_600, "3 d 04 h")] {
            assert_eq!(elapsed(Nanos::from_secs(seconds)), text);
        }
    }

    #[test]
    fn only_all_is_100_per_cent_and_only_none_is_0() {
        assert_eq!(share(0, 0), "-");
        assert_eq!(share(0, 5), "0 %");
        assert_eq!(share(1, 1_000_000), "<0.01 %");
        assert_eq!(share(9_998, 10_000), "99.98 %");
        assert_eq!(share(999_999, 1_000_000), "99.99 %");
        assert_eq!(share(5, 5), "100 %");
    }
}
