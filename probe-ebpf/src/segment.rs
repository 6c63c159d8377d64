//! Which TCP segments are answers to SYNs of ours, and which that errors quote are such SYNs: those whose sequence number proves itself
//! (`probe_ebpf::sequence`). Checksums are not looked at: on a veth pair that of a local host is not filled in.

use crate::{flow, parse::Piece};
use probe_ebpf::{
    layout::{Settings, Verdict},
    sequence,
    wire::{icmp, tcp},
};

const SYN_ACK: u8 = tcp::SYN | tcp::ACK;
const RST_ACK: u8 = tcp::RST | tcp::ACK;

/// What a segment to one of our ports says by its flags; an error if it can't be an answer.
#[inline(always)]
pub(crate) fn read(settings: &Settings, segment: Piece<{ tcp::HEADER }>) -> Result<u8, Verdict> {
    let says = segment.byte(tcp::FLAGS) & (tcp::SYN | tcp::RST | tcp::FIN | tcp::ACK);
    let is_answer = matches!(says, SYN_ACK | RST_ACK | tcp::ACK | tcp::RST);
    if is_answer && flow::is_port(settings, segment.number(tcp::DESTINATION)) {
        Ok(says)
    } else {
        Err(Verdict::NotReply)
    }
}

/// Whether a segment that says so acknowledges a SYN of ours.
#[inline(always)]
pub(crate) fn prove<const WORDS: usize>(
    settings: &Settings,
    addresses: [u64; WORDS],
    segment: Piece<{ tcp::HEADER }>,
    says: u8,
) -> Result<(), Verdict> {
    if says == tcp::RST {
        return Err(Verdict::ResetWithoutAck);
    }
    // Theirs and ours are the other way round in a SYN.
    let ports = u32::from_le_bytes(segment.bytes(tcp::SOURCE.start..tcp::DESTINATION.end)).rotate_left(16);
    let acknowledged = u32::from_be_bytes(segment.bytes(tcp::ACKNOWLEDGMENT));
    if sequence::is_ours(&settings.key, addresses, ports, acknowledged.wrapping_sub(1)) {
        return Ok(());
    }
    match says {
        // RFC 9293 has a RST acknowledge the SYN; some hosts acknowledge nothing of it.
        RST_ACK if sequence::is_ours(&settings.key, addresses, ports, acknowledged) => Ok(()),
        tcp::ACK => Err(Verdict::NotReply),
        _ => Err(Verdict::Cookie),
    }
}

/// Whether a segment that an error quotes, as far as every error does, is a SYN of ours.
#[inline(always)]
pub(crate) fn prove_quote<const WORDS: usize>(
    settings: &Settings,
    addresses: [u64; WORDS],
    quoted: Piece<{ icmp::HEADER }>,
) -> Result<(), Verdict> {
    let ports = u32::from_le_bytes(quoted.bytes(tcp::SOURCE.start..tcp::DESTINATION.end));
    let sequence = u32::from_be_bytes(quoted.bytes(tcp::SEQUENCE));
    if sequence::is_ours(&settings.key, addresses, ports, sequence) { Ok(()) } else { Err(Verdict::ForeignQuote) }
}
