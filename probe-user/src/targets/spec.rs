//! One target as people write it: an address, a CIDR, a range or a name.

use super::span::{Number, Span};
use crate::base::Family;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Consecutive addresses of one family, both ends included. Never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AddressRange {
    /// Of IPv4.
    V4(Span<u32>),
    /// Of IPv6.
    V6(Span<u128>),
}

impl AddressRange {
    /// From the first to the last address; None when they are the wrong way round, or of two families.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Span::new(first.to_bits(), last.to_bits()).map(Self::V4),
            (IpAddr::V6(first), IpAddr::V6(last)) => Span::new(first.to_bits(), last.to_bits()).map(Self::V6),
            _ => None,
        }
    }

    /// IPv4 or IPv6.
    pub const fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// First address.
    pub fn first(&self) -> IpAddr {
        match self {
            Self::V4(span) => span.first().address(),
            Self::V6(span) => span.first().address(),
        }
    }

    /// Last address, included.
    pub fn last(&self) -> IpAddr {
        match self {
            Self::V4(span) => span.last().address(),
            Self::V6(span) => span.last().address(),
        }
    }

    /// How many addresses, at least 1; those of all of IPv6 are one more than is said.
    pub fn count(&self) -> u128 {
        match self {
            Self::V4(span) => span.count(),
            Self::V6(span) => span.count(),
        }
    }

    /// Whether the address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(span), IpAddr::V4(address)) => span.contains(address.to_bits()),
            (Self::V6(span), IpAddr::V6(address)) => span.contains(address.to_bits()),
            _ => false,
        }
    }

    /// The length of the prefix that it is, if it is one.
    fn prefix(&self) -> Option<u32> {
        let (differ, first, bits) = match self {
            Self::V4(span) => (u128::from(span.first() ^ span.last()), u128::from(span.first()), 32),
            Self::V6(span) => (span.first() ^ span.last(), span.first(), 128),
        };
        let host = u128::BITS - differ.leading_zeros();
        let is_prefix = differ == u128::MAX.checked_shr(u128::BITS - host).unwrap_or(0) && first & differ == 0;
        is_prefix.then_some(bits - host)
    }
}

impl From<IpAddr> for AddressRange {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits().into()),
            IpAddr::V6(address) => Self::V6(address.to_bits().into()),
        }
    }
}

/// The shortest of the three forms: an address, a CIDR where the range is one, else `first-last`.
impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            _ if self.first() == self.last() => write!(f, "{}", self.first()),
            Some(length) => write!(f, "{}/{length}", self.first()),
            None => write!(f, "{}-{}", self.first(), self.last()),
        }
    }
}

/// What is to be probed, as written once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TargetSpec {
    /// An address, every address of a CIDR (network and broadcast included), or a range.
    Addresses(AddressRange),
    /// A host name in lower case, to be resolved; or a link-local address with its zone (`fe80::1%eth0`), which says as much only on
    /// this host.
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
            return Ok(Self::Addresses(IpAddr::V4(address).into()));
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
        return v6(text);
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

/// IPv6 in one of its forms; or a host with a port, as Prometheus' files often have it.
fn v6(text: &str) -> Result<TargetSpec, String> {
    if let Some((inside, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return match rest {
            "" => v6(inside),
            _ if rest.starts_with(':') => {
                Err(format!("it has a port, and echo probes have none; write {}", shorten(inside)))
            }
            _ => Err(format!("`{}` stands behind the address; remove it", shorten(rest))),
        };
    }
    if let Some((address, zone)) = text.split_once('%') {
        return zoned(address, zone).map(TargetSpec::Name);
    }
    let range = if let Some((network, length)) = text.split_once('/') {
        cidr_v6(network, length)?
    } else if let Some((first, last)) = text.split_once('-').filter(|(first, _)| first.contains(':')) {
        let (first, last) = (address_v6(first)?, address_v6(last)?);
        Span::new(first.to_bits(), last.to_bits())
            .ok_or_else(|| format!("the range ends at {last}, before it begins"))?
    } else {
        match text.rsplit_once(':') {
            Some((host, port))
                if port.bytes().all(|b| b.is_ascii_digit()) && !host.is_empty() && !host.contains(':') =>
            {
                return Err(format!("it has a port, and echo probes have none; write {}", shorten(host)));
            }
            _ if text.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) => {
                address_v6(text)?.to_bits().into()
            }
            _ => return Err("`:` stands neither in an IPv4 address nor in a host name".into()),
        }
    };
    Ok(TargetSpec::Addresses(AddressRange::V6(range)))
}

fn address_v6(text: &str) -> Result<Ipv6Addr, String> {
    let address: Ipv6Addr = text.parse().map_err(|_| {
        format!(
            "`{}` is not an IPv6 address; one is eight groups of up to four hex digits, such as 2001:db8::7",
            shorten(text)
        )
    })?;
    match address.to_ipv4_mapped() {
        // The kernel would send IPv4 there.
        Some(v4) => Err(format!("`{}` stands for an IPv4 address; write {v4}", shorten(text))),
        None => Ok(address),
    }
}

