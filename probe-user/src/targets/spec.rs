//! One target as people write it: an address, a CIDR, a range or a name.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Consecutive IPv4 addresses, both ends included. Never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AddressRange {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl AddressRange {
    /// From the first to the last address; None when they are the wrong way round.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Option<Self> {
        Self::from_bits(first.into(), last.into())
    }

    /// The same from addresses as numbers.
    pub(crate) fn from_bits(first: u32, last: u32) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// First address.
    pub fn first(&self) -> Ipv4Addr {
        self.first.into()
    }

    /// Last address, included.
    pub fn last(&self) -> Ipv4Addr {
        self.last.into()
    }

    /// First and last address as numbers.
    pub(crate) fn bits(&self) -> (u32, u32) {
        (self.first, self.last)
    }

    /// How many addresses, 1 to 2^32.
    pub fn count(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }

    /// Whether the address is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address.into())
    }
}

impl From<Ipv4Addr> for AddressRange {
    fn from(address: Ipv4Addr) -> Self {
        Self { first: address.into(), last: address.into() }
    }
}

/// The shortest of the three forms: an address, a CIDR where the range is one, else `first-last`.
impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        if count == 1 {
            write!(f, "{}", self.first())
        } else if count.is_power_of_two() && u64::from(self.first).is_multiple_of(count) {
            write!(f, "{}/{}", self.first(), 32 - count.trailing_zeros())
        } else {
            write!(f, "{}-{}", self.first(), self.last())
        }
    }
}

/// What is to be probed, as written once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TargetSpec {
    /// An address, every address of a CIDR (network and broadcast included), or a range.
    Addresses(AddressRange),
    /// A host name in lower case, to be resolved.
    Name(Box<str>),
}

