//! What the two families ask by, ARP and neighbour discovery, as whoever asks needs them.

use crate::{
    base::Address,
    route::{Answer, Question, Weight},
    wire::{arp, ndp},
};
use probe_ebpf::wire::{icmp, ipv6};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A MAC address.
pub(super) type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];

/// From where a packet came, and whether it was sent to us alone, or else to several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) mac: Mac,
    pub(super) to_us: bool,
}

/// What a packet says of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word<A> {
    /// In answer to somebody.
    Answer(Answer<A>),
    /// Unasked: this address, this MAC address.
    News(A, Mac),
}

/// By what neighbours of a family are asked for their MAC addresses.
pub(super) trait Protocol: Address {
    /// Of the frames.
    const ETHERTYPE: libc::c_int;
    /// Which of them are looked at; empty: all. The kernel goes by it, so that the others wake nobody.
    const FILTER: &'static [libc::sock_filter];
    /// A question.
    type Packet: AsRef<[u8]>;

    /// The question of the interface with this MAC address, and where to send it.
    fn ask(question: Question<Self>, own: Mac) -> (Mac, Self::Packet);

    /// What a packet says, if it says something.
    fn read(packet: &[u8], sender: Sender) -> Option<Word<Self>>;
}

impl Protocol for Ipv4Addr {
    const ETHERTYPE: libc::c_int = libc::ETH_P_ARP;
    const FILTER: &'static [libc::sock_filter] = &[];
    type Packet = [u8; arp::LENGTH];

    fn ask(Question { address, source, to }: Question<Self>, own: Mac) -> (Mac, Self::Packet) {
        (to.unwrap_or(BROADCAST), arp::request(source, own, address))
    }

    fn read(packet: &[u8], sender: Sender) -> Option<Word<Self>> {
        let arp::Arp { reply, sender: address, sender_mac: mac, target: to, .. } = arp::read(packet)?;
        let answer = Answer { address, mac, to, weight: Weight::Replaces };
        Some(if reply && sender.to_us { Word::Answer(answer) } else { Word::News(address, mac) })
    }
}

impl Protocol for Ipv6Addr {
    const ETHERTYPE: libc::c_int = libc::ETH_P_IPV6;
    /// Advertisements from this link, right behind the IPv6 header: the kernel's own (ndisc_rcv) knows no others.
    const FILTER: &'static [libc::sock_filter] = &[
        load_byte(ipv6::NEXT_HEADER),
        unless_equal(ipv6::ICMP, 5),
        load_byte(ipv6::HOP_LIMIT),
        unless_equal(ndp::HOP_LIMIT, 3),
        load_byte(ipv6::HEADER + icmp::TYPE),
        unless_equal(ndp::ADVERTISEMENT, 1),
        pass(u32::MAX),
        pass(0),
    ];
    type Packet = [u8; ndp::LENGTH];

    fn ask(Question { address, source, to }: Question<Self>, own: Mac) -> (Mac, Self::Packet) {
        let packet = ndp::solicitation(source, own, address, to.is_some());
        (to.unwrap_or(ndp::group_mac(address)), packet)
    }

    fn read(packet: &[u8], sender: Sender) -> Option<Word<Self>> {
        let ndp::Advertisement { destination: to, target: address, mac, solicited, replaces } = ndp::read(packet)?;
        let answer = |mac, weight| Some(Word::Answer(Answer { address, mac, to, weight }));
        match mac {
            Some(mac) if solicited && sender.to_us => {
                answer(mac, if replaces { Weight::Replaces } else { Weight::Supplies })
            }
            Some(mac) => Some(Word::News(address, mac)),
            None if solicited && sender.to_us => answer(sender.mac, Weight::Confirms),
            None => None,
        }
    }
}

// The three instructions of a socket's filter (classic BPF) that are needed. Offsets begin with the IP header; a packet that ends
// before is not passed.

#[expect(clippy::cast_possible_truncation, reason = "codes of instructions are 16 bits, and offsets are small")]
const fn load_byte(offset: usize) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset as u32 }
}