fn cidr_v6(network: &str, length: &str) -> Result<Span<u128>, String> {
    let network = address_v6(network)?.to_bits();
    let host_bits = u128::MAX.checked_shr(prefix_length(length, 128)?).unwrap_or(0);
    Span::new(network & !host_bits, network | host_bits).ok_or_else(|| "no prefix: a bug".into())
}

/// `fe80::1%eth0` (RFC 4007, section 11): the address is only told from others of its kind by the link that it is on.
fn zoned(text: &str, zone: &str) -> Result<Box<str>, String> {
    let address = address_v6(text)?;
    if !address.is_unicast_link_local() {
        return Err(format!(
            "`%{}`: only link-local addresses (fe80::/10) have a zone; write {address}",
            shorten(zone)
        ));
    }
    if zone.is_empty() || zone.len() > 15 || zone.contains(|c: char| matches!(c, '/' | ':' | '%') || c.is_control()) {
        return Err(format!(
            "`{}` cannot be an interface's name; write one behind `%`, such as fe80::1%eth0",
            shorten(zone)
        ));
    }
    Ok(format!("{address}%{zone}").into())
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
    let network = address(network)?.to_bits();
    let host_bits = u32::MAX.checked_shr(prefix_length(length, 32)?).unwrap_or(0);
    let span = Span::new(network & !host_bits, network | host_bits);
    span.map(AddressRange::V4).ok_or_else(|| "no prefix: a bug".into())
}

/// The length of a prefix, of so many bits at most.
fn prefix_length(text: &str, bits: u32) -> Result<u32, String> {
    let length = text.parse().ok().filter(|length| *length <= bits && !text.starts_with('+'));
    length.ok_or_else(|| format!("`/{}` is not a prefix length; write /0 to /{bits}", shorten(text)))
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
    AddressRange::new(first.into(), last.into()).ok_or_else(|| format!("the range ends at {last}, before it begins"))
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

    fn range_of(text: &str) -> (String, String, u128) {
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
            ("2001:db8::7", "2001:db8::7", "2001:db8::7", 1),
            ("[2001:db8::7]", "2001:db8::7", "2001:db8::7", 1),
            ("2001:DB8:0::7", "2001:db8::7", "2001:db8::7", 1),
            ("fe80::1", "fe80::1", "fe80::1", 1),
            ("::", "::", "::", 1),
            ("64:ff9b::192.0.2.7", "64:ff9b::c000:207", "64:ff9b::c000:207", 1),
            ("2001:db8::7/112", "2001:db8::", "2001:db8::ffff", 65_536),
            ("2001:db8::7/128", "2001:db8::7", "2001:db8::7", 1),
            ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", u128::MAX),
            ("2001:db8::1-2001:db8::ff", "2001:db8::1", "2001:db8::ff", 255),
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
        assert_eq!("FE80::1%Eth0".parse(), Ok(TargetSpec::Name("fe80::1%Eth0".into())));
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
            ("[2001:db8::1]:9100", "it has a port, and echo probes have none; write 2001:db8::1"),
            ("[2001:db8::1]x", "`x` stands behind"),
            ("2001:db8::1::2", "not an IPv6 address"),
            ("2001:db8", "not an IPv6 address"),
            ("2001:db8:", "not an IPv6 address"),
            ("2001:db8::/129", "/0 to /128"),
            ("2001:db8::9-2001:db8::1", "ends at 2001:db8::1, before it begins"),
            ("2001:db8::9-10.0.0.1", "`10.0.0.1` is not an IPv6 address"),
            ("::ffff:192.0.2.7", "write 192.0.2.7"),
            ("2001:db8::1%eth0", "only link-local"),
            ("fe80::1%", "cannot be an interface"),
            ("fe80::1%a/b", "cannot be an interface"),
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
        fn what_is_shown_reads_back(a in any::<u32>(), b in any::<u32>(), c in any::<u128>(), d in any::<u128>()) {
            let v4 = AddressRange::V4(Span::new(a.min(b), a.max(b)).unwrap());
            prop_assert_eq!(v4.to_string().parse(), Ok(TargetSpec::Addresses(v4)));
            let v6 = AddressRange::V6(Span::new(c.min(d), c.max(d)).unwrap());
            prop_assert_eq!(v6.to_string().parse(), Ok(TargetSpec::Addresses(v6)));
        }

        #[test]
        fn cidrs_read_back(a in any::<u32>(), length in 0u32..=32, b in any::<u128>(), length_v6 in 0u32..=128) {
            let texts = [format!("{}/{length}", Ipv4Addr::from(a)), format!("{}/{length_v6}", Ipv6Addr::from(b))];
            let addresses = [IpAddr::V4(a.into()), IpAddr::V6(b.into())];
            let counts = [1u128 << (32 - length), 1u128.checked_shl(128 - length_v6).unwrap_or(u128::MAX)];
            for ((text, address), count) in texts.iter().zip(addresses).zip(counts) {
                let Ok(TargetSpec::Addresses(range)) = text.parse() else {
                    // Stands for IPv4.
                    prop_assert!(Ipv6Addr::from(b).to_ipv4_mapped().is_some());
                    continue;
                };
                prop_assert!(range.contains(address));
                prop_assert_eq!(range.count(), count);
                prop_assert_eq!(range.to_string().parse(), Ok(TargetSpec::Addresses(range)));
            }
        }
    }
}
