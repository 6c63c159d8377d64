//! Segments to our ports.

use super::{ACK, ANSWERS, FIN, PORT, PORTS, RST, SYN, answer, initial, rig, settings, syn};
use crate::{
    IDENTIFIER, KEY, SEQUENCE, is_taken, passes, payload,
    xdp::{
        self, Rig,
        around::{Around, FIRST_PORT, heard, ours, theirs},
        frames::{self, Segment},
        frames_v6,
    },
};
use echolot::{
    base::Family,
    wire::{Key, NumberIn},
};
use probe_ebpf::layout::{MAX_FRAME, Settings, Verdict};

#[test]
#[ignore = "needs root: make test runs it"]
fn answers_are_taken_whatever_lies_around_them() {
    let Some(rig) = rig() else { return };
    for around in Around::all() {
        let family = around.family();
        for (flags, beyond, says) in ANSWERS {
            for (flow, options, payload) in [(0, 0, 0), (1, 20, 0), (2, 40, 9)] {
                let segment = Segment {
                    ports: (PORT, FIRST_PORT + flow),
                    acknowledgment: initial(family, flow).wrapping_add(beyond),
                    options: vec![1; options],
                    payload: vec![7; payload],
                    ..answer(family, flags, beyond)
                };
                let what = format!("{around:?} {segment:?}");
                let mut frame = around.segment(&segment);
                let read = heard(&is_taken(&rig, &what, &frame));
                assert_eq!(
                    (read.says, read.number(&Key(KEY), NumberIn::Sequence)),
                    (says, Some((0x34, 0xff))),
                    "{what}"
                );
                assert_eq!((read.from, read.source), (theirs(family), ours(family)), "{what}");
                assert_eq!(read.ports, (FIRST_PORT + flow, PORT), "{what}");
                frame.resize(frame.len() + 40, 0xff);
                is_taken(&rig, &format!("padded by Ethernet, {what}"), &frame);
            }
        }
    }
}