impl fmt::Display for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(range) => range.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Why a text is no target. Its `Display` names the text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{}` is not a target: {reason}", shorten(text))]
pub struct SpecError {
    /// What was found.
    pub text: String,
    /// Why it is refused, and what to write.
    pub reason: String,
}

/// At most the first 80 characters, with control characters escaped: a binary file must not write to the terminal.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        short.push_str("...");
    }
    short
}

impl FromStr for TargetSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        // The common case first: files hold millions of plain addresses.
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Addresses(address.into()));
        }
        parse(text).map_err(|reason| SpecError { text: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<TargetSpec, String> {
    if text.is_empty() {
        return Err("it is empty; write an address, a CIDR, a range or a host name".into());
    }
    if text.contains(char::is_whitespace) {
        return Err("it contains white space; write one target an entry".into());
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':', '?']).next().unwrap_or(rest);
        return Err(format!(
            "it is a URL, and echo probes go to hosts; write {}",
            or(&shorten(host), "the host alone")
        ));
    }
    if text.contains(':') {
        return Err(colon(text));
    }
    if let Some((network, length)) = text.split_once('/') {
        return cidr(network, length).map(TargetSpec::Addresses);
    }
    if let Some((first, last)) = text.split_once('-')
        && first.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && first.contains('.')
    {
        return range(first, last).map(TargetSpec::Addresses);
    }
    name(text).map(TargetSpec::Name)
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// IPv6, or a host with a port, as Prometheus' files often have it.
fn colon(text: &str) -> String {
    let literal = text.split(['/', '%', ']']).next().unwrap_or(text).trim_start_matches('[');
    if literal.parse::<Ipv6Addr>().is_ok() {
        return "IPv6 is not supported yet; write an IPv4 address, or a name that has one".into();
    }
    match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.is_empty() && !host.contains(':') => {
            format!("it has a port, and echo probes have none; write {}", shorten(host))
        }
        _ => "`:` stands neither in an IPv4 address nor in a host name".into(),
    }
}

fn address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| {
        let octets: Vec<&str> = text.split('.').collect();
        let why = if let Some(octet) = octets.iter().find(|o| o.is_empty() || !o.bytes().all(|b| b.is_ascii_digit())) {
            format!("`{}` is not a number", shorten(octet))
        } else if octets.len() != 4 {
            format!("it has {} numbers instead of 4", octets.len())
        } else if let Some(octet) = octets.iter().find(|o| o.parse::<u8>().is_err()) {
            format!("{} is more than 255", shorten(octet))
        } else {
            // The rest of what the standard library refuses: some programs read 010 as eight.
            "a number begins with 0, which some programs read as octal".into()
        };
        format!("`{}` is not an IPv4 address: {why}", shorten(text))
    })
}

fn cidr(network: &str, length: &str) -> Result<AddressRange, String> {
    let network = u32::from(address(network)?);
    let length: u32 = length
        .parse()
        .ok()
        .filter(|l| *l <= 32 && !length.starts_with('+'))
        .ok_or_else(|| format!("`/{}` is not a prefix length; write /0 to /32", shorten(length)))?;
    let host_bits = u32::MAX.checked_shr(length).unwrap_or(0);
    Ok(AddressRange { first: network & !host_bits, last: network | host_bits })
}

fn range(first: &str, last: &str) -> Result<AddressRange, String> {
    let first = address(first)?;
    let last = if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) {
        let octet = last.parse().map_err(|_| format!("the range ends at {}, which is more than 255", shorten(last)))?;
        let [a, b, c, _] = first.octets();
        Ipv4Addr::new(a, b, c, octet)
    } else {
        address(last)?
    };
    AddressRange::new(first, last).ok_or_else(|| format!("the range ends at {last}, before it begins"))
}

/// RFC 1123, section 2.1: labels of letters, digits and hyphens, 1 to 63 of them, 253 characters in all. A name whose
/// last label is a number would be a mistyped address.
fn name(text: &str) -> Result<Box<str>, String> {
    let relative = text.strip_suffix('.').unwrap_or(text);
    if relative.rsplit('.').next().is_some_and(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit())) {
        return address(text).map(|a| a.to_string().into());
    }
    if relative.len() > 253 {
        return Err(format!("a host name has at most 253 characters, this one has {}", relative.len()));
    }
    for label in relative.split('.') {
        if label.is_empty() {
            return Err("a part of the host name between dots is empty".into());
        }
        if let Some(c) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return Err(format!("`{}` cannot stand in a host name (RFC 1123)", c.escape_debug()));
        }
        if label.len() > 63 {
            return Err(format!("a part of a host name has at most 63 characters, `{}` has {}", label, label.len()));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(format!("`{label}` begins or ends with a hyphen"));
        }
    }
    Ok(text.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;

    fn range_of(text: &str) -> (String, String, u64) {
        match text.parse().unwrap() {
            TargetSpec::Addresses(r) => (r.first().to_string(), r.last().to_string(), r.count()),
            TargetSpec::Name(name) => panic!("{name} is a name"),
        }
    }

    #[test]
    fn reads_addresses_cidrs_and_ranges() {
        let table = [
            ("192.0.2.7", "192.0.2.7", "192.0.2.7", 1),
            ("10.64.0.0/12", "10.64.0.0", "10.79.255.255", 1_048_576),
            ("10.64.0.9/24", "10.64.0.0", "10.64.0.255", 256),
            ("10.64.0.9/32", "10.64.0.9", "10.64.0.9", 1),
            ("1.2.3.4/0", "0.0.0.0", "255.255.255.255", 1 << 32),
            ("10.0.0.1-99", "10.0.0.1", "10.0.0.99", 99),
            ("10.0.0.1-10.0.1.0", "10.0.0.1", "10.0.1.0", 256),
            ("10.0.0.1-1", "10.0.0.1", "10.0.0.1", 1),
        ];
        for (text, first, last, count) in table {
            assert_eq!(range_of(text), (first.into(), last.into(), count), "{text}");
        }
    }

    #[test]
    fn reads_names() {
        let table =
            ["host.example", "a", "xn--bcher-kva.example.", "1-2.example", "host-1.example", "10-0-0-1.example"];
        for text in table {
            assert_eq!(text.parse(), Ok(TargetSpec::Name(text.into())));
        }
        assert_eq!("Host.Example".parse(), Ok(TargetSpec::Name("host.example".into())));
    }

    #[test]
    fn says_why_a_text_is_no_target() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = vec!["abcdefgh"; 40].join(".");
        let table: &[(&str, &str)] = &[
            ("", "empty"),
            ("a b", "white space"),
            ("10.0.0.256", "256 is more than 255"),
            ("10.0.0", "3 numbers instead of 4"),
            ("10.0.0.1.2", "5 numbers instead of 4"),
            ("10.0.0.010", "begins with 0"),
            ("10.0.0.1/33", "/0 to /32"),
            ("10.0.0.1/", "/0 to /32"),
            ("10.0.0.1/+8", "/0 to /32"),
            ("host.example/24", "`host` is not a number"),
            ("10.0.0.9-1", "ends at 10.0.0.1, before it begins"),
            ("10.0.0.9-10.0.0.8", "before it begins"),
            ("10.0.0.9-300", "300, which is more than 255"),
            ("10.0.0.9-", "not an IPv4 address"),
            ("2001:db8::1", "IPv6 is not supported yet"),
            ("[2001:db8::1]:9100", "IPv6 is not supported yet"),
            ("fe80::1%eth0", "IPv6 is not supported yet"),
            ("2001:db8::/32", "IPv6 is not supported yet"),
            ("::", "IPv6 is not supported yet"),
            ("10.0.0.1:9100", "it has a port, and echo probes have none; write 10.0.0.1"),
            ("host.example:http", "neither in an IPv4 address"),
            ("https://host.example/x", "it is a URL, and echo probes go to hosts; write host.example"),
            ("under_score.example", "`_` cannot stand"),
            ("-a.example", "hyphen"),
            ("a..example", "empty"),
            (&long, "at most 63 characters"),
            (&longer, "at most 253 characters"),
            ("b\u{fc}cher.example", "cannot stand"),
        ];
        for (text, why) in table {
            let error = text.parse::<TargetSpec>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(error.contains(&shorten(text)), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_does_not_carry_control_characters_or_endless_text() {
        let escape = "\u{1b}[31m".repeat(1000);
        for text in [escape.clone(), format!("{escape}.example:80"), format!("http://{escape}/")] {
            let error = text.parse::<TargetSpec>().unwrap_err().to_string();
            assert!(error.len() < 1500 && !error.contains('\u{1b}'), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = text.parse::<TargetSpec>();
        }

        #[test]
        fn target_like_text_is_read_or_refused(text in "[0-9a-f.:/%\\[\\]-]{0,24}") {
            let _ = text.parse::<TargetSpec>();
        }

        #[test]
        fn what_is_shown_reads_back(a in any::<u32>(), b in any::<u32>()) {
            let range = AddressRange::from_bits(a.min(b), a.max(b)).unwrap();
            prop_assert_eq!(range.to_string().parse(), Ok(TargetSpec::Addresses(range)));
        }

        #[test]
        fn cidrs_read_back(a in any::<u32>(), length in 0u32..=32) {
            let text = format!("{}/{length}", Ipv4Addr::from(a));
            let TargetSpec::Addresses(range) = text.parse().unwrap() else { panic!() };
            prop_assert!(range.contains(a.into()));
            prop_assert_eq!(range.count(), 1u64 << (32 - length));
            prop_assert_eq!(range.to_string().parse(), Ok(TargetSpec::Addresses(range)));
        }
    }
}
