//! Kinds of probe that the simulated network can be asked for: echolot's own, and one that is not echolot's, which shows what it takes
//! to add one.

use echolot::{
    wire::{Guess, Key, ProbeFields, RejectedReason, Template},
    worker::{Proven, Reader, Slots, WireReader},
};
use probe_ebpf::wire::{ethernet, icmp, icmpv6, ipv4, ipv6, payload};

/// How probes are made, and who reads their answers.
pub trait ProbeKind {
    /// Reads them.
    type Reader: Reader;

    /// Writes a probe into a frame that the template has laid.
    fn make(template: &Template, frame: &mut [u8], fields: &ProbeFields, key: &Key);
}

/// Echo, as echolot's engines send it.
pub struct Echo;

impl ProbeKind for Echo {
    type Reader = WireReader;

    fn make(template: &Template, frame: &mut [u8], fields: &ProbeFields, key: &Key) {
        template.write(frame, fields, key);
    }
}

/// Echo whose payload stands back to front behind its filler, word by word of 16 bits: the checksum is the same, and nothing that says
/// something is where echo has it.
pub struct BackToFront;

impl ProbeKind for BackToFront {
    type Reader = Self;

    fn make(template: &Template, frame: &mut [u8], fields: &ProbeFields, key: &Key) {
        template.write(frame, fields, key);
        turn(frame, message_at(frame) + icmp::HEADER);
    }
}

impl Reader for BackToFront {
    fn prove(frame: &[u8], key: &Key, slots: &impl Slots) -> Result<Proven, RejectedReason> {
        WireReader::prove(&restored(frame), key, slots)
    }

    fn guess(frame: &[u8]) -> Option<Guess> {
        WireReader::guess(&restored(frame))
    }
}

/// Whether a frame carries IPv6.
fn is_v6(frame: &[u8]) -> bool {
    frame.get(ethernet::ETHERTYPE).is_some_and(|ethertype| ethertype == ethernet::IPV6.to_be_bytes())
}

/// Where the ICMP message begins in a frame of the simulation: it has no tags, options and extension headers.
fn message_at(frame: &[u8]) -> usize {
    ethernet::HEADER + if is_v6(frame) { ipv6::HEADER } else { ipv4::HEADER }
}

/// Turns a payload round but for the filler, of which a bit may be anything. One that is cut short stays as it is.
fn turn(frame: &mut [u8], from: usize) {
    if let Some(payload) = frame.get_mut(from + payload::FILLER.end..from + payload::LENGTH) {
        let (words, _) = payload.as_chunks_mut::<2>();
        words.reverse();
    }
}

/// The frame as echo would have it.
fn restored(frame: &[u8]) -> Vec<u8> {
    let mut restored = frame.to_vec();
    let message = message_at(frame);
    let is_error = |kind: u8| if is_v6(frame) { icmpv6::is_error(kind) } else { icmp::is_error(kind) };
    let quotes = frame.get(message).is_some_and(|kind| is_error(*kind));
    // An error has as many headers in front of what it quotes as that has in front of its payload.
    let headers = message - ethernet::HEADER + icmp::HEADER;
    turn(&mut restored, ethernet::HEADER + if quotes { 2 * headers } else { headers });
    restored
}
