#![expect(clippy::unwrap_used, reason = "a test may panic")]
use super::*;
use crate::{
    base::{
        Ended, PortState, ProbeNumber, Rcode, Reason, Sources,
        samples::{answered, answered_after, lost, unreachable, unsent},
    },
    results::tests::plan,
    wire::Shape,
};

/// 2026-11-20T21:00:00Z, at CLOCK_MONOTONIC 1,000 s.
const CLOCK: WallClock = WallClock { offset_ns: 1_795_208_400_000_000_000 - 1_000_000_000_000 };

fn lines(mut encoder: Encoder, records: &[Settlement]) -> String {
    let mut out = Vec::new();
    encoder.header(&mut out);
    for record in records {
        encoder.encode(record, &mut out);
    }
    String::from_utf8(out).unwrap()
}

fn encoder(format: Format) -> Encoder {
    Encoder::new(format, Arc::new(plan()), CLOCK)
}

#[test]
fn json_has_the_members_that_apply_in_order() {
    let text = lines(encoder(Format::Jsonl), &[answered(1, 0), lost(0), unreachable(0, 70_000), unsent(2, 1)]);
    let expected = [
        r#"{"time":"2026-11-20T21:00:00.123456789Z","sent_ns":1000123456789,"group":"edge","target":"host.example","address":"10.64.0.1","seq":0,"outcome":"answered","rtt_ns":41234,"reply_ttl":64,"tx_stamp":"user","rx_stamp":"xdp"}"#,
        r#"{"time":"2026-11-20T21:00:00.123456789Z","sent_ns":1000123456789,"group":"edge","target":"10.64.0.0","address":"10.64.0.0","seq":0,"outcome":"lost","tx_stamp":"user"}"#,
        r#"{"time":"2026-11-20T21:00:00.123456789Z","sent_ns":1000123456789,"group":"edge","target":"10.64.0.0","address":"10.64.0.0","seq":70000,"outcome":"unreachable","rtt_ns":1230000,"reply_ttl":63,"tx_stamp":"user","rx_stamp":"xdp","reason":"host_unreachable","from":"10.64.0.254"}"#,
        r#"{"time":"2026-11-20T21:00:00.123456789Z","sent_ns":1000123456789,"group":"the \"far\", side","target":"10.64.0.2","address":"10.64.0.2","seq":1,"outcome":"unsent","reason":"link_down"}"#,
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn what_is_known_of_an_address_stands_at_the_end() {
    let known = Known { name: Some("r7.example".into()), asn: Some(64_500), as_name: Some("EXAMPLE, DE".into()) };
    let line = |format, record: &Settlement, known: Option<&Known>| {
        let (mut encoder, mut out) = (encoder(format).like_ping().named(), Vec::new());
        encoder.header(&mut out);
        encoder.encode_known(record, known, &mut out);
        String::from_utf8(out).unwrap()
    };
    let json = line(Format::Jsonl, &answered(1, 0), Some(&known));
    let end = "\"xdp\",\"name\":\"r7.example\",\"asn\":64500,\"as_name\":\"EXAMPLE, DE\"}\n";
    assert!(json.ends_with(end), "{json}");
    let unknown = line(Format::Jsonl, &answered(1, 0), Some(&Known::default()));
    assert_eq!(unknown, line(Format::Jsonl, &answered(1, 0), None));
    let csv = line(Format::Csv, &answered(1, 0), Some(&known));
    assert!(csv.starts_with("time,") && csv.contains(",source,name,asn,as_name\n"), "{csv}");
    assert!(csv.ends_with(",r7.example,64500,\"EXAMPLE, DE\"\n"), "{csv}");
    let columns = |line: &str| line.split(',').count();
    let unknown = line(Format::Csv, &answered(1, 0), None);
    let (header, rest) = unknown.split_once('\n').unwrap();
    assert_eq!(columns(header), columns(rest), "{unknown}");
    let text = |record: Settlement| line(Format::Text, &record, Some(&known));
    assert!(text(answered(1, 0)).starts_with("64 bytes from host.example (10.64.0.1) [AS64500 EXAMPLE, DE]: "));
    assert!(text(lost(0)).starts_with("no reply from r7.example (10.64.0.0) [AS64500 EXAMPLE, DE]: "));
}

#[test]
fn a_place_that_has_a_name_says_it_in_every_line() {
    let of = |format| lines(encoder(format).named().at(Some("fra \"1\", DE")), &[answered(1, 0), lost(0)]);
    let json = of(Format::Jsonl);
    for line in json.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["vantage"], "fra \"1\", DE");
    }
    let csv = of(Format::Csv);
    let (header, rest) = csv.split_once('\n').unwrap();
    assert!(header.ends_with(",source,vantage,name,asn,as_name"), "{header}");
    assert!(
        rest.lines().count() == 2 && rest.lines().all(|line| line.ends_with(",\"fra \"\"1\"\", DE\",,,")),
        "{rest}"
    );
}

