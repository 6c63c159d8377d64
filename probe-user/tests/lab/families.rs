//! IPv4 and IPv6 side by side, as people ask for them.

use crate::{
    capture::{Capture, tshark},
    harness::{ECHOLOT, Echolot, SOON, Scrape, Site, output},
    results::{Outcome, Record, Results},
};
use etherparse::{Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    net::{IpAddr, Ipv6Addr},
    os::fd::AsFd as _,
    process::Command,
    thread,
    time::Duration,
};
use testbed::bare::Passage;
use xtask::lab::{Answer, End, FAR_ADDRESS_V6, FAR_INTERFACE, NEAR_ADDRESS_V6, NEAR_INTERFACE};

/// A sweep takes two seconds where nothing else runs.
const WITHIN: Duration = Duration::from_secs(120);

fn ip(site: &Site, end: End, arguments: &str) {
    let namespace = site.name().namespace(end);
    output(Command::new("ip").args(["-n", &namespace]).args(arguments.split_whitespace()));
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What `ping` came to: every probe is in the results once.
#[track_caller]
fn ping(site: &Site, arguments: &[&str]) -> Vec<Record> {
    let arguments = [&["ping", "-i", "100ms", "-c", "3"], arguments].concat();
    site.start("jsonl", &arguments).end_as(&[0, 1], SOON).results.records()
}

/// How many probes to each address ended so.
fn ended(records: &[Record], outcome: Outcome) -> BTreeMap<IpAddr, usize> {
    let mut counts = BTreeMap::new();
    for record in records.iter().filter(|record| record.outcome == outcome) {
        *counts.entry(record.address).or_default() += 1;
    }
    counts
}

/// What the ping of the distribution says of a target that is asked twice: how many answers, and its words.
fn other_ping(site: &Site, target: &str) -> (u32, String) {
    let told = site.near("ping").args(["-6", "-n", "-c", "2", "-i", "0.2", "-W", "1", target]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let received = told.split(", ").find_map(|part| part.strip_suffix(" received")).expect(&told);
    (received.parse().unwrap(), told)
}

#[test]
#[ignore = "needs root: make test runs it"]
fn ping_asks_targets_of_both() {
    let Some(site) = Site::up("families", &Answer::Kernel) else { return };
    let records = ping(&site, &["10.64.0.1", "fd00:64::1", "fd00:64::2"]);
    let each = ["10.64.0.1", "fd00:64::1", "fd00:64::2"].map(|text| (address(text), 3)).into();
    assert_eq!(ended(&records, Outcome::Answered), each);
    assert_eq!(records.len(), 9);
    assert!(records.iter().all(|record| record.target == record.address.to_string()));
    assert_eq!(other_ping(&site, "fd00:64::1").0, 2);
}

/// Names by family, in a mount namespace of their own where a hosts file knows one.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_name_stands_for_the_family_that_is_asked_for() {
    let Some(site) = Site::up("names", &Answer::Kernel) else { return };
    let (hosts, out) = (site.path("hosts"), site.path("named"));
    fs::write(&hosts, "10.64.0.7 both.test\nfd00:64::7 both.test\n10.64.0.4 four.test\n").unwrap();
    let named = |arguments: &[&str]| {
        let mut command = site.near("sh");
        command.args(["-ec", "mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"", "sh"]).arg(&hosts);
        command.args([ECHOLOT, "ping", "-i", "100ms", "-c", "2", "-f", "jsonl", "-o"]).arg(&out).args(arguments);
        command
    };
    let answered = |arguments: &[&str]| {
        output(&mut named(arguments));
        let records = Results(out.clone()).records();
        assert!(records.iter().all(|record| record.target.ends_with(".test")));
        ended(&records, Outcome::Answered)
    };
    let (v4, v6) = (address("10.64.0.7"), address("fd00:64::7"));
    assert_eq!(answered(&["-4", "both.test"]), [(v4, 2)].into());
    assert_eq!(answered(&["-6", "both.test"]), [(v6, 2)].into());
    let any = answered(&["both.test", "four.test"]);
    assert_eq!(any.len(), 2, "one address each: {any:?}");
    assert_eq!((any.get(&address("10.64.0.4")), any.get(&v4).or(any.get(&v6))), (Some(&2), Some(&2)), "{any:?}");

    for (arguments, words) in [
        (&["-6", "four.test"][..], &["four.test", "no IPv6 address"][..]),
        (&["-6", "10.64.0.1"], &["10.64.0.1", "is IPv4", "the other family alone"]),
        (&["-4", "fd00:64::1"], &["fd00:64::1", "is IPv6", "the other family alone"]),
    ] {
        refused(&mut named(arguments), words);
    }
}

/// Status 2, and these words.
#[track_caller]
fn refused(command: &mut Command, words: &[&str]) {
    let ended = command.output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{told}");
    assert!(words.iter().all(|word| told.contains(word)), "{words:?} in {told}");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn probes_leave_from_the_source_that_is_named() {
    let Some(site) = Site::up("source", &Answer::Kernel) else { return };
    ip(&site, End::Near, &format!("address add fd00:63::9/64 dev {NEAR_INTERFACE} nodad"));
    let own = NEAR_ADDRESS_V6.to_string();
    for source in [own.as_str(), "fd00:63::9"] {
        let capture = Capture::of_both_families(&site);
        let records = ping(&site, &["-S", source, "10.64.0.1", "fd00:64::1"]);
        let frames = capture.stop();
        assert_eq!(ended(&records, Outcome::Answered).into_values().collect::<Vec<_>>(), [3, 3], "{source}");
        let sources: HashSet<String> = frames
            .iter()
            .filter(|frame| frame[12..14] == [0x86, 0xdd] && frame[54] == 128)
            .map(|frame| Ipv6Addr::from(<[u8; 16]>::try_from(&frame[22..38]).unwrap()).to_string())
            .collect();
        assert_eq!(sources, [source.to_owned()].into());
    }
    refused(
        site.near(ECHOLOT).args(["ping", "-S", "fd00:63::99", "fd00:64::1"]),
        &["fd00:63::99", "not an address of this host"],
    );
}

/// A prefix of IPv6, by each engine, of the kernel's stack and of the reflector: each address once, whatever the format.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_sweep_has_each_address_once() {
    let Some(mut site) = Site::up("sweep6", &Answer::Kernel) else { return };
    // A veth that live frames are sent into needs an XDP program on its far end: the reflector's.
    for (answer, engine, format) in [
        (Answer::Kernel, "afxdp", "jsonl"),
        (Answer::Reflector(ECHOLOT.into()), "afxdp", "csv"),
        (Answer::Reflector(ECHOLOT.into()), "live-frames", "jsonl"),
    ] {
        site.answer(&answer).unwrap();
        let what = format!("{}, {engine}, {format}", answer.word());
        let sweep = ["sweep", "fd00:64::/112", "--rate", "20000", "--engine", engine];
        let told = site.start(format, &sweep).end_or_incomplete(WITHIN);
        // What a busy machine could not send or hear is excused, and nothing else.
        let settled = ["answered", "unheard", "unsent"].map(|outcome| told.summary.number(outcome));
        assert_eq!(
            (told.summary.number("probes"), settled.iter().sum::<u64>()),
            (65_536, 65_536),
            "{what} {settled:?}"
        );
        assert!(settled[0] >= 65_536 / 2, "{what} {settled:?}");
        let results: Vec<(IpAddr, bool)> = if format == "csv" {
            let mut lines = told.results.lines();
            let header = lines.next().unwrap();
            let column = |name| header.split(',').position(|column| column == name).unwrap();
            let (target, to, outcome) = (column("target"), column("address"), column("outcome"));
            let of = |line: String| {
                let fields: Vec<&str> = line.split(',').collect();
                assert_eq!(fields[target], fields[to], "{line}");
                (address(fields[to]), fields[outcome] == "answered")
            };
            lines.map(of).collect()
        } else {
            let of = |record: &Record| (record.address, record.outcome == Outcome::Answered);
            told.results.records().iter().map(of).collect()
        };
        let each: HashSet<IpAddr> = results.iter().map(|(address, _)| *address).collect();
        assert_eq!((results.len(), each.len()), (65_536, 65_536), "{what}");
        assert_eq!(results.iter().filter(|(_, answered)| *answered).count() as u64, settled[0], "{what}");
        let first = Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 0).to_bits();
        let is_of_prefix =
            |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.to_bits() - first < 65_536);
        assert!(each.iter().all(is_of_prefix), "{what}");
    }
}

/// Sums by family, and a family that goes while the other stays.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_run_sums_by_family() {
    let Some(site) = Site::up("run6", &Answer::Kernel) else { return };
    let groups = "  - name: mixed\n    family: both\n    sum_by: [family]\n    interval: 500ms\n    \
                  targets: [10.64.0.0/26, 'fd00:64::/121']\n";
    let mut echolot: Echolot = site.run_groups(groups, "jsonl");
    let targets = |scrape: &Scrape, state: &str, family: &str| {
        scrape.sum_where("echolot_targets", &[("state", state), ("family", family)])
    };
    let scrape = echolot.wait_for("all are up", |scrape| scrape.targets("up") == 64 + 128);
    assert_eq!(["4", "6", ""].map(|family| targets(&scrape, "up", family)), [64, 128, 0]);
    let info = [("group", "mixed"), ("probe", "icmp"), ("family", "both")];
    assert_eq!(scrape.sum_where("echolot_group_info", &info), 1);

    // The far end loses its way to one family alone.
    ip(&site, End::Far, "-6 route replace blackhole fd00:64::/108 metric 1");
    ip(&site, End::Far, "-6 route del local fd00:64::/108 dev lo");
    let scrape = echolot.wait_for("IPv6 is down", |scrape| targets(scrape, "down", "6") == 128);
    assert_eq!(targets(&scrape, "up", "4"), 64);
    ip(&site, End::Far, "-6 route add local fd00:64::/108 dev lo");
    ip(&site, End::Far, "-6 route del blackhole fd00:64::/108 metric 1");
    let scrape = echolot.wait_for("IPv6 is up again", |scrape| targets(scrape, "up", "6") == 128);
    assert_eq!(targets(&scrape, "up", "4"), 64);

    let told = echolot.stop();
    assert_eq!(told.summary.results_dropped(), 0);
    let records = told.results.records();
    assert_eq!(records.len() as u64, told.summary.number("probes"));
    let lost = ended(&records, Outcome::Lost);
    assert!(lost.len() == 128 && lost.keys().all(IpAddr::is_ipv6), "{lost:?}");
    assert_eq!(ended(&records, Outcome::Answered).len(), 64 + 128);
}

