//! Reply frames of either family in every form that rule files know, made of the request's frame: of an echo request, of a SYN, or of a
//! UDP datagram; even ports are open and odd ones closed, but for port 53 of UDP, which answers questions. Written on its own: it shares with
//! `wire` where fields lie, and no code.

use crate::rules::Form;
use echolot::base::{Family, Nanos};
use probe_ebpf::far;
use probe_ebpf::wire::{dns, ethernet, icmp, icmpv6, ipv4, ipv6, payload, tcp, udp};
use std::{net::IpAddr, ops::Range};

const IP: usize = ethernet::HEADER;
/// Time to live, or hop limit, of replies and errors.
const TTL: u8 = 64;
/// Where questions are answered.
pub(crate) const DNS: u16 = 53;

/// Where a frame has what its family has in a place of its own, and which types of message that is.
struct Layout {
    source: Range<usize>,
    destination: Range<usize>,
    ttl: usize,
    reply: u8,
    /// Type and code of "host unreachable", or of its like.
    unreachable: (u8, u8),
    /// Those of "port unreachable".
    closed: (u8, u8),
    /// Those of "time exceeded".
    expired: (u8, u8),
    /// First bytes of addresses that are nobody's: for documentation.
    nobodys: &'static [u8],
}

/// Documentation's is 192.0.2.0/24 (RFC 5737).
const V4: Layout = Layout {
    source: behind(ipv4::SOURCE),
    destination: behind(ipv4::DESTINATION),
    ttl: IP + ipv4::TTL,
    reply: icmp::ECHO_REPLY,
    unreachable: (icmp::UNREACHABLE, 1),
    closed: (icmp::UNREACHABLE, 3),
    expired: (icmp::TIME_EXCEEDED, 0),
    nobodys: &[192, 0, 2],
};

/// Documentation's is 2001:db8::/32 (RFC 3849).
const V6: Layout = Layout {
    source: behind(ipv6::SOURCE),
    destination: behind(ipv6::DESTINATION),
    ttl: IP + ipv6::HOP_LIMIT,
    reply: icmpv6::ECHO_REPLY,
    unreachable: (icmpv6::UNREACHABLE, 3),
    closed: (icmpv6::UNREACHABLE, 4),
    expired: (icmpv6::TIME_EXCEEDED, 0),
    nobodys: &[0x20, 1, 0xd, 0xb8],
};

/// A field of the IP header, by its place in the frame.
const fn behind(field: Range<usize>) -> Range<usize> {
    IP + field.start..IP + field.end
}

impl Layout {
    const fn of(family: Family) -> &'static Self {
        match family {
            Family::V4 => &V4,
            Family::V6 => &V6,
        }
    }
}

/// Of a frame of the far end's or the simulation's: the family of what it carries, and where its ICMP message, TCP segment or UDP datagram begins. None:
/// it has no IP header, or not all of it.
pub fn message_at(frame: &[u8]) -> Option<(Family, usize)> {
    let first = *frame.get(IP)?;
    let (family, header) = match ipv4::header_length(first) {
        Some(header) => (Family::V4, header),
        None if ipv6::is_version(first)
            && matches!(*frame.get(IP + ipv6::NEXT_HEADER)?, ipv6::ICMP | ipv6::TCP | ipv6::UDP) =>
        {
            (Family::V6, ipv6::HEADER)
        }
        None => return None,
    };
    (frame.len() >= IP + header + icmp::HEADER).then_some((family, IP + header))
}

/// Its time to live, or hop limit.
pub fn ttl(frame: &[u8]) -> Option<u8> {
    let (family, _) = message_at(frame)?;
    frame.get(Layout::of(family).ttl).copied()
}

/// Gives a frame another one, with which it arrives after routers on its way. Whether it has an IP header.
pub fn arrive_with(frame: &mut [u8], ttl: u8) -> bool {
    let Some((family, message)) = message_at(frame) else { return false };
    frame[Layout::of(family).ttl] = ttl;
    if family == Family::V4 {
        sum_into(&mut frame[IP..message], ipv4::CHECKSUM.start, 0);
    }
    true
}

/// What a frame carries, of which the family is known: TCP and UDP have the same number in both.
pub fn protocol(frame: &[u8], family: Family) -> u8 {
    match family {
        Family::V4 => frame[IP + ipv4::PROTOCOL],
        Family::V6 => frame[IP + ipv6::NEXT_HEADER],
    }
}

