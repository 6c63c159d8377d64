//! An interface's channels and rings, as `ethtool -l` and `ethtool -g` show them.

use super::genl::{Answer, ask, attribute};
use std::io;

/// See linux/ethtool_netlink.h.
const RINGS_GET: u8 = 15;
const CHANNELS_GET: u8 = 17;
/// Of every request.
const HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const RX_MAX: u16 = 2;
const COMBINED_MAX: u16 = 5;
const RX_COUNT: u16 = 6;
const COMBINED_COUNT: u16 = 9;
const RINGS_RX: u16 = 6;

/// Receive channels: how many there are, and how many there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Channels {
    pub(crate) count: u64,
    pub(crate) max: u64,
}

/// None where the driver doesn't tell.
pub(crate) fn channels(index: u32) -> Option<Channels> {
    let answer = of_interface(CHANNELS_GET, index).ok()?;
    let of = |rx, combined| answer.number(combined).unwrap_or(0) + answer.number(rx).unwrap_or(0);
    let channels = Channels { count: of(RX_COUNT, COMBINED_COUNT), max: of(RX_MAX, COMBINED_MAX) };
    (channels.max > 0).then_some(channels)
}

/// Entries of each receive ring. None where the driver doesn't tell.
pub(crate) fn receive_ring(index: u32) -> Option<u64> {
    of_interface(RINGS_GET, index).ok()?.number(RINGS_RX).filter(|entries| *entries > 0)
}

fn of_interface(command: u8, index: u32) -> io::Result<Answer> {
    ask("ethtool", command, &attribute(HEADER | NLA_F_NESTED, &attribute(HEADER_DEV_INDEX, &index.to_ne_bytes())))
}