/// Leaves out so many instructions unless the byte is this one.
#[expect(clippy::cast_possible_truncation, reason = "codes of instructions are 16 bits")]
const fn unless_equal(byte: u8, leave_out: u8) -> libc::sock_filter {
    let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    libc::sock_filter { code, jt: 0, jf: leave_out, k: byte as u32 }
}

/// Passes so many bytes of the packet; 0: nothing.
#[expect(clippy::cast_possible_truncation, reason = "codes of instructions are 16 bits")]
const fn pass(bytes: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: bytes }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use etherparse::{Icmpv6Type, PacketBuilder, icmpv6::NeighborAdvertisementHeader};

    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const MAC: Mac = [2, 0, 0, 0, 0, 9];
    const US: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const THEM: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);
    const TO_US: Sender = Sender { mac: MAC, to_us: true };

    fn advertisement(solicited: bool, replaces: bool, mac: Option<Mac>) -> Vec<u8> {
        let flags = NeighborAdvertisementHeader { router: true, solicited, r#override: replaces };
        let option = mac.map(|mac| [&[2, 1], &mac[..]].concat()).unwrap_or_default();
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv6(THEM.octets(), US.octets(), 255);
        let builder = builder.icmpv6(Icmpv6Type::NeighborAdvertisement(flags));
        builder.write(&mut packet, &[&THEM.octets(), &option[..]].concat()).unwrap();
        packet
    }

    /// As the kernel runs it: what it passes of a packet.
    fn filtered(packet: &[u8]) -> u32 {
        let (mut next, mut byte) = (0, 0);
        loop {
            let libc::sock_filter { code, jf, k, .. } = Ipv6Addr::FILTER[next];
            next += 1;
            match u32::from(code) {
                0x30 => match packet.get(k as usize) {
                    Some(found) => byte = u32::from(*found),
                    None => return 0,
                },
                0x15 if byte != k => next += usize::from(jf),
                0x15 => {}
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_filter_passes_advertisements_of_this_link() {
        let good = advertisement(true, true, Some(MAC));
        assert_eq!(filtered(&good), u32::MAX);
        for (at, what) in [(6, "UDP"), (7, "from afar"), (40, "another message")] {
            let mut other = good.clone();
            other[at] ^= 1;
            assert_eq!(filtered(&other), 0, "{what}");
        }
        assert_eq!(filtered(&good[..40]), 0, "cut");
    }

    #[test]
    fn a_first_question_goes_to_several_and_a_confirmation_to_one() {
        let question = Question { address: THEM, source: US, to: None };
        assert_eq!(Ipv6Addr::ask(question, OWN).0, [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let (to, packet) = Ipv6Addr::ask(Question { to: Some(MAC), ..question }, OWN);
        assert_eq!((to, &packet[24..40]), (MAC, &THEM.octets()[..]));
        let [us, them] = [1, 2].map(|n| Ipv4Addr::new(192, 0, 2, n));
        let question = Question { address: them, source: us, to: None };
        assert_eq!(Ipv4Addr::ask(question, OWN), (BROADCAST, arp::request(us, OWN, them)));
        assert_eq!(Ipv4Addr::ask(Question { to: Some(MAC), ..question }, OWN).0, MAC);
    }

    #[test]
    fn only_what_is_solicited_and_sent_to_us_is_an_answer() {
        let read = |packet: &[u8], sender| <Ipv6Addr as Protocol>::read(packet, sender);
        let answer = |mac, weight| Some(Word::Answer(Answer { address: THEM, mac, to: US, weight }));
        let other = [2, 0, 0, 0, 0, 7];
        assert_eq!(read(&advertisement(true, true, Some(other)), TO_US), answer(other, Weight::Replaces));
        assert_eq!(read(&advertisement(true, false, Some(other)), TO_US), answer(other, Weight::Supplies));
        assert_eq!(read(&advertisement(true, true, None), TO_US), answer(MAC, Weight::Confirms));
        let to_several = Sender { to_us: false, ..TO_US };
        let news = Some(Word::News(THEM, other));
        assert_eq!(read(&advertisement(false, true, Some(other)), TO_US), news);
        assert_eq!(read(&advertisement(true, true, Some(other)), to_several), news);
        assert_eq!(read(&advertisement(false, true, None), TO_US), None);
        assert_eq!(read(&advertisement(true, true, None), to_several), None);
    }
}