/// What a request says of itself, as in records.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "told where records are: `Witnessed`")]
pub struct Said {
    pub sequence: u32,
    pub identifier: u16,
    pub port: u16,
    pub udp: bool,
    /// None: it does not say it.
    pub sent: Option<Nanos>,
}

/// Reads it, of a frame as [`reply`] takes it, which arrived then. None: it is neither an echo request nor a SYN with a stamp in it, nor a
/// UDP datagram.
pub fn said(request: &[u8], arrival: Nanos) -> Option<Said> {
    let (family, at) = message_at(request)?;
    let message = request.get(at..)?;
    let protocol = protocol(request, family);
    if protocol == ipv4::UDP {
        let port = u16::from_be_bytes(field(message, udp::DESTINATION)?);
        let word = match family {
            _ if port == DNS => field(message, udp::HEADER + dns::ID.start..udp::HEADER + dns::ID.end)?,
            Family::V4 => field(request, behind(ipv4::IDENTIFICATION))?,
            Family::V6 => [0; 2],
        };
        return Some(Said {
            sequence: u16::from_be_bytes(word).into(),
            identifier: u16::from_be_bytes(field(message, udp::SOURCE)?),
            port,
            udp: true,
            sent: None,
        });
    }
    if protocol == ipv4::TCP {
        let sent = tcp::HEADER + tcp::TIMESTAMP.start..tcp::HEADER + tcp::TIMESTAMP.end;
        return Some(Said {
            sequence: u32::from_be_bytes(field(message, tcp::SEQUENCE)?),
            identifier: u16::from_be_bytes(field(message, tcp::SOURCE)?),
            port: u16::from_be_bytes(field(message, tcp::DESTINATION)?),
            udp: false,
            sent: Some(Nanos(far::timestamp(u32::from_be_bytes(field(message, sent)?)))),
        });
    }
    let probe = message.get(icmp::HEADER..).filter(|probe| probe.len() >= payload::LENGTH)?;
    Some(Said {
        sequence: u16::from_be_bytes(field(message, icmp::SEQUENCE)?).into(),
        identifier: u16::from_be_bytes(field(message, icmp::IDENTIFIER)?),
        port: 0,
        udp: false,
        sent: Some(Nanos(payload::sent(u64::from_be_bytes(field(probe, payload::FILLER_AND_SENT)?), arrival.0))),
    })
}

fn field<const N: usize>(bytes: &[u8], at: Range<usize>) -> Option<[u8; N]> {
    bytes.get(at)?.try_into().ok()
}

/// Makes a reply to an echo request, a SYN or a UDP datagram: an untagged Ethernet frame with an IP header and at least a probe's payload. The
/// reply is written to `reply`, whose content is lost. `twist` chooses the bit or the address where the form has one to
/// choose; errors come from `router`, which has an address of the request's family. False: that is no such request.
pub fn reply(request: &[u8], form: Form, twist: u64, router: IpAddr, reply: &mut Vec<u8>) -> bool {
    reply.clear();
    let Some((family, message)) = message_at(request) else { return false };
    let probe = message + icmp::HEADER;
    let protocol = protocol(request, family);
    let least = match protocol {
        ipv4::TCP => message + tcp::HEADER,
        ipv4::UDP => message + udp::HEADER,
        _ => probe + payload::LENGTH,
    };
    if request.len() < least || Family::of(router) != family {
        return false;
    }
    // Both are far below what a usize holds.
    #[expect(clippy::cast_possible_truncation, reason = "64-bit machines only: eBPF's own word")]
    let twist = twist as usize;
    if matches!(form, Form::Error | Form::ShortError | Form::CorruptError) {
        let kind = Layout::of(family).unreachable;
        let quote = error(request, message, form, router, kind, reply);
        if form == Form::CorruptError {
            flip(&mut reply[quote..], twist);
        }
        return true;
    }
    let layout = Layout::of(family);
    if protocol == ipv4::UDP {
        datagram(request, family, message, form, twist, reply);
        return true;
    }
    if protocol == ipv4::TCP {
        segment(request, family, message, reply);
        return alter(reply, layout, message, form, twist);
    }
    reply.extend_from_slice(request);
    swap(reply, ethernet::DESTINATION, ethernet::SOURCE);
    swap(reply, layout.source.clone(), layout.destination.clone());
    reply[message + icmp::TYPE] = layout.reply;
    if form == Form::Stranger {
        reply[layout.source.start..][..layout.nobodys.len()].copy_from_slice(layout.nobodys);
    }
    if form == Form::Forged {
        reply[layout.source.end - 1] ^= u8::try_from(1 + twist % 255).unwrap_or(1);
        reply[probe + payload::TARGET.end - 1] ^= u8::try_from(1 + twist / 255 % 255).unwrap_or(1);
    }
    if form == Form::Cookie {
        flip(&mut reply[probe + payload::COOKIE.start..probe + payload::COOKIE.end], twist);
    }
    reply[layout.ttl] = TTL;
    if family == Family::V4 {
        sum_into(&mut reply[IP..message], ipv4::CHECKSUM.start, 0);
    }
    sum_message(reply, family, message);
    if form == Form::Payload {
        flip(&mut reply[probe..], twist);
    }
    true
}

