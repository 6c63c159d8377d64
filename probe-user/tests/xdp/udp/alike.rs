//! Whether `steer` and userspace say the same.

use super::{PORT, PORTS, id, probe, response, rig, told};
use crate::{
    KEY,
    xdp::{
        XDP_REDIRECT,
        around::{Around, FIRST_PORT, ours},
    },
};
use echolot::{
    base::Family,
    wire::{Heard, Key, read_frame},
};

/// Frames in which anything may be wrong: steer takes those that userspace finds proven and about us, and no others.
#[test]
#[ignore = "needs root: make test runs it"]
fn steer_and_userspace_judge_alike() {
    let Some(rig) = rig() else { return };
    let mut rng = fastrand::Rng::with_seed(0xdc9);
    let (mut taken, mut passed) = (0, 0);
    let arounds = Around::some();
    for round in 0..60_000 {
        let around = rng.choice(&arounds).unwrap();
        let (family, flow, is_error) = (around.family(), rng.u16(..PORTS), rng.bool());
        let mut frame = if is_error {
            let mut quote = probe(family, flow);
            quote.truncate(rng.usize(0..=quote.len()));
            // Before its checksum is made.
            (0..rng.usize(..3)).filter(|_| !quote.is_empty()).collect::<Vec<_>>().into_iter().for_each(|_| {
                let byte = rng.usize(..quote.len());
                quote[byte] = if rng.bool() { rng.u8(..) } else { quote[byte] ^ 1 << rng.u32(..8) };
            });
            around.by_router().error(&quote)
        } else {
            let payload = response(id(family, flow), rng.usize(..20));
            around.datagram((PORT, FIRST_PORT + flow), &payload[..rng.usize(0..=payload.len())])
        };
        for _ in 0..if is_error { usize::from(rng.u8(..8) == 0) } else { rng.usize(..3) } {
            let byte = rng.usize(around.ip()..frame.len());
            frame[byte] = if rng.bool() { rng.u8(..) } else { frame[byte] ^ 1 << rng.u32(..8) };
        }
        let is_taken = rig.run("steer", &frame).action == XDP_REDIRECT;
        let read = read_frame(&frame);
        let proven = match read {
            Ok(Heard::Port(report)) => {
                report.source == ours(family)
                    && told(report.ports.0).and_then(|told| report.number(&Key(KEY), told)).is_some()
            }
            _ => false,
        };
        let what = format!("round {round}, {around:?}, {read:?}: {frame:02x?}");
        if is_taken {
            // The checksum of an error is userspace's to judge.
            assert!(proven || is_error && read.is_err(), "taken without proof: {what}");
            taken += 1;
        } else {
            assert!(!proven || asks_more(around, &frame, is_error), "proven, and passed: {what}");
            passed += 1;
        }
    }
    assert!(taken > 10_000 && passed > 10_000, "{taken} taken, {passed} passed");
}

/// What steer asks and userspace doesn't, which reads only what steer has taken: no fragment, a routing header that has arrived, an error
/// that was sent to where its quote came from and quotes the whole UDP header.
fn asks_more(around: &Around, frame: &[u8], is_error: bool) -> bool {
    let number = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let (asks_more, end) = match around {
        Around::V4(around) => (number(around.ip() + 6) & 0x3fff != 0, around.ip() + number(around.ip() + 2)),
        Around::V6(around) => (!around.extensions.is_empty(), around.ip() + 40 + number(around.ip() + 4)),
    };
    let ([_, to], size) = around.addresses();
    let is_elsewhere = match ours(around.family()) {
        std::net::IpAddr::V4(ours) => frame[to..to + size] != ours.octets(),
        std::net::IpAddr::V6(ours) => frame[to..to + size] != ours.octets(),
    };
    let headers = if around.family() == Family::V4 { 20 } else { 40 };
    let is_short = end < around.body() + 8 + headers + 8;
    asks_more || is_error && (is_elsewhere || is_short)
}
