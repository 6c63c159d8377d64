//! Reading what steer hands over: which reader a frame is for. Replies are read by their kind, errors in `refusal`.

use super::{
    PortReport, Refusal, RejectedReason, Reply, echo,
    extensions::Parts,
    fields::{field, number},
    ip::{self, Header, Protocol},
    message::Message,
    tcp, udp,
};
use crate::base::TargetIndex;
use probe_ebpf::wire::{ethernet, icmp, icmpv6, ipv4, ipv6, payload, udp as ports};
use std::{net::IpAddr, ops::Range};

/// What steer hands over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The target answered.
    Reply(Reply),
    /// Somebody says that the probe, an echo request, did not arrive.
    Refusal(Refusal),
    /// Something is said of a probe to a port, by the target or by an error.
    Port(PortReport),
}

/// Reads a whole Ethernet frame whose first 8 bytes are the arrival stamp in native byte order: up to two VLAN tags, IPv4
/// with or without options or IPv6 with or without extension headers, an echo reply, an answer to a probe to a port, or an ICMP error
/// that quotes a probe.
///
/// # Errors
/// *Truncated*: the frame is shorter than its headers say, the reply shorter than a probe, or the quote than its headers.
/// *Corrupt*: the ICMP checksum is wrong, or it is something else, which steer would not have handed over.
#[inline]
pub fn read_frame(frame: &[u8]) -> Result<Heard, RejectedReason> {
    let message = Message::read(frame)?;
    match message.protocol {
        Protocol::Icmp => {}
        Protocol::Tcp => return tcp::read(&message).map(Heard::Port),
        Protocol::Udp => return udp::read(&message).map(Heard::Port),
    }
    let is_error = match (message.ip, message.body.first()) {
        (Header::V4(_), Some(kind)) => icmp::is_error(*kind),
        (Header::V6(_), Some(kind)) => icmpv6::is_error(*kind),
        (_, None) => false,
    };
    if is_error { read_error(&message) } else { echo::read(&message).map(Heard::Reply) }
}

/// Reads an error, whatever kind of probe it quotes.
///
/// *Truncated*: there is too little of the quote.
#[cold]
fn read_error(message: &Message<'_>) -> Result<Heard, RejectedReason> {
    let parts = Parts::of(message.ip, message.body);
    let quote = parts.quote;
    let (header, protocol, probe) = match message.ip {
        Header::V4(_) => {
            ip::v4::quoted(quote).map(|(header, protocol, probe)| (Header::V4(header), protocol, probe))?
        }
        Header::V6(_) => {
            ip::v6::quoted(quote).map(|(header, protocol, probe)| (Header::V6(header), protocol, probe))?
        }
    };
    match protocol {
        Protocol::Icmp => Refusal::read(message, parts, header, probe).map(Heard::Refusal),
        Protocol::Tcp => tcp::read_quote(message, parts, header, probe).map(Heard::Port),
        Protocol::Udp => udp::read_quote(message, parts, header, probe).map(Heard::Port),
    }
}

/// Whose probe a frame is probably about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guess {
    /// This target's.
    Target(TargetIndex),
    /// One from this port of ours to this address and port.
    Flow(IpAddr, (u16, u16)),
}

/// Where in a frame the target stands, behind this IP header, unless there are VLAN tags, options, extension headers or an error.
const fn usual_target(ip: usize) -> Range<usize> {
    let payload = ethernet::HEADER + ip + icmp::HEADER;
    payload + payload::TARGET.start..payload + payload::TARGET.end
}

/// Whose probe a frame is probably about. Nothing is checked: a guess, to have the target's account at hand when it has been.
#[inline]
pub fn guess_target(frame: &[u8]) -> Option<Guess> {
    let is_v6 = frame.get(ethernet::ETHERTYPE)? == ethernet::IPV6.to_be_bytes();
    let protocol = *frame.get(ethernet::HEADER + if is_v6 { ipv6::NEXT_HEADER } else { ipv4::PROTOCOL })?;
    // Of IPv6 they have the same numbers.
    if matches!(protocol, ipv4::TCP | ipv4::UDP) {
        return guess_flow(frame, is_v6);
    }
    let at = if is_v6 { const { usual_target(ipv6::HEADER) } } else { const { usual_target(ipv4::HEADER) } };
    Some(Guess::Target(TargetIndex(u32::from_be_bytes(*frame.get(at)?.first_chunk()?))))
}

#[inline]
fn guess_flow(frame: &[u8], is_v6: bool) -> Option<Guess> {
    let datagram = frame.get(ethernet::HEADER..)?;
    let (address, segment): (IpAddr, _) = if is_v6 {
        (field::<16>(datagram, ipv6::SOURCE).ok()?.into(), datagram.get(ipv6::HEADER..)?)
    } else {
        (field::<4>(datagram, ipv4::SOURCE).ok()?.into(), datagram.get(ipv4::HEADER..)?)
    };
    // Those of TCP are at the same place.
    let ports = (number(segment, ports::DESTINATION).ok()?, number(segment, ports::SOURCE).ok()?);
    Some(Guess::Flow(address, ports))
}

/// As [`read_frame`], where only replies are waited for.
///
/// # Errors
/// As there; an ICMP error is *corrupt*, and so is what is no ICMP message.
pub fn read_reply(frame: &[u8]) -> Result<Reply, RejectedReason> {
    let message = Message::read(frame)?;
    if message.protocol == Protocol::Icmp { echo::read(&message) } else { Err(RejectedReason::Corrupt) }
}