/// Makes the error of the router at which a probe expired, instead of a reply of that form. It arrives with this time to live, and quotes
/// all of the probe or as little as there may be; a bit of the quote is flipped where one of the reply's payload would be, and what of it is
/// keyed is wrong where a reply would be forged, in one way or another. `out`, `twist`, and what is returned: as in [`reply`].
pub fn expired(request: &[u8], form: Form, twist: u64, (router, ttl): (IpAddr, u8), out: &mut Vec<u8>) -> bool {
    out.clear();
    let Some((family, message)) = message_at(request).filter(|(family, _)| *family == Family::of(router)) else {
        return false;
    };
    let layout = Layout::of(family);
    let quote = error(request, message, form, router, layout.expired, out);
    out[layout.ttl] = ttl;
    let own = quote - icmp::HEADER;
    if family == Family::V4 {
        sum_into(&mut out[IP..own], ipv4::CHECKSUM.start, 0);
    }
    // Far below what a usize holds.
    #[expect(clippy::cast_possible_truncation, reason = "64-bit machines only: eBPF's own word")]
    let twist = twist as usize;
    match form {
        Form::Good | Form::Error | Form::ShortError => {}
        Form::Payload | Form::CorruptError => flip(&mut out[quote..], twist),
        Form::Cookie | Form::Forged | Form::Stranger => {
            forge(&mut out[quote..], family, protocol(request, family), twist);
            sum_message(out, family, own);
        }
    }
    true
}

/// Makes wrong what is keyed of a probe that is quoted as a whole: of an echo request the cookie, of a SYN the sequence number, of a question
/// the identifier and over IPv4 the identification. Of what has no more than that over IPv4 or nothing over IPv6, the port too: it is then
/// nobody's.
fn forge(quote: &mut [u8], family: Family, protocol: u8, twist: usize) {
    let message = match family {
        Family::V4 => {
            // Of a UDP probe's the upper byte is proof.
            quote[ipv4::IDENTIFICATION.start] ^= u8::try_from(1 + twist % 255).unwrap_or(1);
            ipv4::HEADER
        }
        Family::V6 => ipv6::HEADER,
    };
    let probe = &mut quote[message..];
    match protocol {
        // Without the byte that is the probe's number, masked.
        ipv4::TCP => flip(&mut probe[tcp::SEQUENCE.start..tcp::SEQUENCE.end - 1], twist),
        ipv4::UDP if probe[udp::DESTINATION] == DNS.to_be_bytes() => {
            probe[udp::HEADER + dns::ID.start] ^= u8::try_from(1 + twist % 255).unwrap_or(1);
        }
        ipv4::UDP => probe[udp::SOURCE.start] ^= 0x80,
        _ => flip(&mut probe[icmp::HEADER + payload::COOKIE.start..icmp::HEADER + payload::COOKIE.end], twist),
    }
}

