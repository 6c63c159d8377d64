//! The ICMP error about a packet. Written on its own: it shares no code with what reads it.

use super::{
    packet::{
        ICMP, ICMPV6, Packet, TCP, UDP, V6_HEADER, adjusted, checksum, checksum_at, covers_addresses, sum_header,
    },
    rule::{Answer, Changes, Extension, Place, Quote, Sum},
    treat::Own,
};
use std::net::IpAddr;

const V4_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;
/// The longest errors, with their IP headers.
const LONGEST_V4: usize = 576;
const LONGEST_V6: usize = 1_280;
/// So much of a packet is quoted in front of an extension, at least: with zeros behind it if it is shorter.
const LEAST_BEFORE_EXTENSION: usize = 128;

/// The error about a packet, which begins with its IP header, as the answer has it; with an IP header of its own. None: the
/// packet is neither IPv4 nor IPv6, or not whole.
pub fn error(packet: &[u8], own: &Own, answer: &Answer) -> Option<Vec<u8>> {
    let packet = Packet::read(packet)?;
    let quote = quote(&packet, answer);
    let (kind, code) = if packet.is_v4 { answer.kind.v4() } else { answer.kind.v6() };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(&quote);
    if let Some(extension) = &answer.extension {
        let mut before = quote.len().max(LEAST_BEFORE_EXTENSION);
        if extension.place == Place::LengthField {
            // In words of 4 bytes behind IPv4, of 8 behind IPv6 (RFC 4884, section 4).
            let (at, word) = if packet.is_v4 { (5, 4) } else { (4, 8) };
            before = before.next_multiple_of(word);
            message[at] = u8::try_from(before / word).ok()?;
        }
        message.resize(ICMP_HEADER + before, 0);
        message.extend(extension_bytes(extension));
    }
    let from = of_family(&answer.from, packet.is_v4).unwrap_or_else(|| own.of_family(packet.is_v4));
    let mut out = match from {
        IpAddr::V4(_) => vec![0; V4_HEADER],
        IpAddr::V6(_) => vec![0; V6_HEADER],
    };
    match (from, packet.source()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = u16::try_from(V4_HEADER + message.len()).ok()?;
            // Precedence "internetwork control" (RFC 1812, section 4.3.2.5).
            (out[0], out[1]) = (0x45, 0xc0);
            out[2..4].copy_from_slice(&length.to_be_bytes());
            (out[8], out[9]) = (answer.ttl, ICMP);
            out[12..16].copy_from_slice(&from.octets());
            out[16..20].copy_from_slice(&to.octets());
            sum_header(&mut out);
            let sum = checksum(&[&message]);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = u16::try_from(message.len()).ok()?;
            out[0] = 0x60;
            out[4..6].copy_from_slice(&length.to_be_bytes());
            (out[6], out[7]) = (ICMPV6, answer.ttl);
            out[8..24].copy_from_slice(&from.octets());
            out[24..40].copy_from_slice(&to.octets());
            let sum = checksum(&[&out[8..40], &u32::from(length).to_be_bytes(), &[0, 0, 0, ICMPV6], &message]);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        _ => return None,
    }
    if answer.corrupt {
        // The upper byte of the length of what is quoted, which nothing is told apart by.
        message[ICMP_HEADER + if packet.is_v4 { 2 } else { 4 }] ^= 0x40;
    }
    out.extend(message);
    Some(out)
}

/// What is quoted, without what follows it.
fn quote(packet: &Packet<'_>, answer: &Answer) -> Vec<u8> {
    let extension = answer.extension.as_ref().map_or(0, |extension| extension_bytes(extension).len());
    let most = if packet.is_v4 {
        LONGEST_V4 - V4_HEADER - ICMP_HEADER - extension
    } else {
        LONGEST_V6 - V6_HEADER - ICMP_HEADER - extension
    };
    let length = match (answer.quote, &answer.extension) {
        // What comes at byte 128 leaves room for no more.
        (_, Some(Extension { place: Place::Byte128, .. })) => LEAST_BEFORE_EXTENSION,
        (Quote::Least, _) => packet.header + 8,
        (Quote::Bytes(bytes), _) => bytes.min(most),
        // A whole number of words of either family, so that the length field can say it.
        (Quote::Most, _) => most & !7,
    };
    let mut bytes = packet.bytes.to_vec();
    change(&mut bytes, packet, &answer.changes);
    bytes.truncate(length);
    bytes
}

/// Changes a packet as it was changed on its way, or by who quotes it.
fn change(bytes: &mut [u8], packet: &Packet<'_>, changes: &Changes) {
    let message = packet.header;
    let (source, destination) = if packet.is_v4 { (12..16, 16..20) } else { (8..24, 24..40) };
    let checksum_at = checksum_at(packet.protocol).map(|at| message + at).filter(|at| bytes.len() >= at + 2);
    let adjust = |bytes: &mut [u8], from: &[u8], to: &[u8]| {
        let Some(at) = checksum_at else { return };
        let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        // 0 is a UDP datagram without one.
        if packet.protocol != UDP || old != 0 {
            bytes[at..at + 2].copy_from_slice(&adjusted(old, from, to).to_be_bytes());
        }
    };
    for (addresses, field) in [(&changes.sources, source), (&changes.destinations, destination)] {
        if let Some(address) = of_family(addresses, packet.is_v4) {
            let to = octets(address);
            let from = bytes[field.clone()].to_vec();
            bytes[field].copy_from_slice(&to);
            if covers_addresses(packet.protocol) {
                adjust(bytes, &from, &to);
            }
        }
    }
    if let Some(port) = changes.destination_port
        && [TCP, UDP].contains(&packet.protocol)
        && bytes.len() >= message + 4
    {
        let from = [bytes[message + 2], bytes[message + 3]];
        bytes[message + 2..message + 4].copy_from_slice(&port.to_be_bytes());
        adjust(bytes, &from, &port.to_be_bytes());
    }
    if let (Some(sum), Some(at)) = (changes.checksum, checksum_at) {
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    if packet.is_v4 {
        if let Some(dscp) = changes.dscp {
            bytes[1] = dscp << 2 | bytes[1] & 3;
        }
        if let Some(identification) = changes.identification {
            bytes[4..6].copy_from_slice(&identification.to_be_bytes());
        }
        if let Some(ttl) = changes.ttl {
            bytes[8] = ttl;
        }
        sum_header(&mut bytes[..message]);
        if let Some(sum) = changes.header_checksum {
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    } else {
        let mut word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if let Some(dscp) = changes.dscp {
            word = word & !(0x3f << 22) | u32::from(dscp) << 22;
        }
        if let Some(label) = changes.flow_label {
            word = word & !0xf_ffff | label & 0xf_ffff;
        }
        bytes[..4].copy_from_slice(&word.to_be_bytes());
        if let Some(ttl) = changes.ttl {
            bytes[7] = ttl;
        }
    }
}

/// An extension with its header (RFC 4884, sections 7 and 8).
fn extension_bytes(extension: &Extension) -> Vec<u8> {
    // Version 2.
    let mut bytes = vec![0x20, 0, 0, 0];
    for object in &extension.objects {
        let length = u16::try_from(4 + object.payload.len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_be_bytes());
        bytes.extend([object.class, object.kind]);
        bytes.extend(&object.payload);
    }
    let right = checksum(&[&bytes]);
    let sum = match extension.sum {
        Sum::Right => right,
        Sum::Absent => 0,
        Sum::Wrong => right ^ 0x0101,
    };
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn of_family(addresses: &[IpAddr], is_v4: bool) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| address.is_ipv4() == is_v4)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
