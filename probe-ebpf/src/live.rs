//! Building probes in the kernel: what userspace has laid into a table leaves as frames of the kernel's own.
//!
//! Userspace has the kernel run the program on live frames (BPF_PROG_TEST_RUN, `BPF_F_TEST_XDP_LIVE_FRAMES`). How a frame is written is
//! said in `probe`; those that userspace has written itself are copied by `frame`.

use crate::{LIVE_CURSORS, LIVE_DESTINATIONS, LIVE_DUE, LIVE_FRAMES, frame, probe, probe_v6};
use aya_ebpf::{
    bindings::bpf_pidns_info,
    bindings::xdp_action,
    helpers::{bpf_get_current_task, bpf_get_ns_current_pid_tgid, bpf_get_smp_processor_id},
    programs::{BtfTracePointContext, XdpContext},
};
use probe_ebpf::layout::{LIVE_ECHO_V4, LIVE_ECHO_V6, LIVE_TABLE, LiveCursor, LiveDue};

/// Most frames of a device map's bulk (the kernel's DEV_MAP_BULK_SIZE).
const BULK: u64 = 16;

/// How far the sender has come whose frame this is, if it is one of a test run on a sender's CPU.
#[inline(always)]
pub(crate) fn sender(ctx: &XdpContext) -> Option<&'static mut LiveCursor> {
    if probe::is_test_run(ctx) { here() } else { None }
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

/// Where in all tables a sender's entry is; senders are counted from 1.
#[inline(always)]
fn place(sender: u32, position: u64) -> u32 {
    (sender - 1) * LIVE_TABLE + (position as u32 & (LIVE_TABLE - 1))
}

/// The entry of a sender's table.
#[inline(always)]
fn due(sender: u32, position: u64) -> Option<&'static mut LiveDue> {
    let index = place(sender, position);
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
    let place = place(cursor.sender, cursor.built);
    due.sent_ns = match cursor.form {
        LIVE_ECHO_V4 => probe::lay(ctx, due)?,
        LIVE_ECHO_V6 => probe_v6::lay(ctx, due, LIVE_DESTINATIONS.get(place)?)?,
        _ => frame::lay(ctx, LIVE_FRAMES.get(place)?)?,
    };
    cursor.built += 1;
    Some(probe::send())
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
