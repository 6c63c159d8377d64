//! Which ICMPv6 messages are about echo probes of ours. How such a probe is made is in `probe_v6`. Errors that quote a probe to a port are
//! read here too, and judged in `segment` and `udp`.

use crate::{
    answer::{coarse_clock, is_of_flow, judge_age},
    parse::{self, Piece},
};
use aya_ebpf::programs::XdpContext;
use probe_ebpf::{
    cookie,
    layout::{Settings, Verdict},
    wire::{icmp, icmpv6, ipv6, payload},
};

type Message = parse::Message<{ ipv6::HEADER }>;

/// What a message says of a probe: echoed by a reply, or quoted by an error.
pub(crate) struct Answer {
    /// The first bytes of the probe itself: its ICMPv6 or UDP header, or as much of its TCP header.
    pub(crate) icmp: Piece<{ icmp::HEADER }>,
    /// In words, as it lies in memory.
    pub(crate) destination: [u64; 2],
    /// That of the probe: ICMP, TCP or UDP.
    pub(crate) protocol: u8,
    /// Where in the frame its payload begins, if there is as much of it.
    pub(crate) payload: usize,
    /// It is quoted because it expired on the way, by somebody who forwards.
    pub(crate) has_expired: bool,
}

impl Answer {
    /// Reads it, and says what it is if the identifier turns out to be somebody else's. Neighbour discovery and everything else that is
    /// neither reply nor error is the kernel's.
    #[inline(always)]
    pub(crate) fn read(ctx: &XdpContext, message: &Message, zero: u32) -> Result<(Self, Verdict), Verdict> {
        match (message.icmp.byte(icmp::TYPE), message.icmp.byte(icmp::CODE)) {
            (icmpv6::ECHO_REPLY, 0) => Ok((Self::echoed(message), Verdict::ForeignIdentifier)),
            (kind, _) if icmpv6::is_error(kind) => {
                Ok((Self::quoted(ctx, message, zero).ok_or(Verdict::ForeignQuote)?, Verdict::ForeignQuote))
            }
            _ => Err(Verdict::NotReply),
        }
    }

    /// Of the probe.
    #[inline(always)]
    pub(crate) fn identifier(&self) -> u16 {
        self.icmp.number(icmp::IDENTIFIER)
    }

    #[inline(always)]
    pub(crate) fn echoed(reply: &Message) -> Self {
        Self {
            icmp: reply.icmp,
            destination: reply.ip.address(ipv6::SOURCE),
            protocol: ipv6::ICMP,
            payload: reply.offset + icmp::HEADER,
            has_expired: false,
        }
    }

    /// None: what is quoted is none of the three from the address that the error was sent to, or there is too little of it.
    #[inline(always)]
    fn quoted(ctx: &XdpContext, error: &Message, zero: u32) -> Option<Self> {
        let ip = Piece::<{ ipv6::HEADER }>::at(ctx, error.offset + icmp::HEADER)?;
        let first = error.offset + icmp::HEADER + ipv6::HEADER;
        let (protocol, offset) = parse::walk(ctx, ip.byte(ipv6::NEXT_HEADER), first, zero).ok()?;
        let icmp = Piece::<{ icmp::HEADER }>::at(ctx, offset)?;
        let is_to_port = matches!(protocol, ipv6::TCP | ipv6::UDP);
        let is_request =
            protocol == ipv6::ICMP && icmp.byte(icmp::TYPE) == icmpv6::ECHO_REQUEST && icmp.byte(icmp::CODE) == 0;
        let is_from_here = error.offset + error.length >= offset + icmp::HEADER
            && ipv6::is_version(ip.byte(0))
            && ip.address(ipv6::SOURCE) == error.ip.address(ipv6::DESTINATION);
        (is_from_here && (is_request || is_to_port)).then_some(Self {
            icmp,
            destination: ip.address(ipv6::DESTINATION),
            protocol,
            payload: offset + icmp::HEADER,
            has_expired: error.icmp.bytes(icmp::TYPE..icmp::CODE + 1) == [icmpv6::TIME_EXCEEDED, 0],
        })
    }

    /// Whether we sent the probe, to that address, not too long ago. `end`: of the message, in the frame. All of the proof must be there:
    /// errors quote as much as fits 1,280 bytes (RFC 4443, section 2.4). Where a translation on the way has put another address into the
    /// quote, it is as over IPv4, and so it is where less is quoted of a probe that was to expire: who translates the error of an IPv4 router
    /// (RFC 7915, section 4.2) has no more than that one has quoted.
    #[inline(always)]
    pub(crate) fn prove(&self, ctx: &XdpContext, settings: &Settings, end: usize) -> Result<(), Verdict> {
        match self.prove_by_key(ctx, settings, end) {
            Err(Verdict::Cookie | Verdict::Truncated) if self.has_expired && is_of_flow(settings, self.icmp) => Ok(()),
            proof => proof,
        }
    }

    #[inline(always)]
    fn prove_by_key(&self, ctx: &XdpContext, settings: &Settings, end: usize) -> Result<(), Verdict> {
        if self.payload + payload::LENGTH > end {
            return Err(Verdict::Truncated);
        }
        let payload = Piece::<{ payload::LENGTH }>::at(ctx, self.payload).ok_or(Verdict::Truncated)?;
        let clock = coarse_clock();
        let sent = payload::sent(u64::from_be_bytes(payload.bytes(payload::FILLER_AND_SENT)), clock);
        let target = u32::from_be_bytes(payload.bytes(payload::TARGET));
        let sequence = self.icmp.number(icmp::SEQUENCE);
        let hash = cookie::ipv6_words(&settings.key, sent, self.destination, target, sequence);
        if !cookie::kernel_bits_match(hash, payload.bytes(payload::COOKIE.start..payload::COOKIE.start + 4)) {
            return Err(Verdict::Cookie);
        }
        judge_age(settings, sent, clock)
    }
}
