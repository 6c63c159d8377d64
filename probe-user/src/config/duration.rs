//! Durations as people write them: `10ms`, `1s`, `1h30m`.

use crate::{base::Nanos, targets::shorten};

/// Units from the longest to the shortest, with their nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const FORM: &str = "write whole numbers with a unit, such as 10ms, 1s or 1h30m";

/// Reads a duration as Prometheus writes them: whole numbers with a unit (d, h, m, s, ms, us, ns), the longest unit
/// first, each once. An error says what is wrong and what to write.
pub fn parse(text: &str) -> Result<Nanos, String> {
    let shown = shorten(text);
    if !text.is_empty() && text.parse::<f64>().is_ok() {
        return Err(format!("`{shown}` has no unit; write {shown}s for seconds or {shown}ms for milliseconds"));
    }
    let wrong = |why: &str| format!("`{shown}` is not a duration: {why}; {FORM}");
    let mut rest = text;
    let mut total = 0u64;
    let mut shorter = &UNITS[..];
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(|b| !b.is_ascii_digit()).count();
        let (unit, after) = after.split_at(letters);
        if number.is_empty() {
            return Err(wrong("a number is missing"));
        }
        let Some((_, all)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let why = if unit.is_empty() {
                format!("{} has no unit", shorten(number))
            } else {
                format!("`{}` is not one of the units d, h, m, s, ms, us, ns", shorten(unit))
            };
            return Err(wrong(&why));
        };
        let Some(place) = shorter.iter().position(|(name, _)| *name == unit) else {
            return Err(wrong("units go from the longest to the shortest, each once"));
        };
        shorter = &shorter[place + 1..];
        total = number
            .parse()
            .ok()
            .and_then(|n: u64| n.checked_mul(*all)?.checked_add(total))
            .ok_or_else(|| wrong("it is longer than 584 years"))?;
        rest = after;
    }
    if text.is_empty() { Err(wrong("it is empty")) } else { Ok(Nanos(total)) }
}

/// The same for the command line, where a bare number (`1`, `0.2`) is seconds, as in ping.
pub fn parse_or_seconds(text: &str) -> Result<Nanos, String> {
    let Ok(seconds) = text.parse::<f64>() else { return parse(text) };
    std::time::Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|duration| u64::try_from(duration.as_nanos()).ok())
        .map(Nanos)
        .ok_or_else(|| format!("`{}` is not a number of seconds from 0 on; {FORM}", shorten(text)))
}

/// Writes a duration as [`parse`] reads it: `1h30m`, `0s`.
pub fn show(duration: Nanos) -> String {
    let mut rest = duration.0;
    let mut text = String::new();
    for (name, nanos) in UNITS {
        if rest >= nanos {
            text.push_str(&format!("{}{name}", rest / nanos));
            rest %= nanos;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_prometheus_durations() {
        let table = [
            ("10ms", 10_000_000),
            ("1s", 1_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("250us", 250_000),
            ("1s500ms", 1_500_000_000),
            ("0s", 0),
            ("1d", 86_400_000_000_000),
        ];
        for (text, nanos) in table {
            assert_eq!(parse(text), Ok(Nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let table = [
            ("10", "`10` has no unit; write 10s for seconds or 10ms for milliseconds"),
            ("0.5", "has no unit"),
            ("", "it is empty"),
            ("1s30", "30 has no unit"),
            ("1.5s", "`.` is not one of the units"),
            ("10 ms", "` ms` is not one of the units"),
            ("10sec", "`sec` is not one of the units"),
            ("ms", "a number is missing"),
            ("-1s", "a number is missing"),
            ("1m1h", "longest to the shortest"),
            ("1s1s", "longest to the shortest"),
            ("99999999999d", "584 years"),
            ("99999999999999999999999s", "584 years"),
            ("1\u{b5}s", "is not one of the units"),
        ];
        for (text, expected) in table {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected) && error.contains("ms"), "{text}: {error}");
        }
    }

    #[test]
    fn bare_numbers_are_seconds_on_the_command_line() {
        assert_eq!(parse_or_seconds("1"), Ok(Nanos::from_secs(1)));
        assert_eq!(parse_or_seconds("0.2"), Ok(Nanos::from_millis(200)));
        assert_eq!(parse_or_seconds("200ms"), Ok(Nanos::from_millis(200)));
        for text in ["-1", "nan", "inf", "1e30", "x", ""] {
            assert!(parse_or_seconds(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(nanos: u64) {
            prop_assert_eq!(parse(&show(Nanos(nanos))), Ok(Nanos(nanos)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), like in "[0-9dhmsun. -]{0,12}") {
            let _ = (parse(&text), parse(&like), parse_or_seconds(&text), parse_or_seconds(&like));
        }
    }
}
