//! Routers in userspace, by rule, as others read them. Several stand in one chain, the kernel's between them.

use crate::{
    chain::{Chain, FAMILIES, Node, Plan, link_address},
    tools::{Hop, Hops, SOON, output},
    whole::KINDS,
};
use echolot::base::Family;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    net::IpAddr,
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};
use testbed::router::{Answer, Changes, Extension, Forwarding, Kind, Label, Place, Quote, Rule, Sum};
use xtask::command::{send_signal, wait_until};

/// The rule's answer with these changes to what it quotes.
fn changed(changes: Changes) -> Rule {
    Rule::expiring(Answer { changes, ..Answer::default() })
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_silent_are_stars_and_short_quotes_are_understood() {
    let short = Rule::expiring(Answer { quote: Quote::Least, ..Answer::default() });
    let plan = Plan::of(8).router(2, Rule::default()).router(4, Rule::silent()).router(6, short);
    let Some(chain) = plan.up("silent") else { return };
    for family in FAMILIES {
        let expected = chain.hops(family);
        assert_eq!(*expected.hop(4), Hop::default());
        for kind in KINDS {
            let seen = chain.traceroute(family, kind);
            assert_eq!(seen, expected, "{kind}");
        }
        chain.mtr(family, "-c 1").agrees(&expected);
    }
    for (router, is_heard) in [(2, true), (4, false), (6, true)] {
        let counts = chain.counts(router);
        assert!(counts.forwarded > 0, "{counts:?}");
        assert_eq!(counts.answered > 0, is_heard, "{router}: {counts:?}");
    }
}

/// Whoever forwards for others answers echo requests to itself, too.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_router_is_a_target_as_well() {
    let Some(chain) = Plan::of(4).router(3, Rule::default()).up("itself") else { return };
    for family in FAMILIES {
        let target = link_address(family, 0, 3, 1);
        let seen = Hops::of_traceroute(&chain.traceroute_text(target, "-I"));
        assert_eq!(seen.0[..], chain.hops(family).0[..3]);
    }
}

/// What has come to near of ICMP errors, as tshark reads it.
struct Capture {
    tcpdump: Child,
    folder: PathBuf,
}

/// Fields of an error: of each the packet's own value and the quoted one.
type Fields = BTreeMap<&'static str, Vec<String>>;

impl Capture {
    fn start(chain: &Chain) -> Self {
        let folder = xtask::lab::guard::folder(chain.namespace(Node::Near).strip_suffix("-near").unwrap());
        let told = folder.join("tcpdump.log");
        let mut tcpdump = chain.command(Node::Near, "tcpdump");
        let errors = "icmp[0] = 3 or icmp[0] = 11 or ip6[40] = 1 or ip6[40] = 3";
        tcpdump
            .args(["-i", "near0", "-Q", "in", "-U", "--immediate-mode", "-Z", "root", "-w"])
            .arg(folder.join("errors.pcap"))
            .arg(errors);
        let capture = Self { tcpdump: tcpdump.stderr(File::create(&told).unwrap()).spawn().unwrap(), folder };
        let listens = || fs::read_to_string(&told).unwrap().contains("listening on").then_some(());
        wait_until(SOON, listens).expect("tcpdump listens");
        capture
    }

    /// How many errors from this address there are until now.
    fn from(&self, source: IpAddr) -> usize {
        let mut reader = Command::new("tcpdump");
        // The last of them may not be whole yet.
        let read = reader.args(["-n", "-r"]).arg(self.folder.join("errors.pcap")).output().unwrap().stdout;
        String::from_utf8_lossy(&read).lines().filter(|line| line.contains(&format!(" {source} > "))).count()
    }

    /// Waits until there are so many.
    #[track_caller]
    fn wait_for(&self, source: IpAddr, errors: usize) {
        let has = || (self.from(source) >= errors).then_some(());
        wait_until(SOON, has).unwrap_or_else(|| panic!("{} errors from {source}, not {errors}", self.from(source)));
    }

