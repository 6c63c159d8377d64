//! Addresses that nobody is behind: what is sent there is a mistake.
//!
//! Those whose column "Destination" in IANA's special-purpose address registries (RFC 6890) says that no packet may go there, and
//! multicast, whose answers nobody could tell apart. What private networks and laboratories use works as any other address: private,
//! shared, loopback and link-local addresses, those for benchmarks, and those for documentation, which stand in examples and tests.

use super::{AddressRange, Error, Exclusions, TargetList, span};
use std::net::IpAddr;

/// The blocks and what they are, in the order of their addresses.
pub const RESERVED: [(&str, &str); 10] = [
    ("0.0.0.0/8", "\"this network\" (RFC 791), from which packets come and to which none go"),
    ("192.0.0.8/32", "the IPv4 dummy address (RFC 7600)"),
    ("192.0.0.170/31", "how NAT64 is found out (RFC 7050)"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("240.0.0.0/4", "reserved (RFC 1112), with the limited broadcast address at its end"),
    ("::/128", "the unspecified address (RFC 4291)"),
    ("::ffff:0:0/96", "IPv4 addresses written as IPv6 (RFC 4291)"),
    ("100:0:0:1::/64", "the IPv6 dummy prefix (RFC 9780)"),
    ("2001:10::/28", "ORCHID (RFC 4843), returned to IANA"),
    ("ff00::/8", "multicast (RFC 4291)"),
];

/// All of them.
pub fn reserved() -> Exclusions {
    blocks().map(|(range, _)| range).collect()
}

fn blocks() -> impl Iterator<Item = (AddressRange, &'static str)> {
    RESERVED.iter().filter_map(|(block, what)| {
        let (first, length) = block.split_once('/')?;
        let (first, length) = (first.parse::<IpAddr>().ok()?, length.parse::<u32>().ok()?);
        let last = match first {
            IpAddr::V4(first) => IpAddr::V4((first.to_bits() | u32::MAX.checked_shr(length).unwrap_or(0)).into()),
            IpAddr::V6(first) => IpAddr::V6((first.to_bits() | u128::MAX.checked_shr(length).unwrap_or(0)).into()),
        };
        Some((AddressRange::new(first, last)?, *what))
    })
}

/// What an address is that nobody is behind; None for any other.
pub fn is_reserved(address: IpAddr) -> Option<&'static str> {
    blocks().find(|(block, _)| block.contains(address)).map(|(_, what)| what)
}

/// Refuses targets of a group that nobody is behind, unless they are excluded.
///
/// # Errors
/// Names the group, the target and the block.
pub fn check_reserved(group: &str, lists: &[TargetList], exclude: &Exclusions) -> Result<(), Error> {
    lists.iter().flat_map(TargetList::ranges).try_for_each(|range| check_range(group, range, exclude))
}

/// The same of one target of a group.
pub(super) fn check_range(group: &str, range: AddressRange, exclude: &Exclusions) -> Result<(), Error> {
    match blocks().find(|(block, _)| overlaps(range, *block, exclude)) {
        None => Ok(()),
        Some((block, what)) => Err(Error::Reserved {
            group: group.to_owned(),
            part: range.to_string(),
            block: block.to_string(),
            what,
            is_whole: block.contains(range.first()) && block.contains(range.last()),
        }),
    }
}

/// Whether they have an address in common that is not excluded.
fn overlaps(range: AddressRange, block: AddressRange, exclude: &Exclusions) -> bool {
    let mut is_left = false;
    match (range, block) {
        (AddressRange::V4(range), AddressRange::V4(block)) => {
            if let Some(common) = range.intersection(&block) {
                span::subtract(common, &exclude.v4, |_| is_left = true);
            }
        }
        (AddressRange::V6(range), AddressRange::V6(block)) => {
            if let Some(common) = range.intersection(&block) {
                span::subtract(common, &exclude.v6, |_| is_left = true);
            }
        }
        _ => {}
    }
    is_left
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::{super::TargetSpec, *};

    fn range(text: &str) -> AddressRange {
        match text.parse().unwrap() {
            TargetSpec::Addresses(range) => range,
            TargetSpec::Name(name) => panic!("{name} is a name"),
        }
    }

    fn check(target: &str, exclude: &[&str]) -> Result<(), String> {
        let exclude = exclude.iter().map(|text| range(text)).collect();
        check_range("edge", range(target), &exclude).map_err(|error| error.to_string())
    }

    #[test]
    fn every_block_is_one() {
        assert_eq!(blocks().count(), RESERVED.len());
        // `::ffff:0:0/96` can't be written as a target: whoever does is told to write IPv4.
        for ((block, _), (text, _)) in blocks().zip(RESERVED) {
            let shown = block.to_string();
            assert!(
                shown == text
                    || format!("{shown}/32") == text
                    || format!("{shown}/128") == text
                    || text.starts_with("::ffff"),
                "{shown}"
            );
        }
    }

    #[test]
    fn nobody_probes_what_nobody_is_behind() {
        for target in
            ["0.0.0.1", "0.1.0.0/16", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.0.8"]
        {
            assert!(check(target, &[]).unwrap_err().contains(&format!("group `edge`: {target} is")), "{target}");
        }
        for target in ["::", "ff02::1", "ff0e::/16", "100:0:0:1::7", "2001:1f::1"] {
            assert!(check(target, &[]).is_err(), "{target}");
        }
        for (target, block) in [("0.0.0.0/0", "0.0.0.0/8"), ("223.255.255.0-224.0.0.7", "224.0.0.0/4"), ("::/0", "::")]
        {
            let error = check(target, &[]).unwrap_err();
            assert!(error.contains(&format!("has addresses of {block}")), "{error}");
        }
    }

    #[test]
    fn private_networks_laboratories_and_examples_need_no_flag() {
        for target in [
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.2.0/24",
            "192.88.99.1",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "192.0.0.9",
            "223.255.255.255",
            "::1",
            "64:ff9b::/96",
            "100::/64",
            "2001:db8::/32",
            "2001:20::/28",
            "3fff::/20",
            "fc00::/7",
            "fe80::/10",
        ] {
            assert_eq!(check(target, &[]), Ok(()), "{target}");
        }
    }

    #[test]
    fn what_is_excluded_may_be_named() {
        let blocks = ["0.0.0.0/8", "192.0.0.8", "192.0.0.170/31", "224.0.0.0/3"];
        assert_eq!(check("0.0.0.0/0", &blocks), Ok(()));
        let error = check("0.0.0.0/0", &blocks[..3]).unwrap_err();
        assert!(error.contains("224.0.0.0/4"), "{error}");
        assert_eq!(is_reserved("10.0.0.1".parse().unwrap()), None);
        assert!(is_reserved("ff05::2".parse().unwrap()).unwrap().contains("multicast"));
        assert!(reserved().contains("255.255.255.255".parse().unwrap()));
    }
}
