//! What becomes of a packet.

use super::{
    error::error,
    packet::{ICMP, ICMPV6, Packet, checksum, sum_header},
    rule::{Answer, Forwarding, Rule},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The router's own addresses, those on the near side: what it says comes from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// IPv4's.
    pub v4: Ipv4Addr,
    /// IPv6's.
    pub v6: Ipv6Addr,
}

impl Own {
    pub(super) fn of_family(&self, is_v4: bool) -> IpAddr {
        if is_v4 { self.v4.into() } else { self.v6.into() }
    }
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treated<'a> {
    /// Nothing.
    Dropped,
    /// It goes on, so.
    Forwarded(Vec<u8>),
    /// This goes back; after how long and how often, the answer says.
    Answered(Vec<u8>, &'a Answer),
    /// It was an echo request to the router itself, and this is the reply.
    Replied(Vec<u8>),
}

impl Rule {
    /// What becomes of a packet, which begins with its IP header. `to_far`: it came from the near side. What is no IP packet, or
    /// none of which anything may be said, is dropped where it would be answered.
    pub fn treat(&self, bytes: &[u8], own: &Own, to_far: bool) -> Treated<'_> {
        let Some(packet) = Packet::read(bytes) else { return Treated::Dropped };
        let destination = packet.destination();
        if destination == own.of_family(packet.is_v4) {
            return echo_reply(&packet).map_or(Treated::Dropped, Treated::Replied);
        }
        let is_multicast = match destination {
            IpAddr::V4(to) => to.is_multicast() || to.is_broadcast(),
            // Nor does a link-local address leave its link.
            IpAddr::V6(to) => to.is_multicast() || to.is_unicast_link_local(),
        };
        if is_multicast {
            return Treated::Dropped;
        }
        let answered = |answer| told(&packet, answer, own);
        let ttl = match self.forwarding {
            Forwarding::Keep => packet.ttl(),
            Forwarding::Decrement if packet.ttl() <= 1 => return answered(self.expired.as_ref()),
            Forwarding::Zero if packet.ttl() == 0 => return answered(self.expired.as_ref()),
            Forwarding::Decrement | Forwarding::Zero => packet.ttl() - 1,
        };
        if to_far && self.refused.is_some() {
            return answered(self.refused.as_ref());
        }
        let mut forwarded = packet.bytes.to_vec();
        if packet.is_v4 {
            forwarded[8] = ttl;
            sum_header(&mut forwarded[..packet.header]);
        } else {
            forwarded[7] = ttl;
        }
        Treated::Forwarded(forwarded)
    }
}

fn told<'a>(packet: &Packet<'_>, answer: Option<&'a Answer>, own: &Own) -> Treated<'a> {
    let Some(answer) = answer.filter(|_| packet.deserves_error()) else { return Treated::Dropped };
    let told = error(packet.bytes, own, answer);
    told.map_or(Treated::Dropped, |bytes| Treated::Answered(bytes, answer))
}

/// The reply to an echo request that is for the router itself.
fn echo_reply(packet: &Packet<'_>) -> Option<Vec<u8>> {
    let (request, reply) = match packet.protocol {
        ICMP if packet.is_v4 => (8, 0),
        ICMPV6 if !packet.is_v4 => (128, 129),
        _ => return None,
    };
    let message = packet.header;
    if packet.bytes.len() < message + 8 || packet.bytes[message] != request {
        return None;
    }
    let mut bytes = packet.bytes.to_vec();
    bytes[message] = reply;
    bytes[message + 2..message + 4].fill(0);
    let sum = if packet.is_v4 {
        bytes[8] = 64;
        let (source, destination) = bytes[12..20].split_at_mut(4);
        source.swap_with_slice(destination);
        sum_header(&mut bytes[..message]);
        checksum(&[&bytes[message..]])
    } else {
        bytes[7] = 64;
        let (source, destination) = bytes[8..40].split_at_mut(16);
        source.swap_with_slice(destination);
        let length = u32::try_from(bytes.len() - message).ok()?.to_be_bytes();
        checksum(&[&bytes[8..40], &length, &[0, 0, 0, ICMPV6], &bytes[message..]])
    };
    bytes[message + 2..message + 4].copy_from_slice(&sum.to_be_bytes());
    Some(bytes)
}
