//! ARP for IPv4 over Ethernet (RFC 826): the 28 bytes behind the Ethernet header.

use std::{net::Ipv4Addr, ops::Range};

/// Bytes of a packet. Ethernet pads it.
pub const LENGTH: usize = 28;

/// Hardware and protocol type, and the lengths of their addresses: Ethernet, IPv4, 6, 4.
const KINDS: [u8; 6] = [0, 1, 8, 0, 6, 4];
const OPERATION: Range<usize> = 6..8;
const SENDER_MAC: Range<usize> = 8..14;
const SENDER: Range<usize> = 14..18;
const TARGET_MAC: Range<usize> = 18..24;
const TARGET: Range<usize> = 24..28;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// What somebody says of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// An answer; else a question or an announcement.
    pub reply: bool,
    /// Whose MAC address it is.
    pub sender: Ipv4Addr,
    /// Of one station, and not zero.
    pub sender_mac: [u8; 6],
    /// Who is asked, or told.
    pub target: Ipv4Addr,
    /// Its MAC address; in a question it means nothing.
    pub target_mac: [u8; 6],
}

/// "Who has `target`? Tell `sender`."
pub fn request(sender: Ipv4Addr, sender_mac: [u8; 6], target: Ipv4Addr) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[..KINDS.len()].copy_from_slice(&KINDS);
    packet[OPERATION].copy_from_slice(&REQUEST.to_be_bytes());
    packet[SENDER_MAC].copy_from_slice(&sender_mac);
    packet[SENDER].copy_from_slice(&sender.octets());
    packet[TARGET].copy_from_slice(&target.octets());
    packet
}

/// Reads a packet, with or without Ethernet's padding. None: not of IPv4 over Ethernet, cut, or of a sender that no one can have.
pub fn read(packet: &[u8]) -> Option<Arp> {
    let packet: &[u8; LENGTH] = packet.first_chunk()?;
    let mac = |range: Range<usize>| -> Option<[u8; 6]> { packet[range].try_into().ok() };
    let address = |range: Range<usize>| Some(Ipv4Addr::from(<[u8; 4]>::try_from(&packet[range]).ok()?));
    let reply = match u16::from_be_bytes(packet[OPERATION].try_into().ok()?) {
        REQUEST => false,
        REPLY => true,
        _ => return None,
    };
    let sender_mac = mac(SENDER_MAC)?;
    let is_station = sender_mac != [0; 6] && sender_mac[0] & 1 == 0;
    (packet[..KINDS.len()] == KINDS && is_station).then_some(Arp {
        reply,
        sender: address(SENDER)?,
        sender_mac,
        target: address(TARGET)?,
        target_mac: mac(TARGET_MAC)?,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, ArpPacketSlice, EtherType};
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn packet(operation: ArpOperation, sender_mac: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let kinds = (ArpHardwareId::ETHERNET, EtherType::IPV4);
        ArpPacket::new(kinds.0, kinds.1, operation, &sender_mac, &sender, &MAC, &target).unwrap().to_bytes().to_vec()
    }

    proptest! {
        #[test]
        fn others_read_our_question(sender: [u8; 4], target: [u8; 4]) {
            let bytes = request(sender.into(), MAC, target.into());
            let read = ArpPacketSlice::from_slice(&bytes).unwrap();
            prop_assert_eq!((read.hw_addr_type(), read.proto_addr_type()), (ArpHardwareId::ETHERNET, EtherType::IPV4));
            prop_assert_eq!(read.operation(), ArpOperation::REQUEST);
            prop_assert_eq!((read.sender_hw_addr(), read.sender_protocol_addr()), (&MAC[..], &sender[..]));
            prop_assert_eq!((read.target_hw_addr(), read.target_protocol_addr()), (&[0; 6][..], &target[..]));
        }

        #[test]
        fn we_read_the_answers_of_others(mac: [u8; 6], sender: [u8; 4], target: [u8; 4], padding in 0usize..30) {
            let mut mac = mac;
            mac[0] &= 0xfe;
            mac[5] |= 1;
            let mut bytes = packet(ArpOperation::REPLY, mac, sender, target);
            bytes.resize(bytes.len() + padding, 0xff);
            let said = Arp { reply: true, sender: sender.into(), sender_mac: mac, target: target.into(), target_mac: MAC };
            prop_assert_eq!(read(&bytes), Some(said));
        }

        #[test]
        fn anything_can_be_read(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn what_is_no_arp_of_a_station_is_refused() {
        let good = packet(ArpOperation::REPLY, MAC, [192, 0, 2, 1], [192, 0, 2, 2]);
        assert!(read(&good).is_some());
        assert!(!read(&packet(ArpOperation::REQUEST, MAC, [192, 0, 2, 1], [192, 0, 2, 2])).unwrap().reply);
        assert_eq!(read(&good[..27]), None, "cut");
        assert_eq!(read(&packet(ArpOperation(8), MAC, [192, 0, 2, 1], [192, 0, 2, 2])), None, "inverse ARP");
        for mac in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
            assert_eq!(read(&packet(ArpOperation::REPLY, mac, [192, 0, 2, 1], [192, 0, 2, 2])), None, "{mac:?}");
        }
        for kind in 0..KINDS.len() {
            let mut other = good.clone();
            other[kind] ^= 1;
            assert_eq!(read(&other), None, "byte {kind}");
        }
    }
}