/// The link-local address of the far end.
fn far_link_local(site: &Site) -> String {
    let text = output(site.far("ip").args(["-j", "-6", "address", "show", "dev", FAR_INTERFACE, "scope", "link"]));
    let links: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut addresses = links.as_array().unwrap().iter().flat_map(|link| link["addr_info"].as_array().unwrap());
    let local = addresses.find_map(|address| Some(address["local"].as_str()?.to_owned()));
    local.unwrap_or_else(|| panic!("no link-local address: {text}"))
}

#[test]
#[ignore = "needs root: make test runs it"]
fn link_local_targets_are_on_the_link_of_their_zone() {
    let Some(site) = Site::up("zone", &Answer::Kernel) else { return };
    let far = far_link_local(&site);
    let zoned = format!("{far}%{NEAR_INTERFACE}");
    let records = ping(&site, &[&zoned]);
    assert_eq!(ended(&records, Outcome::Answered), [(address(&far), 3)].into());
    assert!(records.iter().all(|record| record.target == zoned));
    assert_eq!(other_ping(&site, &zoned).0, 2);

    for (arguments, words) in [
        (&["-I", NEAR_INTERFACE, "fe80::1%far9"][..], &["fe80::1%far9", "is on the link of far9", NEAR_INTERFACE][..]),
        (&["fe80::1%far9"], &["far9", "no such interface"]),
        (&["fd00:64::1%near0"], &["only link-local", "have a zone"]),
    ] {
        refused(site.near(ECHOLOT).args(["ping", "-c", "1"]).args(arguments), words);
    }
}

