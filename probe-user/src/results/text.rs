//! Lines for people.

use super::{
    fields::{push_address, push_padded, push_u64},
    human::push_span,
};
use crate::{
    base::{Nanos, Outcome, Settlement},
    enrich::Known,
    wire::{Kind, Shape},
};
use std::net::IpAddr;

/// Who a record is about.
pub(super) struct Subject<'a> {
    pub(super) group: &'a str,
    /// None where the target is known by its address alone.
    pub(super) name: Option<&'a str>,
    pub(super) address: Option<IpAddr>,
    /// What its probes look like.
    pub(super) shape: Shape,
    /// What is known of its address.
    pub(super) known: Option<&'a Known>,
}

/// Appends a result after its time: `host.example (10.64.0.1) seq=0 answered 41.2 us ttl=64`.
pub(super) fn result(record: &Settlement, subject: &Subject<'_>, with_group: bool, out: &mut Vec<u8>) {
    if with_group {
        out.extend_from_slice(subject.group.as_bytes());
        out.push(b' ');
    }
    push_subject(out, subject);
    out.extend_from_slice(b" seq=");
    push_u64(out, record.number.0);
    out.push(b' ');
    out.extend_from_slice(record.outcome().name().as_bytes());
    if let Some(rtt) = record.rtt() {
        out.push(b' ');
        push_span(out, rtt);
    }
    if let Some(ttl) = record.reply_ttl() {
        out.extend_from_slice(b" ttl=");
        push_u64(out, ttl.into());
    }
    if record.port().is_some() {
        out.extend_from_slice(b" (");
        push_port(out, record, subject);
        if let Some(rcode) = record.rcode() {
            out.extend_from_slice(b", ");
            out.extend_from_slice(rcode.name().as_bytes());
        }
        out.push(b')');
    }
    push_reason(out, record);
    out.push(b'\n');
}

/// Appends a result as the ping that people know writes it: `64 bytes from 10.64.0.1: icmp_seq=0 ttl=64 time=0.041 ms`, and of a port
/// `port 443 open at 10.64.0.1: seq=0 ttl=64 time=0.041 ms`, with a name server's `(NXDOMAIN)` behind `open`. What did not come back has a line too.
pub(super) fn ping(record: &Settlement, subject: &Subject<'_>, out: &mut Vec<u8>) {
    match record.outcome() {
        Outcome::Answered if record.port().is_some() => {
            push_port(out, record, subject);
            if let Some(rcode) = record.rcode() {
                out.extend_from_slice(b" (");
                out.extend_from_slice(rcode.name().as_bytes());
                out.push(b')');
            }
            out.extend_from_slice(b" at ");
        }
        Outcome::Answered => {
            // ping counts the ICMP header's 8 bytes, too.
            push_u64(out, u64::from(subject.shape.payload) + 8);
            out.extend_from_slice(b" bytes from ");
        }
        Outcome::Lost | Outcome::Unheard => out.extend_from_slice(b"no reply from "),
        Outcome::Unreachable => out.extend_from_slice(b"unreachable "),
        Outcome::Hop => out.extend_from_slice(b"hop on the way to "),
        Outcome::Unsent => out.extend_from_slice(b"not sent to "),
    }
    push_subject(out, subject);
    out.extend_from_slice(match subject.shape.kind {
        Kind::Echo => b": icmp_seq=",
        Kind::Tcp { .. } | Kind::Udp { .. } => b": seq=",
    });
    push_u64(out, record.number.0);
    match record.outcome() {
        Outcome::Answered => {
            if let Some(ttl) = record.reply_ttl() {
                out.extend_from_slice(b" ttl=");
                push_u64(out, ttl.into());
            }
            if let Some(rtt) = record.rtt() {
                out.extend_from_slice(b" time=");
                push_ping_time(out, rtt);
            }
        }
        Outcome::Lost => out.extend_from_slice(b" (lost)"),
        Outcome::Unheard => out.extend_from_slice(b" (unheard: this machine dropped received frames)"),
        Outcome::Unreachable | Outcome::Unsent | Outcome::Hop => push_reason(out, record),
    }
    out.push(b'\n');
}

/// `host.example (10.64.0.1)`, or the address alone; behind it `[AS64500 EXAMPLE]`, if that is known.
fn push_subject(out: &mut Vec<u8>, subject: &Subject<'_>) {
    let known = subject.known;
    match (subject.name.or_else(|| known?.name.as_deref()), subject.address) {
        (Some(name), Some(address)) => {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b" (");
            push_address(out, address);
            out.push(b')');
        }
        (Some(name), None) => out.extend_from_slice(name.as_bytes()),
        (None, Some(address)) => push_address(out, address),
        (None, None) => out.extend_from_slice(b"a target without an address"),
    }
    let Some((asn, known)) = known.and_then(|known| Some((known.asn?, known))) else { return };
    out.extend_from_slice(b" [AS");
    push_u64(out, asn.into());
    if let Some(name) = &known.as_name {
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b']');
}

/// `port 443 open`, or closed.
fn push_port(out: &mut Vec<u8>, record: &Settlement, subject: &Subject<'_>) {
    if let (Some(port), Some(state)) = (subject.shape.kind.port(), record.port()) {
        out.extend_from_slice(b"port ");
        push_u64(out, port.into());
        out.push(b' ');
        out.extend_from_slice(state.name().as_bytes());
    }
}

fn push_reason(out: &mut Vec<u8>, record: &Settlement) {
    if let Some(reason) = record.ended.reason() {
        out.extend_from_slice(b" (");
        out.extend_from_slice(reason.as_bytes());
        out.push(b')');
    }
    if let Some(from) = record.from() {
        out.extend_from_slice(b" from ");
        push_address(out, from);
    }
}

/// Milliseconds with as many decimals as iputils' ping shows: three below 1 ms, and one fewer for each figure more.
fn push_ping_time(out: &mut Vec<u8>, rtt: Nanos) {
    let micros = rtt.0 / 1_000;
    let decimals = match micros {
        0..1_000 => 3,
        1_000..10_000 => 2,
        10_000..100_000 => 1,
        _ => 0,
    };
    push_u64(out, micros / 1_000);
    if decimals > 0 {
        out.push(b'.');
        push_padded(out, micros % 1_000 / 10u64.pow(3 - decimals), decimals as usize);
    }
    out.extend_from_slice(b" ms");
}
