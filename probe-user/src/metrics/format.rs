//! How samples are written down: Prometheus' text format 0.0.4, and OpenMetrics 1.0. They differ in what a family of counters is called,
//! in units, in how bounds of buckets are written, and in the end.

use super::families::{Family, Kind};
use crate::{base::Nanos, ledger::histogram::Distribution};
use std::fmt::{self, Display, Write};

/// How an exposition is written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// For the header Content-Type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// An exposition in the making.
pub(super) struct Text {
    /// What has been written and not been taken yet.
    pub(super) out: String,
    pub(super) format: Format,
}

impl Text {
    /// What comes before a family's samples.
    pub(super) fn header(&mut self, Family { name, kind, help }: Family) {
        let family = match (self.format, kind) {
            // There, the suffix is the sample's.
            (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        push(&mut self.out, format_args!("# HELP {family} {help}\n# TYPE {family} {}\n", kind.name()));
        if self.format == Format::OpenMetrics
            && let Some(unit) = ["seconds", "bytes"].iter().find(|unit| family.ends_with(**unit))
        {
            push(&mut self.out, format_args!("# UNIT {family} {unit}\n"));
        }
    }

    /// One sample. `labels` is as [`add_label`] makes it, `more` what it has besides.
    pub(super) fn sample(
        &mut self,
        (name, suffix): (&str, &str),
        labels: &str,
        more: Option<(&str, &str)>,
        value: impl Display,
    ) {
        self.out.push_str(name);
        self.out.push_str(suffix);
        if !labels.is_empty() || more.is_some() {
            self.out.push('{');
            self.out.push_str(labels);
            if let Some((name, value)) = more {
                add_label_to(&mut self.out, !labels.is_empty(), name, value);
            }
            self.out.push('}');
        }
        push(&mut self.out, format_args!(" {value}\n"));
    }

    /// The only sample of a family with these labels.
    pub(super) fn number(&mut self, family: Family, labels: &str, value: u64) {
        self.sample((family.name, ""), labels, None, value);
    }

    /// A sample for each value of a label.
    pub(super) fn split<'a>(
        &mut self,
        family: Family,
        labels: &str,
        name: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        for (value, n) in values {
            self.sample((family.name, ""), labels, Some((name, value)), n);
        }
    }

    /// A histogram with these bounds.
    pub(super) fn histogram(&mut self, family: Family, labels: &str, values: &Cumulative, bounds: &[f64]) {
        for (bound, n) in bounds.iter().zip(&values.at_most) {
            let le = Bound(*bound, self.format).to_string();
            self.sample((family.name, "_bucket"), labels, Some(("le", &le)), n);
        }
        self.sample((family.name, "_bucket"), labels, Some(("le", "+Inf")), values.count);
        self.sample((family.name, "_sum"), labels, None, Seconds(values.sum));
        self.sample((family.name, "_count"), labels, None, values.count);
    }

    /// What comes after all families.
    pub(super) fn end(&mut self) {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
    }
}

/// What a histogram shows: a twentieth of what it was counted by, which a scrape that takes long would hold for each row.
pub(super) struct Cumulative {
    at_most: Box<[u64]>,
    count: u64,
    /// Nanoseconds.
    sum: u64,
}

impl Cumulative {
    /// `bounds` in seconds, ascending, without +Inf, which comes with the count.
    pub(super) fn of(values: &Distribution, bounds: &[f64]) -> Self {
        let at_most = bounds.iter().map(|bound| values.at_most(nanos(*bound))).collect();
        Self { at_most, count: values.count(), sum: values.sum }
    }
}

/// Adds `name="value"` to the labels of samples, behind a comma if there are some already.
pub(super) fn add_label(labels: &mut String, name: &str, value: &str) {
    add_label_to(labels, !labels.is_empty(), name, value);
}

fn add_label_to(out: &mut String, follows: bool, name: &str, value: &str) {
    if follows {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    escape(out, value);
    out.push('"');
}

/// The escapes in a label's value, the same in both formats: backslash, double quote and line feed, nothing else.
fn escape(out: &mut String, value: &str) {
    let mut rest = value;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

pub(super) fn push(out: &mut String, text: fmt::Arguments<'_>) {
    // A String takes whatever fits into memory: there is no error to see.
    let _ = out.write_fmt(text);
}

/// Nanoseconds in seconds: exact, where an f64 would not be after 104 days.
pub(super) struct Seconds(pub(super) u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, mut part) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let mut digits = 9;
        while part.is_multiple_of(10) {
            (part, digits) = (part / 10, digits - 1);
        }
        write!(f, "{whole}.{part:0digits$}")
    }
}

/// Any number, infinity as both formats write it.
pub(super) struct Float(pub(super) f64);

impl Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == f64::INFINITY { f.write_str("+Inf") } else { Display::fmt(&self.0, f) }
    }
}

