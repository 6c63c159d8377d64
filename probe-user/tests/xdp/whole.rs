//! Live frames that the program copies.

use super::{
    Rig, XDP_REDIRECT,
    around::{fields, template},
    now,
};
use crate::KEY;
use echolot::{
    base::{Family, Sequence, TargetIndex},
    wire::{Content, Key, Kind, ProbeFields, Shape, Tag, Tags},
};
use probe_ebpf::layout::LIVE_FRAME;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What the program copies is, byte for byte, what userspace has written: SYNs, RSTs, DNS questions and other datagrams, over both families,
/// with no, one and two tags.
#[test]
#[ignore = "needs root: make test runs it"]
fn whole_live_frames_are_userspaces_frames() {
    let tag = |protocol, id| Tag { protocol, id };
    let one = Tags::NONE.inside(tag(0x8100, 100)).unwrap();
    let syn = Shape { ttl: 61, flow: 2, ..Shape::of(Kind::Tcp { port: 443 }) };
    let udp = |content| Shape { ttl: 9, dscp: 46, flow: 77, ..Shape::of(Kind::Udp { port: 53, content }) };
    let dns = udp(Content::dns("example.com AAAA").unwrap());
    let text = udp(Content::Bytes(b"echolot\n"));
    let shapes = [
        syn,
        Shape { reset: true, ..syn },
        dns,
        Shape { dont_fragment: false, ..text },
        Shape { payload: 0, ..udp(Content::Bytes(b"")) },
        Shape { payload: 58, ..text },
    ];
    for tags in [Tags::NONE, one, one.inside(tag(0x88a8, 4094)).unwrap()] {
        let Some(mut rig) = Rig::load_tagged(u8::from(tags != Tags::NONE)) else { return };
        for shape in shapes.into_iter().flat_map(|shape| [shape, shape.over(Family::V6)]) {
            let template = template(shape).tagged(tags);
            for i in 0..20u32 {
                let destination = match shape.family {
                    Family::V4 => Ipv4Addr::from_bits(0x0a40_0000 + i * 77_773).into(),
                    Family::V6 => {
                        Ipv6Addr::from_bits(u128::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060)).into()
                    }
                };
                let probe = ProbeFields {
                    destination,
                    target: TargetIndex(i.wrapping_mul(0x9e37_79b9)),
                    sequence: Sequence((i * 1_311) as u16),
                    next_hop_mac: [2, 0, 0, 0, i as u8, 2],
                    ..fields(shape.family)
                };
                let mut whole = [0x5a; LIVE_FRAME];
                template.lay(&mut whole);
                template.write(&mut whole, &probe, &Key(KEY));
                copies(&mut rig, whole, template.length());
            }
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn frames_of_every_length_are_copied_whole() {
    let Some(mut rig) = Rig::load() else { return };
    for length in 14..=LIVE_FRAME {
        let whole = std::array::from_fn(|byte| (byte as u8).wrapping_mul(73) ^ length as u8);
        copies(&mut rig, whole, length);
    }
    // Not beyond what there is: nobody asks for it.
    let whole = [1; LIVE_FRAME];
    let (action, frame, _) = rig.copy(whole, &[2; LIVE_FRAME + 9]);
    assert_eq!((action, &frame[..LIVE_FRAME], &frame[LIVE_FRAME..]), (XDP_REDIRECT, &whole[..], &[2; 9][..]));
}

fn copies(rig: &mut Rig, whole: [u8; LIVE_FRAME], length: usize) {
    let before = now();
    let (action, frame, sent) = rig.copy(whole, &vec![!whole[0]; length]);
    assert_eq!(action, XDP_REDIRECT);
    assert!(before <= sent && sent <= now());
    assert_eq!(frame, whole[..length], "{length} bytes");
}