#[test]
fn csv_has_every_column_in_every_line() {
    let text = lines(encoder(Format::Csv), &[answered(1, 0), lost(0), unreachable(0, 3), unsent(2, 1)]);
    assert_eq!(
        text,
        concat!(
            "time,sent_ns,group,target,address,seq,outcome,rtt_ns,reply_ttl,tx_stamp,rx_stamp,reason,from,probe,port,rcode,flow,source\n",
            "2026-11-20T21:00:00.123456789Z,1000123456789,edge,host.example,10.64.0.1,0,answered,41234,64,user,xdp,,,,,,,\n",
            "2026-11-20T21:00:00.123456789Z,1000123456789,edge,10.64.0.0,10.64.0.0,0,lost,,,user,,,,,,,,\n",
            "2026-11-20T21:00:00.123456789Z,1000123456789,edge,10.64.0.0,10.64.0.0,3,unreachable,1230000,63,user,xdp,host_unreachable,10.64.0.254,,,,,\n",
            "2026-11-20T21:00:00.123456789Z,1000123456789,\"the \"\"far\"\", side\",10.64.0.2,10.64.0.2,1,unsent,,,,,link_down,,,,,,\n",
        )
    );
}

/// As [`plan`], but "edge" asks for port 443.
fn tcp(format: Format) -> Encoder {
    let mut plan = plan();
    plan.groups[0].shape = Shape::of(Kind::Tcp { port: 443 });
    Encoder::new(format, Arc::new(plan), CLOCK)
}

/// An answer that says this of its port.
fn port(target: u32, state: PortState) -> Settlement {
    let answered = answered(target, 0);
    let ended = Ended::Answered { arrived: answered.sent + Nanos(41_234), ttl: 64, port: Some(state), rcode: None };
    Settlement { ended, ..answered }
}

