//! Which ICMP messages over IPv4 are about echo probes of ours. How such a probe is made is in `probe`. Errors that quote a probe to a
//! port are read here too, and judged in `segment` and `udp`.

use crate::parse::{self, Piece};
use aya_ebpf::{helpers::bpf_ktime_get_coarse_ns, programs::XdpContext};
use probe_ebpf::{
    cookie,
    layout::{Settings, Verdict},
    wire::{icmp, ipv4, payload},
};

type Message = parse::Message<{ ipv4::HEADER }>;

/// What a message says of a probe: echoed by a reply, or quoted by an error.
pub(crate) struct Answer {
    /// The first bytes of the probe itself: its ICMP or UDP header, or as much of its TCP header.
    pub(crate) icmp: Piece<{ icmp::HEADER }>,
    pub(crate) destination: [u8; 4],
    /// That of the probe: ICMP, TCP or UDP.
    pub(crate) protocol: u8,
    /// Where in the frame its payload begins, if there is as much of it.
    pub(crate) payload: usize,
    /// The IPv4 identification that it was sent with, which only an error quotes; else [`NOT_QUOTED`]. No Option: the value of a
    /// None is never written, copying it reads it, and the verifier of kernels before 6.3 refuses to read what was not written.
    pub(crate) identification: u32,
    /// It is quoted because it expired on the way, by somebody who forwards.
    pub(crate) has_expired: bool,
}

/// No identification.
const NOT_QUOTED: u32 = u32::MAX;

