//! What a probe's frame is made from, beside its shape.

use crate::base::{Generation, Nanos, Sequence, TargetIndex};
use std::net::Ipv4Addr;

/// Who sends probes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// MAC address of the interface.
    pub mac: [u8; 6],
    /// The source.
    pub source: Ipv4Addr,
    /// ICMP identifier of this instance.
    pub identifier: u16,
}

/// What differs from probe to probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeFields {
    /// Where to.
    pub destination: Ipv4Addr,
    /// Whose; comes back in the reply.
    pub target: TargetIndex,
    /// Tenant of the slot: in the cookie only.
    pub generation: Generation,
    /// Low bits of the probe's number.
    pub sequence: Sequence,
    /// The send stamp, CLOCK_MONOTONIC.
    pub sent: Nanos,
    /// MAC address of the next hop.
    pub next_hop_mac: [u8; 6],
}