/// Who answers, who is said to be unreachable, by whom and why, and who is silent: as the other ping says.
#[test]
#[ignore = "needs root: make test runs it"]
fn who_is_not_there_is_told_with_reason_and_teller() {
    let Some(site) = Site::up("reason", &Answer::Kernel) else { return };
    for (prefix, kind) in [("fd00:65::/64", "unreachable"), ("fd00:66::/64", "prohibit"), ("fd00:67::/64", "blackhole")]
    {
        ip(&site, End::Near, &format!("route add {prefix} via {FAR_ADDRESS_V6}"));
        ip(&site, End::Far, &format!("-6 route add {kind} {prefix}"));
    }
    let cases = [
        ("fd00:64::1", Outcome::Answered, None, 2, "64 bytes from fd00:64::1"),
        ("fd00:65::1", Outcome::Unreachable, Some("no_route"), 0, "No route"),
        ("fd00:66::1", Outcome::Unreachable, Some("admin_prohibited"), 0, "Administratively prohibited"),
        ("fd00:67::1", Outcome::Lost, None, 0, "100% packet loss"),
    ];
    let targets: Vec<&str> = cases.iter().map(|(target, ..)| *target).collect();
    let records = ping(&site, &targets);
    assert_eq!(records.len(), 3 * cases.len());
    for (target, outcome, reason, received, words) in cases {
        for record in records.iter().filter(|record| record.address == address(target)) {
            assert_eq!((record.outcome, record.reason.as_deref()), (outcome, reason), "{target}");
            assert_eq!(record.from, reason.map(|_| FAR_ADDRESS_V6.into()), "{target}");
        }
        let (answers, told) = other_ping(&site, target);
        assert_eq!(answers, received, "{told}");
        assert!(told.contains(words), "{words:?} in {told}");
    }
}

