//! Writing a probe over IPv6 into a live frame, every byte of it, as `probe` does over IPv4.

use crate::{
    LIVE_TEMPLATES_V6, SETTINGS,
    object::now,
    parse::Piece,
    probe::{is_tagged, lowest, pad, stamp},
};
use aya_ebpf::programs::XdpContext;
use probe_ebpf::{
    cookie,
    layout::{LiveDestination, LiveDue, LiveTemplateV6},
    wire::{ethernet, icmp, ipv6, payload},
};

/// Bytes of the shortest probe.
const HEAD: usize = ethernet::HEADER + ipv6::HEADER + icmp::HEADER + payload::LENGTH;
/// The same with a VLAN tag.
const TAGGED_HEAD: usize = HEAD + ethernet::TAG;

/// Builds a probe into the frame. Returns its stamp.
#[inline(always)]
pub(crate) fn lay(ctx: &XdpContext, due: &LiveDue, destination: &LiveDestination) -> Option<u64> {
    if is_tagged() { lay_tagged(ctx, due, destination) } else { lay_plain(ctx, due, destination) }
}

/// What differs from probe to probe, apart from what userspace has said.
struct Fields {
    /// By what the flow label differs from the template's.
    label: u32,
    /// The stamp.
    sent: u64,
    /// Behind the payload's filler, as it lies in the frame.
    stamp: u64,
    /// The cookie, 48 bits.
    proof: u64,
}

impl Fields {
    #[inline(always)]
    fn new(template: &LiveTemplateV6, due: &LiveDue, destination: &LiveDestination) -> Option<Self> {
        let settings = SETTINGS.get(0)?;
        let label = cookie::label_of_target(settings.flow_key, due.target);
        let sent = now();
        let hash = cookie::ipv6_words(&settings.key, sent, destination.0, due.target, due.sequence);
        let proof = cookie::number_on_wire(hash, due.generation);
        let [a, b] = destination.0.map(u64::to_be);
        let destination = (a >> 32) + (a & 0xffff_ffff) + (b >> 32) + (b & 0xffff_ffff);
        let stamp = stamp(template.icmp_sum + destination, due, sent, proof);
        Some(Self { label, sent, stamp, proof })
    }
}

// As in `probe`: every byte, in as few stores as there can be.

#[inline(always)]
fn lay_plain(ctx: &XdpContext, due: &LiveDue, destination: &LiveDestination) -> Option<u64> {
    let template = LIVE_TEMPLATES_V6.get(u32::from(due.template))?;
    let frame = Piece::<HEAD>::at(ctx, 0)?;
    let Fields { label, sent, stamp, proof } = Fields::new(template, due, destination)?;
    let target = u64::from(due.target.to_be());
    let proof = (proof << 16).to_be();
    let [first, second] = destination.0;
    let [a, b, c, d, e, _, g, h] = template.headers;
    frame.words([
        a | due.next_hop_mac,
        b ^ u64::from(label >> 16) << 56,
        c ^ lowest(label as u16),
        d,
        e | first << 48,
        first >> 16 | second << 48,
        g | second >> 16,
        h | lowest(due.sequence) << 32 | stamp << 48,
        stamp >> 16 | target << 48,
        target >> 16 | proof << 16,
    ]);
    pad::<HEAD>(ctx);
    Some(sent)
}

#[inline(always)]
fn lay_tagged(ctx: &XdpContext, due: &LiveDue, destination: &LiveDestination) -> Option<u64> {
    let template = LIVE_TEMPLATES_V6.get(u32::from(due.template))?;
    let frame = Piece::<TAGGED_HEAD>::at(ctx, 0)?;
    let Fields { label, sent, stamp, proof } = Fields::new(template, due, destination)?;
    let target = u64::from(due.target.to_be());
    let proof = (proof << 16).to_be();
    let [first, second] = destination.0;
    let [a, b, c, d, e, f, _, h] = template.headers;
    let words = [
        a | due.next_hop_mac,
        b,
        c ^ (u64::from(label >> 16) << 24 | lowest(label as u16) << 32),
        d,
        e,
        f | first << 16,
        first >> 48 | second << 16,
        h | second >> 48,
        lowest(due.sequence) | stamp << 16,
        stamp >> 48 | target << 16 | proof << 48,
    ];
    frame.words(words);
    frame.half_word((proof >> 16) as u32);
    pad::<TAGGED_HEAD>(ctx);
    Some(sent)
}