/// Of the flags four count. Urgent data, pushed data, congestion: whatever else they say.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_flags_say_whether_it_is_an_answer() {
    let Some(rig) = rig() else { return };
    for around in Around::both() {
        let mut frame = around.segment(&answer(around.family(), ACK, 1));
        let mut forged = around.segment(&answer(around.family(), ACK, 0x100));
        for flags in 0..=255 {
            frame[around.body() + 13] = flags;
            forged[around.body() + 13] = flags;
            let what = format!("{around:?}, flags {flags:#010b}");
            let without_proof = match flags & (FIN | SYN | RST | ACK) {
                0x12 | 0x14 => Verdict::Cookie,
                RST => Verdict::ResetWithoutAck,
                _ => Verdict::NotReply,
            };
            match flags & (FIN | SYN | RST | ACK) {
                0x12 | 0x14 | ACK => drop(is_taken(&rig, &what, &frame)),
                _ => passes(&rig, &what, &frame, without_proof),
            }
            passes(&rig, &format!("without proof, {what}"), &forged, without_proof);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_checksum_is_not_asked_for() {
    let Some(rig) = rig() else { return };
    for around in Around::both() {
        for (flags, beyond, _) in ANSWERS {
            let mut frame = around.segment(&answer(around.family(), flags, beyond));
            frame[around.body() + 16] ^= 0xff;
            is_taken(&rig, "wrong checksum", &frame);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_cut_answer_is_never_taken() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        for (flags, beyond, _) in ANSWERS {
            let segment = Segment { options: vec![1; 12], ..answer(around.family(), flags, beyond) };
            let frame = around.segment(&segment);
            for length in 14..frame.len() {
                let verdict = if length < around.body() + 20 { Verdict::Malformed } else { Verdict::Truncated };
                passes(&rig, &format!("{around:?} {segment:?} cut to {length}"), &frame[..length], verdict);
            }
            is_taken(&rig, "whole", &frame);
        }
    }
}

/// What the IP header doesn't cover is padding, even if it looks like the rest of an answer.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_ip_header_says_how_long_a_segment_is() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        let segment = Segment { options: vec![1; 8], payload: vec![3; 5], ..answer(around.family(), SYN | ACK, 1) };
        let mut frame = around.segment(&segment);
        for length in 0..=33 {
            around.say_length(&mut frame, length);
            let what = format!("{around:?} said to have {length} bytes");
            if length < 28 {
                passes(&rig, &what, &frame, Verdict::Malformed)
            } else {
                drop(is_taken(&rig, &what, &frame))
            }
        }
        for length in [34, 1500, 60_000] {
            around.say_length(&mut frame, length);
            passes(&rig, &format!("{around:?} said to have {length} bytes"), &frame, Verdict::Truncated);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_header_is_as_long_as_its_offset_says() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        for (flags, beyond, _) in ANSWERS {
            let mut frame = around.segment(&Segment { payload: vec![3; 13], ..answer(around.family(), flags, beyond) });
            for words in 0..16 {
                frame[around.body() + 12] = words << 4 | 0xf;
                let what = format!("{around:?}, {words} words of 33 bytes");
                if matches!(words, 5..=8) {
                    is_taken(&rig, &what, &frame);
                } else {
                    passes(&rig, &what, &frame, Verdict::Malformed);
                }
            }
        }
    }
}

/// A connection of somebody else on this host: a container behind an address translation may even use our ports.
#[test]
#[ignore = "needs root: make test runs it"]
fn what_is_not_ours_is_passed() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        let family = around.family();
        let (([_, destination], size), body) = (around.addresses(), around.body());
        for (flags, beyond, _) in ANSWERS {
            let good = around.segment(&answer(family, flags, beyond));
            for port in [0, 80, FIRST_PORT - 1, FIRST_PORT + PORTS, u16::MAX] {
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
        let data = Segment { payload: vec![5; 1000], ..answer(family, ACK | 8, 0x0012_3456) };
        passes(&rig, "data", &around.segment(&data), Verdict::NotReply);
        passes(&rig, "the end of a connection", &around.segment(&answer(family, FIN | ACK, 1)), Verdict::NotReply);
        passes(&rig, "a connection to us", &around.segment(&answer(family, SYN, 1)), Verdict::NotReply);
    }
    // What we send, where it comes back to us or to a neighbour of ours.
    for family in [Family::V4, Family::V6] {
        let mut probe = vec![2; 14];
        probe[12..].copy_from_slice(if family == Family::V4 { &[8, 0] } else { &[0x86, 0xdd] });
        probe.extend(syn(family, 1));
        passes(&rig, "our own SYN", &probe, Verdict::NotReply);
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn fragments_are_passed() {
    let Some(rig) = rig() else { return };
    let plain = frames::Around::default();
    for (flags, beyond, _) in ANSWERS {
        let first = frames::Around { more_fragments: true, ..plain.clone() };
        let segment = answer(Family::V4, flags, beyond);
        passes(&rig, "the first", &first.segment(&segment), Verdict::NotReply);
        for fragment_offset in [1, 8, 0x1fff] {
            let later = frames::Around { fragment_offset, ..plain.clone() };
            passes(&rig, "a later one", &later.segment(&segment), Verdict::NotReply);
        }
        for extensions in [vec![(frames_v6::FRAGMENT, 0)], vec![(frames_v6::HOP_BY_HOP, 0), (frames_v6::FRAGMENT, 0)]] {
            let around = frames_v6::Around { extensions, ..frames_v6::Around::default() };
            let only = around.segment(&answer(Family::V6, flags, beyond));
            passes(&rig, "the only one", &only, Verdict::NotReply);
        }
        let around =
            frames_v6::Around { extensions: vec![(frames_v6::DESTINATION, 0); 5], ..frames_v6::Around::default() };
        passes(&rig, "five", &around.segment(&answer(Family::V6, flags, beyond)), Verdict::NotReply);
    }
}

/// Addresses, ports and all of the number are covered: a single other bit, and nothing is proven.
#[test]
#[ignore = "needs root: make test runs it"]
fn an_answer_must_prove_that_the_syn_was_ours() {
    let Some(rig) = rig() else { return };
    let extended = frames_v6::Around {
        tags: 1,
        extensions: vec![(frames_v6::HOP_BY_HOP, 0), (frames_v6::ROUTING, 2)],
        ..frames_v6::Around::default()
    };
    let [v4, v6] = Around::both();
    for around in [v4, v6, Around::V6(extended)] {
        let family = around.family();
        let (([source, _], size), body) = (around.addresses(), around.body());
        for (flags, beyond, _) in ANSWERS {
            let good = around.segment(&answer(family, flags, beyond));
            is_taken(&rig, "good", &good);
            for byte in (source..source + size).chain(body..body + 4).chain(body + 8..body + 12) {
                for bit in 0..8 {
                    let mut wrong = good.clone();
                    wrong[byte] ^= 1 << bit;
                    let what = format!("{around:?}, flags {flags:#x}, bit {bit} of byte {byte}");
                    let number = |at: usize| u16::from_be_bytes([wrong[at], wrong[at + 1]]);
                    let acknowledged = u32::from(number(body + 8)) << 16 | u32::from(number(body + 10));
                    // A RST may acknowledge the SYN or nothing of it: where one is taken for the other it is proven still.
                    let is_other = flags == RST | ACK && acknowledged.wrapping_sub(initial(family, 1)) < 2;
                    let is_ours = (FIRST_PORT..FIRST_PORT + PORTS).contains(&number(body + 2));
                    if is_other && byte >= body + 8 {
                        is_taken(&rig, &what, &wrong);
                    } else if flags == ACK || !is_ours {
                        passes(&rig, &what, &wrong, Verdict::NotReply);
                    } else {
                        passes(&rig, &what, &wrong, Verdict::Cookie);
                    }
                }
            }
            // Its own sequence number, window, checksum and urgent pointer are its sender's affair.
            for byte in (body + 4..body + 8).chain(body + 14..body + 20) {
                let mut other = good.clone();
                other[byte] ^= 0xff;
                is_taken(&rig, "what is not covered", &other);
            }
        }
        // Of what else could be acknowledged nothing is ours, nor is it by who acknowledges nothing.
        for beyond in (2..500).chain([u32::MAX, 1 << 31, 0x100, 0x101]) {
            passes(&rig, "beyond", &around.segment(&answer(family, SYN | ACK, beyond)), Verdict::Cookie);
            passes(&rig, "beyond", &around.segment(&answer(family, RST | ACK, beyond)), Verdict::Cookie);
        }
        for flags in [SYN | ACK, ACK] {
            let verdict = if flags == ACK { Verdict::NotReply } else { Verdict::Cookie };
            passes(&rig, "nothing acknowledged", &around.segment(&answer(family, flags, 0)), verdict);
        }
        for beyond in [0, 1, 77] {
            let reset = around.segment(&answer(family, RST, beyond));
            passes(&rig, "nothing but a RST", &reset, Verdict::ResetWithoutAck);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_does_not_fit_a_chunk_is_passed() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        let family = around.family();
        let sized = |length: usize, segment: Segment| {
            around.segment(&Segment { payload: vec![7; length - around.body() - 20], ..segment })
        };
        for (flags, beyond, _) in ANSWERS {
            let good = || answer(family, flags, beyond);
            is_taken(&rig, "just fits", &sized(MAX_FRAME, good()));
            passes(&rig, "one byte too long", &sized(MAX_FRAME + 1, good()), Verdict::Large);
            passes(&rig, "in several pieces", &sized(9014, good()), Verdict::Large);
            let forged = sized(9014, answer(family, flags, 0x100));
            let verdict = if flags == ACK { Verdict::NotReply } else { Verdict::Cookie };
            passes(&rig, "in several pieces, without proof", &forged, verdict);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn settings_decide() {
    let Some(mut rig) = rig() else { return };
    for around in Around::both() {
        let family = around.family();
        let answers = ANSWERS.map(|(flags, beyond, _)| around.segment(&answer(family, flags, beyond)));
        let unproven = |rig: &Rig, what: &str| {
            for ((flags, _, _), frame) in ANSWERS.iter().zip(&answers) {
                let verdict = if *flags == ACK { Verdict::NotReply } else { Verdict::Cookie };
                passes(rig, what, frame, verdict);
            }
        };
        rig.configure(&Settings { key: [KEY[0], !KEY[1]], ..settings() });
        unproven(&rig, "the key of a process before");
        rig.configure(&Settings { first_port: FIRST_PORT + 2, ..settings() });
        answers.iter().for_each(|frame| passes(&rig, "other ports", frame, Verdict::NotReply));
        // The last ports that there are.
        rig.configure(&Settings { first_port: u16::MAX - 1, port_count: 2, ..settings() });
        for port in [0, u16::MAX - 2] {
            let other = Segment { ports: (PORT, port), ..answer(family, SYN | ACK, 1) };
            passes(&rig, "beyond the last port", &around.segment(&other), Verdict::NotReply);
        }
        let last = Segment { ports: (PORT, u16::MAX), ..answer(family, SYN | ACK, 1) };
        passes(&rig, "at the last port", &around.segment(&last), Verdict::Cookie);
        rig.configure(&Settings { source_count: 0, source_count_v6: 0, ..settings() });
        answers.iter().for_each(|frame| passes(&rig, "no address of ours", frame, Verdict::ForeignAddress));
        rig.configure(&settings());
        rig.set_inactive(true);
        answers.iter().for_each(|frame| passes(&rig, "a copy", frame, Verdict::Inactive));
        rig.set_inactive(false);
        answers.iter().for_each(|frame| drop(is_taken(&rig, "as they are", frame)));
    }
}

/// Without ports TCP is what it was before there were TCP probes: not looked at.
#[test]
#[ignore = "needs root: make test runs it"]
fn without_ports_tcp_is_not_looked_at() {
    let Some(mut rig) = rig() else { return };
    rig.configure(&Settings { port_count: 0, ..settings() });
    for around in Around::some() {
        let family = around.family();
        for flags in [SYN | ACK, RST | ACK, RST, ACK, SYN] {
            let mut frame = around.segment(&answer(family, flags, 1));
            passes(&rig, "an answer", &frame, Verdict::NotReply);
            for length in around.body()..frame.len() {
                passes(&rig, "cut", &frame[..length], Verdict::NotReply);
            }
            frame[around.body() + 12] = 0;
            passes(&rig, "no offset", &frame, Verdict::NotReply);
            around.say_length(&mut frame, 3);
            passes(&rig, "said to be shorter", &frame, Verdict::NotReply);
        }
        let quote = around.by_router().error(&syn(family, 1));
        passes(&rig, "a quote", &quote, Verdict::ForeignQuote);
    }
}

/// Where there are TCP probes, echo is what it was.
#[test]
#[ignore = "needs root: make test runs it"]
fn with_ports_echo_is_what_it_was() {
    let Some(rig) = rig() else { return };
    let around = frames::Around::default();
    is_taken(&rig, "a reply", &around.echo_reply(IDENTIFIER, SEQUENCE, &payload(xdp::now(), 18)));
    let ping = around.echo_reply(IDENTIFIER ^ 1, SEQUENCE, &payload(xdp::now(), 18));
    passes(&rig, "a ping's", &ping, Verdict::ForeignIdentifier);
    passes(&rig, "UDP", &around.udp(&[7; 30]), Verdict::NotReply);
}
