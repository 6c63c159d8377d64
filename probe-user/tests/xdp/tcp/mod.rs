//! What `steer` makes of TCP, over both families: what answers a SYN of ours, or is an error about one, is taken if its sequence number
//! proves itself; all else is the kernel's.

mod alike;
mod answers;
mod errors;

use super::{
    Rig,
    around::{self, FIRST_PORT, NUMBER, theirs},
    frames::Segment,
    frames_v6,
    v6::settings_v6,
};
use crate::KEY;
use echolot::{
    base::{Family, PortState, Sequence},
    wire::{Key, Kind, Says, Shape},
};
use probe_ebpf::layout::Settings;

const PORTS: u16 = 3;
const PORT: u16 = 443;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

fn settings() -> Settings {
    Settings { first_port: FIRST_PORT, port_count: PORTS.into(), ..settings_v6(&[frames_v6::OURS]) }
}

fn rig() -> Option<Rig> {
    let mut rig = Rig::load()?;
    rig.configure(&settings());
    rig.open_socket();
    Some(rig)
}

fn shape(family: Family, flow: u16) -> Shape {
    Shape { flow, ..Shape::of(Kind::Tcp { port: PORT }).over(family) }
}

/// The sequence number of our SYN.
fn initial(family: Family, flow: u16) -> u32 {
    let template = around::template(shape(family, flow));
    template.initial_sequence(theirs(family), Sequence(NUMBER), &Key(KEY)).unwrap()
}

/// A segment with these flags that acknowledges so much beyond our SYN.
fn answer(family: Family, flags: u8, beyond: u32) -> Segment {
    Segment {
        ports: (PORT, FIRST_PORT + 1),
        flags,
        acknowledgment: initial(family, 1).wrapping_add(beyond),
        ..Segment::default()
    }
}

/// All answers that there are: flags, what is acknowledged, and what it says.
const ANSWERS: [(u8, u32, Says); 4] = [
    (SYN | ACK, 1, Says::Port(PortState::Open)),
    (RST | ACK, 1, Says::Port(PortState::Closed)),
    (RST | ACK, 0, Says::Port(PortState::Closed)),
    (ACK, 1, Says::HalfOpen),
];

/// Our SYN as it is quoted, IP header first.
fn syn(family: Family, flow: u16) -> Vec<u8> {
    around::quoted(shape(family, flow))
}
