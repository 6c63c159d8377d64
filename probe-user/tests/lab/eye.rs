//! Independent eyes on every frame: tcpdump counts, tshark and etherparse read.

use crate::{
    capture::{Capture, tshark},
    harness::{Site, is_long, output},
};
use etherparse::{Icmpv4Type, NetSlice, SlicedPacket, TransportSlice};
use std::{
    collections::{HashMap, HashSet},
    fs,
    net::Ipv4Addr,
    path::Path,
    time::Duration,
};
use xtask::lab::{Answer, FAR_INTERFACE, Lab, NEAR_ADDRESS, NEAR_INTERFACE};

const IDENTIFIER: u16 = 0x0ec0;
/// Nothing that tshark has an error to tell of, and checksums verified and found right.
const BAD: &str =
    "_ws.malformed || _ws.expert.severity == 8388608 || !(ip.checksum.status == 1 && icmp.checksum.status == 1)";

fn mac(lab: &Lab, far: bool) -> [u8; 6] {
    let (mut cat, interface) = if far { (lab.far("cat"), FAR_INTERFACE) } else { (lab.near("cat"), NEAR_INTERFACE) };
    let text = output(cat.arg(format!("/sys/class/net/{interface}/address")));
    let bytes: Vec<u8> = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// Breaks one byte of the frame that holds this stamp, so that the eye can be seen to see.
fn spoil(from: &Path, to: &Path, stamp: u64) {
    let mut bytes = fs::read(from).unwrap();
    // Its low 48 bits travel.
    let at = bytes.windows(6).position(|bytes| bytes == &stamp.to_be_bytes()[2..]).unwrap();
    bytes[at] ^= 1;
    fs::write(to, bytes).unwrap();
}

#[test]
#[ignore = "needs root: make test runs it"]
fn tshark_and_etherparse_read_every_probe() {
    let Some(site) = Site::up("eye", &Answer::Kernel) else { return };
    let (block, rate) = if is_long() { ("10.64.0.0/14", "50000") } else { ("10.64.0.0/18", "10000") };
    let identifier = IDENTIFIER.to_string();
    let capture = Capture::of_whole_frames(&site);
    let file = capture.file.clone();
    let sweep = ["sweep", block, "--rate", rate, "--identifier", &identifier];
    let swept = site.start("none", &sweep).end(Duration::from_secs(60));
    // Longer probes, several to each target.
    let ping = ["ping", "10.71.0.0/24", "-c", "3", "-i", "100ms", "-s", "1001", "--identifier", &identifier];
    let pinged = site.start("none", &ping).end(Duration::from_secs(60));
    let frames = capture.stop();
    let sent = swept.summary.sent() + pinged.summary.sent();

    let requests: Vec<_> = frames.requests().collect();
    assert_eq!(requests.len() as u64, sent, "requests in the capture, and sent as echolot says");
    let filter = format!("icmp.type == 8 && icmp.ident == {IDENTIFIER}");
    assert_eq!(tshark(&site, &file, &filter, &["frame.number"]).len() as u64, sent, "as tshark counts");
    assert_eq!(tshark(&site, &file, BAD, &["frame.number", "_ws.col.Info"]), [""; 0], "as tshark judges");
    let spoilt = site.path("spoilt.pcap");
    spoil(&file, &spoilt, requests[requests.len() / 2].1);
    assert_eq!(tshark(&site, &spoilt, BAD, &["frame.number"]).len(), 1, "tshark sees one wrong checksum");

    let (near, far) = (mac(&site, false), mac(&site, true));
    let mut sequences: HashMap<Ipv4Addr, u16> = HashMap::new();
    let (mut read, mut checksums) = (0, HashSet::new());
    for frame in frames.iter() {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("no IPv4: {frame:?}") };
        let Some(TransportSlice::Icmpv4(icmp)) = &packet.transport else { panic!("no ICMP: {frame:?}") };
        let Icmpv4Type::EchoRequest(echo) = icmp.icmp_type() else { continue };
        if echo.id != IDENTIFIER {
            continue;
        }
        let ethernet = packet.link.as_ref().and_then(|link| link.to_header()?.ethernet2()).unwrap();
        assert_eq!((ethernet.source, ethernet.destination), (near, far));
        let header = ip.header().to_header();
        assert_eq!(header.source, NEAR_ADDRESS.octets());
        assert_eq!(header.time_to_live, 64);
        assert!(!header.more_fragments && header.fragment_offset.value() == 0 && header.options.is_empty());
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
        checksums.insert(icmp.checksum());
        let destination = Ipv4Addr::from(header.destination);
        // Probes of a target are numbered from 0. A number that is missing was not sent, and none comes twice.
        let next = sequences.entry(destination).or_default();
        assert!((*next..3).contains(&echo.seq), "{destination}: {} after {next}", echo.seq);
        *next = echo.seq + 1;
        let is_long = destination.octets()[1] == 71;
        assert_eq!(icmp.payload().len(), if is_long { 1001 } else { 18 }, "{destination}");
        assert_eq!(frame.len(), 14 + usize::from(header.total_len), "nothing behind it");
        read += 1;
    }
    assert_eq!(read, sent, "as etherparse counts");
    assert_eq!(checksums.len(), 1, "so they are one flow to who hashes the message's first 4 bytes");
    println!("{sent} requests sent, captured, and read by tshark and etherparse");
}
