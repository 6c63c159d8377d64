//! Neighbour discovery for IPv6 over Ethernet (RFC 4861, RFC 2464): solicitations and advertisements, from the IPv6 header on.

use super::{
    RejectedReason,
    checksum::Sum,
    fields::field,
    ip::{Fields, Protocol, v6},
};
use probe_ebpf::wire::{icmp, ipv6};
use std::{net::Ipv6Addr, ops::Range};

/// Bytes of a question: IPv6 header, solicitation and one option.
pub const LENGTH: usize = ipv6::HEADER + MESSAGE;
const MESSAGE: usize = OPTIONS + OPTION;

/// What comes from another link has passed a router, and has less (RFC 4861, section 7.1).
pub const HOP_LIMIT: u8 = 255;
/// Type of a question.
const SOLICITATION: u8 = 135;
/// Type of an answer, or of an announcement.
pub const ADVERTISEMENT: u8 = 136;

/// In the message. An advertisement's flags are the first of four bytes; a solicitation has none.
const FLAGS: usize = 4;
const TARGET: Range<usize> = 8..24;
/// Where the options begin.
const OPTIONS: usize = 24;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// In an option: its kind, and its length in units of eight bytes.
const KIND: usize = 0;
const UNITS: usize = 1;
const OPTION_MAC: Range<usize> = 2..8;
/// Bytes of an option with a MAC address, and of a unit.
const OPTION: usize = 8;
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;

/// What somebody says of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Whom it is said to: of an answer, who has asked.
    pub destination: Ipv6Addr,
    /// Whose MAC address it is.
    pub target: Ipv6Addr,
    /// The MAC address, of one station and not zero; an answer to a question by unicast may be without.
    pub mac: Option<[u8; 6]>,
    /// An answer; else an announcement.
    pub solicited: bool,
    /// It holds even where another MAC address is known. What others may say too (proxies, anycast addresses) comes without.
    pub replaces: bool,
}

/// "Who has `target`? Tell `source`": to all who may have it, or to `target` alone.
pub fn solicitation(source: Ipv6Addr, source_mac: [u8; 6], target: Ipv6Addr, unicast: bool) -> [u8; LENGTH] {
    let (mut header, mut message) = ([0; ipv6::HEADER], [0; MESSAGE]);
    message[icmp::TYPE] = SOLICITATION;
    message[TARGET].copy_from_slice(&target.octets());
    let option = &mut message[OPTIONS..];
    (option[KIND], option[UNITS]) = (SOURCE_ADDRESS, 1);
    option[OPTION_MAC].copy_from_slice(&source_mac);
    let destination = if unicast { target } else { group(target) };
    let length = u16::try_from(MESSAGE).unwrap_or(u16::MAX);
    let fields = Fields { ttl: HOP_LIMIT, dscp: 0, dont_fragment: true };
    let sum = v6::prepare(&mut header, source, fields, 0, (Protocol::Icmp, length));
    let pseudo_header = sum.and(v6::make(&mut header, v6::flow_word(fields, 0), destination, 0));
    let checksum = pseudo_header.and(Sum::of(&message)).checksum();
    message[icmp::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    let mut packet = [0; LENGTH];
    packet[..ipv6::HEADER].copy_from_slice(&header);
    packet[ipv6::HEADER..].copy_from_slice(&message);
    packet
}

/// The MAC address of those who may have it.
pub const fn group_mac(target: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group(target).octets();
    [0x33, 0x33, a, b, c, d]
}

/// The multicast address that whoever has the address listens to: ff02::1:ff and its last three bytes (RFC 4291, section 2.7.1).
const fn group(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | (a as u128) << 16 | (b as u128) << 8 | c as u128)
}

/// Reads an advertisement, with or without Ethernet's padding. None: something else, cut, corrupt, from another link, or of what no
/// station can have (RFC 4861, section 7.1.2).
pub fn read(packet: &[u8]) -> Option<Advertisement> {
    let (header, rest) = packet.split_first_chunk::<{ ipv6::HEADER }>()?;
    let length = u16::from_be_bytes(header[ipv6::PAYLOAD_LENGTH].try_into().ok()?);
    let message = rest.get(..usize::from(length))?;
    let (fixed, options) = message.split_first_chunk::<OPTIONS>()?;
    let plain = ipv6::is_version(header[0]) && header[ipv6::NEXT_HEADER] == ipv6::ICMP;
    let here = header[ipv6::HOP_LIMIT] == HOP_LIMIT;
    let kind = fixed[icmp::TYPE] == ADVERTISEMENT && fixed[icmp::CODE] == 0;
    let whole = || v6::pseudo_header(header, Protocol::Icmp, message.len()).and(Sum::of(message)).checksum() == 0;
    if !(plain && here && kind && whole()) {
        return None;
    }
    let address = |bytes: &[u8]| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?));
    let (destination, target) = (address(&header[ipv6::DESTINATION])?, address(&fixed[TARGET])?);
    let solicited = fixed[FLAGS] & SOLICITED != 0;
    let of_nobody = target.is_multicast() || target.is_unspecified() || (solicited && destination.is_multicast());
    let mac = target_mac(options).ok()?;
    let replaces = fixed[FLAGS] & OVERRIDE != 0;
    (!of_nobody).then_some(Advertisement { destination, target, mac, solicited, replaces })
}

