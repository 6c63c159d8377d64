//! Reply frames in every form that rule files know, made of the request's frame. Written on its own: it shares with
//! `wire` where fields lie, and no code.

use crate::rules::Form;
use probe_ebpf::wire::{ethernet, icmp, ipv4, payload};
use std::net::Ipv4Addr;

const IP: usize = ethernet::HEADER;
/// Time to live of replies and errors.
const TTL: u8 = 64;
/// What an ICMP error has in front of its quote.
const ERROR: usize = IP + ipv4::HEADER + icmp::HEADER;
const HOST_UNREACHABLE: (u8, u8) = (3, 1);

/// Makes a reply to an echo request: an untagged Ethernet frame with an IPv4 header and at least a probe's payload. The
/// reply is written to `reply`, whose content is lost. `twist` chooses the bit or the address where the form has one to
/// choose; errors come from `router`. False: that is no such request.
pub fn reply(request: &[u8], form: Form, twist: u64, router: Ipv4Addr, reply: &mut Vec<u8>) -> bool {
    reply.clear();
    let Some(message) = message_at(request) else { return false };
    // Both are far below what a usize holds.
    #[expect(clippy::cast_possible_truncation, reason = "64-bit machines only: eBPF's own word")]
    let twist = twist as usize;
    if matches!(form, Form::Error | Form::ShortError | Form::CorruptError) {
        error(request, message, form, router, reply);
        if form == Form::CorruptError {
            flip(&mut reply[ERROR..], twist);
        }
        return true;
    }
    reply.extend_from_slice(request);
    swap(reply);
    let probe = message + icmp::HEADER;
    let length = request.len() - probe;
    reply[message + icmp::TYPE] = icmp::ECHO_REPLY;
    if form == Form::Stranger {
        // 192.0.2.0/24 is nobody's (RFC 5737).
        reply[IP + ipv4::SOURCE.start..IP + ipv4::SOURCE.start + 3].copy_from_slice(&[192, 0, 2]);
    }
    if form == Form::Forged {
        reply[IP + ipv4::SOURCE.end - 1] ^= u8::try_from(1 + twist % 255).unwrap_or(1);
        reply[probe + payload::TARGET.end - 1] ^= u8::try_from(1 + twist / 255 % 255).unwrap_or(1);
    }
    if form == Form::Cookie {
        flip(&mut reply[probe + payload::COOKIE.start..probe + payload::COOKIE.end], twist);
    }
    reply[IP + ipv4::TTL] = TTL;
    sum_into(&mut reply[IP..message], ipv4::CHECKSUM.start);
    sum_into(&mut reply[message..], icmp::CHECKSUM.start);
    if form == Form::Payload {
        flip(&mut reply[probe..probe + length], twist);
    }
    true
}

/// Where the ICMP message begins; the request must end with it, or be padded to the least that Ethernet carries.
fn message_at(request: &[u8]) -> Option<usize> {
    let header = ipv4::header_length(*request.get(IP)?)?;
    (request.len() >= IP + header + icmp::HEADER + payload::LENGTH).then_some(IP + header)
}

fn error(request: &[u8], message: usize, form: Form, router: Ipv4Addr, out: &mut Vec<u8>) {
    let end = if form == Form::ShortError { message + icmp::HEADER } else { request.len() };
    out.extend_from_slice(&request[..IP]);
    out.resize(ERROR, 0);
    out.extend_from_slice(&request[IP..end]);
    out.copy_within(ethernet::SOURCE, 0);
    out[ethernet::SOURCE].copy_from_slice(&request[ethernet::DESTINATION]);
    let total = u16::try_from(out.len() - IP).unwrap_or(u16::MAX);
    let ip = &mut out[IP..IP + ipv4::HEADER];
    ip[ipv4::VERSION] = 0x45;
    ip[ipv4::TOTAL_LENGTH].copy_from_slice(&total.to_be_bytes());
    ip[ipv4::TTL] = TTL;
    ip[ipv4::PROTOCOL] = ipv4::ICMP;
    ip[ipv4::SOURCE].copy_from_slice(&router.octets());
    ip[ipv4::DESTINATION].copy_from_slice(&request[IP + ipv4::SOURCE.start..IP + ipv4::SOURCE.end]);
    sum_into(ip, ipv4::CHECKSUM.start);
    // A router has counted the time to live down before it found out.
    let quote = &mut out[ERROR..];
    quote[ipv4::TTL] = quote[ipv4::TTL].saturating_sub(1);
    let header = message - IP;
    sum_into(&mut quote[..header], ipv4::CHECKSUM.start);
    let (kind, code) = HOST_UNREACHABLE;
    out[IP + ipv4::HEADER + icmp::TYPE] = kind;
    out[IP + ipv4::HEADER + icmp::CODE] = code;
    sum_into(&mut out[IP + ipv4::HEADER..], icmp::CHECKSUM.start);
}

/// Back to where it came from.
fn swap(frame: &mut [u8]) {
    let (a, b) = frame.split_at_mut(ethernet::SOURCE.start);
    a.swap_with_slice(&mut b[..6]);
    let (a, b) = frame[IP + ipv4::SOURCE.start..].split_at_mut(4);
    a.swap_with_slice(&mut b[..4]);
}

fn flip(bytes: &mut [u8], bit: usize) {
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// Writes the Internet checksum of `bytes` into them (RFC 1071).
fn sum_into(bytes: &mut [u8], at: usize) {
    bytes[at..at + 2].fill(0);
    let (pairs, odd) = bytes.as_chunks();
    let words = pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair)));
    // A frame has fewer words than would make this too large.
    let sum = words.sum::<u32>() + odd.first().map_or(0, |last| u32::from(*last) << 8);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(u16::MAX);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}
