//! Which frames are answers to us, and what is done with them.

use crate::{
    INACTIVE, SETTINGS, TAKEN, XSKS, answer, answer_v6, flow,
    object::{add_one, now},
    parse::{self, Datagram, Link},
    segment, udp,
};
use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use probe_ebpf::{
    layout::{MAX_FRAME, MAX_SOURCES, QueueLine, Settings, Verdict},
    wire::{STAMP, ethernet, icmp, icmpv6, ipv4, ipv6, tcp},
};

/// Judges a frame. What is [`Verdict::Taken`] carries its arrival stamp and is to be redirected, what is [`Verdict::RingFull`] is to be
/// dropped; nothing else was touched.
#[inline(always)]
pub(crate) fn steer(ctx: &XdpContext) -> Verdict {
    match parse::link(ctx).and_then(|link| judge(ctx, &link).map(|queue| (link, queue))) {
        Ok((link, queue)) => {
            // Counted before the clock is read: whoever reads the clock and then this counter knows of every frame that
            // was stamped earlier.
            if !queue.take() {
                return Verdict::RingFull;
            }
            link.ethernet.write(STAMP, now().to_ne_bytes());
            Verdict::Taken
        }
        Err(verdict) => verdict,
    }
}

/// Everything that has to be right before the first byte is written: the stamp overwrites the MAC addresses, and a frame
/// that was passed after all would reach the kernel as somebody else's. Returns its queue.
#[inline(always)]
fn judge(ctx: &XdpContext, link: &Link) -> Result<Queue, Verdict> {
    // An array of one always has its first; the verifier wants to hear it.
    let settings = SETTINGS.get(0).ok_or(Verdict::ForeignIdentifier)?;
    match link.ethertype {
        ethernet::IPV4 => judge_v4(ctx, link, settings)?,
        ethernet::IPV6 => judge_v6(ctx, link, settings)?,
        ethernet::ARP => return Err(Verdict::NotIp),
        _ => return Err(Verdict::UnknownProtocol),
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

#[inline(always)]
fn judge_v4(ctx: &XdpContext, link: &Link, settings: &Settings) -> Result<(), Verdict> {
    let datagram = parse::datagram_v4(ctx, link)?;
    match datagram.protocol {
        ipv4::ICMP if datagram.more == 0 => judge_message_v4(ctx, &datagram, settings),
        ipv4::ICMP => Err(match judge_fragment_v4(ctx, &datagram, settings) {
            Ok(()) => Verdict::FragmentedReply,
            Err(_) => Verdict::Fragment,
        }),
        ipv4::TCP if settings.port_count != 0 => judge_segment_v4(ctx, &datagram, settings),
        ipv4::UDP if settings.port_count != 0 => judge_udp_v4(ctx, &datagram, settings),
        _ => Err(Verdict::NotReply),
    }
}

#[inline(always)]
fn judge_v6(ctx: &XdpContext, link: &Link, settings: &Settings) -> Result<(), Verdict> {
    let datagram = parse::datagram_v6(ctx, link, settings.zero)?;
    match datagram.protocol {
        ipv6::ICMP if datagram.more == 0 => judge_message_v6(ctx, &datagram, settings),
        ipv6::ICMP => Err(match judge_fragment_v6(ctx, &datagram, settings) {
            Ok(()) => Verdict::FragmentedReply,
            Err(_) => Verdict::Fragment,
        }),
        ipv6::TCP if settings.port_count != 0 => judge_segment_v6(ctx, &datagram, settings),
        ipv6::UDP if settings.port_count != 0 => judge_udp_v6(ctx, &datagram, settings),
        _ => Err(Verdict::NotReply),
    }
}

#[inline(always)]
fn judge_message_v4(
    ctx: &XdpContext,
    datagram: &Datagram<{ ipv4::HEADER }>,
    settings: &Settings,
) -> Result<(), Verdict> {
    let message = datagram.message(ctx)?;
    let (answer, foreign) = answer::Answer::read(ctx, &message)?;
    if answer.protocol != ipv4::ICMP {
        if !flow::is_port(settings, answer.icmp.number(tcp::SOURCE)) {
            return Err(foreign);
        }
        // It was quoted with the address that the error was sent to.
        let source = message.ip.bytes(ipv4::DESTINATION);
        if !is_source(settings, u32::from_ne_bytes(source)) {
            return Err(Verdict::ForeignAddress);
        }
        let addresses = flow::v4(source, answer.destination);
        if answer.protocol == ipv4::TCP {
            segment::prove_quote(settings, addresses, answer.icmp)?;
        } else {
            let answer::Answer { icmp: header, identification, payload: data, has_expired, .. } = answer;
            udp::Quote { header, identification, data, end: datagram.end, has_expired }
                .prove(ctx, settings, addresses)?;
        }
        return is_whole(ctx, datagram.end);
    }
    if answer.identifier() != settings.identifier {
        return Err(foreign);
    }
    if !is_source(settings, u32::from_ne_bytes(message.ip.bytes(ipv4::DESTINATION))) {
        return Err(Verdict::ForeignAddress);
    }
    is_whole(ctx, datagram.end)?;
    answer.prove(ctx, settings, datagram.end)
}

#[inline(always)]
fn judge_message_v6(
    ctx: &XdpContext,
    datagram: &Datagram<{ ipv6::HEADER }>,
    settings: &Settings,
) -> Result<(), Verdict> {
    let message = datagram.message(ctx)?;
    // Asked before what an error quotes is walked over, and forgotten: else the verifier goes through all addresses for every way there.
    let ours = message.ip.address(ipv6::DESTINATION);
    let is_ours = u32::from(is_source_v6(settings, ours)) ^ settings.zero;
    let (answer, foreign) = answer_v6::Answer::read(ctx, &message, settings.zero)?;
    if answer.protocol != ipv6::ICMP {
        if !flow::is_port(settings, answer.icmp.number(tcp::SOURCE)) {
            return Err(foreign);
        }
        if is_ours == 0 {
            return Err(Verdict::ForeignAddress);
        }
        let addresses = flow::v6(ours, answer.destination);
        if answer.protocol == ipv6::TCP {
            segment::prove_quote(settings, addresses, answer.icmp)?;
        } else {
            let answer_v6::Answer { icmp: header, payload: data, has_expired, .. } = answer;
            let identification = udp::NO_WORD;
            udp::Quote { header, identification, data, end: datagram.end, has_expired }
                .prove(ctx, settings, addresses)?;
        }
        return is_whole(ctx, datagram.end);
    }
    if answer.identifier() != settings.identifier {
        return Err(foreign);
    }
    if is_ours == 0 {
        return Err(Verdict::ForeignAddress);
    }
    is_whole(ctx, datagram.end)?;
    answer.prove(ctx, settings, datagram.end)
}

/// Whether the first fragment of a message is that of a reply to us, which can't be measured: who answers thought it too large for the way.
#[inline(always)]
fn judge_fragment_v4(
    ctx: &XdpContext,
    datagram: &Datagram<{ ipv4::HEADER }>,
    settings: &Settings,
) -> Result<(), Verdict> {
    let message = datagram.message(ctx)?;
    if message.icmp.byte(icmp::TYPE) != icmp::ECHO_REPLY || message.icmp.byte(icmp::CODE) != 0 {
        return Err(Verdict::NotReply);
    }
    let answer = answer::Answer::echoed(&message);
    if answer.identifier() != settings.identifier {
        return Err(Verdict::ForeignIdentifier);
    }
    if !is_source(settings, u32::from_ne_bytes(message.ip.bytes(ipv4::DESTINATION))) {
        return Err(Verdict::ForeignAddress);
    }
    is_whole(ctx, datagram.end)?;
    answer.prove(ctx, settings, datagram.end)
}

/// As [`judge_fragment_v4`].
#[inline(always)]
fn judge_fragment_v6(
    ctx: &XdpContext,
    datagram: &Datagram<{ ipv6::HEADER }>,
    settings: &Settings,
) -> Result<(), Verdict> {
    let message = datagram.message(ctx)?;
    if message.icmp.byte(icmp::TYPE) != icmpv6::ECHO_REPLY || message.icmp.byte(icmp::CODE) != 0 {
        return Err(Verdict::NotReply);
    }
    let answer = answer_v6::Answer::echoed(&message);
    if answer.identifier() != settings.identifier {
        return Err(Verdict::ForeignIdentifier);
    }
    if !is_source_v6(settings, message.ip.address(ipv6::DESTINATION)) {
        return Err(Verdict::ForeignAddress);
    }
    is_whole(ctx, datagram.end)?;
    answer.prove(ctx, settings, datagram.end)
}

#[inline(always)]
fn judge_segment_v4(
    ctx: &XdpContext,
    datagram: &Datagram<{ ipv4::HEADER }>,
    settings: &Settings,
) -> Result<(), Verdict> {
    let segment = datagram.segment(ctx)?;
    let says = segment::read(settings, segment)?;
    let ours = datagram.ip.bytes(ipv4::DESTINATION);
    if !is_source(settings, u32::from_ne_bytes(ours)) {
        return Err(Verdict::ForeignAddress);
    }
    segment::prove(settings, flow::v4(ours, datagram.ip.bytes(ipv4::SOURCE)), segment, says)?;
    is_whole(ctx, datagram.end)
}

#[inline(always)]
fn judge_segment_v6(
    ctx: &XdpContext,
    datagram: &Datagram<{ ipv6::HEADER }>,
    settings: &Settings,
) -> Result<(), Verdict> {
    let segment = datagram.segment(ctx)?;
    let says = segment::read(settings, segment)?;
    let ours = datagram.ip.address(ipv6::DESTINATION);
    if !is_source_v6(settings, ours) {
        return Err(Verdict::ForeignAddress);
    }
    segment::prove(settings, flow::v6(ours, datagram.ip.address(ipv6::SOURCE)), segment, says)?;
    is_whole(ctx, datagram.end)
}

#[inline(always)]
fn judge_udp_v4(ctx: &XdpContext, datagram: &Datagram<{ ipv4::HEADER }>, settings: &Settings) -> Result<(), Verdict> {
    let answer = udp::Answer::read(ctx, datagram, settings)?;
    let ours = datagram.ip.bytes(ipv4::DESTINATION);
    if !is_source(settings, u32::from_ne_bytes(ours)) {
        return Err(Verdict::ForeignAddress);
    }
    answer.prove(settings, flow::v4(ours, datagram.ip.bytes(ipv4::SOURCE)))?;
    is_whole(ctx, datagram.end)
}

#[inline(always)]
fn judge_udp_v6(ctx: &XdpContext, datagram: &Datagram<{ ipv6::HEADER }>, settings: &Settings) -> Result<(), Verdict> {
    let answer = udp::Answer::read(ctx, datagram, settings)?;
    let ours = datagram.ip.address(ipv6::DESTINATION);
    if !is_source_v6(settings, ours) {
        return Err(Verdict::ForeignAddress);
    }
    answer.prove(settings, flow::v6(ours, datagram.ip.address(ipv6::SOURCE)))?;
    is_whole(ctx, datagram.end)
}

/// Whether the frame is one that a socket can have, and reaches as far as its message.
#[inline(always)]
fn is_whole(ctx: &XdpContext, end: usize) -> Result<(), Verdict> {
    let length = parse::frame_length(ctx);
    if length > MAX_FRAME || length != ctx.data_end() - ctx.data() {
        return Err(Verdict::Large);
    }
    if end > length { Err(Verdict::Truncated) } else { Ok(()) }
}

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

#[inline(always)]
fn is_source_v6(settings: &Settings, address: [u64; 2]) -> bool {
    let mut i = 0;
    while i < MAX_SOURCES && i < settings.source_count_v6 as usize {
        if settings.sources_v6[i] == address {
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
