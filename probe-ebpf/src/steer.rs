//! Which frames are answers to us, and what is done with them.

use crate::{
    INACTIVE, SETTINGS, TAKEN, XSKS,
    object::{add_one, now},
    parse::{self, Message, Piece},
};
use aya_ebpf::{bindings::xdp_action, helpers::bpf_ktime_get_coarse_ns, programs::XdpContext};
use probe_ebpf::{
    cookie,
    layout::{MAX_FRAME, MAX_SOURCES, QueueLine, Settings, Verdict},
    wire::{STAMP, icmp, ipv4, payload},
};

/// Judges a frame. What is [`Verdict::Taken`] carries its arrival stamp and is to be redirected, what is [`Verdict::RingFull`] is to be
/// dropped; nothing else was touched.
#[inline(always)]
pub(crate) fn steer(ctx: &XdpContext) -> Verdict {
    match parse::message(ctx).and_then(|message| judge(ctx, &message).map(|queue| (message, queue))) {
        Ok((message, queue)) => {
            // Counted before the clock is read: whoever reads the clock and then this counter knows of every frame that
            // was stamped earlier.
            if !queue.take() {
                return Verdict::RingFull;
            }
            message.ethernet.write(STAMP, now().to_ne_bytes());
            Verdict::Taken
        }
        Err(verdict) => verdict,
    }
}

/// What a message says of a probe: echoed by a reply, or quoted by an error.
struct Probe {
    icmp: Piece<{ icmp::HEADER }>,
    destination: [u8; 4],
    /// Where in the frame its payload begins, if there is as much of it.
    payload: usize,
    /// The IPv4 identification that it was sent with, which only an error quotes; else [`NOT_QUOTED`]. No Option: the value of a
    /// None is never written, copying it reads it, and the verifier of kernels before 6.3 refuses to read what was not written.
    identification: u32,
}

/// No identification.
const NOT_QUOTED: u32 = u32::MAX;

impl Probe {
    #[inline(always)]
    fn echoed(reply: &Message) -> Self {
        Self {
            icmp: reply.icmp,
            destination: reply.ip.bytes(ipv4::SOURCE),
            payload: reply.offset + icmp::HEADER,
            identification: NOT_QUOTED,
        }
    }

    /// None: what is quoted is no echo request from the address that the error was sent to, or there is too little of it.
    #[inline(always)]
    fn quoted(ctx: &XdpContext, error: &Message) -> Option<Self> {
        let offset = error.offset + icmp::HEADER;
        let ip = Piece::<{ ipv4::HEADER }>::at(ctx, offset)?;
        let header = ipv4::header_length(ip.byte(ipv4::VERSION))?;
        let icmp = Piece::<{ icmp::HEADER }>::at(ctx, offset + header)?;
        let is_request = error.length >= icmp::HEADER + header + icmp::HEADER
            && ip.byte(ipv4::PROTOCOL) == ipv4::ICMP
            && ip.number(ipv4::FRAGMENT) & ipv4::IS_FRAGMENT == 0
            && ip.bytes::<4>(ipv4::SOURCE) == error.ip.bytes::<4>(ipv4::DESTINATION)
            && icmp.byte(icmp::TYPE) == icmp::ECHO_REQUEST
            && icmp.byte(icmp::CODE) == 0;
        is_request.then_some(Self {
            icmp,
            destination: ip.bytes(ipv4::DESTINATION),
            payload: offset + header + icmp::HEADER,
            identification: u32::from(ip.number(ipv4::IDENTIFICATION)),
        })
    }
}

