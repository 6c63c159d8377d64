//! Writing a probe over IPv4 into a live frame, and sending it out; those over IPv6 are written in `probe_v6`.
//!
//! A live frame comes back from the pool as its last receiver left it: every byte is written each time.

use crate::{LIVE_OUT, LIVE_TEMPLATES, SETTINGS, object::now, parse::Piece};
use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use probe_ebpf::{
    cookie,
    layout::{LiveDue, LiveTemplate},
    wire::{ethernet, icmp, ipv4, payload},
};

/// What a test run presents as the device that a frame came in by: every namespace's loopback device has this index, and no
/// other device has.
const LOOPBACK: u32 = 1;
const IP: usize = ethernet::HEADER;
const ICMP: usize = IP + ipv4::HEADER;
const PAYLOAD: usize = ICMP + icmp::HEADER;
/// Bytes of a probe that differ from probe to probe, headers included: the shortest probe.
const HEAD: usize = PAYLOAD + payload::LENGTH;
/// The same with a VLAN tag.
const TAGGED_HEAD: usize = HEAD + ethernet::TAG;
/// Steps of 8 bytes over the longest padding.
const PADDING_STEPS: usize = 182;

/// Whether this frame is a test run's.
#[inline(always)]
pub(crate) fn is_test_run(ctx: &XdpContext) -> bool {
    // SAFETY: the context is the kernel's.
    unsafe { (*ctx.ctx).ingress_ifindex == LOOPBACK }
}

/// Sends the frame out.
#[inline(always)]
pub(crate) fn send() -> u32 {
    LIVE_OUT.redirect(0, u64::from(xdp_action::XDP_ABORTED)).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Whether probes carry a VLAN tag. Written before the program is loaded: the verifier knows its value then, and leaves out what
/// the other kind of frame would need (Linux 5.2; `check_mem_access` reads constant maps).
#[unsafe(no_mangle)]
static TAGGED: u8 = 0;

/// Builds a probe into the frame. Returns its stamp.
#[inline(always)]
pub(crate) fn lay(ctx: &XdpContext, due: &LiveDue) -> Option<u64> {
    if is_tagged() { lay_tagged(ctx, due) } else { lay_plain(ctx, due) }
}

/// As [`TAGGED`] says.
#[inline(always)]
pub(crate) fn is_tagged() -> bool {
    // SAFETY: an initialised constant. Volatile, so that the compiler does not take the value in the object for the one that is
    // loaded.
    unsafe { (&raw const TAGGED).read_volatile() != 0 }
}

/// What differs from probe to probe, apart from what userspace has said.
struct Fields {
    identification: u16,
    /// Checksum of IPv4.
    ip: u16,
    /// The stamp.
    sent: u64,
    /// Behind the payload's filler, as it lies in the frame.
    stamp: u64,
    /// The cookie, 48 bits.
    proof: u64,
}

impl Fields {
    #[inline(always)]
    fn new(template: &LiveTemplate, due: &LiveDue) -> Option<Self> {
        let identification = cookie::identification(&key()?, due.destination, due.sequence);
        let sent = now();
        let hash = cookie::ipv4(&key()?, sent, due.destination, due.target, due.sequence);
        let proof = cookie::number_on_wire(hash, due.generation);
        let ip = checksum(template.ip_sum + u64::from(identification) + u64::from(u32::from_be_bytes(due.destination)));
        let stamp = stamp(template.icmp_sum, due, sent, proof);
        Some(Self { identification, ip, sent, stamp, proof })
    }
}

// Every byte, in as few stores as there can be. What the fields of the headers and of the payload are, by their place in the frame, is
// said in `probe_ebpf::wire`; a test compares the frames with those that userspace writes.

#[inline(always)]
fn lay_plain(ctx: &XdpContext, due: &LiveDue) -> Option<u64> {
    let template = LIVE_TEMPLATES.get(u32::from(due.template))?;
    let frame = Piece::<HEAD>::at(ctx, 0)?;
    let Fields { identification, ip, sent, stamp, proof } = Fields::new(template, due)?;
    let destination = u64::from(u32::from_le_bytes(due.destination));
    let proof = (proof << 16).to_be();
    let [a, b, c, d, e, _] = template.headers;
    let words = [
        a | due.next_hop_mac,
        b,
        c | lowest(identification) << 16,
        d | lowest(ip) | destination << 48,
        e | destination >> 16,
        lowest(due.sequence) | stamp << 16,
        stamp >> 48 | u64::from(due.target.to_be()) << 16 | proof << 48,
    ];
    frame.words(words);
    frame.half_word((proof >> 16) as u32);
    pad::<HEAD>(ctx);
    Some(sent)
}

/// With a tag the shortest probe is 64 bytes: eight whole words.
#[inline(always)]
fn lay_tagged(ctx: &XdpContext, due: &LiveDue) -> Option<u64> {
    let template = LIVE_TEMPLATES.get(u32::from(due.template))?;
    let frame = Piece::<TAGGED_HEAD>::at(ctx, 0)?;
    let Fields { identification, ip, sent, stamp, proof } = Fields::new(template, due)?;
    let destination = u64::from(u32::from_le_bytes(due.destination));
    let target = u64::from(due.target.to_be());
    let proof = (proof << 16).to_be();
    let [a, b, c, d, e, f] = template.headers;
    frame.words([
        a | due.next_hop_mac,
        b,
        c | lowest(identification) << 48,
        d | lowest(ip) << 32,
        e | destination << 16,
        f | lowest(due.sequence) << 32 | stamp << 48,
        stamp >> 16 | target << 48,
        target >> 16 | proof << 16,
    ]);
    pad::<TAGGED_HEAD>(ctx);
    Some(sent)
}

/// The first 8 bytes of a probe's payload, as they lie in the frame: the stamp, and in front of it what makes the message's checksum that
/// of the template. `sum`: over what the checksum covers beside sequence number and payload, the checksum included.
#[inline(always)]
pub(crate) fn stamp(sum: u64, due: &LiveDue, sent: u64, proof: u64) -> u64 {
    let low = payload::low(sent);
    let rest = u64::from(due.sequence)
        + (low >> 32)
        + (low & 0xffff_ffff)
        + u64::from(due.target)
        + (proof >> 16)
        + (proof & 0xffff);
    payload::filler_and_sent(checksum(sum + rest), sent).to_be()
}

/// A big-endian number, its first byte lowest: as it lies in a little-endian word.
#[inline(always)]
pub(crate) const fn lowest(number: u16) -> u64 {
    number.to_be() as u64
}

/// Zeros behind the head of a longer probe.
#[inline(always)]
pub(crate) fn pad<const HEAD: usize>(ctx: &XdpContext) {
    let mut step = 0;
    while step < PADDING_STEPS {
        let Some(word) = Piece::<8>::at(ctx, HEAD + 8 * step) else { break };
        word.write(0..8, [0; 8]);
        step += 1;
    }
    let mut byte = 0;
    while byte < 7 {
        let Some(rest) = Piece::<1>::at(ctx, HEAD + 8 * step + byte) else { return };
        rest.write(0..1, [0]);
        byte += 1;
    }
}

#[inline(always)]
fn key() -> Option<[u64; 2]> {
    SETTINGS.get(0).map(|settings| settings.key)
}

/// The Internet checksum of a sum of 32-bit words (RFC 1071).
#[inline(always)]
pub(crate) fn checksum(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
