//! Building probes in the kernel: what userspace has laid into a table leaves as frames of the kernel's own.
//!
//! Userspace has the kernel run the program on live frames (BPF_PROG_TEST_RUN, `BPF_F_TEST_XDP_LIVE_FRAMES`). Such a frame
//! comes back from the pool as its last receiver left it: every byte is written each time.

use crate::{LIVE_CURSORS, LIVE_DUE, LIVE_OUT, LIVE_TEMPLATES, parse::Piece};
use aya_ebpf::{
    bindings::bpf_pidns_info,
    bindings::xdp_action,
    helpers::{bpf_get_current_task, bpf_get_ns_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns},
    programs::{BtfTracePointContext, XdpContext},
};
use probe_ebpf::{
    cookie,
    layout::{LIVE_TABLE, LiveCursor, LiveDue, LiveTemplate},
    wire::{ethernet, icmp, ipv4, payload},
};

/// What a test run presents as the device that a frame came in by: every namespace's loopback device has this index, and no
/// other device has.
const LOOPBACK: u32 = 1;
/// Most frames of a device map's bulk (the kernel's DEV_MAP_BULK_SIZE).
const BULK: u64 = 16;

const IP: usize = ethernet::HEADER;
const ICMP: usize = IP + ipv4::HEADER;
const PAYLOAD: usize = ICMP + icmp::HEADER;
/// Where bare frames go: the lab's 10.64.0.0/12.
pub(crate) const BARE_RANGE: u32 = 0x0a40_0000;
pub(crate) const BARE_MASK: u32 = 0x000f_ffff;
/// Bytes of a probe that differ from probe to probe, headers included: the shortest probe.
const HEAD: usize = PAYLOAD + payload::LENGTH;
/// The same with a VLAN tag.
const TAGGED_HEAD: usize = HEAD + ethernet::TAG;
/// Steps of 8 bytes over the longest padding.
const PADDING_STEPS: usize = 182;

/// How far the sender has come whose frame this is, if it is one of a test run on a sender's CPU.
#[inline(always)]
pub(crate) fn sender(ctx: &XdpContext) -> Option<&'static mut LiveCursor> {
    if is_test_run(ctx) { here() } else { None }
}

/// Whether this frame is a test run's.
#[inline(always)]
pub(crate) fn is_test_run(ctx: &XdpContext) -> bool {
    // SAFETY: the context is the kernel's.
    unsafe { (*ctx.ctx).ingress_ifindex == LOOPBACK }
}

/// The cursor of this CPU's sender, if it has one.
#[inline(always)]
fn here() -> Option<&'static mut LiveCursor> {
    // SAFETY: takes nothing and returns a number.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    cursor(cpu).filter(|cursor| cursor.sender != 0)
}

#[inline(always)]
fn cursor(cpu: u32) -> Option<&'static mut LiveCursor> {
    // SAFETY: the map's value lives as long as the program. On a CPU one program at a time runs, and between a call and its end
    // userspace leaves the cursor alone.
    LIVE_CURSORS.get_ptr_mut(cpu).map(|cursor| unsafe { &mut *cursor })
}

/// The entry of a sender's table, counted from 1.
#[inline(always)]
fn due(sender: u32, position: u64) -> Option<&'static mut LiveDue> {
    let index = (sender - 1) * LIVE_TABLE + (position as u32 & (LIVE_TABLE - 1));
    // SAFETY: as for the cursor: between a call and its end userspace leaves the table alone.
    LIVE_DUE.get_ptr_mut(index).map(|due| unsafe { &mut *due })
}

/// Builds the next probe of the sender's table into the frame and sends it out.
#[inline(always)]
pub(crate) fn transmit(ctx: &XdpContext, cursor: &mut LiveCursor) -> u32 {
    build(ctx, cursor).unwrap_or(xdp_action::XDP_ABORTED)
}

#[inline(always)]
fn build(ctx: &XdpContext, cursor: &mut LiveCursor) -> Option<u32> {
    let due = due(cursor.sender, cursor.built)?;
    due.sent_ns = lay(ctx, due)?;
    cursor.built += 1;
    Some(send())
}

/// The same without table and confirmation, for measurements: probes to one address after the other.
#[inline(always)]
pub(crate) fn bare(ctx: &XdpContext) -> Option<u32> {
    let cursor = cursor(0)?;
    let number = cursor.built as u32;
    let destination = (BARE_RANGE | (number & BARE_MASK)).to_be_bytes();
    lay(ctx, &LiveDue { destination, target: number, ..LiveDue::default() })?;
    cursor.built += 1;
    Some(send())
}