/// Everything that has to be right before the first byte is written: the stamp overwrites the MAC addresses, and a frame
/// that was passed after all would reach the kernel as somebody else's. Returns its queue.
#[inline(always)]
fn judge(ctx: &XdpContext, message: &Message) -> Result<Queue, Verdict> {
    // An array of one always has its first; the verifier wants to hear it.
    let settings = SETTINGS.get(0).ok_or(Verdict::ForeignIdentifier)?;
    let (probe, foreign) = match (message.icmp.byte(icmp::TYPE), message.icmp.byte(icmp::CODE)) {
        (icmp::ECHO_REPLY, 0) => (Probe::echoed(message), Verdict::ForeignIdentifier),
        (kind, _) if icmp::is_error(kind) => {
            (Probe::quoted(ctx, message).ok_or(Verdict::ForeignQuote)?, Verdict::ForeignQuote)
        }
        _ => return Err(Verdict::NotReply),
    };
    if probe.icmp.number(icmp::IDENTIFIER) != settings.identifier {
        return Err(foreign);
    }
    if !is_source(settings, u32::from_ne_bytes(message.ip.bytes(ipv4::DESTINATION))) {
        return Err(Verdict::ForeignAddress);
    }
    let length = parse::frame_length(ctx);
    if length > MAX_FRAME || length != ctx.data_end() - ctx.data() {
        return Err(Verdict::Large);
    }
    let end = message.offset + message.length;
    if end > length {
        return Err(Verdict::Truncated);
    }
    let sequence = probe.icmp.number(icmp::SEQUENCE);
    // 16 keyed bits that every quote has.
    if probe.identification != NOT_QUOTED
        && probe.identification != u32::from(cookie::identification(&settings.key, probe.destination, sequence))
    {
        return Err(Verdict::Cookie);
    }
    if probe.payload + payload::LENGTH <= end {
        let payload = Piece::<{ payload::LENGTH }>::at(ctx, probe.payload).ok_or(Verdict::Truncated)?;
        judge_payload(settings, payload, probe.destination, sequence)?;
    } else if probe.identification == NOT_QUOTED {
        return Err(Verdict::Truncated);
    }
    if INACTIVE.get(0).is_some_and(|inactive| *inactive != 0) {
        return Err(Verdict::Inactive);
    }
    let queue = ctx.rx_queue_index();
    let line = TAKEN.get_ptr_mut(queue).ok_or(Verdict::NoSocket)?;
    // This only notes the socket for the moment when the program returns XDP_REDIRECT, and says whether there is one. So
    // no second look-up has to agree with it, and the frame can still go either way.
    XSKS.redirect(queue, u64::from(xdp_action::XDP_PASS)).map_err(|_| Verdict::NoSocket)?;
    Ok(Queue(line))
}

/// Whether a payload proves that we sent it, to that address, not too long ago.
#[inline(always)]
fn judge_payload(
    settings: &Settings,
    payload: Piece<{ payload::LENGTH }>,
    destination: [u8; 4],
    sequence: u16,
) -> Result<(), Verdict> {
    let sent = u64::from_be_bytes(payload.bytes(payload::SENT));
    let target = u32::from_be_bytes(payload.bytes(payload::TARGET));
    let hash = cookie::ipv4(&settings.key, sent, destination, target, sequence);
    if !cookie::kernel_bits_match(hash, payload.bytes(payload::COOKIE.start..payload::COOKIE.start + 4)) {
        return Err(Verdict::Cookie);
    }
    // The cookie has proven that the time is one of our own stamps: this only keeps old ones from being replayed for ever. So the
    // coarse clock will do (Linux 5.11), which lags by a tick or, where a virtual machine stalls, by more: a stamp may be ahead of
    // it. Reading the exact one is a tenth of what steer costs. The arrival stamp is exact, and judged again by the receiver.
    // SAFETY: takes nothing and returns a number.
    let age = unsafe { bpf_ktime_get_coarse_ns() }.wrapping_sub(sent);
    if age > settings.max_age_ns && age.wrapping_neg() > COARSE_NS { Err(Verdict::Age) } else { Ok(()) }
}

/// The coarse clock is never behind by more than this.
const COARSE_NS: u64 = 1_000_000_000;

#[inline(always)]
fn is_source(settings: &Settings, address: u32) -> bool {
    let mut i = 0;
    while i < MAX_SOURCES && i < settings.source_count as usize {
        if settings.sources[i] == address {
            return true;
        }
        i += 1;
    }
    false
}

/// A queue, by its value of `TAKEN`.
struct Queue(*mut QueueLine);

impl Queue {
    /// Counts a frame of ours; false if the socket has no room for it.
    #[inline(always)]
    fn take(self) -> bool {
        // SAFETY: within the map's value, which lives as long as the program.
        let (taken, limit, refused) =
            unsafe { (&raw mut (*self.0).taken, &raw const (*self.0).limit, &raw mut (*self.0).refused) };
        // SAFETY: as above; aligned words. The limit the other side writes whole, the others nobody else writes but atomically.
        unsafe {
            if add_one(taken) < limit.read_volatile() {
                return true;
            }
            add_one(refused);
        }
        false
    }
}
