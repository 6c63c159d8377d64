//! Whether `steer` and userspace say the same.

use super::{ANSWERS, PORTS, answer, rig, syn};
use crate::{
    KEY,
    xdp::{
        XDP_REDIRECT,
        around::{Around, FIRST_PORT, ours},
        frames::Segment,
    },
};
use echolot::wire::{Heard, Key, NumberIn, read_frame};

/// Frames in which anything may be wrong: of answers steer takes those that userspace finds proven, and no others. What is proven, errors
/// among it, is to a port and an address of ours.
#[test]
#[ignore = "needs root: make test runs it"]
fn steer_and_userspace_judge_alike() {
    let Some(rig) = rig() else { return };
    let mut rng = fastrand::Rng::with_seed(0x7c9);
    let (mut taken, mut passed) = (0, 0);
    let arounds = Around::some();
    for round in 0..60_000 {
        let around = rng.choice(&arounds).unwrap();
        let (flags, beyond, _) = *rng.choice(&ANSWERS).unwrap();
        let is_error = rng.bool();
        let mut frame = if is_error {
            around.by_router().error(&syn(around.family(), 1))
        } else {
            around.segment(&Segment { options: vec![1; 4 * rng.usize(..3)], ..answer(around.family(), flags, beyond) })
        };
        for _ in 0..rng.usize(1..3) {
            let byte = rng.usize(around.ip()..frame.len());
            frame[byte] = if rng.bool() { rng.u8(..) } else { frame[byte] ^ 1 << rng.u32(..8) };
        }
        let ran = rig.run("steer", &frame);
        let is_taken = ran.action == XDP_REDIRECT;
        let proven = match read_frame(&frame) {
            Ok(Heard::Port(segment)) => segment.number(&Key(KEY), NumberIn::Sequence).map(|_| segment),
            _ => None,
        };
        let what = format!("round {round}, {around:?}: {frame:02x?}");
        match proven {
            Some(segment) => {
                let ours = segment.source == ours(around.family());
                assert!(
                    ours && (FIRST_PORT..FIRST_PORT + PORTS).contains(&segment.ports.0),
                    "proven, but whose? {what}"
                );
            }
            // The checksum of an error is userspace's to judge.
            None => assert!(!is_taken || is_error, "taken without proof: {what}"),
        }
        let may_pass = proven.is_none() || is_error || asks_more(around, &frame);
        assert!(is_taken || may_pass, "proven, and passed: {what}");
        if is_taken { taken += 1 } else { passed += 1 }
    }
    assert!(taken > 10_000 && passed > 10_000, "{taken} taken, {passed} passed");
}

/// What steer asks and userspace doesn't, which reads only what steer has taken: no fragment, a routing header that has arrived, a TCP
/// header as long as it says.
fn asks_more(around: &Around, frame: &[u8]) -> bool {
    let words = usize::from(frame[around.body() + 12] >> 4);
    let number = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let (end, asks_more) = match around {
        Around::V4(around) => (around.ip() + number(around.ip() + 2), number(around.ip() + 6) & 0x3fff != 0),
        Around::V6(around) => (around.ip() + 40 + number(around.ip() + 4), !around.extensions.is_empty()),
    };
    asks_more || words < 5 || around.body() + 4 * words > end
}
