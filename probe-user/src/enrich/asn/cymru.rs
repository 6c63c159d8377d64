//! AS numbers and names by DNS, as Team Cymru publishes them (<https://www.team-cymru.com/ip-asn-mapping>): which names are asked for
//! their TXT records, and what those say. Pure, no I/O.

use super::number;
use std::{fmt::Write as _, net::IpAddr};

const ZONE: &str = "asn.cymru.com.";

/// The name whose records say where an address' prefix comes from.
pub(in super::super) fn origin_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.origin.{ZONE}")
        }
        IpAddr::V6(address) => {
            let mut name = String::with_capacity(96);
            for byte in address.octets().iter().rev() {
                let _never = write!(name, "{:x}.{:x}.", byte & 0xf, byte >> 4);
            }
            name + "origin6." + ZONE
        }
    }
}

/// The name whose record says what an AS is called.
pub(in super::super) fn as_name(asn: u32) -> String {
    format!("AS{asn}.{ZONE}")
}

/// The origin by such records, `64500 64501 | 192.0.2.0/24 | DE | ripencc | 2010-01-01`: the first of the most specific prefix. None:
/// nobody's.
pub(in super::super) fn origin<'a>(records: impl IntoIterator<Item = &'a str>) -> Option<u32> {
    let read = |record: &'a str| {
        let mut fields = record.split('|').map(str::trim);
        let asn = number(fields.next()?.split_ascii_whitespace().next()?)?;
        let length: u8 = fields.next()?.rsplit_once('/')?.1.parse().ok()?;
        Some((length, asn))
    };
    // The lowest number of several, so that it is the same at every look: records come in any order.
    records.into_iter().filter_map(read).max_by_key(|(length, asn)| (*length, u32::MAX - asn)).map(|(_, asn)| asn)
}

/// The AS' name by such a record, `64500 | DE | ripencc | 2010-01-01 | EXAMPLE-AS Example, DE`.
pub(in super::super) fn name_of(record: &str) -> Option<&str> {
    record.splitn(5, '|').nth(4).map(str::trim).filter(|name| !name.is_empty())
}

/// Whether an address can be in the global routing table, by the IANA's registries of special-purpose addresses. What can't be is nobody
/// else's business.
pub(in super::super) fn is_routable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !matches!(
                (a, b, c),
                (0 | 10 | 127 | 224.., ..)
                    | (100, 64..=127, _)
                    | (169, 254, _)
                    | (172, 16..=31, _)
                    | (192, 0, 0 | 2)
                    | (192, 168, _)
                    | (198, 18..=19, _)
                    | (198, 51, 100)
                    | (203, 0, 113)
            )
        }
        IpAddr::V6(address) => {
            let [a, b, ..] = address.segments();
            let is_documentation = (a, b) == (0x2001, 0xdb8) || (a == 0x3fff && b < 0x1000);
            a & 0xe000 == 0x2000 && !is_documentation
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(address: &str) -> IpAddr {
        address.parse().expect("an address")
    }

    #[test]
    fn names_are_the_addresses_turned_round() {
        assert_eq!(origin_name(parsed("216.90.108.31")), "31.108.90.216.origin.asn.cymru.com.");
        assert_eq!(
            origin_name(parsed("2001:4860:b002::68")),
            "8.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.b.0.6.8.4.1.0.0.2.origin6.asn.cymru.com."
        );
        assert_eq!(as_name(64_500), "AS64500.asn.cymru.com.");
    }

    #[test]
    fn of_several_origins_the_most_specific_prefixs_first_is_taken() {
        let wide = "64500 | 198.51.0.0/16 | DE | ripencc | 2010-01-01";
        let narrow = "64502 64501 | 198.51.100.0/24 | DE | ripencc |";
        assert_eq!(origin([wide]), Some(64_500));
        assert_eq!((origin([wide, narrow]), origin([narrow, wide])), (Some(64_502), Some(64_502)));
        let same = "64499 | 198.51.0.0/16 | DE | ripencc | 2010-01-01";
        assert_eq!((origin([wide, same]), origin([same, wide])), (Some(64_499), Some(64_499)));
        assert_eq!(origin(["4294967295 | 2001:db8::/32 | DE | ripencc | 2010-01-01"]), Some(u32::MAX));
        for none in [
            "",
            "|",
            "NA | 198.51.0.0/16",
            "0 | 0.0.0.0/0",
            "64500",
            "64500 | 198.51.0.0",
            "64500 | 198.51.0.0/x",
            "\u{7} | /",
        ] {
            assert_eq!(origin([none]), None, "{none:?}");
            assert_eq!(origin([none, wide]), Some(64_500), "{none:?}");
        }
    }

    #[test]
    fn the_name_is_the_last_field_whatever_is_in_it() {
        assert_eq!(
            name_of("64500 | DE | ripencc | 2010-01-01 | EXAMPLE-AS Example | Sons, DE"),
            Some("EXAMPLE-AS Example | Sons, DE")
        );
        for none in ["", "64500 | DE | ripencc | 2010-01-01", "64500 | DE | ripencc | 2010-01-01 | "] {
            assert_eq!(name_of(none), None, "{none:?}");
        }
    }

    #[test]
    fn nobody_is_asked_about_addresses_that_nobody_announces() {
        for address in [
            "0.0.0.1",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:9.9.9.9",
            "64:ff9b::909:909",
            "fc00::1",
            "fd00:63::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "3fff:fff::1",
        ] {
            assert!(!is_routable(parsed(address)), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.1",
            "2001:db9::1",
            "2620::1",
            "3fff:1000::1",
        ] {
            assert!(is_routable(parsed(address)), "{address}");
        }
    }
}
