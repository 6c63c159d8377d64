//! Names in DNS: looked up again when their time to live ends, kept when nobody answers.

use super::support::{AtWork, group, until};
use echolot::{
    base::Family,
    config::Config,
    discovery::{GroupSources, Lists, Settings},
    enrich::Servers,
    targets::{Exclusions, Families, Group, Options, Plan, TargetList, build},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};
use testbed::dns::{Manner, NameServer, Zone};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn zone(records: &[(&str, &str)], ttl: u32) -> Zone {
    records.iter().fold(Zone::default(), |zone, (name, to)| zone.address(name, address(to), ttl))
}

fn serve(records: &[(&str, &str)], ttl: u32) -> NameServer {
    NameServer::bind((Ipv4Addr::LOCALHOST, 0).into(), zone(records, ttl)).unwrap()
}

fn of(server: &NameServer, sources: GroupSources) -> AtWork {
    AtWork::with(Settings {
        groups: vec![sources],
        servers: Servers::These(vec![server.address()]),
        names_least: Duration::from_millis(200),
        ..Settings::default()
    })
}

fn named(names: &[&str], family: Families) -> GroupSources {
    let targets = TargetList::from_arguments(names).unwrap();
    let of = group();
    GroupSources { group: Group { family, ..of.group.clone() }, targets, ..of }
}

fn plan(lists: &Lists, sources: &GroupSources, exclude: &Exclusions) -> Plan {
    let input = lists.inputs(std::slice::from_ref(sources), &[BTreeMap::new()]);
    let mut plan = build(input, exclude, &Options::default()).unwrap();
    lists.place_names(&mut plan, exclude);
    plan
}

/// What is probed, by what it is called.
fn probed(at_work: &AtWork) -> BTreeMap<String, Option<IpAddr>> {
    let plan = plan(&at_work.lists(), &at_work.settings.groups[0], &Exclusions::default());
    let all = (0..).zip(&plan.targets);
    all.map(|(index, target)| {
        let name = plan.name_of(echolot::base::TargetIndex(index)).unwrap().to_string();
        (name, target.destination.map(|to| plan.addresses.address(to)))
    })
    .collect()
}

fn expected(all: &[(&str, &str)]) -> BTreeMap<String, Option<IpAddr>> {
    all.iter().map(|(name, to)| ((*name).to_owned(), to.parse().ok())).collect()
}

#[test]
fn a_name_follows_its_address_and_keeps_it_when_nobody_says_one() {
    let server = serve(&[("a.example", "192.0.2.1"), ("b.example", "192.0.2.2")], 1);
    let at_work = of(&server, named(&["a.example", "b.example", "none.example"], Families::Any));
    let is = |all: &[(&str, &str)]| until(&format!("{all:?}"), || probed(&at_work) == expected(all));
    is(&[("a.example", "192.0.2.1"), ("b.example", "192.0.2.2"), ("none.example", "")]);
    let changes = at_work.changes();
    // Its time to live ends.
    server.know(zone(&[("a.example", "192.0.2.7")], 1));
    is(&[("a.example", "192.0.2.7"), ("b.example", "192.0.2.2"), ("none.example", "")]);
    assert_eq!(at_work.changes(), changes + 1, "b has no address any more, and keeps what it had");
    for manner in [Manner::Failing, Manner::Dead, Manner::Garbled] {
        server.behave(manner);
        let before = server.asked().len();
        until("asked, in vain", || server.asked().len() > before);
        assert_eq!(at_work.changes(), changes + 1, "{manner:?}");
    }
    server.know(zone(&[("a.example", "192.0.2.8"), ("none.example", "192.0.2.3")], 1));
    server.behave(Manner::Quick);
    is(&[("a.example", "192.0.2.8"), ("b.example", "192.0.2.2"), ("none.example", "192.0.2.3")]);
}

#[test]
fn a_long_time_to_live_is_kept_to() {
    let server = serve(&[("a.example", "192.0.2.1"), ("b.example", "192.0.2.2")], 600);
    let at_work = of(&server, named(&["a.example"], Families::Only(Family::V4)));
    until("a", || probed(&at_work) == expected(&[("a.example", "192.0.2.1")]));
    let asked = server.asked();
    assert_eq!(asked, ["udp A a.example."], "IPv6 is not wanted, and nothing is asked twice");
}

#[test]
fn answers_in_turns_move_no_target() {
    let all = [("a.example", "192.0.2.3"), ("a.example", "192.0.2.1"), ("a.example", "192.0.2.2")];
    let server = serve(&all, 1);
    let at_work = of(&server, named(&["a.example"], Families::Any));
    until("a", || probed(&at_work) == expected(&[("a.example", "192.0.2.1")]));
    let changes = at_work.changes();
    for turn in 1..3 {
        let mut turned = all;
        turned.rotate_left(turn);
        server.know(zone(&turned, 1));
        let before = server.asked().len();
        until("asked again", || server.asked().len() > before + 4);
    }
    assert_eq!(at_work.changes(), changes);
    // The one that was probed goes.
    server.know(zone(&all[..1], 1));
    until("another", || probed(&at_work) == expected(&[("a.example", "192.0.2.3")]));
}