#[test]
fn answers_of_a_port_say_what_was_asked_and_whether_it_is_open() {
    let records = [port(0, PortState::Open), port(1, PortState::Closed), lost(0), answered(2, 0)];
    let json = lines(tcp(Format::Jsonl), &records);
    let ends = [
        r#""tx_stamp":"user","rx_stamp":"xdp","probe":"tcp:443","port":"open"}"#,
        r#""tx_stamp":"user","rx_stamp":"xdp","probe":"tcp:443","port":"closed"}"#,
        r#""outcome":"lost","tx_stamp":"user","probe":"tcp:443"}"#,
        r#""tx_stamp":"user","rx_stamp":"xdp"}"#,
    ];
    assert_eq!(json.lines().count(), ends.len());
    for (line, end) in json.lines().zip(ends) {
        assert!(line.ends_with(end), "{line}");
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    let csv = lines(tcp(Format::Csv), &records);
    let columns = csv.lines().map(|line| line.rsplitn(6, ',').skip(1).take(4).collect::<Vec<_>>());
    assert_eq!(
        columns.collect::<Vec<_>>(),
        [
            ["flow", "rcode", "port", "probe"],
            ["", "", "open", "tcp:443"],
            ["", "", "closed", "tcp:443"],
            ["", "", "", "tcp:443"],
            ["", "", "", ""]
        ]
    );
    assert_eq!(
        lines(tcp(Format::Text), &records),
        "2026-11-20T21:00:00.123Z edge 10.64.0.0 seq=0 answered 41.2 us ttl=64 (port 443 open)\n\
         2026-11-20T21:00:00.123Z edge host.example (10.64.0.1) seq=0 answered 41.2 us ttl=64 (port 443 closed)\n\
         2026-11-20T21:00:00.123Z edge 10.64.0.0 seq=0 lost\n\
         2026-11-20T21:00:00.123Z the \"far\", side 10.64.0.2 seq=0 answered 41.2 us ttl=64\n"
    );
    assert_eq!(lines(tcp(Format::List), &records), "10.64.0.0\n10.64.0.1\n10.64.0.2\n");
}

#[test]
fn ping_text_of_a_port_says_whether_it_is_open() {
    let records = [port(1, PortState::Open), port(0, PortState::Closed), lost(0), unreachable(0, 3), unsent(1, 1)];
    assert_eq!(
        lines(tcp(Format::Text).like_ping(), &records),
        "port 443 open at host.example (10.64.0.1): seq=0 ttl=64 time=0.041 ms\n\
         port 443 closed at 10.64.0.0: seq=0 ttl=64 time=0.041 ms\n\
         no reply from 10.64.0.0: seq=0 (lost)\n\
         unreachable 10.64.0.0: seq=3 (host_unreachable) from 10.64.0.254\n\
         not sent to host.example (10.64.0.1): seq=1 (link_down)\n"
    );
}

/// Those of IPv6 are the kernel's choice.
#[test]
fn where_sources_take_turns_it_is_said_from_which() {
    let mut plan = plan();
    plan.groups[0].flows = 2;
    let sources = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
    plan.send_from(Sources::from_addresses(sources).unwrap()).unwrap();
    let plan = Arc::new(plan);
    let records = [lost(0), answered(1, 1), answered(0, 2), answered(1, 256 + 3), unsent(2, 1)];
    let of = |format| lines(Encoder::new(format, Arc::clone(&plan), CLOCK), &records);
    let ends = [
        r#""flow":0,"source":"192.0.2.1"}"#,
        r#""flow":1,"source":"192.0.2.1"}"#,
        r#""flow":0,"source":"192.0.2.2"}"#,
        r#""flow":1,"source":"192.0.2.2"}"#,
        r#""reason":"link_down","source":"192.0.2.2"}"#,
    ];
    assert_eq!(of(Format::Jsonl).lines().count(), ends.len());
    for (line, end) in of(Format::Jsonl).lines().zip(ends) {
        assert!(line.ends_with(end), "{line}");
    }
    let ends = ["0,192.0.2.1", "1,192.0.2.1", "0,192.0.2.2", "1,192.0.2.2", ",192.0.2.2"];
    assert!(of(Format::Csv).lines().skip(1).zip(ends).all(|(line, end)| line.ends_with(end)));
}

/// Of "edge", a name server: over two flows it says whether there is such a name.
#[test]
fn answers_of_a_name_server_have_their_code_and_flows_their_number() {
    let mut plan = plan();
    plan.groups[0].shape = Shape::of("udp:53".parse().unwrap());
    plan.groups[0].flows = 3;
    // Whose number is told by its port: so its flow is known, too.
    plan.groups[1].shape = Shape::of("udp:7".parse().unwrap());
    let plan = Arc::new(plan);
    let dns = |target, number, code| {
        let answered = answered(target, number);
        let arrived = answered.sent + Nanos(41_234);
        let rcode = Some(Rcode::new(code));
        Settlement { ended: Ended::Answered { arrived, ttl: 64, port: Some(PortState::Open), rcode }, ..answered }
    };
    // Of a number as high as this, the low 8 bits tell: 256 belongs to the first flow.
    let closed = Settlement { number: ProbeNumber(256), ..port(0, PortState::Closed) };
    let bytes = Settlement { number: ProbeNumber(17), ..port(2, PortState::Open) };
    let records = [dns(0, 4, 0), dns(1, 5, 3), closed, lost(0), bytes];
    let of = |format| Encoder::new(format, Arc::clone(&plan), CLOCK);
    let json = lines(of(Format::Jsonl), &records);
    let ends = [
        r#""probe":"udp:53","port":"open","rcode":"NOERROR","flow":1}"#,
        r#""probe":"udp:53","port":"open","rcode":"NXDOMAIN","flow":2}"#,
        r#""probe":"udp:53","port":"closed","flow":0}"#,
        r#""probe":"udp:53","flow":0}"#,
        r#""probe":"udp:7","port":"open","flow":1}"#,
    ];
    assert_eq!(json.lines().count(), ends.len());
    for (line, end) in json.lines().zip(ends) {
        assert!(line.ends_with(end), "{line}");
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    let csv = lines(of(Format::Csv), &records);
    let ends = ["open,NOERROR,1,", "open,NXDOMAIN,2,", "closed,,0,", "udp:53,,,0,", "udp:7,open,,1,"];
    assert!(csv.lines().skip(1).zip(ends).all(|(line, end)| line.ends_with(end)), "{csv}");
    assert_eq!(
        lines(of(Format::Text), &records[1..3]),
        "2026-11-20T21:00:00.123Z edge host.example (10.64.0.1) seq=5 answered 41.2 us ttl=64 (port 53 open, NXDOMAIN)\n\
         2026-11-20T21:00:00.123Z edge 10.64.0.0 seq=256 answered 41.2 us ttl=64 (port 53 closed)\n"
    );
    assert_eq!(
        lines(of(Format::Text).like_ping(), &records[1..3]),
        "port 53 open (NXDOMAIN) at host.example (10.64.0.1): seq=5 ttl=64 time=0.041 ms\n\
         port 53 closed at 10.64.0.0: seq=256 ttl=64 time=0.041 ms\n"
    );
}

#[test]
fn the_columns_are_documented() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")).unwrap();
    let (_, section) = docs.split_once("## Results\n").unwrap();
    assert!(section.contains(CSV_HEADER));
    let columns = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: Vec<&str> = columns.take(CSV_HEADER.split(',').count()).collect();
    assert_eq!(documented.join(","), CSV_HEADER.trim_end());
}

#[test]
fn a_name_that_was_resolved_later_has_its_address() {
    let mut plan = plan();
    plan.targets[1].destination = None;
    plan.sums = vec![crate::targets::Sum { group: 0, values: Vec::new() }];
    plan.label_sets = vec![crate::targets::LabelSet { labels: std::collections::BTreeMap::default(), sums: [0; 3] }];
    let plan = Arc::new(plan);
    let ledger = Arc::new(Ledger::new(&plan, &[0; 3], 1, false));
    let encoder = |format| Encoder::new(format, Arc::clone(&plan), CLOCK).resolved_in(Arc::clone(&ledger));
    let before = lines(encoder(Format::Jsonl), &[unsent(1, 0)]);
    assert!(!before.contains("address"), "{before}");
    ledger.account(TargetIndex(1)).resolve(std::net::Ipv4Addr::from_bits(0x0a40_0707).into(), 0);
    let after = lines(encoder(Format::Jsonl), &[answered(1, 1)]);
    assert!(after.contains(r#""target":"host.example","address":"10.64.7.7","seq":1"#), "{after}");
    assert!(lines(encoder(Format::Csv), &[answered(1, 1)]).contains(",host.example,10.64.7.7,1,"));
    assert_eq!(lines(encoder(Format::List), &[answered(1, 1), answered(1, 2)]), "10.64.7.7\n");
}

#[test]
fn a_list_shows_each_address_that_answered_once() {
    let records = [answered(1, 0), lost(0), answered(1, 1), answered(2, 0), unreachable(0, 0)];
    assert_eq!(lines(encoder(Format::List), &records), "10.64.0.1\n10.64.0.2\n");
    assert_eq!(lines(encoder(Format::None), &records), "");
}

#[test]
fn text_reads_as_sentences() {
    let text = lines(encoder(Format::Text), &[answered(1, 0), lost(0), unreachable(0, 3), unsent(2, 1)]);
    assert_eq!(
        text,
        "2026-11-20T21:00:00.123Z edge host.example (10.64.0.1) seq=0 answered 41.2 us ttl=64\n\
         2026-11-20T21:00:00.123Z edge 10.64.0.0 seq=0 lost\n\
         2026-11-20T21:00:00.123Z edge 10.64.0.0 seq=3 unreachable 1.23 ms ttl=63 (host_unreachable) from 10.64.0.254\n\
         2026-11-20T21:00:00.123Z the \"far\", side 10.64.0.2 seq=1 unsent (link_down)\n"
    );
}

#[test]
fn ping_text_reads_as_ping_does() {
    let unheard = Settlement { ended: Ended::Unheard, ..lost(1) };
    let slow = answered_after(0, 4, Nanos(12_345_678));
    let neighbour = Settlement { ended: Ended::NoNeighbour, ..lost(0) };
    let records = [answered(1, 0), slow, lost(0), unheard, unreachable(0, 3), neighbour, unsent(2, 1)];
    assert_eq!(
        lines(encoder(Format::Text).like_ping(), &records),
        "64 bytes from host.example (10.64.0.1): icmp_seq=0 ttl=64 time=0.041 ms\n\
         64 bytes from 10.64.0.0: icmp_seq=4 ttl=64 time=12.3 ms\n\
         no reply from 10.64.0.0: icmp_seq=0 (lost)\n\
         no reply from host.example (10.64.0.1): icmp_seq=0 (unheard: this machine dropped received frames)\n\
         unreachable 10.64.0.0: icmp_seq=3 (host_unreachable) from 10.64.0.254\n\
         unreachable 10.64.0.0: icmp_seq=0 (neighbour)\n\
         not sent to 10.64.0.2: icmp_seq=1 (link_down)\n"
    );
}

#[test]
fn a_target_that_the_plan_lacks_is_left_out_of_every_format() {
    for format in [Format::Text, Format::Jsonl, Format::Csv, Format::List] {
        let mut out = Vec::new();
        assert!(!encoder(format).encode(&answered(3, 0), &mut out));
        assert_eq!(out, b"");
    }
}

#[test]
fn wall_time_is_the_monotonic_time_plus_the_offset() {
    let wall = UNIX_EPOCH + std::time::Duration::from_secs(2_000_000_000);
    let clock = WallClock::new(Nanos::from_secs(50), wall);
    assert_eq!(clock.unix_ns(Nanos::from_secs(51)), 2_000_000_001_000_000_000);
    // A clock that stands before 1970 or a stamp from nowhere gives a wrong date, not a panic.
    assert_eq!(WallClock { offset_ns: -5 }.unix_ns(Nanos(3)), 0);
}

proptest::proptest! {
    #[test]
    fn every_json_line_parses_and_says_what_the_record_said(
        index in 0u32..3, number: u64, sent: u64, rtt: Option<u64>, ttl: u8, refused: bool
    ) {
        let sent = Nanos(sent);
        let ended = match rtt.map(|rtt| sent + Nanos(rtt)) {
            None => Ended::Lost,
            Some(arrived) if refused => {
                Ended::Refused { arrived, ttl, from: IpAddr::from([127, 0, 0, 1]), reason: Reason(2) }
            }
            Some(arrived) => Ended::Answered { arrived, ttl, port: None, rcode: None },
        };
        let record = Settlement { number: ProbeNumber(number), sent, ended, ..lost(index) };
        let (rtt, ttl) = (record.rtt().map(|rtt| rtt.0), record.reply_ttl());
        let line = lines(encoder(Format::Jsonl), &[record]);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        proptest::prop_assert_eq!(value["seq"].as_u64(), Some(number));
        proptest::prop_assert_eq!(value["sent_ns"].as_u64(), Some(sent.0));
        proptest::prop_assert_eq!(value["rtt_ns"].as_u64(), rtt);
        proptest::prop_assert_eq!(value["reply_ttl"].as_u64(), ttl.map(u64::from));
        proptest::prop_assert_eq!(value["outcome"].as_str(), Some(record.outcome().name()));
        let csv = lines(encoder(Format::Csv), &[record]);
        let columns = csv.lines().nth(1).unwrap().replace("\"the \"\"far\"\", side\"", "far");
        proptest::prop_assert_eq!(columns.split(',').count(), 18);
    }
}
