//! Datagrams to our ports.

use super::{PORT, PORTS, PROVEN, UNPROVEN, id, probe, response, rig, settings, told};
use crate::{
    IDENTIFIER, KEY, SEQUENCE, is_taken, passes, payload,
    xdp::{
        self,
        around::{Around, FIRST_PORT, heard, ours, theirs},
        frames, frames_v6,
    },
};
use echolot::{
    base::{Family, PortState, Rcode},
    wire::{Heard, Key, NumberIn, Says, read_frame},
};
use probe_ebpf::layout::{MAX_FRAME, Settings, Verdict};

/// A good answer to the probe from a port of ours that is counted from the first.
fn answer(around: &Around, flow: u16) -> Vec<u8> {
    around.datagram((PORT, FIRST_PORT + flow), &response(id(around.family(), flow), 17))
}

/// To ports with and without proof.
const FLOWS: [u16; 4] = [0, PROVEN - 1, PROVEN, PORTS - 1];

#[test]
#[ignore = "needs root: make test runs it"]
fn dns_answers_are_taken_whatever_lies_around_them() {
    let Some(rig) = rig() else { return };
    for around in Around::all() {
        let family = around.family();
        for flow in 0..PROVEN {
            for more in [0, 1, 300] {
                let what = format!("{around:?}, flow {flow}, {more} more");
                let mut frame = around.datagram((PORT, FIRST_PORT + flow), &response(id(family, flow), more));
                let read = heard(&is_taken(&rig, &what, &frame));
                assert_eq!(read.number(&Key(KEY), NumberIn::Word), Some((0x34, 0xff)), "{what}");
                assert_eq!((read.says, read.rcode), (Says::Port(PortState::Open), Some(Rcode::new(5))), "{what}");
                assert_eq!((read.from, read.source), (theirs(family), ours(family)), "{what}");
                assert_eq!(read.ports, (FIRST_PORT + flow, PORT), "{what}");
                frame.resize(frame.len() + 40, 0xff);
                is_taken(&rig, &format!("padded by Ethernet, {what}"), &frame);
            }
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn anything_is_an_answer_where_none_has_proof() {
    let Some(rig) = rig() else { return };
    for around in Around::all() {
        for flow in [PROVEN, PROVEN + 5, PORTS - 1] {
            for length in [0, 1, 11, 12, 500] {
                let what = format!("{around:?}, flow {flow}, {length} bytes");
                let mut frame = around.datagram((PORT, FIRST_PORT + flow), &vec![0; length]);
                let read = heard(&is_taken(&rig, &what, &frame));
                let number = u8::try_from(flow - PROVEN).unwrap();
                let told = told(FIRST_PORT + flow).unwrap();
                assert_eq!(read.number(&Key(KEY), told), Some((number, 15)), "{what}");
                assert_eq!((read.says, read.rcode), (Says::Port(PortState::Open), None), "{what}");
                frame.resize(frame.len() + 40, 0xff);
                is_taken(&rig, &format!("padded by Ethernet, {what}"), &frame);
            }
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_cut_answer_is_never_taken() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        for flow in FLOWS {
            let frame = answer(&around, flow);
            let headers = around.body() + if flow < PROVEN { 20 } else { 8 };
            for length in 14..frame.len() {
                let verdict = if length < headers { Verdict::Malformed } else { Verdict::Truncated };
                passes(&rig, &format!("{around:?}, flow {flow}, cut to {length}"), &frame[..length], verdict);
            }
            is_taken(&rig, "whole", &frame);
        }
    }
}

/// What neither header covers is padding, even if it looks like the rest of an answer.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_headers_say_how_long_a_datagram_is() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        for flow in FLOWS {
            let mut frame = answer(&around, flow);
            let (udp, whole) = (around.body() + 4, 37);
            for length in 0..=whole {
                around.say_length(&mut frame, length);
                let what = format!("{around:?}, flow {flow}, said to have {length} bytes");
                if length < whole {
                    passes(&rig, &what, &frame, Verdict::Malformed);
                } else {
                    is_taken(&rig, &what, &frame);
                }
            }
            for length in [38, 1500, 60_000] {
                around.say_length(&mut frame, length);
                passes(&rig, &format!("{around:?} said to have {length} bytes"), &frame, Verdict::Truncated);
            }
            around.say_length(&mut frame, whole);
            for length in 0..50u16 {
                frame[udp..udp + 2].copy_from_slice(&length.to_be_bytes());
                let what = format!("{around:?}, flow {flow}, says that it has {length} bytes");
                match length {
                    0..8 | 38.. => passes(&rig, &what, &frame, Verdict::Malformed),
                    8..20 if flow < PROVEN => passes(&rig, &what, &frame, Verdict::NotReply),
                    _ => drop(is_taken(&rig, &what, &frame)),
                }
            }
        }
    }
}

/// A container behind an address translation may use our ports for its own datagrams.
#[test]
#[ignore = "needs root: make test runs it"]
fn what_is_not_ours_is_passed() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        let family = around.family();
        let (([_, destination], size), body) = (around.addresses(), around.body());
        for flow in FLOWS {
            let good = answer(&around, flow);
            for port in [0, 53, FIRST_PORT - 1, FIRST_PORT + PORTS, u16::MAX] {
                let mut other = good.clone();
                other[body + 2..body + 4].copy_from_slice(&port.to_be_bytes());
                passes(&rig, &format!("{around:?}, to port {port}"), &other, Verdict::NotReply);
            }
            for bit in 0..8 * size {
                let mut other = good.clone();
                other[destination + bit / 8] ^= 1 << (bit % 8);
                passes(&rig, &format!("{around:?}, to another address"), &other, Verdict::ForeignAddress);
            }
        }
        for flow in 0..PROVEN {
            let to_us = |payload: &[u8]| around.datagram((PORT, FIRST_PORT + flow), payload);
            let mut query = response(id(family, flow), 20);
            query[2] = 1;
            passes(&rig, "our own question", &to_us(&query), Verdict::NotReply);
            for length in 0..12 {
                let short = &response(id(family, flow), 0)[..length];
                passes(&rig, "no DNS header", &to_us(short), Verdict::NotReply);
            }
            let foreign = response(id(family, flow) ^ 0x100, 20);
            passes(&rig, "somebody else's response", &to_us(&foreign), Verdict::Cookie);
        }
    }
    // What we send, where it comes back to us or to a neighbour of ours.
    for family in [Family::V4, Family::V6] {
        for flow in FLOWS {
            let mut frame = vec![2; 14];
            frame[12..].copy_from_slice(if family == Family::V4 { &[8, 0] } else { &[0x86, 0xdd] });
            frame.extend(probe(family, flow));
            passes(&rig, "our own probe", &frame, Verdict::NotReply);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn fragments_are_passed() {
    let Some(rig) = rig() else { return };
    let plain = frames::Around::default();
    for flow in FLOWS {
        let first = frames::Around { more_fragments: true, ..plain.clone() };
        passes(&rig, "the first", &answer(&Around::V4(first), flow), Verdict::NotReply);
        for fragment_offset in [1, 8, 0x1fff] {
            let later = frames::Around { fragment_offset, ..plain.clone() };
            passes(&rig, "a later one", &answer(&Around::V4(later), flow), Verdict::NotReply);
        }
        for extensions in [vec![(frames_v6::FRAGMENT, 0)], vec![(frames_v6::HOP_BY_HOP, 0), (frames_v6::FRAGMENT, 0)]] {
            let around = Around::V6(frames_v6::Around { extensions, ..frames_v6::Around::default() });
            let mut frame = answer(&around, flow);
            passes(&rig, "the only one", &frame, Verdict::NotReply);
            frame[around.body() - 5] = 1;
            passes(&rig, "the first", &frame, Verdict::NotReply);
        }
        let extensions = vec![(frames_v6::DESTINATION, 0); 5];
        let around = Around::V6(frames_v6::Around { extensions, ..frames_v6::Around::default() });
        passes(&rig, "five", &answer(&around, flow), Verdict::NotReply);
    }
}

/// Source address, ports and identifier are covered. Eight keyed bits are few: now and then a single other bit is right too, and userspace
/// says the same.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_dns_answer_must_prove_that_the_question_was_ours() {
    let Some(rig) = rig() else { return };
    let (mut by_chance, mut tried) = (0, 0);
    for around in Around::some() {
        let family = around.family();
        let (([source, _], size), body) = (around.addresses(), around.body());
        for flow in 0..PROVEN {
            let good = answer(&around, flow);
            for byte in (source..source + size).chain(body..body + 4).chain(body + 8..body + 10) {
                for bit in 0..8 {
                    let mut wrong = good.clone();
                    wrong[byte] ^= 1 << bit;
                    let what = format!("{around:?}, flow {flow}, bit {bit} of byte {byte}");
                    let Ok(Heard::Port(report)) = read_frame(&wrong) else { panic!("{what}") };
                    match told(report.ports.0) {
                        None => passes(&rig, &what, &wrong, Verdict::NotReply),
                        Some(NumberIn::Port { .. }) => drop(is_taken(&rig, &what, &wrong)),
                        Some(told) => {
                            tried += 1;
                            if report.number(&Key(KEY), told).is_some() {
                                by_chance += 1;
                                is_taken(&rig, &what, &wrong);
                            } else {
                                passes(&rig, &what, &wrong, Verdict::Cookie);
                            }
                        }
                    }
                }
            }
            // Checksum, all of the flags but one, and what follows are its sender's affair.
            for byte in (body + 6..body + 8).chain(body + 11..good.len()) {
                let mut other = good.clone();
                other[byte] ^= 0xff;
                is_taken(&rig, "what is not covered", &other);
            }
            for flags in 0..=255u8 {
                let mut other = good.clone();
                other[body + 10] = flags;
                if flags < 0x80 {
                    passes(&rig, "a question", &other, Verdict::NotReply);
                } else {
                    is_taken(&rig, "a response", &other);
                }
            }
        }
        // Of all identifiers there is one for each number.
        let right = |id: &u16| {
            let frame = around.datagram((PORT, FIRST_PORT), &response(*id, 0));
            rig.run("steer", &frame).action == xdp::XDP_REDIRECT
        };
        if matches!(&around, Around::V4(frames::Around { tags: 0, options: 0, .. })) {
            assert_eq!((0..=u16::MAX).filter(right).count(), 256, "{family:?}");
        }
    }
    assert!(tried > 2_000 && by_chance <= tried / 128, "{by_chance} of {tried}");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_does_not_fit_a_chunk_is_passed() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        let family = around.family();
        for flow in FLOWS {
            let sized = |length: usize, id: u16| {
                around.datagram((PORT, FIRST_PORT + flow), &response(id, length - around.body() - 20))
            };
            let good = id(family, flow);
            is_taken(&rig, "just fits", &sized(MAX_FRAME, good));
            passes(&rig, "one byte too long", &sized(MAX_FRAME + 1, good), Verdict::Large);
            passes(&rig, "in several pieces", &sized(9014, good), Verdict::Large);
            if flow < PROVEN {
                let forged = sized(9014, good ^ 0x100);
                passes(&rig, "in several pieces, without proof", &forged, Verdict::Cookie);
            }
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn settings_decide() {
    let Some(mut rig) = rig() else { return };
    for around in Around::both() {
        let answers = FLOWS.map(|flow| (flow, answer(&around, flow)));
        rig.configure(&Settings { key: [KEY[0], !KEY[1]], ..settings() });
        for (flow, frame) in &answers {
            if *flow < PROVEN {
                passes(&rig, "the key of a process before", frame, Verdict::Cookie);
            } else {
                is_taken(&rig, "there is no key in it", frame);
            }
        }
        rig.configure(&Settings { first_port: FIRST_PORT + PORTS, ..settings() });
        answers.iter().for_each(|(_, frame)| passes(&rig, "other ports", frame, Verdict::NotReply));
        rig.configure(&Settings { port_count: 0, unproven_ports: 0, ..settings() });
        for (_, frame) in &answers {
            (around.body()..=frame.len())
                .for_each(|length| passes(&rig, "no ports", &frame[..length], Verdict::NotReply));
        }
        rig.configure(&Settings { unproven_ports: PORTS.into(), ..settings() });
        answers.iter().for_each(|(_, frame)| drop(is_taken(&rig, "none has proof", frame)));
        let to = |port| around.datagram((PORT, port), &response(id(around.family(), 0), 0));
        // The last ports that there are: one with proof, one without.
        rig.configure(&Settings { first_port: u16::MAX - 1, port_count: 2, unproven_ports: 1, ..settings() });
        for port in [0, u16::MAX - 2] {
            passes(&rig, "beside them", &to(port), Verdict::NotReply);
        }
        passes(&rig, "at the last but one", &to(u16::MAX - 1), Verdict::Cookie);
        is_taken(&rig, "at the last port", &to(u16::MAX));
        rig.configure(&Settings { unproven_ports: 0, ..settings() });
        let last = FIRST_PORT + PORTS - 1;
        passes(&rig, "every one has proof", &around.datagram((PORT, last), &[1; 11]), Verdict::NotReply);
        rig.configure(&Settings { source_count: 0, source_count_v6: 0, ..settings() });
        answers.iter().for_each(|(_, frame)| passes(&rig, "no address of ours", frame, Verdict::ForeignAddress));
        rig.configure(&settings());
        rig.set_inactive(true);
        answers.iter().for_each(|(_, frame)| passes(&rig, "a copy", frame, Verdict::Inactive));
        rig.set_inactive(false);
        answers.iter().for_each(|(_, frame)| drop(is_taken(&rig, "as they are", frame)));
    }
    assert_eq!(PORTS - PROVEN, UNPROVEN);
}

/// Where there are UDP probes, echo is what it was.
#[test]
#[ignore = "needs root: make test runs it"]
fn with_ports_echo_is_what_it_was() {
    let Some(rig) = rig() else { return };
    let around = frames::Around::default();
    is_taken(&rig, "a reply", &around.echo_reply(IDENTIFIER, SEQUENCE, &payload(xdp::now(), 18)));
    let ping = around.echo_reply(IDENTIFIER ^ 1, SEQUENCE, &payload(xdp::now(), 18));
    passes(&rig, "a ping's", &ping, Verdict::ForeignIdentifier);
    passes(&rig, "TCP", &around.tcp(&[7; 30]), Verdict::NotReply);
}
