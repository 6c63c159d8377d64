//! Probes that userspace has written as whole frames: here they are only copied.

use crate::{object::now, parse::Piece};
use aya_ebpf::{helpers::bpf_xdp_adjust_tail, programs::XdpContext};
use probe_ebpf::layout::{LIVE_FRAME, LIVE_SPARE, LiveFrame};

const WORD: usize = 8;

/// Copies as much as the frame is long, and cuts off what is spare. Returns its stamp; None: no frame is as short as this one.
#[inline(always)]
pub(crate) fn lay(ctx: &XdpContext, from: &LiveFrame) -> Option<u64> {
    let first = Piece::<WORD>::at(ctx, 0)?;
    first.words([word(from, 0)]);
    let mut at = WORD;
    while at < LIVE_FRAME {
        let Some(to) = Piece::<WORD>::at(ctx, at) else { break };
        to.words([word(from, at)]);
        at += WORD;
    }
    if at < LIVE_FRAME {
        let rest = word(from, at).to_le_bytes();
        let mut byte = 0;
        while byte < WORD - 1 {
            let Some(to) = Piece::<1>::at(ctx, at + byte) else { break };
            to.write(0..1, [rest[byte]]);
            byte += 1;
        }
    }
    // SAFETY: the context is the kernel's. Pointers into the frame are void from here on, and none is used any more.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, -(LIVE_SPARE as i32)) } != 0 {
        return None;
    }
    Some(now())
}

/// The word that begins at a multiple of 8 below the frame's end.
#[inline(always)]
fn word(from: &LiveFrame, at: usize) -> u64 {
    // SAFETY: within the frame by the caller's word, which the verifier checks, and aligned as the frame is.
    unsafe { from.0.as_ptr().add(at).cast::<u64>().read() }
}