/// A bucket's upper bound, seconds. OpenMetrics asks for one way to write each, so that series keep their names: `1.0`, and below 0.0001
/// `1e-05`.
struct Bound(f64, Format);

impl Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bound, format) = *self;
        if format == Format::Text || bound == f64::INFINITY {
            return Float(bound).fmt(f);
        }
        if bound != 0.0 && bound.abs() < 1e-4 {
            let text = format!("{bound:e}");
            let (digits, exponent) = text.split_once("e-").unwrap_or((&text, "0"));
            return write!(f, "{digits}e-{exponent:0>2}");
        }
        // Debug, other than Display, always has a point.
        if bound.abs() < 1e16 { write!(f, "{bound:?}") } else { write!(f, "{bound:e}") }
    }
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
    use proptest::prelude::*;

    const RTT: Family = super::super::families::RTT;

    fn written(format: Format, write: impl FnOnce(&mut Text)) -> String {
        let mut text = Text { out: String::new(), format };
        write(&mut text);
        text.out
    }

    #[test]
    fn buckets_are_cumulative_and_end_in_the_count() {
        let rtt = Histogram::default();
        for micros in [5, 15, 15, 90, 3_000_000, 500_000_000] {
            rtt.record(Nanos::from_micros(micros));
        }
        let bounds = [0.00001, 0.0001, 1.0, 10.0, f64::MAX];
        let text =
            written(Format::Text, |text| text.histogram(RTT, "", &Cumulative::of(&rtt.snapshot(), &bounds), &bounds));
        let counts: Vec<_> = text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(_, value)| value).collect();
        assert_eq!(counts, ["1", "4", "4", "5", "6", "6", "503.000125", "6"], "{text}");
    }

    #[test]
    fn bounds_are_written_as_the_format_asks() {
        let shown = |format| [0.000_001, 0.000_012_5, 0.0001, 0.5, 1.0, 60.0].map(|b| Bound(b, format).to_string());
        assert_eq!(shown(Format::Text), ["0.000001", "0.0000125", "0.0001", "0.5", "1", "60"]);
        assert_eq!(shown(Format::OpenMetrics), ["1e-06", "1.25e-05", "0.0001", "0.5", "1.0", "60.0"]);
        assert_eq!(Bound(f64::INFINITY, Format::OpenMetrics).to_string(), "+Inf");
    }

    #[test]
    fn seconds_are_exact() {
        let shown = [0, 1, 220_000, 1_500_000_000, u64::MAX].map(|n| Seconds(n).to_string());
        assert_eq!(shown, ["0", "0.000000001", "0.00022", "1.5", "18446744073.709551615"]);
    }

    #[test]
    fn openmetrics_names_a_family_of_counters_without_its_suffix_and_tells_units() {
        let counter = Family { name: "process_cpu_seconds_total", kind: Kind::Counter, help: "x." };
        let head =
            "# HELP process_cpu_seconds x.\n# TYPE process_cpu_seconds counter\n# UNIT process_cpu_seconds seconds\n";
        assert_eq!(written(Format::OpenMetrics, |text| text.header(counter)), head);
        let head = "# HELP process_cpu_seconds_total x.\n# TYPE process_cpu_seconds_total counter\n";
        assert_eq!(written(Format::Text, |text| text.header(counter)), head);
        assert_eq!(written(Format::OpenMetrics, Text::end) + &written(Format::Text, Text::end), "# EOF\n");
    }

    proptest! {
        #[test]
        fn an_escaped_value_stays_on_its_line_between_its_quotes(value in "[\\\\\"\n\r a-cé]*") {
            let mut out = String::new();
            escape(&mut out, &value);
            prop_assert!(!out.contains('\n'));
            let (mut back, mut bytes) = (String::new(), out.chars());
            while let Some(c) = bytes.next() {
                prop_assert!(c != '"', "an unescaped quote in {out}");
                back.push(match c {
                    '\\' => match bytes.next() {
                        Some('n') => '\n',
                        Some(c @ ('\\' | '"')) => c,
                        other => return Err(TestCaseError::fail(format!("\\{other:?}"))),
                    },
                    c => c,
                });
            }
            prop_assert_eq!(back, value);
        }
    }
}