    /// Of the errors, the last from each; these are among them.
    fn end(mut self, from: &[IpAddr], fields: &[&'static str], source: &'static str) -> BTreeMap<IpAddr, Fields> {
        from.iter().for_each(|source| self.wait_for(*source, 1));
        send_signal("INT", self.tcpdump.id());
        self.tcpdump.wait().unwrap();
        let mut tshark = Command::new("tshark");
        tshark.args(["-n", "-T", "fields", "-E", "separator=|", "-o", "ip.check_checksum:TRUE", "-r"]);
        tshark.arg(self.folder.join("errors.pcap"));
        tshark.args(fields.iter().flat_map(|field| ["-e", *field]));
        let text = output(&mut tshark);
        println!("{fields:?}\n{text}");
        let errors = text.lines().map(|line| {
            let values = line.split('|').map(|value| value.split(',').map(str::to_owned).collect());
            fields.iter().copied().zip(values).collect::<Fields>()
        });
        errors.map(|error| (error[source][0].parse().unwrap(), error)).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn changed_quotes_are_on_the_wire_as_rules_have_them() {
    let nobody: [IpAddr; 2] = ["192.0.2.9".parse().unwrap(), "2001:db8::9".parse().unwrap()];
    let plan = Plan::of(19)
        .router(2, changed(Changes { ttl: Some(0), ..Changes::default() }))
        .router(4, changed(Changes { ttl: Some(9), ..Changes::default() }))
        .router(6, changed(Changes { dscp: Some(46), ..Changes::default() }))
        .router(8, changed(Changes { identification: Some(0xbeef), flow_label: Some(0xbeef), ..Changes::default() }))
        .router(10, changed(Changes { destinations: nobody.to_vec(), ..Changes::default() }))
        .router(12, changed(Changes { checksum: Some(0x1234), ..Changes::default() }))
        .router(14, changed(Changes { header_checksum: Some(0x4321), ..Changes::default() }))
        .router(16, Rule::expiring(Answer { quote: Quote::Least, ..Answer::default() }))
        .router(18, Rule::expiring(Answer { corrupt: true, ttl: 255, ..Answer::default() }));
    let Some(chain) = plan.up("changed") else { return };

    let routers = |family| (1..=19).map(|hop| link_address(family, 0, hop, 1)).collect::<Vec<_>>();

    let capture = Capture::start(&chain);
    chain.traceroute(Family::V4, "-U -p 443 -t 4");
    let fields = [
        "ip.src",
        "ip.ttl",
        "ip.dsfield.dscp",
        "ip.id",
        "ip.dst",
        "ip.checksum",
        "ip.checksum.status",
        "udp.checksum",
        "ip.len",
        "icmp.checksum.status",
        "icmp.type",
    ];
    let errors = capture.end(&routers(Family::V4), &fields, "ip.src");
    let of = |hop: u8, field: &'static str| errors[&link_address(Family::V4, 0, hop, 1)][field].clone();
    let plain: Vec<String> = (1..20).step_by(2).map(|hop| of(hop, "ip.ttl")[1].clone()).collect();
    assert!(plain.iter().all(|ttl| ttl == "1"), "the kernel's routers quote what came: {plain:?}");
    assert_eq!([&of(2, "ip.ttl")[1], &of(4, "ip.ttl")[1]], ["0", "9"]);
    assert_eq!([&of(5, "ip.dsfield.dscp")[1], &of(6, "ip.dsfield.dscp")[1]], ["1", "46"]);
    assert_eq!(of(8, "ip.id")[1], "0xbeef");
    assert_eq!(of(10, "ip.dst"), ["10.96.1.0", "192.0.2.9"]);
    assert_ne!(of(10, "udp.checksum"), of(9, "udp.checksum"), "it covers the destination");
    assert_eq!(of(12, "udp.checksum"), ["0x1234"]);
    assert_eq!(of(14, "ip.checksum")[1], "0x4321");
    assert_eq!(
        [&of(15, "ip.len")[0], &of(16, "ip.len")[0]],
        ["88", "56"],
        "an IP header, 8 bytes, and what they quote"
    );
    assert_eq!(of(18, "ip.ttl")[0], (255 - 17).to_string());
    // 1 is right, 0 wrong.
    for hop in 1..=19 {
        let expected = if hop == 18 { "0" } else { "1" };
        assert_eq!(of(hop, "icmp.checksum.status")[0], expected, "ICMP checksum of hop {hop}");
        // What was lost of the last one's quote is of its header.
        let quoted = if [14, 18].contains(&hop) { "0" } else { "1" };
        assert_eq!(of(hop, "ip.checksum.status"), ["1", quoted], "header checksums of hop {hop}");
    }

    let capture = Capture::start(&chain);
    chain.traceroute(Family::V6, "-U -p 443 -t 4");
    let fields = [
        "ipv6.src",
        "ipv6.hlim",
        "ipv6.tclass.dscp",
        "ipv6.flow",
        "ipv6.dst",
        "udp.checksum",
        "ipv6.plen",
        "icmpv6.checksum.status",
    ];
    let errors = capture.end(&routers(Family::V6), &fields, "ipv6.src");
    let of = |hop: u8, field: &'static str| errors[&link_address(Family::V6, 0, hop, 1)][field].clone();
    assert_eq!([&of(1, "ipv6.hlim")[1], &of(2, "ipv6.hlim")[1], &of(4, "ipv6.hlim")[1]], ["1", "0", "9"]);
    assert_eq!([&of(5, "ipv6.tclass.dscp")[1], &of(6, "ipv6.tclass.dscp")[1]], ["1", "46"]);
    assert_eq!(of(8, "ipv6.flow")[1], "0x00beef");
    assert_eq!(of(10, "ipv6.dst")[1], "2001:db8::9");
    assert_eq!(of(12, "udp.checksum"), ["0x1234"]);
    assert_eq!([&of(15, "ipv6.plen")[0], &of(16, "ipv6.plen")[0]], ["88", "56"]);
    for hop in 1..=19 {
        let expected = if hop == 18 { "0" } else { "1" };
        assert_eq!(of(hop, "icmpv6.checksum.status")[0], expected, "ICMPv6 checksum of hop {hop}");
    }
}

/// By the length field and at byte 128, one label and several; a wrong checksum takes them away.
#[test]
#[ignore = "needs root: make test runs it"]
fn labels_are_read_by_traceroute_and_mtr() {
    let labels = [Label { label: 100_001, class: 3, ttl: 1 }, Label { label: 16, class: 0, ttl: 254 }];
    let with = |extension| Rule::expiring(Answer { extension: Some(extension), ..Answer::default() });
    let one = Extension::mpls(&labels[..1]);
    let two = Extension::mpls(&labels);
    let legacy = Extension { place: Place::Byte128, ..two.clone() };
    let wrong = Extension { sum: Sum::Wrong, ..legacy.clone() };
    let plan = Plan::of(9).router(2, with(one)).router(4, with(two)).router(6, with(legacy)).router(8, with(wrong));
    let Some(chain) = plan.up("labels") else { return };
    let stack = [(100_001, 3, 1), (16, 0, 254)];
    for family in FAMILIES {
        for kind in KINDS {
            let seen = chain.traceroute(family, &format!("-e {kind}"));
            seen.agrees(&chain.hops(family));
            for (hop, expected) in [(1, &stack[..0]), (2, &stack[..1]), (4, &stack), (6, &stack), (8, &[])] {
                assert_eq!(seen.hop(hop).labels, expected, "{kind}, hop {hop}: {seen:?}");
            }
        }
    }
    // Its report leaves them out; what it writes for other programs has them: hop from 0, label, class, bottom of the stack, time to live.
    let mut told: BTreeMap<u8, BTreeSet<(u32, u8, u8)>> = BTreeMap::new();
    for line in chain.mtr_text(Family::V4, "-e --raw -c 1").lines().filter_map(|line| line.strip_prefix("m ")) {
        let numbers: Vec<u32> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        told.entry(numbers[0] as u8 + 1).or_default().insert((numbers[1], numbers[2] as u8, numbers[4] as u8));
    }
    let all = BTreeSet::from(stack);
    assert_eq!(told.remove(&2), Some([stack[0]].into()));
    assert_eq!([told.remove(&4), told.remove(&6)], [Some(all.clone()), Some(all)]);
    // Those of hop 8 it believes as well (0.95 does), though their checksum is wrong.
    assert!(told.keys().all(|hop| *hop == 8), "{told:?}");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_refusal_from_the_middle_ends_the_path() {
    for (kind, mark, mark_v6) in
        [(Kind::NetUnreachable, "!N", "!N"), (Kind::HostUnreachable, "!H", "!H"), (Kind::Prohibited, "!X", "!X")]
    {
        let Some(chain) = Plan::of(5).router(3, Rule::refusing(kind)).up("refusal") else { return };
        for (family, mark) in FAMILIES.into_iter().zip([mark, mark_v6]) {
            for tool in ["-I", "-U"] {
                let seen = chain.traceroute(family, tool);
                // It answers what ends at it, and at the next what would have gone on.
                assert_eq!(seen.0[..3], chain.hops(family).0[..3], "{kind:?} {tool}");
                let refused = seen.hop(4);
                assert_eq!(refused.addresses, seen.hop(3).addresses, "{kind:?} {tool}: {seen:?}");
                assert!(refused.marks.contains(mark), "{kind:?} {tool}: {seen:?}");
                assert_eq!(seen.0.len(), 4, "{kind:?} {tool}: {seen:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn foreign_late_and_doubled_answers() {
    let foreign: [IpAddr; 2] = ["192.0.2.77".parse().unwrap(), "2001:db8::77".parse().unwrap()];
    let late = Duration::from_millis(200);
    let plan = Plan::of(7)
        .router(2, Rule::expiring(Answer { from: foreign.to_vec(), ..Answer::default() }))
        .router(4, Rule::expiring(Answer { after: late, ..Answer::default() }))
        .router(6, Rule::expiring(Answer { times: 2, ..Answer::default() }));
    let Some(chain) = plan.up("foreign") else { return };
    for (family, foreign) in FAMILIES.into_iter().zip(foreign) {
        let seen = chain.traceroute(family, "-U");
        assert_eq!(*seen.hop(2), Hop::of([foreign]));
        assert_eq!(seen.0[2..], chain.hops(family).0[2..]);
        let seen = chain.traceroute(family, "-I -f 4 -m 4 -w 0.15");
        assert_eq!(*seen.hop(4), Hop::default(), "it comes only after 200 ms");
        let since = Instant::now();
        let text = chain.traceroute_text(chain.target(family), "-I -f 4 -m 4 -w 5");
        assert!(since.elapsed() >= late && text.contains(&link_address(family, 0, 4, 1).to_string()), "{text}");
    }
    for family in FAMILIES {
        let capture = Capture::start(&chain);
        let asked = chain.counts(6).answered;
        chain.traceroute(family, "-U -f 6 -m 6");
        capture.wait_for(link_address(family, 0, 6, 1), 2);
        assert_eq!(chain.counts(6).answered - asked, 1, "two answers to one question");
    }
}

/// A router that keeps the time to live is not seen; behind one that counts below 1 the next is seen twice.
#[test]
#[ignore = "needs root: make test runs it"]
fn time_to_live_that_is_kept_or_runs_below_one() {
    let Some(chain) = Plan::of(5).router(3, Rule::forwarding(Forwarding::Keep)).up("kept") else { return };
    for family in FAMILIES {
        let mut expected = chain.hops(family);
        expected.0.remove(2);
        for kind in KINDS {
            chain.traceroute(family, kind).agrees(&expected);
        }
    }
    drop(chain);
    let Some(chain) = Plan::of(5).router(3, Rule::forwarding(Forwarding::Zero)).up("zero") else { return };
    let mut expected = chain.hops(Family::V4);
    expected.0[2] = expected.0[3].clone();
    for kind in KINDS {
        chain.traceroute(Family::V4, kind).agrees(&expected);
    }
    let capture = Capture::start(&chain);
    chain.traceroute(Family::V4, "-U -f 3 -m 3");
    let next = link_address(Family::V4, 0, 4, 1);
    let errors = capture.end(&[next], &["ip.src", "ip.ttl"], "ip.src");
    assert_eq!(errors[&next]["ip.ttl"][1], "0", "what came, it quotes");
}
