//! Values of options: times, rates, shards. Each error says what was expected.

use crate::base::Nanos;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::{fmt, num::NonZeroU64, ops::RangeInclusive, str::FromStr};

/// How fast a sweep sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Probes a second.
    PerSecond(NonZeroU64),
    /// As fast as the engine can.
    Max,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let (number, factor) = match text.char_indices().last() {
            Some((at, 'k' | 'K')) => (&text[..at], 1_000),
            Some((at, 'm' | 'M')) => (&text[..at], 1_000_000),
            _ => (text, 1),
        };
        decimal(number, factor)
            .and_then(NonZeroU64::new)
            .map(Self::PerSecond)
            .ok_or_else(|| "a rate is a number of probes a second, 1 or more, such as 500, 50k or 1.5M; or max".into())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(rate) => rate.fmt(f),
            Self::Max => f.write_str("max"),
        }
    }
}

/// 10 ms to 1 h.
pub(super) fn interval(text: &str) -> Result<Nanos, String> {
    between(text, Nanos::from_millis(10), Nanos::from_secs(3_600), "10ms to 1h")
}

/// 1 ms to 60 s.
pub(super) fn timeout(text: &str) -> Result<Nanos, String> {
    between(text, Nanos::from_millis(1), Nanos::from_secs(60), "1ms to 60s")
}

/// 0, or 100 ms to 1 h.
pub(super) fn progress_interval(text: &str) -> Result<Nanos, String> {
    match span(text) {
        Some(Nanos::ZERO) => Ok(Nanos::ZERO),
        _ => between(text, Nanos::from_millis(100), Nanos::from_secs(3_600), "0, or 100ms to 1h"),
    }
}

/// 0 to 60 s.
pub(super) fn names_wait(text: &str) -> Result<Nanos, String> {
    between(text, Nanos::ZERO, Nanos::from_secs(60), "0 to 60s")
}

/// A 16-bit number, decimal or hexadecimal.
pub(super) fn identifier(text: &str) -> Result<u16, String> {
    text.strip_prefix("0x")
        .map_or_else(|| text.parse(), |digits| u16::from_str_radix(digits, 16))
        .map_err(|_| "an identifier is a number from 0 to 65535, or 0x0 to 0xffff".into())
}

/// A port or a range of ports.
pub(super) fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        let is_number = text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse::<u16>().ok()).flatten()
    };
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err("it must be a port from 0 to 65535, or a range such as 8000-8099".into()),
    }
}

/// `do` and `dont`, as ping's.
pub(super) fn dont_fragment() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new(["do", "dont"]).map(|word| word == "do")
}

fn between(text: &str, least: Nanos, most: Nanos, range: &str) -> Result<Nanos, String> {
    let span = span(text).ok_or("a time is a number of seconds such as 1 or 0.2, or has a unit: 10ms, 1.5s, 2m, 1h")?;
    if (least..=most).contains(&span) { Ok(span) } else { Err(format!("it must be {range}")) }
}

/// "0.2", "10ms", "1.5s", "2m", "1h"; a bare number is seconds, as in ping.
fn span(text: &str) -> Option<Nanos> {
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" | "" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    decimal(number, unit).map(Nanos)
}

/// A decimal number times `unit`, exactly; what lies below one is cut off. None: no number, or too large.
fn decimal(text: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    // Eighteen places of a unit of at most 3.6e12 fit 128 bits.
    let places = &fraction[..fraction.len().min(18)];
    let part = if places.is_empty() { 0 } else { places.parse::<u128>().ok()? };
    let part = part * u128::from(unit) / 10u128.pow(places.len() as u32);
    whole.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_seconds_or_carry_a_unit() {
        for (text, ns) in [
            ("1", 1_000_000_000),
            ("0.2", 200_000_000),
            (".5", 500_000_000),
            ("10ms", 10_000_000),
            ("1.5s", 1_500_000_000),
            ("2m", 120_000_000_000),
            ("1h", 3_600_000_000_000),
            ("250us", 250_000),
            ("0.0000000019", 1),
        ] {
            assert_eq!(span(text), Some(Nanos(ns)), "{text}");
        }
        for text in ["", ".", "s", "1 s", "-1", "+1", "1e3", "1.2.3", "1d", "99999999999999h", "\u{663}"] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn times_outside_of_their_range_say_the_range() {
        assert_eq!(interval("9ms").unwrap_err(), "it must be 10ms to 1h");
        assert_eq!(timeout("61").unwrap_err(), "it must be 1ms to 60s");
        assert_eq!(progress_interval("0").unwrap(), Nanos::ZERO);
        assert_eq!(
            (interval("1h").unwrap(), timeout("1ms").unwrap()),
            (Nanos::from_secs(3_600), Nanos::from_millis(1))
        );
    }

    #[test]
    fn rates_have_suffixes() {
        let rate = |text: &str| text.parse::<Rate>();
        let per_second = |n| Ok(Rate::PerSecond(NonZeroU64::new(n).unwrap()));
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert_eq!(rate("500"), per_second(500));
        assert_eq!(rate("50k"), per_second(50_000));
        assert_eq!(rate("1.5M"), per_second(1_500_000));
        for wrong in ["", "0", "k", "-5", "fast", "0.5", "1G", "99999999999999999999", "5\u{fc}"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn identifiers_are_16_bits() {
        assert_eq!((identifier("4711"), identifier("0xBEEF")), (Ok(4711), Ok(0xbeef)));
        assert!(identifier("65536").is_err() && identifier("0x").is_err() && identifier("x").is_err());
    }

    #[test]
    fn ports_are_one_or_a_range() {
        assert_eq!((ports("0"), ports("443"), ports("65535")), (Ok(0..=0), Ok(443..=443), Ok(65535..=65535)));
        assert_eq!((ports("8000-8099"), ports("0-65535")), (Ok(8000..=8099), Ok(0..=65535)));
        for wrong in ["", "-", "80-", "-80", "81-80", "65536", "1-65536", "+80", " 80", "80-81-82", "http"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,30}") {
            let _either = (span(&text), text.parse::<Rate>(), identifier(&text), ports(&text));
        }

        #[test]
        fn milliseconds_come_back_exactly(ms in 10u64..3_600_000) {
            prop_assert_eq!(interval(&format!("{ms}ms")), Ok(Nanos::from_millis(ms)));
            prop_assert_eq!(interval(&format!("{}.{:03}", ms / 1_000, ms % 1_000)), Ok(Nanos::from_millis(ms)));
        }
    }
}