impl Answer {
    /// Reads it, and says what it is if the identifier turns out to be somebody else's.
    #[inline(always)]
    pub(crate) fn read(ctx: &XdpContext, message: &Message) -> Result<(Self, Verdict), Verdict> {
        match (message.icmp.byte(icmp::TYPE), message.icmp.byte(icmp::CODE)) {
            (icmp::ECHO_REPLY, 0) => Ok((Self::echoed(message), Verdict::ForeignIdentifier)),
            (kind, _) if icmp::is_error(kind) => {
                Ok((Self::quoted(ctx, message).ok_or(Verdict::ForeignQuote)?, Verdict::ForeignQuote))
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
            destination: reply.ip.bytes(ipv4::SOURCE),
            protocol: ipv4::ICMP,
            payload: reply.offset + icmp::HEADER,
            identification: NOT_QUOTED,
            has_expired: false,
        }
    }

    /// None: what is quoted is none of the three from the address that the error was sent to, or there is too little of it.
    #[inline(always)]
    fn quoted(ctx: &XdpContext, error: &Message) -> Option<Self> {
        let offset = error.offset + icmp::HEADER;
        let ip = Piece::<{ ipv4::HEADER }>::at(ctx, offset)?;
        let header = ipv4::header_length(ip.byte(ipv4::VERSION))?;
        let icmp = Piece::<{ icmp::HEADER }>::at(ctx, offset + header)?;
        let protocol = ip.byte(ipv4::PROTOCOL);
        let is_to_port = matches!(protocol, ipv4::TCP | ipv4::UDP);
        let is_request =
            protocol == ipv4::ICMP && icmp.byte(icmp::TYPE) == icmp::ECHO_REQUEST && icmp.byte(icmp::CODE) == 0;
        let is_from_here = error.length >= icmp::HEADER + header + icmp::HEADER
            && ip.number(ipv4::FRAGMENT) & ipv4::IS_FRAGMENT == 0
            && ip.bytes::<4>(ipv4::SOURCE) == error.ip.bytes::<4>(ipv4::DESTINATION);
        (is_from_here && (is_request || is_to_port)).then_some(Self {
            icmp,
            destination: ip.bytes(ipv4::DESTINATION),
            protocol,
            payload: offset + header + icmp::HEADER,
            identification: u32::from(ip.number(ipv4::IDENTIFICATION)),
            has_expired: error.icmp.bytes(icmp::TYPE..icmp::CODE + 1) == [icmp::TIME_EXCEEDED, 0],
        })
    }

    /// Whether we sent the probe, to that address, not too long ago. `end`: of the message, in the frame.
    ///
    /// Where the payload is quoted its cookie is the proof: 32 keyed bits here, 48 in userspace. Else the identification is, 16 keyed bits.
    /// Both fail where a translation on the way has put another address into the probe and has not put ours back into the quote; the
    /// identification, where somebody rewrites it. Of a probe that was to expire on the way, and did, the constant checksum of its flow
    /// will do then, and the identifier: that is no proof. Userspace must still find a target whose probe with this number waits, and
    /// takes the target's own address for the cookie.
    #[inline(always)]
    pub(crate) fn prove(&self, ctx: &XdpContext, settings: &Settings, end: usize) -> Result<(), Verdict> {
        match self.prove_by_key(ctx, settings, end) {
            Err(Verdict::Cookie) if self.has_expired && is_of_flow(settings, self.icmp) => Ok(()),
            proof => proof,
        }
    }

    #[inline(always)]
    fn prove_by_key(&self, ctx: &XdpContext, settings: &Settings, end: usize) -> Result<(), Verdict> {
        let sequence = self.icmp.number(icmp::SEQUENCE);
        if self.payload + payload::LENGTH <= end {
            let payload = Piece::<{ payload::LENGTH }>::at(ctx, self.payload).ok_or(Verdict::Truncated)?;
            // Where a router quotes less than that, zeros may fill it (RFC 4884, section 3). A cookie is all zero once in 2^48.
            if self.identification == NOT_QUOTED || payload.bytes::<6>(payload::COOKIE) != [0; 6] {
                return judge_payload(settings, payload, self.destination, sequence);
            }
        } else if self.identification == NOT_QUOTED {
            return Err(Verdict::Truncated);
        }
        let identification = u32::from(cookie::identification(&settings.key, self.destination, sequence));
        if self.identification == identification { Ok(()) } else { Err(Verdict::Cookie) }
    }
}

/// Whether the checksum of an echo request is that of a flow by which probes are sent that are to expire.
#[inline(always)]
pub(crate) fn is_of_flow(settings: &Settings, request: Piece<{ icmp::HEADER }>) -> bool {
    icmp::is_of_flow(request.number(icmp::CHECKSUM), settings.expiring_flows)
}

/// Whether a payload proves that we sent it, to that address, not too long ago.
#[inline(always)]
fn judge_payload(
    settings: &Settings,
    payload: Piece<{ payload::LENGTH }>,
    destination: [u8; 4],
    sequence: u16,
) -> Result<(), Verdict> {
    let clock = coarse_clock();
    let sent = payload::sent(u64::from_be_bytes(payload.bytes(payload::FILLER_AND_SENT)), clock);
    let target = u32::from_be_bytes(payload.bytes(payload::TARGET));
    let hash = cookie::ipv4(&settings.key, sent, destination, target, sequence);
    if !cookie::kernel_bits_match(hash, payload.bytes(payload::COOKIE.start..payload::COOKIE.start + 4)) {
        return Err(Verdict::Cookie);
    }
    judge_age(settings, sent, clock)
}

/// The clock by which send times are restored and judged, in nanoseconds: Linux 5.11 has it. It lags by a tick or, where a virtual machine
/// stalls, by more: a stamp may be ahead of it. Reading the exact one is a tenth of what steer costs. The arrival stamp is exact, and what
/// follows from it is judged again by the receiver.
#[inline(always)]
pub(crate) fn coarse_clock() -> u64 {
    // SAFETY: takes nothing and returns a number.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Whether a stamp of our own is plausible. The cookie has proven that it is one: this only keeps old ones from being replayed until their
/// bits come round.
#[inline(always)]
pub(crate) fn judge_age(settings: &Settings, sent: u64, clock: u64) -> Result<(), Verdict> {
    // Both counted from the latest that a stamp can be.
    let age = clock.wrapping_add(payload::AHEAD_NS).wrapping_sub(sent);
    if age > settings.max_age_ns + payload::AHEAD_NS { Err(Verdict::Age) } else { Ok(()) }
}
