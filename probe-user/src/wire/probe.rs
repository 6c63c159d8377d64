//! What a probe's frame is made from, beside its shape.

use crate::base::{Generation, Nanos, Sequence, TargetIndex};
use std::net::IpAddr;

/// Who sends probes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// MAC address of the interface.
    pub mac: [u8; 6],
    /// The source. It has a family, and so have its probes.
    pub source: IpAddr,
    /// ICMP identifier of this instance.
    pub identifier: u16,
    /// The first of the ports that are reserved for probes of this instance; [`Shape::flow`](super::Shape::flow) counts from it.
    pub first_port: u16,
    /// Of IPv6's flow labels: [`Key::flow_key`](super::Key::flow_key).
    pub flow_key: u64,
}

/// What differs from probe to probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeFields {
    /// Where to: an address of the family that the template is of.
    pub destination: IpAddr,
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