/// The MAC address among the options, if it is there; of several the first, as the kernel takes it.
fn target_mac(options: &[u8]) -> Result<Option<[u8; 6]>, RejectedReason> {
    let (mut mac, mut rest) = (None, options);
    while !rest.is_empty() {
        let units = rest.get(UNITS).copied().filter(|units| *units > 0).ok_or(RejectedReason::Truncated)?;
        let split = rest.split_at_checked(usize::from(units) * OPTION);
        let (option, others) = split.ok_or(RejectedReason::Truncated)?;
        if option[KIND] == TARGET_ADDRESS && mac.is_none() {
            let said: [u8; 6] = field(option, OPTION_MAC)?;
            let is_station = said != [0; 6] && said[0] & 1 == 0;
            if units != 1 || !is_station {
                return Err(RejectedReason::Corrupt);
            }
            mac = Some(said);
        }
        rest = others;
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use etherparse::{
        Icmpv6Slice, Icmpv6Type, Ipv6HeaderSlice, PacketBuilder,
        icmpv6::{Icmpv6PayloadSlice, NeighborAdvertisementHeader},
    };
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const US: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const THEM: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const ANSWER: NeighborAdvertisementHeader =
        NeighborAdvertisementHeader { router: false, solicited: true, r#override: true };

    fn option(kind: u8, mac: [u8; 6]) -> Vec<u8> {
        [&[kind, 1], &mac[..]].concat()
    }

    /// As others build it.
    fn advertisement(
        flags: NeighborAdvertisementHeader,
        to: Ipv6Addr,
        target: Ipv6Addr,
        hop_limit: u8,
        options: &[u8],
    ) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv6(THEM.octets(), to.octets(), hop_limit);
        let builder = builder.icmpv6(Icmpv6Type::NeighborAdvertisement(flags));
        builder.write(&mut packet, &[&target.octets(), options].concat()).unwrap();
        packet
    }

    fn answer() -> Vec<u8> {
        advertisement(ANSWER, US, THEM, 255, &option(TARGET_ADDRESS, MAC))
    }

    proptest! {
        #[test]
        fn others_read_our_question(source: [u8; 16], target: [u8; 16], unicast: bool) {
            let bytes = solicitation(source.into(), MAC, target.into(), unicast);
            let header = Ipv6HeaderSlice::from_slice(&bytes).unwrap();
            prop_assert_eq!((header.source(), header.hop_limit(), header.next_header().0), (source, 255, 58));
            prop_assert_eq!(usize::from(header.payload_length()), bytes.len() - 40);
            let to = header.destination();
            if unicast {
                prop_assert_eq!(to, target);
            } else {
                prop_assert_eq!(&to[..13], &Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets()[..13]);
                prop_assert_eq!(&to[13..], &target[13..]);
                prop_assert_eq!(group_mac(target.into()), [0x33, 0x33, 0xff, target[13], target[14], target[15]]);
            }
            let message = Icmpv6Slice::from_slice(&bytes[40..]).unwrap();
            prop_assert!(message.is_checksum_valid(source, to));
            let Icmpv6PayloadSlice::NeighborSolicitation(asked) = message.payload_slice().unwrap() else {
                panic!("{message:?}");
            };
            prop_assert_eq!(asked.target_address().octets(), target);
            prop_assert_eq!(asked.options(), &option(SOURCE_ADDRESS, MAC)[..]);
        }

        #[test]
        fn we_read_the_answers_of_others(
            mac: [u8; 6], to: [u8; 16], target: [u8; 16], flags: [bool; 3], padding in 0usize..30, others in 0usize..3,
        ) {
            let (mut mac, mut to, mut target) = (mac, to, target);
            mac[0] &= 0xfe;
            mac[5] |= 1;
            (to[0], target[0]) = (to[0] & 0x7f, target[0] & 0x7f | 1);
            let [router, solicited, r#override] = flags;
            // A nonce (RFC 3971) is of no interest.
            let mut options = option(14, [7; 6]).repeat(others);
            options.extend(option(TARGET_ADDRESS, mac));
            let flags = NeighborAdvertisementHeader { router, solicited, r#override };
            let mut bytes = advertisement(flags, to.into(), target.into(), 255, &options);
            bytes.resize(bytes.len() + padding, 0xff);
            let (destination, target) = (to.into(), target.into());
            let said = Advertisement { destination, target, mac: Some(mac), solicited, replaces: r#override };
            prop_assert_eq!(read(&bytes), Some(said));
        }

        #[test]
        fn a_changed_byte_is_seen(at in 0usize..72, bit in 0u8..8) {
            let mut bytes = answer();
            bytes[at] ^= 1 << bit;
            // Traffic class and flow label are covered by nothing and mean nothing here.
            let covered = at >= 4 || at == 0 && bit >= 4;
            prop_assert_eq!(read(&bytes).is_none(), covered, "byte {}", at);
        }

        #[test]
        fn anything_can_be_read(bytes: Vec<u8>, at in 40usize..80, byte: u8, length in 0usize..80) {
            let _ = read(&bytes);
            // Also behind the checksum.
            let mut bytes = answer();
            bytes.resize(80, 0);
            bytes[at] = byte;
            bytes.truncate(length.max(64));
            let payload = bytes.len() - 40;
            bytes[4..6].copy_from_slice(&u16::try_from(payload).unwrap().to_be_bytes());
            bytes[42..44].fill(0);
            let header = bytes.first_chunk::<40>().unwrap();
            let checksum = v6::pseudo_header(header, Protocol::Icmp, payload).and(Sum::of(&bytes[40..])).checksum();
            bytes[42..44].copy_from_slice(&checksum.to_be_bytes());
            if let Some(said) = read(&bytes) {
                prop_assert!(said.mac.is_none_or(|mac| mac != [0; 6] && mac[0] & 1 == 0));
                prop_assert!(!said.target.is_multicast());
            }
        }
    }

    #[test]
    fn what_is_no_advertisement_of_a_station_is_refused() {
        let good = answer();
        assert!(read(&good).is_some());
        for length in 0..good.len() {
            assert_eq!(read(&good[..length]), None, "cut to {length}");
        }
        let own = option(TARGET_ADDRESS, MAC);
        for hop_limit in [0, 1, 64, 254] {
            assert_eq!(read(&advertisement(ANSWER, US, THEM, hop_limit, &own)), None, "hop limit {hop_limit}");
        }
        assert_eq!(read(&advertisement(ANSWER, US, ALL_NODES, 255, &own)), None, "of a group");
        assert_eq!(read(&advertisement(ANSWER, US, Ipv6Addr::UNSPECIFIED, 255, &own)), None, "of nobody");
        assert_eq!(read(&advertisement(ANSWER, ALL_NODES, THEM, 255, &own)), None, "an answer to everybody");
        let announcement = NeighborAdvertisementHeader { solicited: false, ..ANSWER };
        assert!(!read(&advertisement(announcement, ALL_NODES, THEM, 255, &own)).unwrap().solicited);
        for mac in [[0; 6], [0xff; 6], [0x33, 0x33, 0, 0, 0, 1]] {
            let packet = advertisement(ANSWER, US, THEM, 255, &option(TARGET_ADDRESS, mac));
            assert_eq!(read(&packet), None, "{mac:?}");
        }
        assert_eq!(read(&solicitation(US, MAC, THEM, true)), None, "a question");
    }

    #[test]
    fn options_are_walked_and_must_be_whole() {
        let with = |options: &[u8]| read(&advertisement(ANSWER, US, THEM, 255, options));
        assert_eq!(with(&[]).unwrap().mac, None, "as an answer to a question by unicast may be");
        assert_eq!(with(&option(SOURCE_ADDRESS, MAC)).unwrap().mac, None, "not the target's");
        let two = [option(TARGET_ADDRESS, MAC), option(TARGET_ADDRESS, [2; 6])].concat();
        assert_eq!(with(&two).unwrap().mac, Some(MAC));
        let long = [&[TARGET_ADDRESS, 2], &[2; 14][..]].concat();
        assert_eq!(with(&long), None, "of another kind of link");
        assert_eq!(with(&[14, 0, 0, 0, 0, 0, 0, 0]), None, "without end");
        assert_eq!(with(&[14, 2, 0, 0, 0, 0, 0, 0]), None, "longer than the message");
        assert_eq!(with(&[14]), None, "no room for its length");
    }

    #[test]
    fn a_group_has_the_last_three_bytes() {
        assert_eq!(group(THEM), "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
        assert_eq!(group_mac(THEM), [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    }
}
