//! Files of AS numbers, of whichever form.

use crate::assert_showable;
use echolot::enrich::AsnTable;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What they are made of.
pub(crate) const WORDS: &[&str] = &[
    "\n",
    "\r\n",
    "\t",
    "#",
    "0",
    "AS",
    "64500",
    "4294967295",
    "192.0.2.0",
    "192.0.2.255",
    "255.255.255.255",
    "2001:db8::",
    "::",
    "DE",
    "\u{feff}",
    "\u{1b}[2J",
    "\u{202e}",
    "\0",
    "MaxMind.com",
];

/// Any bytes as such a file: an error names it, and what it says can be shown.
pub(crate) fn check(data: &[u8]) {
    let table = match AsnTable::read(data, "fuzz") {
        Ok(table) => table,
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.starts_with("fuzz:"), "{shown} does not name the file");
            return assert_showable(&shown);
        }
    };
    let v4 = [0, 0xc000_0200, 0xc000_02ff, u32::MAX].map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    let v6 = [0, 0x2001_0db8 << 96, u128::MAX].map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
    for network in v4.into_iter().chain(v6).filter_map(|address| table.find(address)) {
        assert_ne!(network.asn, 0);
        if let Some(name) = network.name {
            assert!(!name.is_empty() && name.chars().count() <= 128 && !name.chars().any(char::is_control), "{name:?}");
        }
    }
}