#[test]
fn a_name_may_stand_for_all_its_addresses() {
    let server = serve(&[("a.example", "192.0.2.1"), ("a.example", "192.0.2.2"), ("a.example", "2001:db8::1")], 1);
    let sources =
        GroupSources { all_addresses: true, ..named(&["a.example", "none.example", "10.0.0.1"], Families::Any) };
    let at_work = of(&server, sources);
    let three = [
        ("a.example/192.0.2.1", "192.0.2.1"),
        ("a.example/192.0.2.2", "192.0.2.2"),
        ("a.example/2001:db8::1", "2001:db8::1"),
    ];
    let rest = [("none.example", ""), ("10.0.0.1", "10.0.0.1")];
    until("all", || probed(&at_work) == expected(&[&three[..], &rest[..]].concat()));
    server.know(zone(&[("a.example", "192.0.2.2"), ("a.example", "192.0.2.9")], 1));
    let now = [("a.example/192.0.2.2", "192.0.2.2"), ("a.example/192.0.2.9", "192.0.2.9"), three[2]];
    until("IPv6 is kept, of IPv4 there are others", || probed(&at_work) == expected(&[&now[..], &rest[..]].concat()));
    // What is excluded is not probed, whoever says that it is there.
    let exclude = ["192.0.2.9"].map(|text| address(text).into()).into_iter().collect();
    let plan = plan(&at_work.lists(), &at_work.settings.groups[0], &exclude);
    assert_eq!(plan.targets.len(), 4);
}

#[test]
fn names_that_come_with_a_list_are_looked_up_and_those_that_go_are_forgotten() {
    let folder = super::support::Folder::new();
    let server = serve(&[("a.example", "192.0.2.1"), ("b.example", "192.0.2.2")], 1);
    folder.write("a.json", r#"[{"targets": ["a.example"]}]"#);
    let files = vec![super::support::file(&folder.join("a.json"), Default::default())];
    let at_work = of(&server, GroupSources { files, ..group() });
    until("a", || probed(&at_work) == expected(&[("a.example", "192.0.2.1")]));
    folder.replace("a.json", r#"[{"targets": ["b.example"]}]"#);
    until("b", || probed(&at_work) == expected(&[("b.example", "192.0.2.2")]));
    let before = server.asked().len();
    until("b again", || server.asked()[before..].iter().filter(|line| line.contains(" b.example")).count() > 4);
    until("a no more", || !server.asked()[before + 4..].iter().any(|line| line.contains(" a.example")));
    assert!(!at_work.discovery.lists().addresses.contains_key("a.example"));
}

#[test]
fn a_thousand_names_are_looked_up_some_at_a_time() {
    let names: Vec<String> = (0..1_000).map(|i| format!("n{i}.example")).collect();
    let records: Vec<(&str, String)> =
        names.iter().zip(0..).map(|(n, i)| (n.as_str(), format!("10.0.{}.{}", i / 250, i % 250))).collect();
    let records: Vec<(&str, &str)> = records.iter().map(|(name, to)| (*name, to.as_str())).collect();
    let server = serve(&records, 600);
    server.behave(Manner::Slow(Duration::from_millis(150)));
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let begun = Instant::now();
    let at_work = of(&server, named(&all, Families::Only(Family::V4)));
    assert_eq!(at_work.first.addresses.len(), 1_000, "the start has waited for all of them");
    // 64 at a time, each 150 ms.
    assert!(begun.elapsed() > Duration::from_millis(1_000 / 64 * 150), "{:?}", begun.elapsed());
    // Some may have come too late for a busy machine.
    assert!((1_000..1_200).contains(&server.asked().len()), "{}", server.asked().len());
    assert_eq!(at_work.changes(), 0);
}

/// A configuration's own way from its sources to a plan.
#[test]
fn a_configuration_is_planned_of_what_its_sources_have() {
    let folder = super::support::Folder::new();
    folder.write("t.json", r#"[{"targets": ["10.0.0.1:9100", "10.0.0.9"], "labels": {"site": "fra"}}]"#);
    folder.write("never.txt", "10.0.0.9\n");
    let text = "
groups:
  - {name: edge, target_files: [{path: t.json, strip_port: true}], sum_by: [site]}
  - {name: core, http_sd: [{url: 'http://127.0.0.1:9/targets', refresh_interval: 1s}]}
exclude: [10.0.0.8]
exclude_files: ['*.txt']
limits: {per_prefix: {24: 1}}
";
    let config: Config = echolot::config::parse(&folder.join("echolot.yml"), text.into()).unwrap();
    let at_work = AtWork::with(config.discovery());
    let plan = config.plan_of(&at_work.first).unwrap();
    assert_eq!(plan.targets.len(), 1);
    assert_eq!(plan.sums.iter().rfind(|sum| sum.group == 0).unwrap().values, ["fra"]);
    // One more target than the limit lets there be: said, and nothing changed.
    folder.replace("t.json", r#"[{"targets": ["10.0.0.1", "10.0.0.2"]}]"#);
    at_work.until_targets(&["10.0.0.1", "10.0.0.2"]);
    let error = config.plan_of(&at_work.lists()).unwrap_err().to_string();
    assert!(
        error.contains("echolot.yml:7:") && error.contains("10.0.0.0/24 would get 2 probes within a second"),
        "{error}"
    );
    // None at all is no error: some may come.
    folder.replace("t.json", "[]");
    until("none", || at_work.targets().is_empty());
    assert_eq!(config.plan_of(&at_work.lists()).unwrap().targets.len(), 0);
}
