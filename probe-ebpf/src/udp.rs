//! Which UDP datagrams are answers to probes of ours, and which that errors quote are such probes. Who is asked by DNS brings the probe's
//! keyed word back, its question's identifier; over IPv4 the word is every probe's identification too (`probe_ebpf::sequence`). Other
//! answers prove nothing and are taken by port and address: they come to ports of their own. Checksums are not looked at: on a veth pair
//! that of a local host is not filled in.

use crate::{
    flow,
    parse::{Datagram, Piece},
};
use aya_ebpf::programs::XdpContext;
use probe_ebpf::{
    layout::{Settings, Verdict},
    sequence,
    wire::{dns, icmp, udp},
};

/// Bytes of a datagram up to the end of a DNS header.
const HEADERS: usize = udp::HEADER + dns::HEADER;

/// No word, where there could be one. No Option: see `answer`.
pub(crate) const NO_WORD: u32 = u32::MAX;

/// What a datagram to one of our ports brings back.
pub(crate) struct Answer {
    /// As `sequence` wants them.
    ports: u32,
    /// The identifier of a DNS response; [`NO_WORD`]: nothing of it need be proof.
    word: u32,
}

impl Answer {
    /// An error if it can't be an answer.
    #[inline(always)]
    pub(crate) fn read<const HEADER: usize>(
        ctx: &XdpContext,
        datagram: &Datagram<HEADER>,
        settings: &Settings,
    ) -> Result<Self, Verdict> {
        let (header, length) = datagram.udp(ctx)?;
        let port = header.number(udp::DESTINATION);
        if !flow::is_port(settings, port) {
            return Err(Verdict::NotReply);
        }
        // Theirs and ours are the other way round in a probe.
        let ports = u32::from_le_bytes(header.bytes(udp::SOURCE.start..udp::DESTINATION.end)).rotate_left(16);
        if flow::is_unproven(settings, port) {
            return Ok(Self { ports, word: NO_WORD });
        }
        if length < HEADERS {
            return Err(Verdict::NotReply);
        }
        let headers = Piece::<HEADERS>::at(ctx, datagram.offset).ok_or(Verdict::Malformed)?;
        if headers.byte(udp::HEADER + dns::FLAGS) & dns::RESPONSE == 0 {
            return Err(Verdict::NotReply);
        }
        Ok(Self { ports, word: headers.number(udp::HEADER + dns::ID.start..udp::HEADER + dns::ID.end).into() })
    }

    /// Whether it proves that we sent the probe, if it must.
    #[inline(always)]
    pub(crate) fn prove<const WORDS: usize>(
        &self,
        settings: &Settings,
        addresses: [u64; WORDS],
    ) -> Result<(), Verdict> {
        if self.word == NO_WORD || sequence::is_our_word(&settings.key, addresses, self.ports, self.word as u16) {
            Ok(())
        } else {
            Err(Verdict::Cookie)
        }
    }
}

/// A datagram that an error quotes, as far as it goes.
pub(crate) struct Quote {
    pub(crate) header: Piece<{ icmp::HEADER }>,
    /// The identification of its IPv4 header; [`NO_WORD`] over IPv6.
    pub(crate) identification: u32,
    /// Where in the frame its data begins, if there is any.
    pub(crate) data: usize,
    /// Where in the frame the error ends.
    pub(crate) end: usize,
    /// It is quoted because it expired on the way.
    pub(crate) has_expired: bool,
}

impl Quote {
    /// Whether it is a probe of ours.
    #[inline(always)]
    pub(crate) fn prove<const WORDS: usize>(
        &self,
        ctx: &XdpContext,
        settings: &Settings,
        addresses: [u64; WORDS],
    ) -> Result<(), Verdict> {
        let ports = u32::from_le_bytes(self.header.bytes(udp::SOURCE.start..udp::DESTINATION.end));
        let is_ours = |word| sequence::is_our_word(&settings.key, addresses, ports, word);
        let is_unproven = flow::is_unproven(settings, self.header.number(udp::SOURCE));
        if self.identification == NO_WORD {
            if is_unproven {
                // Over IPv6 nothing of it is keyed.
                return Ok(());
            }
        } else if is_ours(self.identification as u16) {
            return Ok(());
        } else if is_unproven {
            // Of a probe that was to expire on the way the port will do, as over IPv6: somebody may have rewritten the identification, or
            // the address.
            let will_do = self.has_expired && settings.expiring_flows != 0;
            return if will_do { Ok(()) } else { Err(Verdict::ForeignQuote) };
        }
        if self.data + dns::ID.end > self.end {
            return Err(Verdict::ForeignQuote);
        }
        let id = Piece::<{ dns::ID.end }>::at(ctx, self.data).ok_or(Verdict::ForeignQuote)?;
        if is_ours(id.number(dns::ID)) { Ok(()) } else { Err(Verdict::ForeignQuote) }
    }
}