/// The answer to a SYN: an even port is open, an odd one closed.
fn segment(request: &[u8], family: Family, message: usize, out: &mut Vec<u8>) {
    let layout = Layout::of(family);
    out.extend_from_slice(&request[..message]);
    out.resize(message + tcp::HEADER, 0);
    swap(out, ethernet::DESTINATION, ethernet::SOURCE);
    swap(out, layout.source.clone(), layout.destination.clone());
    out[layout.ttl] = TTL;
    let syn = &request[message..];
    let (headers, answer) = out.split_at_mut(message);
    let is_open = syn[tcp::DESTINATION.end - 1].is_multiple_of(2);
    answer[tcp::SOURCE].copy_from_slice(&syn[tcp::DESTINATION]);
    answer[tcp::DESTINATION].copy_from_slice(&syn[tcp::SOURCE]);
    answer[tcp::OFFSET] = (tcp::HEADER as u8 / 4) << 4;
    answer[tcp::FLAGS] = tcp::ACK | if is_open { tcp::SYN } else { tcp::RST };
    if is_open {
        answer[tcp::SEQUENCE].copy_from_slice(&[1, 2, 3, 4]);
        answer[tcp::WINDOW].copy_from_slice(&[0xff, 0xff]);
    }
    let sequence = u32::from_be_bytes([syn[4], syn[5], syn[6], syn[7]]);
    answer[tcp::ACKNOWLEDGMENT].copy_from_slice(&sequence.wrapping_add(1).to_be_bytes());
    let length = answer.len();
    match family {
        Family::V4 => {
            let total = u16::try_from(message - IP + length).unwrap_or(u16::MAX);
            headers[IP + ipv4::TOTAL_LENGTH.start..][..2].copy_from_slice(&total.to_be_bytes());
            sum_into(&mut headers[IP..], ipv4::CHECKSUM.start, 0);
        }
        Family::V6 => {
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            headers[IP + ipv6::PAYLOAD_LENGTH.start..][..2].copy_from_slice(&length.to_be_bytes());
        }
    }
    let addresses = words(&headers[layout.source.start..layout.destination.end]);
    sum_into(answer, tcp::CHECKSUM.start, addresses + u32::from(ipv4::TCP) + u32::try_from(length).unwrap_or(u32::MAX));
}

/// The answer to a UDP datagram, harmed as its form says: from another port than was asked, or with an identifier that no question had.
/// About a closed port the host itself sends an error, of which a bit is then wrong.
fn datagram(request: &[u8], family: Family, message: usize, form: Form, twist: usize, out: &mut Vec<u8>) {
    let layout = Layout::of(family);
    let asked = &request[message..];
    let port = u16::from_be_bytes([asked[udp::DESTINATION.start], asked[udp::DESTINATION.start + 1]]);
    if !port.is_multiple_of(2) && port != DNS {
        let host = match family {
            Family::V4 => field(request, layout.destination.clone()).map(|host: [u8; 4]| IpAddr::from(host)),
            Family::V6 => field(request, layout.destination.clone()).map(|host: [u8; 16]| IpAddr::from(host)),
        };
        let Some(host) = host else { return };
        let quote = error(request, message, Form::Error, host, layout.closed, out);
        if form != Form::Good {
            flip(&mut out[quote..], twist);
        }
        return;
    }
    out.extend_from_slice(request);
    swap(out, ethernet::DESTINATION, ethernet::SOURCE);
    swap(out, layout.source.clone(), layout.destination.clone());
    if form == Form::Stranger {
        out[layout.source.start..][..layout.nobodys.len()].copy_from_slice(layout.nobodys);
    }
    out[layout.ttl] = TTL;
    if family == Family::V4 {
        sum_into(&mut out[IP..message], ipv4::CHECKSUM.start, 0);
    }
    let (headers, answer) = out.split_at_mut(message);
    swap(answer, udp::SOURCE, udp::DESTINATION);
    if port == DNS && answer.len() >= udp::HEADER + dns::HEADER {
        answer[udp::HEADER + dns::FLAGS] |= dns::RESPONSE;
    }
    match form {
        // Of an identifier the upper byte is proof.
        Form::Payload | Form::Cookie if port == DNS => flip(&mut answer[udp::HEADER..=udp::HEADER], twist),
        Form::Payload | Form::Cookie | Form::Forged => {
            answer[udp::SOURCE.start] ^= u8::try_from(1 + twist % 255).unwrap_or(1);
        }
        _ => {}
    }
    let beside = words(&headers[layout.source.start..layout.destination.end]) + u32::from(ipv4::UDP);
    sum_into(answer, udp::CHECKSUM.start, beside + u32::try_from(answer.len()).unwrap_or(u32::MAX));
}