#[inline(always)]
fn send() -> u32 {
    LIVE_OUT.redirect(0, u64::from(xdp_action::XDP_ABORTED)).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Whether probes carry a VLAN tag. Written before the program is loaded: the verifier knows its value then, and leaves out what
/// the other kind of frame would need (Linux 5.2; `check_mem_access` reads constant maps).
#[unsafe(no_mangle)]
static TAGGED: u8 = 0;

/// Builds a probe into the frame. Returns its stamp.
#[inline(always)]
fn lay(ctx: &XdpContext, due: &LiveDue) -> Option<u64> {
    // SAFETY: an initialised constant. Volatile, so that the compiler does not take the value in the object for the one that is
    // loaded.
    let is_tagged = unsafe { (&raw const TAGGED).read_volatile() } != 0;
    if is_tagged { lay_tagged(ctx, due) } else { lay_plain(ctx, due) }
}

/// What differs from probe to probe, apart from what userspace has said.
struct Fields {
    identification: u16,
    /// Checksums of IPv4 and ICMP.
    ip: u16,
    icmp: u16,
    /// The stamp.
    sent: u64,
    /// The cookie, 48 bits.
    proof: u64,
}

impl Fields {
    #[inline(always)]
    fn new(template: &LiveTemplate, due: &LiveDue) -> Option<Self> {
        let identification = cookie::identification(&key()?, due.destination, due.sequence);
        // SAFETY: takes nothing and returns a number.
        let sent = unsafe { bpf_ktime_get_ns() };
        let hash = cookie::ipv4(&key()?, sent, due.destination, due.target, due.sequence);
        let proof = cookie::number_on_wire(hash, due.generation);
        let ip = checksum(template.ip_sum + u64::from(identification) + u64::from(u32::from_be_bytes(due.destination)));
        let icmp = checksum(
            template.icmp_sum
                + u64::from(due.sequence)
                + (sent >> 32)
                + (sent & 0xffff_ffff)
                + u64::from(due.target)
                + (proof >> 16)
                + (proof & 0xffff),
        );
        Some(Self { identification, ip, icmp, sent, proof })
    }
}

// Every byte, in as few stores as there can be. What the fields of the headers and of the payload are, by their place in the frame, is
// said in `probe_ebpf::wire`; a test compares the frames with those that userspace writes.

#[inline(always)]
fn lay_plain(ctx: &XdpContext, due: &LiveDue) -> Option<u64> {
    let template = LIVE_TEMPLATES.get(u32::from(due.template))?;
    let frame = Piece::<HEAD>::at(ctx, 0)?;
    let Fields { identification, ip, icmp, sent, proof } = Fields::new(template, due)?;
    let destination = u64::from(u32::from_le_bytes(due.destination));
    let stamp = sent.to_be();
    let proof = (proof << 16).to_be();
    let [a, b, c, d, e] = template.headers;
    let words = [
        a | due.next_hop_mac,
        b,
        c | lowest(identification) << 16,
        d | lowest(ip) | destination << 48,
        e | destination >> 16 | lowest(icmp) << 32,
        lowest(due.sequence) | stamp << 16,
        stamp >> 48 | u64::from(due.target.to_be()) << 16 | proof << 48,
    ];
    frame.words(words, (proof >> 16) as u32);
    pad::<HEAD>(ctx);
    Some(sent)
}

/// With a tag the shortest probe is 64 bytes: eight whole words.
#[inline(always)]
fn lay_tagged(ctx: &XdpContext, due: &LiveDue) -> Option<u64> {
    let template = LIVE_TEMPLATES.get(u32::from(due.template))?;
    let frame = Piece::<TAGGED_HEAD>::at(ctx, 0)?;
    let Fields { identification, ip, icmp, sent, proof } = Fields::new(template, due)?;
    let destination = u64::from(u32::from_le_bytes(due.destination));
    let target = u64::from(due.target.to_be());
    let stamp = sent.to_be();
    let proof = (proof << 16).to_be();
    let [a, b, c, d, e] = template.headers;
    frame.words([
        a | due.next_hop_mac,
        b,
        c | lowest(identification) << 48,
        d | lowest(ip) << 32,
        e | destination << 16,
        lowest(icmp) | template.identifier << 16 | lowest(due.sequence) << 32 | stamp << 48,
        stamp >> 16 | target << 48,
        target >> 16 | proof << 16,
    ]);
    pad::<TAGGED_HEAD>(ctx);
    Some(sent)
}

/// A big-endian number, its first byte lowest: as it lies in a little-endian word.
#[inline(always)]
const fn lowest(number: u16) -> u64 {
    number.to_be() as u64
}

/// Zeros behind the head of a longer probe.
#[inline(always)]
fn pad<const HEAD: usize>(ctx: &XdpContext) {
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
    crate::SETTINGS.get(0).map(|settings| settings.key)
}

/// The Internet checksum of a sum of 32-bit words (RFC 1071).
#[inline(always)]
fn checksum(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// The driver has dealt with a bulk of frames: `xdp_devmap_xmit(from, to, sent, drops, error)`. It takes them in order, so the
/// refused ones are the bulk's last. What this CPU's sender has not built is somebody else's, and so is what another thread sends:
/// every such program on the machine hears of every bulk, and frames of ours that never came so far (the device takes none) are
/// waiting for their word until the next call.
#[inline(always)]
pub(crate) fn confirm(ctx: &BtfTracePointContext) -> Option<()> {
    let (sent, refused, error): (i32, i32, i32) = (ctx.arg(2), ctx.arg(3), ctx.arg(4));
    let (sent, refused) = (u64::from(sent as u32), u64::from(refused as u32));
    let cursor = here()?;
    if sent + refused > cursor.built - cursor.confirmed || !is_running(cursor) {
        return None;
    }
    let mut i = 0;
    while i < BULK && i < refused {
        due(cursor.sender, cursor.confirmed + sent + i)?.refused = 1;
        i += 1;
    }
    if error < 0 {
        cursor.error = error.unsigned_abs();
    }
    cursor.confirmed += sent + refused;
    Some(())
}

/// Whether this is the sender's own thread.
#[inline(always)]
fn is_running(cursor: &mut LiveCursor) -> bool {
    // SAFETY: takes nothing and returns a number.
    let task = unsafe { bpf_get_current_task() };
    if cursor.task == 0 && has_number(cursor) {
        cursor.task = task;
    }
    cursor.task == task
}

/// Whether this thread has the number that the sender gave as its own.
#[inline(always)]
fn has_number(cursor: &LiveCursor) -> bool {
    let [device, inode] = cursor.namespace;
    let mut current = bpf_pidns_info { pid: 0, tgid: 0 };
    // SAFETY: the kernel writes to the structure, whose size it is told.
    let found =
        unsafe { bpf_get_ns_current_pid_tgid(device, inode, &mut current, size_of::<bpf_pidns_info>() as u32) } == 0;
    found && current.pid == cursor.thread
}
