//! Configurations that are read, and those that are refused with the right words.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::{
    client::{Authorization, TlsSettings},
    discovery::{Bounds, FileSource, HttpSource},
    nic::{Engine, Mode},
    targets::file_sd::Ports,
    wire::Shape,
};
use proptest::prelude::*;

fn read(text: &str) -> Result<Config, ConfigError> {
    parse(Path::new("dir/echolot.yml"), text)
}

fn error(text: &str) -> String {
    match read(text) {
        Ok(_) => panic!("no error in:\n{text}"),
        Err(error) => error.to_string(),
    }
}

const GROUPS: &str = "groups: [{name: a, targets: [10.0.0.1]}]\n";

#[test]
fn series_of_single_targets_are_by_policy() {
    let policy = |text: &str| {
        let config = read(&format!(
            "groups: [{{name: a, targets: [10.0.0.1], per_target: {text}}}]\nlimits: {{series: 5000}}\n"
        ));
        let config = config.unwrap();
        assert_eq!(config.series_limit, SeriesLimit(5_000));
        config.groups[0].group.per_target.clone()
    };
    assert_eq!(["none", "unhealthy", "all"].map(policy), [PerTarget::None, PerTarget::Unhealthy, PerTarget::All]);
    let labels = [("tier", "gold"), ("site", "fra")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(policy("{labelled: {tier: gold, site: fra}}"), PerTarget::Labelled(labels.into()));
    assert_eq!(read(GROUPS).unwrap().series_limit, SeriesLimit::DEFAULT);
}

#[test]
fn the_smallest_file_gets_the_defaults() {
    let config = read(GROUPS).unwrap();
    assert_eq!((config.interface, config.sources, config.listen), (None, Sources::default(), None));
    assert_eq!((config.engine, config.mode, config.identifier, config.seed), (Engine::Auto, Mode::Auto, None, None));
    assert_eq!((config.rate_limit, config.exclude), (100_000, Exclusions::default()));
    let group = &config.groups[0].group;
    assert_eq!((group.interval, group.timeout), (Nanos::from_secs(1), Nanos::from_secs(1)));
    assert_eq!((group.shape.payload, group.down_after, group.up_after, group.count), (18, 3, 1, None));
    assert_eq!((group.shape.kind, config.source_port), (Kind::Echo, None));
    assert_eq!((group.buckets.len(), group.buckets[0], group.buckets[19]), (20, 1e-5, 5.24288));
    assert!(group.per_target == PerTarget::None && group.sum_by.is_empty());
}

#[test]
fn every_key_is_read() {
    let config = read(
        "
interface: eth0
source: 192.0.2.1
source_port: 61000
listen: 127.0.0.1:10816
engine: afxdp
mode: zero-copy
identifier: 0xbeef
seed: 18446744073709551615
global: {interval: 10s, timeout: 500ms, size: 56, down_after: 5, up_after: 2, buckets: [1ms, 10ms]}
groups:
  - name: edge
    targets: [192.0.2.7, 198.51.100.0/24, 10.0.0.1-9, host.example]
    target_files: [targets/*.json, /etc/echolot/x.yml]
    labels: {site: fra, rack: 7}
    sum_by: [site]
    per_target: all
    path: {interval: 1m, flows: 4}
  - {name: core, targets: [10.0.0.1], interval: 1m, timeout: 2s, size: 1472, down_after: 1, up_after: 1, buckets: [1s]}
  - {name: web, targets: [10.0.0.1], probe: tcp:443}
  - {name: dns, targets: [10.0.0.1], probe: udp:53, ttl: 255, dscp: AF41, dont_fragment: false, flows: 64}
  - {name: game, targets: [10.0.0.1], probe: {udp: {port: 7, payload: 'hello'}}, size: 100, dscp: 63}
exclude: [198.51.100.13/32, 10.0.0.5, 10.0.0.6-7]
limits: {rate: 500000}
",
    )
    .unwrap();
    assert_eq!(config.interface.as_deref(), Some("eth0"));
    assert_eq!(config.sources.all().collect::<Vec<_>>(), [[192, 0, 2, 1].into()] as [std::net::IpAddr; 1]);
    assert_eq!(config.source_port, Some(61_000));
    assert_eq!(config.listen, Some("127.0.0.1:10816".parse().unwrap()));
    assert_eq!((config.engine, config.mode), (Engine::Afxdp, Mode::ZeroCopy));
    assert_eq!((config.identifier, config.seed, config.rate_limit), (Some(0xbeef), Some(u64::MAX), 500_000));
    assert_eq!(config.exclude.ranges().count(), 2);
    let [edge, core, web, dns, game] = &config.groups[..] else { panic!() };
    assert_eq!((edge.group.interval, edge.group.timeout), (Nanos::from_secs(10), Nanos::from_millis(500)));
    assert_eq!((edge.group.shape.payload, edge.group.down_after, edge.group.up_after), (56, 5, 2));
    assert_eq!((&edge.group.buckets[..], &edge.group.sum_by[..]), (&[0.001, 0.01][..], &["site".to_owned()][..]));
    assert_eq!(edge.group.per_target, PerTarget::All);
    assert_eq!(edge.group.path, Some(PathSettings { interval: Nanos::from_secs(60), flows: 4 }));
    let texts: Vec<String> = edge.targets.iter().map(|t| t.value.to_string()).collect();
    assert_eq!(texts, ["192.0.2.7", "198.51.100.0/24", "10.0.0.1-10.0.0.9", "host.example"]);
    let files: Vec<&Path> = edge.target_files.iter().map(|f| f.value.path.as_path()).collect();
    assert_eq!(files, [Path::new("dir/targets/*.json"), Path::new("/etc/echolot/x.yml")]);
    assert_eq!(edge.labels["rack"], "7");
    assert_eq!((core.group.interval, core.group.timeout), (Nanos::from_secs(60), Nanos::from_secs(2)));
    assert_eq!((core.group.shape.payload, core.group.down_after, &core.group.buckets[..]), (1472, 1, &[1.0][..]));
    assert_eq!((web.group.shape, web.group.timeout), (Shape::of(Kind::Tcp { port: 443 }), Nanos::from_millis(500)));
    let question = Shape::of(Kind::Udp { port: 53, content: Content::of_port(53) });
    assert_eq!(dns.group.shape, Shape { ttl: 255, dscp: 34, dont_fragment: false, ..question });
    assert_eq!((dns.group.flows, dns.group.flow_count(), web.group.flow_count()), (64, 64, 1));
    let hello = Shape::of(Kind::Udp { port: 7, content: Content::text("hello").unwrap() });
    assert_eq!(game.group.shape, Shape { payload: 100, dscp: 63, ..hello });
}

#[test]
fn what_is_asked_decides_on_the_timeout_and_the_size() {
    let read = |global: &str, group: &str| {
        let text = format!("global: {{{global}}}\ngroups: [{{name: a, targets: [10.0.0.1], {group}}}]\n");
        let Group { shape, timeout, .. } = read(&text).unwrap().groups[0].group.clone();
        (shape.kind.to_string(), shape.payload, timeout.0 / 1_000_000)
    };
    for (global, group, kind, payload, timeout) in [
        ("", "probe: icmp", "icmp", 18, 1_000),
        ("", "probe: tcp:80", "tcp:80", 0, 3_000),
        ("probe: tcp:80", "", "tcp:80", 0, 3_000),
        ("probe: tcp:80", "probe: tcp:443", "tcp:443", 0, 3_000),
        // What is written holds for all kinds; what isn't follows from the group's own.
        ("probe: tcp:80", "probe: icmp, size: 56", "icmp", 56, 1_000),
        ("timeout: 1s", "probe: tcp:80", "tcp:80", 0, 1_000),
        ("size: 56", "probe: tcp:80, timeout: 2s", "tcp:80", 0, 2_000),
        ("size: 56", "probe: udp:53", "udp:53", 17, 1_000),
        // A payload is padded up to the size, and never cut.
        ("size: 56", "probe: udp:7", "udp:7", 56, 1_000),
        ("size: 18", "probe: {udp: {port: 7, payload: a text of 20 bytes..}}", "udp:7", 20, 1_000),
        ("probe: udp:7, size: 9", "probe: icmp", "icmp", 18, 1_000),
        ("", "probe: {udp: {port: 53}}", "udp:53", 17, 1_000),
        ("", "probe: {udp: {port: 53, payload: ''}}", "udp:53", 0, 1_000),
        ("", "probe: {udp: {port: 53, dns: example.com AAAA}}", "udp:53", 29, 1_000),
        ("", "probe: {udp: {port: 7, hex: 00ff17}}", "udp:7", 3, 1_000),
    ] {
        assert_eq!(read(global, group), (kind.to_owned(), payload, timeout), "{global} / {group}");
    }
}

#[test]
fn tcp_probes_that_could_not_be_told_apart_are_blamed_on_the_groups_own_line() {
    for (global, group, expected) in [
        ("", "timeout: 2s, interval: 10ms", "2:58: groups[0].timeout: with an interval of 10ms and a timeout of 2s"),
        (
            "",
            "interval: 10ms",
            "2:59: groups[0].interval: with an interval of 10ms and a timeout of 3s more than 103 probes",
        ),
        ("interval: 10ms", "", "2:10: groups[0]: with an interval of 10ms"),
        ("interval: 10ms", "", "lengthen the interval to 32ms, or shorten the timeout to 770ms"),
    ] {
        let group = format!("name: a, probe: tcp:80, targets: [b], {group}");
        let error = error(&format!("global: {{{global}}}\ngroups: [{{{group}}}]\n"));
        assert!(error.contains(expected) && error.lines().count() == 1, "{error}");
    }
}

/// Each wrong file with what must be said of it: place, field and words.
#[test]
fn errors_name_place_field_and_remedy() {
    let table = [
        ("", "the file is empty"),
        ("- a\n", "1:1: found a list, expected a table of keys"),
        ("interface: eth0\n", "1:1: `groups` is missing"),
        ("groups: []\n", "1:9: groups: found an empty list, expected a list of groups"),
        ("groups:\n", "groups: found nothing, expected a list of groups"),
        ("groups: [a]\n", "1:10: groups[0]: found `a`, expected a group"),
        ("groups: [{targets: [a]}]\n", "1:10: groups[0]: the group has no `name`"),
        ("groups: [{name: , targets: [a]}]\n", "groups[0].name: found nothing"),
        (
            "groups: [{name: a}]\n",
            "1:10: groups[0]: the group has no targets; write `targets`, `target_files` or `http_sd`",
        ),
        ("groups: [{name: a, targets: []}]\n", "groups[0]: the group has no targets"),
        ("groups: [{name: a, targets: 10.0.0.1}]\n", "1:29: groups[0].targets: found `10.0.0.1`, expected a list"),
        (
            "groups: [{name: a, targets: [10.0.0.1, [b]]}]\n",
            "1:40: groups[0].targets[1]: found a list, expected an address",
        ),
        ("groups: [{name: a, targets: [10.0.0.300]}]\n", "1:30: groups[0].targets[0]: `10.0.0.300` is not a target"),
        ("groups: [{name: a, targets: [10.0.0.0/40]}]\n", "`/40` is not a prefix length"),
        (
            "groups:\n  - name: a\n    targets: [b]\n  - name: a\n    targets: [c]\n",
            "4:11: groups: a group `a` stands on line 2 already",
        ),
        (
            "groups: [{name: a, targets: [b]}]\ngroups: [{name: c, targets: [d]}]\n",
            "2:1: the key `groups` stands here again, first on line 1",
        ),
        ("groups: [{name: a, targets: [b], target_files: [x.txt]}]\n", "`x.txt` does not end in .json, .yml or .yaml"),
        (
            "groups: [{name: a, target_files: ['*/x.yml']}]\n",
            "target_files[0]: `*/x.yml`: `*` may stand in the last part",
        ),
        (
            "groups: [{name: a, targets: [b], sum_by: [site], labels: {sita: x}}]\n",
            "has the label `site`; did you mean `sita`?",
        ),
        (
            "groups: [{name: a, targets: [b], sum_by: [site]}]\n",
            "groups[0].sum_by[0]: no target of the group has the label `site`; write it",
        ),
        ("groups: [{name: a, targets: [b], sum_by: [s, s], labels: {s: x}}]\n", "sum_by[1]: `s` stands twice"),
        (
            "groups: [{name: a, targets: [b], labels: {group: x}}]\n",
            "1:43: groups[0].labels: the label `group` is set by echolot",
        ),
        ("groups: [{name: a, targets: [b], labels: {a-b: x}}]\n", "`a-b` is not a label name"),
        ("groups: [{name: a, targets: [b], labels: {a: [x]}}]\n", "groups[0].labels.a: found a list"),
        ("groups: [{name: a, targets: [b], path: 5m}]\n", "expected a table such as {interval: 5m, flows: 4}"),
        ("groups: [{name: a, targets: [b], path: {interval: 1ms}}]\n", "1ms is out of bounds; write 1s to 1d"),
        ("groups: [{name: a, targets: [b], path: {flow: 2}}]\n", "flow"),
        (
            "groups: [{name: a, targets: [b], per_target: {labelled: {}}}]\n",
            "groups[0].per_target: no label is named; write a table of labels, such as {labelled: {tier: gold}}, or `all`",
        ),
        ("groups: [{name: a, targets: [b], per_target: {labeled: {a: b}}}]\n", "did you mean `labelled`?"),
        (
            "groups: [{name: a, targets: [b], per_target: {labelled: {group: b}}}]\n",
            "the label `group` is set by echolot",
        ),
        ("groups: [{name: a, targets: [b], per_target: some}]\n", "found `some`, expected one of none, unhealthy, all"),
        ("groups: [{name: \"a\\n\", targets: [b]}]\n", "groups[0].name: `a\\n` contains control characters"),
    ];
    for (text, expected) in table {
        let error = error(text);
        assert!(error.starts_with("dir/echolot.yml:") && error.contains(expected), "{text}\n{error}");
    }
    let table = [
        ("intervall: 1s\n", "2:1: unknown key `intervall`; `interval` stands in `global` or in a group"),
        ("rate: 5\n", "unknown key `rate`; `rate` stands in `limits`"),
        ("colour: red\n", "2:1: unknown key `colour`; known here are interface, source, source_port, listen"),
        ("gruops: 1s\n", "unknown key `gruops`; did you mean `groups`?"),
        ("global: {intervall: 1s}\n", "2:10: global: unknown key `intervall`; did you mean `interval`?"),
        ("global: {Timeout: 1s}\n", "unknown key `Timeout`; did you mean `timeout`?"),
        ("global: 1s\n", "2:9: global: found `1s`, expected a table of settings"),
        (
            "global: {interval: 10}\n",
            "2:20: global.interval: `10` has no unit; write 10s for seconds or 10ms for milliseconds",
        ),
        ("global: {interval: 9ms}\n", "global.interval: 9ms is out of bounds; write 10ms to 1h"),
        ("global: {interval: 61m}\n", "global.interval: 1h1m is out of bounds"),
        ("global: {interval: [1s]}\n", "global.interval: found a list, expected a duration"),
        ("global: {timeout: 61s}\n", "global.timeout: 1m1s is out of bounds; write 1ms to 1m"),
        ("global: {timeout: 999us}\n", "out of bounds"),
        ("global: {timeout: soon}\n", "`soon` is not a duration"),
        ("global: {size: 17}\n", "global.size: found the number 17, expected a whole number from 18 to 1472"),
        ("global: {size: 1473}\n", "expected a whole number from 18 to 1472"),
        ("global: {size: '56'}\n", "found `56`, expected a whole number"),
        ("global: {probe: tcp}\n", "2:17: global.probe: `tcp`: a TCP probe goes to a port from 1 to 65535; write one"),
        ("global: {probe: 'tcp:0'}\n", "global.probe: `tcp:0`: a TCP probe goes to a port from 1 to 65535"),
        (
            "global: {probe: udp}\n",
            "2:17: global.probe: `udp`: a UDP probe goes to a port from 1 to 65535; write one such as udp:53",
        ),
        (
            "global: {probe: tpc:443}\n",
            "`tpc:443`: the kinds of probe are icmp, tcp:PORT and udp:PORT, such as tcp:443",
        ),
        (
            "global: {probe: [tcp:443]}\n",
            "global.probe: found a list, expected icmp, tcp:PORT or udp:PORT, such as tcp:443",
        ),
        (
            "global: {probe: {}}\n",
            "2:17: global.probe: a table is for what a UDP probe carries; write it such as {udp: {port: 53,",
        ),
        (
            "global: {probe: {udp: 53}}\n",
            "2:23: global.probe.udp: found the number 53, expected a table such as {port: 53",
        ),
        (
            "global: {probe: {udp: {dns: . NS}}}\n",
            "2:23: global.probe.udp: `port` is missing; write the port that is asked",
        ),
        (
            "global: {probe: {udp: {port: 0}}}\n",
            "global.probe.udp.port: found the number 0, expected a whole number from 1 to 65535",
        ),
        ("global: {probe: {udp: {port: 53, dsn: . NS}}}\n", "global.probe.udp: unknown key `dsn`"),
        (
            "global: {probe: {udp: {port: 53, dns: . NS, hex: '00'}}}\n",
            "2:50: global.probe.udp.hex: a probe carries one thing: leave one of `dns`, `payload` and `hex`",
        ),
        (
            "global: {probe: {udp: {port: 53, dns: example.com}}}\n",
            "2:39: global.probe.udp.dns: a DNS question is a name and a type, such as \"example.com AAAA\"",
        ),
        ("global: {probe: {udp: {port: 53, dns: a AAAAA}}}\n", "\"AAAAA\" is no DNS record type"),
        ("global: {probe: {udp: {port: 53, dns: }}}\n", "udp.dns: found nothing, expected a DNS question"),
        ("global: {probe: {udp: {port: 7, hex: 0f0}}}\n", "udp.hex: hexadecimal bytes are pairs"),
        ("global: {probe: {udp: {port: 7, payload: [a]}}}\n", "udp.payload: found a list, expected a text"),
        (
            "global: {probe: udp:53, size: 56}\n",
            "global.size: a udp:53 probe is a DNS question, which is as long as it is: remove",
        ),
        (
            "global: {probe: udp:7, size: 7}\n",
            "global.size: found the number 7, expected a whole number from 8 to 1472",
        ),
        (
            "global: {probe: udp:7, flows: 4}\n",
            "2:31: global.flows: udp:7 probes with a payload of one's own walk flows by themselves",
        ),
        ("global: {flows: 65}\n", "global.flows: found the number 65, expected a whole number from 1 to 64"),
        ("global: {ttl: 0}\n", "global.ttl: found the number 0, expected a whole number from 1 to 255"),
        ("global: {ttl: 256}\n", "global.ttl: found the number 256"),
        ("global: {dscp: 64}\n", "2:16: global.dscp: `64` is no DSCP; write a number from 0 to 63, or EF, CS0 to CS7"),
        ("global: {dscp: AF44}\n", "`AF44` is no DSCP"),
        ("enrich: {name: true}\n", "enrich: unknown key `name`; did you mean `names`?"),
        ("enrich: {names: yes}\n", "enrich.names: found `yes`, expected one of true, false"),
        ("enrich: {asn: \"\"}\n", "enrich.asn: "),
        ("enrich: dns\n", "enrich: found `dns`, expected a table such as {names: true, asn: dns}"),
        ("global: {dont_fragment: 1}\n", "global.dont_fragment: found `1`, expected one of true, false"),
        ("port: 53\n", "unknown key `port`; `port` stands in `udp`, in `probe`"),
        (
            "global: {probe: tcp:443, size: 56}\n",
            "2:32: global.size: a tcp:443 probe is a SYN, which carries no payload: remove `size`",
        ),
        ("source_port: 1023\n", "source_port: found the number 1023, expected a whole number from 1024 to 65534"),
        ("global: {down_after: 0}\n", "global.down_after: found the number 0"),
        ("global: {up_after: -1}\n", "found the number -1"),
        ("global: {buckets: [2ms, 1ms]}\n", "2:25: global.buckets[1]: a bucket is not longer than the one before"),
        ("global: {buckets: [0.001]}\n", "global.buckets[0]: `0.001` has no unit"),
        ("global: {buckets: 1ms}\n", "expected a list of durations"),
        ("interface: a/b\n", "2:12: interface: `a/b` cannot be an interface's name"),
        ("interface: much-too-long-a-name\n", "cannot be an interface's name"),
        ("source: 10.0.0\n", "source: `10.0.0` is not an address"),
        ("source: [10.0.0.1, '::1', 10.0.0.1]\n", "source: 10.0.0.1 is there twice; a source is given once"),
        ("source: {a: 10.0.0.1}\n", "expected an address of this host"),
        ("listen: :10816\n", "listen: `:10816` has no address; write 127.0.0.1:10816"),
        ("listen: 10816\n", "`10816` has no address; write 127.0.0.1:10816"),
        ("listen: localhost:80\n", "`localhost:80` is not an address and port"),
        ("engine: afxpd\n", "engine: found `afxpd`, expected one of auto, afxdp, live-frames; did you mean `afxdp`?"),
        ("mode: zerocopy\n", "did you mean `zero-copy`?"),
        ("identifier: 65536\n", "identifier: found the number 65536, expected a whole number from 0 to 65535"),
        ("identifier: 0x+1\n", "found `0x+1`"),
        ("seed: -1\n", "seed: found the number -1"),
        ("limits: {rate: 0}\n", "limits.rate: found the number 0, expected a whole number from 1"),
        ("limits: {rate: 1e5}\n", "limits.rate: found the number 1e5"),
        (
            "limits: {series: 10}\n",
            "limits.series: found the number 10, expected a whole number from 1000 to 100000000",
        ),
        ("limits: {rates: 5}\n", "did you mean `rate`?"),
        ("limits: 5\n", "limits: found the number 5, expected a table such as {rate: 500000}"),
        ("limits: {per_prefix: 5}\n", "limits.per_prefix: found the number 5, expected a table of prefix lengths"),
        ("limits: {per_prefix: {0: 5}}\n", "2:23: limits.per_prefix: `0` is not the length of a prefix; write 1 to 32"),
        ("limits: {per_prefix: {129: 5}}\n", "`129` is not the length of a prefix"),
        ("limits: {per_prefix: {24: 0}}\n", "limits.per_prefix.24: found the number 0"),
        ("exclude_files: never.txt\n", "exclude_files: found `never.txt`, expected a list of paths"),
        ("exclude_files: ['*/x.txt']\n", "`*` may stand in the last part"),
        ("exclude: [host.example]\n", "2:11: exclude[0]: `host.example` is a name, and exclusions are addresses"),
        ("exclude: 10.0.0.0/8\n", "exclude: found `10.0.0.0/8`, expected a list"),
        ("exclude: [10.0.0.9-1]\n", "exclude[0]: `10.0.0.9-1` is not a target"),
        ("engine: [\n", "this is not YAML"),
    ];
    for (text, expected) in table {
        let error = error(&format!("{GROUPS}{text}"));
        assert!(error.contains(expected), "{text}\n{error}");
        assert!(error.contains("this is not YAML") || error.lines().count() == 1, "{text}\n{error}");
    }
}

#[test]
fn sources_are_read() {
    let config = read(
        "
groups:
  - name: edge
    target_files: [{path: t/*.json, strip_port: true, min_targets: 7}, b.yml]
    all_addresses: true
    http_sd:
      - url: https://inventory.example/targets?site=fra
        refresh_interval: 30s
        basic_auth: {username: me, password_file: secret}
        tls_config: {ca_file: ca.pem, cert_file: c.pem, key_file: /k.pem, server_name: x, insecure_skip_verify: true}
        follow_redirects: false
        strip_port: true
        min_targets: 3
      - {url: 'http://[::1]:8080/', authorization: {credentials_file: token}}
      - {url: 'http://a/', authorization: {type: Token, credentials_file: token}}
exclude_files: [never.txt, more/*]
limits: {per_prefix: {24: 100, 64: 5}}
",
    )
    .unwrap();
    let [group] = &config.groups[..] else { panic!() };
    assert!(group.all_addresses && group.targets.is_empty());
    let stripped = |min_targets| Bounds { ports: Ports::Stripped, min_targets };
    let files: Vec<FileSource> = group.target_files.iter().map(|file| file.value.clone()).collect();
    let file = |name: &str, bounds| FileSource { path: Path::new("dir").join(name), name: name.into(), bounds };
    assert_eq!(files, [file("t/*.json", stripped(7)), file("b.yml", Bounds::default())]);
    let [inventory, local, other] = &group.http_sd[..] else { panic!() };
    let expected = HttpSource {
        url: "https://inventory.example/targets?site=fra".parse().unwrap(),
        refresh_interval: Nanos::from_secs(30),
        authorization: Some(Authorization::Basic { username: "me".into(), password_file: Some("dir/secret".into()) }),
        tls: TlsSettings {
            ca_file: Some("dir/ca.pem".into()),
            cert_file: Some("dir/c.pem".into()),
            key_file: Some("/k.pem".into()),
            server_name: Some("x".into()),
            insecure_skip_verify: true,
        },
        follow_redirects: false,
        bounds: stripped(3),
    };
    assert_eq!(inventory.value, expected);
    assert_eq!(inventory.value.name(), "https://inventory.example/targets");
    let token = |kind: &str| Some(Authorization::Token { kind: kind.into(), credentials_file: "dir/token".into() });
    assert_eq!((local.value.refresh_interval, local.value.follow_redirects), (Nanos::from_secs(60), true));
    assert_eq!((&local.value.authorization, &other.value.authorization), (&token("Bearer"), &token("Token")));
    let excluded: Vec<&Path> = config.exclude_files.iter().map(|file| file.value.path.as_path()).collect();
    assert_eq!(excluded, [Path::new("dir/never.txt"), Path::new("dir/more/*")]);
    assert_eq!(config.per_prefix, [(24, 100), (64, 5)].into());
}

#[test]
fn errors_of_sources_name_the_remedy_and_no_secret() {
    for (text, expected) in [
        ("http_sd: [{}]", "groups[0].http_sd[0]: `url` is missing; write where the list is"),
        ("http_sd: ['http://x/']", "http_sd[0]: found `http://x/`, expected a table with `url`"),
        (
            "http_sd: [{url: 'inventory/geheim'}]",
            "http_sd[0].url: it is not a URL (relative URL without a base); write one such as",
        ),
        ("http_sd: [{url: 'ftp://geheim/x'}]", "it is not a URL of http or https"),
        ("http_sd: [{url: 'http://me:geheim@x/'}]", "leave user and password out of the URL, and write `basic_auth:"),
        ("http_sd: [{url: 'http://x/', refresh_interval: 500ms}]", "500ms is out of bounds; write 1s to 1d"),
        (
            "http_sd: [{url: 'http://x/', basic_auth: {username: me, password: geheim}}]",
            "known here are username, password_file",
        ),
        (
            "http_sd: [{url: 'http://x/', authorization: {credentials: geheim}}]",
            "known here are type, credentials_file",
        ),
        (
            "http_sd: [{url: 'http://x/', authorization: {type: Basic, credentials_file: a}}]",
            "`type: Basic` is what `basic_auth` is for",
        ),
        (
            "http_sd: [{url: 'http://x/', basic_auth: {username: me}, authorization: {credentials_file: a}}]",
            "remove `basic_auth` or `authorization`",
        ),
        (
            "http_sd: [{url: 'http://x/', tls_config: {cert_file: a}}]",
            "write both of `cert_file` and `key_file`, or none",
        ),
        ("http_sd: [{url: 'http://x/', proxy_url: 'http://y/'}]", "unknown key `proxy_url`"),
        ("target_files: [{strip_port: true}]", "target_files[0]: `path` is missing"),
        ("target_files: [{path: x.txt}]", "target_files[0].path: `x.txt` does not end in .json, .yml or .yaml"),
        ("target_files: [{path: x.yml, min_targets: -1}]", "min_targets: found the number -1"),
        ("target_files: [x.yml], min_targets: 5", "`min_targets` stands in an entry of `target_files`"),
        ("target_files: [x.yml], all_addresses: 2", "all_addresses: found `2`, expected one of true, false"),
    ] {
        let error = error(&format!("groups: [{{name: a, {text}}}]\n"));
        assert!(error.contains(expected), "{text}\n{error}");
        assert!(!error.contains("geheim") || text.contains("password: geheim"), "{text}\n{error}");
    }
}

#[test]
fn several_problems_are_listed_in_the_order_of_the_file() {
    let text = "groups:\n  - name: a\n    intervall: 1s\n    targets: [10.0.0.1, '::g']\nlisten: x\nmode: fast\n";
    let lines: Vec<String> = error(text).lines().map(String::from).collect();
    let places: Vec<&str> = lines.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places, ["dir/echolot.yml:3:5", "dir/echolot.yml:4:25", "dir/echolot.yml:5:9", "dir/echolot.yml:6:7"]);
}

#[test]
fn a_flood_of_problems_is_cut_short() {
    let text = format!("groups: [{{name: a, targets: [{}]}}]", "10.0.0.256, ".repeat(1000));
    let error = error(&text);
    assert_eq!(error.lines().count(), 21);
    assert!(error.ends_with("and 980 more"), "{error}");
}

#[test]
fn anchors_and_aliases_work() {
    let config = read(
        "groups:\n  - {name: a, targets: &t [10.0.0.1, 10.0.0.2], labels: &l {site: x}}\n  - {name: b, targets: *t, labels: *l}\n",
    )
    .unwrap();
    assert_eq!(config.groups[0].targets, config.groups[1].targets);
    assert_eq!(config.groups[1].labels["site"], "x");
}

/// A word that a configuration may contain, right or wrong.
fn word() -> impl Strategy<Value = String> {
    let known =
        TOP.iter().chain(&GROUP).chain(&["rate", "eth0", "10.0.0.0/24", "::1", "1s", "7", "-", "[", "]", "{", "}"]);
    let known: Vec<&'static str> = known.copied().collect();
    prop_oneof![prop::sample::select(known).prop_map(String::from), "[a-z*&!|>'\"#%@~,]{1,4}"]
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = read(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn text_like_a_configuration_is_read_or_refused(
        lines in prop::collection::vec((0usize..4, any::<bool>(), word(), prop_oneof![Just(String::new()), word()]), 0..20),
    ) {
        let line = |(indent, item, key, value): &(usize, bool, String, String)| {
            format!("{}{}{key}: {value}\n", "  ".repeat(*indent), if *item { "- " } else { "" })
        };
        let text: String = lines.iter().map(line).collect();
        if let Err(error) = read(&text) {
            prop_assert!(!error.problems.is_empty() && !error.to_string().is_empty());
        }
    }

    /// Whatever stands in the place of one value, the file is read or exactly that field is to blame.
    #[test]
    fn a_wrong_value_blames_its_own_field(key in prop::sample::select(TOP.iter().filter(|key| **key != "groups").collect::<Vec<_>>()), value in word()) {
        let text = format!("{GROUPS}{key}: '{}'\n", value.replace('\'', "''"));
        if let Err(error) = read(&text) {
            prop_assert!(error.problems.iter().all(|p| p.field.starts_with(*key)), "{text}{error}");
        }
    }
}
