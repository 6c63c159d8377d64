//! Of echo: whether `steer` and userspace say the same. Of probes to ports this is in `tcp/alike.rs` and `udp/alike.rs`.

use super::{
    XDP_REDIRECT,
    around::{Around, NUMBER, fields, ours, template},
    frames::{self, Segment},
    frames_v6::{self, OURS},
    header, now,
    v6::settings_v6,
};
use crate::{IDENTIFIER, KEY, Rig, passes};
use echolot::{
    base::{Family, Nanos, Sequence, TargetIndex},
    wire::{Heard, Key, ProbeFields, RejectedReason, Shape, read_frame},
};
use probe_ebpf::{cookie, layout::Verdict};
use std::net::IpAddr;

fn rig() -> Option<Rig> {
    let mut rig = Rig::load()?;
    rig.configure(&settings_v6(&[OURS]));
    rig.open_socket();
    Some(rig)
}

/// Our probe as it was sent a moment ago, IP header first.
fn probe(family: Family, payload: u16) -> Vec<u8> {
    let shape = Shape::echo(payload).over(family);
    let template = template(shape);
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    template.write(&mut frame, &ProbeFields { sent: now(), ..fields(family) }, &Key(KEY));
    frame.truncate(14 + shape.datagram() as usize);
    frame.split_off(14)
}

impl Around {
    fn echo_reply(&self, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(around) => around.echo_reply(IDENTIFIER, NUMBER, payload),
            Self::V6(around) => around.echo_reply(IDENTIFIER, NUMBER, payload),
        }
    }
}

/// Whether it is a probe of ours, as far as the kernel can know: of the cookie all but what the generation is mixed into.
fn is_proven(sent: Nanos, destination: IpAddr, target: TargetIndex, sequence: Sequence, cookie: [u8; 6]) -> bool {
    let hash = match destination {
        IpAddr::V4(address) => cookie::ipv4(&KEY, sent.0, address.octets(), target.0, sequence.0),
        IpAddr::V6(address) => cookie::ipv6(&KEY, sent.0, address.octets(), target.0, sequence.0),
    };
    cookie::kernel_bits_match(hash, *cookie.first_chunk().unwrap())
}

/// What userspace makes of it: whether it is about a probe of ours, with our identifier.
fn judged(frame: &[u8]) -> Result<bool, RejectedReason> {
    Ok(match read_frame(frame)? {
        Heard::Reply(reply) => {
            reply.identifier == IDENTIFIER
                && is_proven(reply.sent, reply.source, reply.target, reply.sequence, reply.cookie)
        }
        Heard::Refusal(refusal) => {
            refusal.identifier == IDENTIFIER
                && refusal.is_ours(&Key(KEY))
                && refusal.quoted.is_none_or(|quoted| {
                    is_proven(quoted.sent, refusal.destination, quoted.target, refusal.sequence, quoted.cookie)
                })
        }
        Heard::Port(_) => false,
    })
}

fn damage(rng: &mut fastrand::Rng, bytes: &mut [u8]) {
    if !bytes.is_empty() {
        let byte = rng.usize(..bytes.len());
        bytes[byte] = if rng.bool() { rng.u8(..) } else { bytes[byte] ^ 1 << rng.u32(..8) };
    }
}

/// Replies and errors in which anything may be wrong or missing, before or after their checksum was made: steer takes those
/// that userspace finds proven and about us, and no others.
#[test]
#[ignore = "needs root: make test runs it"]
fn steer_and_userspace_judge_alike() {
    let Some(rig) = rig() else { return };
    let mut rng = fastrand::Rng::with_seed(0x1c39);
    let (mut taken, mut passed) = (0, 0);
    let arounds = Around::some();
    for round in 0..60_000 {
        let around = rng.choice(&arounds).unwrap();
        let (family, is_error) = (around.family(), rng.bool());
        let mut said = probe(family, *rng.choice(&[18, 56]).unwrap());
        if !is_error {
            said.drain(..header(family) + 8);
        }
        // A third of it is whole, a third damaged, a third cut.
        match rng.u8(..3) {
            0 => {}
            1 => damage(&mut rng, &mut said),
            _ => said.truncate(rng.usize(..=said.len())),
        }
        let mut frame = if is_error { around.by_router().error(&said) } else { around.echo_reply(&said) };
        if rng.u8(..3) == 0 {
            let ip = around.ip();
            damage(&mut rng, &mut frame[ip..]);
        }
        let before = now();
        let ran = rig.run("steer", &frame);
        let is_taken = ran.action == XDP_REDIRECT;
        // As a receiver would have it, whether or not it was taken.
        let mut stamped = frame.clone();
        if is_taken {
            stamped.copy_from_slice(&ran.frame);
        } else {
            stamped[..8].copy_from_slice(&before.0.to_ne_bytes());
        }
        let judged = judged(&stamped);
        let what = format!("round {round}, {around:?}, {:?}: {frame:02x?}", read_frame(&stamped));
        if is_taken {
            // The checksum is userspace's to judge.
            assert!(matches!(judged, Ok(true) | Err(RejectedReason::Corrupt)), "taken without proof: {what}");
            taken += 1;
        } else {
            assert!(judged != Ok(true) || asks_more(around, &frame, is_error), "proven, and passed: {what}");
            passed += 1;
        }
    }
    assert!(taken > 10_000 && passed > 10_000, "{taken} taken, {passed} passed");
}

/// What steer asks and userspace doesn't, which reads only what steer has taken: sent to us, no fragment, a routing header that
/// has arrived, an error that was sent to where its quote came from, and the quote no fragment.
fn asks_more(around: &Around, frame: &[u8], is_error: bool) -> bool {
    let ([_, to], size) = around.addresses();
    let ours = match ours(around.family()) {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let quote = around.body() + 8;
    let is_fragment = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]) & 0x3fff != 0;
    let asks_more = match around {
        Around::V4(around) => is_fragment(around.ip() + 6) || is_error && is_fragment(quote + 6),
        Around::V6(around) => !around.extensions.is_empty(),
    };
    let source = quote + to - around.ip() - size;
    asks_more || frame[to..to + size] != ours || is_error && frame[source..source + size] != ours
}

/// A third tag is one too many, whatever lies behind it.
#[test]
#[ignore = "needs root: make test runs it"]
fn more_tags_than_are_walked_over_are_passed() {
    let Some(rig) = rig() else { return };
    for tags in [1, 2] {
        let v4 = Around::V4(frames::Around { tags, ..frames::Around::default() });
        let v6 = Around::V6(frames_v6::Around { tags, ..frames_v6::Around::default() });
        for around in [v4, v6] {
            let family = around.family();
            let payload = probe(family, 18).split_off(header(family) + 8);
            let all = [around.echo_reply(&payload), around.by_router().error(&probe(family, 18))];
            for mut frame in
                all.into_iter().chain([around.datagram((7, 8), &[7; 20]), around.segment(&Segment::default())])
            {
                let tag: Vec<u8> = frame[12..16].to_vec();
                let more = tag.repeat(3 - tags);
                frame.splice(12..12, more);
                passes(&rig, &format!("three tags, {around:?}"), &frame, Verdict::UnknownProtocol);
            }
        }
    }
}