/// Harms an answer to a SYN as its form says. What is harmed is what it proves itself by: nothing else of it is believed.
fn alter(answer: &mut [u8], layout: &Layout, message: usize, form: Form, twist: usize) -> bool {
    // Without the last bit: a RST may acknowledge the SYN or not.
    let acknowledged = message + tcp::ACKNOWLEDGMENT.start..message + tcp::ACKNOWLEDGMENT.end - 1;
    match form {
        Form::Payload | Form::Cookie => flip(&mut answer[acknowledged], twist),
        Form::Forged => answer[layout.source.end - 1] ^= u8::try_from(1 + twist % 255).unwrap_or(1),
        Form::Stranger => {
            answer[layout.source.start..][..layout.nobodys.len()].copy_from_slice(layout.nobodys);
        }
        _ => {}
    }
    true
}

/// Writes an error of this type and code. Returns where its quote begins.
fn error(request: &[u8], message: usize, form: Form, router: IpAddr, kind: (u8, u8), out: &mut Vec<u8>) -> usize {
    let end = if form == Form::ShortError { message + icmp::HEADER } else { request.len() };
    let (family, layout) = (Family::of(router), Layout::of(Family::of(router)));
    let own = match family {
        Family::V4 => IP + ipv4::HEADER,
        Family::V6 => IP + ipv6::HEADER,
    };
    let quote = own + icmp::HEADER;
    out.extend_from_slice(&request[..IP]);
    out.resize(quote, 0);
    out.extend_from_slice(&request[IP..end]);
    swap(out, ethernet::DESTINATION, ethernet::SOURCE);
    out[layout.ttl] = TTL;
    out[layout.destination.clone()].copy_from_slice(&request[layout.source.clone()]);
    match router {
        IpAddr::V4(router) => {
            let total = u16::try_from(out.len() - IP).unwrap_or(u16::MAX);
            let ip = &mut out[IP..own];
            ip[ipv4::VERSION] = 0x45;
            ip[ipv4::TOTAL_LENGTH].copy_from_slice(&total.to_be_bytes());
            ip[ipv4::PROTOCOL] = ipv4::ICMP;
            ip[ipv4::SOURCE].copy_from_slice(&router.octets());
            sum_into(ip, ipv4::CHECKSUM.start, 0);
        }
        IpAddr::V6(router) => {
            let length = u16::try_from(out.len() - own).unwrap_or(u16::MAX);
            let ip = &mut out[IP..own];
            ip[ipv6::FLOW].copy_from_slice(&ipv6::VERSION.to_be_bytes());
            ip[ipv6::PAYLOAD_LENGTH].copy_from_slice(&length.to_be_bytes());
            ip[ipv6::NEXT_HEADER] = ipv6::ICMP;
            ip[ipv6::SOURCE].copy_from_slice(&router.octets());
        }
    }
    // A router has counted the time to live down before it found out.
    let ttl = quote + layout.ttl - IP;
    out[ttl] = out[ttl].saturating_sub(1);
    if family == Family::V4 {
        sum_into(&mut out[quote..quote + message - IP], ipv4::CHECKSUM.start, 0);
    }
    (out[own + icmp::TYPE], out[own + icmp::CODE]) = kind;
    sum_message(out, family, own);
    quote
}

/// Exchanges two fields of the same length, the first in front of the second.
fn swap(frame: &mut [u8], first: Range<usize>, second: Range<usize>) {
    let (a, b) = frame.split_at_mut(second.start);
    a[first].swap_with_slice(&mut b[..second.len()]);
}

fn flip(bytes: &mut [u8], bit: usize) {
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// Writes the checksum of the ICMP message that begins at `message` into it. That of ICMPv6 covers addresses, length and next header too
/// (RFC 8200, section 8.1).
fn sum_message(frame: &mut [u8], family: Family, message: usize) {
    let (headers, body) = frame.split_at_mut(message);
    let beside = match family {
        Family::V4 => 0,
        Family::V6 => {
            let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
            words(&headers[V6.source.start..V6.destination.end]) + length + u32::from(ipv6::ICMP)
        }
    };
    sum_into(body, icmp::CHECKSUM.start, beside);
}

/// Writes the Internet checksum of `bytes`, and of what has been summed `beside` them, into them (RFC 1071).
fn sum_into(bytes: &mut [u8], at: usize, beside: u32) {
    bytes[at..at + 2].fill(0);
    let sum = words(bytes) + beside;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(u16::MAX);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of words of 16 bits. A frame has fewer of them than would make it too large.
fn words(bytes: &[u8]) -> u32 {
    let (pairs, odd) = bytes.as_chunks();
    let words = pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair)));
    words.sum::<u32>() + odd.first().map_or(0, |last| u32::from(*last) << 8)
}