const IDENTIFIER: u16 = 0x0ec6;
/// Nothing that tshark has an error to tell of, and the checksum verified and found right.
const BAD: &str = "_ws.malformed || _ws.expert.severity == 8388608 || !(icmpv6.checksum.status == 1)";

/// Every IPv6 probe, by either engine, is what etherparse and tshark take for one; its flow label is its target's.
#[test]
#[ignore = "needs root: make test runs it"]
fn tshark_and_etherparse_read_every_probe() {
    let Some(site) = Site::up("eye6", &Answer::Kernel) else { return };
    // A veth that live frames are sent into needs an XDP program on its far end: one that lets tcpdump see them.
    let space = fs::File::open(format!("/run/netns/{}", site.name().namespace(End::Far))).unwrap();
    let attach = || {
        let to = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(space.as_fd(), to).unwrap();
        Passage::attach(FAR_INTERFACE).unwrap()
    };
    let _passage = thread::scope(|scope| scope.spawn(attach).join().unwrap());
    let identifier = IDENTIFIER.to_string();
    for engine in ["afxdp", "live-frames"] {
        let capture = Capture::of_both_families(&site);
        let file = capture.file.clone();
        let common = ["--engine", engine, "--identifier", &identifier];
        let sweep = [&["sweep", "fd00:64::/116", "--rate", "5000"], &common[..]].concat();
        let swept = site.start("none", &sweep).end(WITHIN);
        let ping = ["ping", "fd00:64::f:0-fd00:64::f:3f", "-c", "3", "-i", "100ms", "-s", "1001"];
        let pinged = site.start("none", &[&ping, &common[..]].concat()).end(SOON);
        let frames = capture.stop();
        let sent = swept.summary.sent() + pinged.summary.sent();
        assert_eq!(sent, 4_096 + 3 * 64, "{engine}");

        let filter = format!("icmpv6.type == 128 && icmpv6.echo.identifier == {IDENTIFIER}");
        assert_eq!(tshark(&site, &file, &filter, &["frame.number"]).len() as u64, sent, "{engine}: as tshark counts");
        let bad = format!("({filter}) && ({BAD})");
        assert_eq!(tshark(&site, &file, &bad, &["frame.number", "_ws.col.Info"]), [""; 0], "{engine}: as it judges");

        let mut labels: HashMap<IpAddr, u32> = HashMap::new();
        let mut checksums = HashSet::new();
        let mut read = 0;
        for frame in frames.iter() {
            let packet = SlicedPacket::from_ethernet(frame).unwrap();
            let Some(TransportSlice::Icmpv6(icmp)) = &packet.transport else { continue };
            let Icmpv6Type::EchoRequest(echo) = icmp.icmp_type() else { continue };
            let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!("no IPv6: {frame:?}") };
            if echo.id != IDENTIFIER {
                continue;
            }
            let header = ip.header().to_header();
            assert_eq!((header.source, header.hop_limit), (NEAR_ADDRESS_V6.octets(), 64), "{engine}");
            let checksum = icmp.icmp_type().calc_checksum(header.source, header.destination, icmp.payload()).unwrap();
            assert_eq!(icmp.checksum(), checksum, "{engine}");
            checksums.insert(checksum);
            let destination = Ipv6Addr::from(header.destination);
            let is_long = destination.segments()[6] == 0xf;
            assert_eq!(icmp.payload().len(), if is_long { 1001 } else { 18 }, "{destination}");
            assert_eq!(frame.len(), 54 + usize::from(header.payload_length), "nothing behind it");
            let label = header.flow_label.value();
            assert_ne!(label, 0, "{destination}");
            assert_eq!(*labels.entry(destination.into()).or_insert(label), label, "{destination}: one flow");
            read += 1;
        }
        assert_eq!(read, sent, "{engine}: as etherparse counts");
        assert_eq!(checksums.len(), 1, "{engine}: so they are one flow to who hashes the message's first 4 bytes");
        assert!(labels.values().collect::<HashSet<_>>().len() > 4_000, "{engine}: neighbours are other flows");
    }
}
