//! What `steer` makes of UDP, over both families: a DNS response to one of our ports is taken if its identifier proves itself, to the ports
//! whose answers have no proof any datagram is; an error about a probe of ours, if it quotes a proof that there is. All else is the
//! kernel's.

mod alike;
mod answers;
mod errors;

use super::{
    Rig,
    around::{self, FIRST_PORT},
    frames_v6,
    v6::settings_v6,
};
use echolot::{
    base::Family,
    wire::{Content, Kind, NumberIn, Shape},
};
use probe_ebpf::layout::Settings;

/// Ports whose answers have proof; they are the first.
const PROVEN: u16 = 3;
/// Ports whose answers have none.
const UNPROVEN: u16 = 16;
const PORTS: u16 = PROVEN + UNPROVEN;
/// Of the target.
const PORT: u16 = 53;

fn settings() -> Settings {
    Settings {
        first_port: FIRST_PORT,
        port_count: PORTS.into(),
        unproven_ports: UNPROVEN.into(),
        ..settings_v6(&[frames_v6::OURS])
    }
}

fn rig() -> Option<Rig> {
    let mut rig = Rig::load()?;
    rig.configure(&settings());
    rig.open_socket();
    Some(rig)
}

/// Our probe from a port, counted from the first.
fn shape(family: Family, flow: u16) -> Shape {
    let content = if flow < PROVEN { Content::dns("a.example TXT").unwrap() } else { Content::Bytes(b"echolot\n") };
    Shape { flow, ..Shape::of(Kind::Udp { port: PORT, content }).over(family) }
}

/// As it is quoted, IP header first.
fn probe(family: Family, flow: u16) -> Vec<u8> {
    around::quoted(shape(family, flow))
}

/// Where in a quote its UDP header begins.
fn datagram(family: Family) -> usize {
    if family == Family::V4 { 20 } else { 40 }
}

/// The identifier of our DNS question.
fn id(family: Family, flow: u16) -> u16 {
    let (probe, at) = (probe(family, flow), datagram(family) + 8);
    u16::from_be_bytes([probe[at], probe[at + 1]])
}

/// A DNS response with this identifier that is refused, and so many bytes more than its header.
fn response(id: u16, more: usize) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut message = vec![high, low, 0x81, 0x85, 0, 1, 0, 0, 0, 0, 0, 0];
    message.resize(12 + more, 7);
    message
}

/// By what userspace tells the number of a probe from this port.
fn told(port: u16) -> Option<NumberIn> {
    match port.checked_sub(FIRST_PORT)? {
        place if place < PROVEN => Some(NumberIn::Word),
        place if place < PORTS => Some(NumberIn::Port { first: FIRST_PORT + PROVEN, count: UNPROVEN }),
        _ => None,
    }
}
