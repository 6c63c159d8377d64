//! An interface's channels, as `ethtool -l` shows them.

use crate::route::genl::{ask, attribute};

/// See linux/ethtool_netlink.h.
const CHANNELS_GET: u8 = 17;
const CHANNELS_HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const RX_MAX: u16 = 2;
const COMBINED_MAX: u16 = 5;
const RX_COUNT: u16 = 6;
const COMBINED_COUNT: u16 = 9;

/// Receive channels: how many there are, and how many there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) count: u64,
    pub(super) max: u64,
}

/// None where the driver doesn't tell.
pub(super) fn channels(index: u32) -> Option<Channels> {
    let header = attribute(CHANNELS_HEADER | NLA_F_NESTED, &attribute(HEADER_DEV_INDEX, &index.to_ne_bytes()));
    let answer = ask("ethtool", CHANNELS_GET, &header).ok()?;
    let of = |rx, combined| answer.number(combined).unwrap_or(0) + answer.number(rx).unwrap_or(0);
    let channels = Channels { count: of(RX_COUNT, COMBINED_COUNT), max: of(RX_MAX, COMBINED_MAX) };
    (channels.max > 0).then_some(channels)
}
