//! A scenario in the simulated network: the real loop, in simulated time, by the same rules, before the same judge.

use super::{
    evidence,
    judge::{Life, Terms, Verdict, judge},
    scenario::Scenario,
};
use echolot::{
    base::{AddressTable, Nanos},
    ledger::tally,
    nic::InterfaceInfo,
    results::{self, Encoder, Format, Summary, WallClock, Writer},
    route::{Hop, Neighbour},
    targets::{Group, LabelSet, Plan, Sum, Target},
    wire::{Content, Key, Kind, Shape},
    worker::{self, Assembly, Clock as _, Phase, Wanted, queue},
};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::Arc,
};
use testbed::{Near, Network, witness};

/// Seconds by which the time of day is stepped for the second run.
const STEP: i64 = 86_400;

/// Runs it twice, the second time a day later by the wall clock, which may change nothing but the column of times.
/// Files are left in `folder`.
pub(super) fn run(scenario: &Scenario, folder: &Path) -> Result<(Verdict, Vec<Life>), String> {
    let now = once(scenario, folder, 0)?;
    let then = once(scenario, folder, STEP)?;
    let without_time = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.split_once(",\"sent_ns\"")).map(|(_, rest)| rest.to_owned()).collect()
    };
    if now.text == then.text {
        return Err("the time of day was stepped by a day, and the column of times is the same".into());
    }
    if without_time(&now.text) != without_time(&then.text) {
        return Err("stepping the time of day changed more than the column of times".into());
    }
    Ok((now.verdict, now.lives))
}

struct Done {
    verdict: Verdict,
    lives: Vec<Life>,
    text: String,
}

fn once(scenario: &Scenario, folder: &Path, step: i64) -> Result<Done, String> {
    let [life] = &scenario.lives[..] else { return Err("what is simulated has one life".into()) };
    let plan = Arc::new(plan(scenario, life.timeout.0));
    let key = Key([scenario.rules.seed, 42]);
    let net = Network::new(&plan, scenario.rules.clone(), Near::default(), key, |_, _, _| ());
    let net = net.map_err(|e| e.to_string())?;
    net.keep_record();
    // By family.
    let gateway = |address: IpAddr, source: IpAddr| {
        let hop = Hop::new(address, source, false);
        hop.set(Neighbour::Resolved([2; 6]));
        hop
    };
    let v6 = |low| Ipv6Addr::new(0xfd00, 0x63, 0, 0, 0, 0, 0, low).into();
    let gateways =
        [gateway(Ipv4Addr::new(10, 63, 0, 2).into(), Ipv4Addr::new(10, 63, 0, 1).into()), gateway(v6(2), v6(1))];
    let ways: Vec<u32> =
        plan.targets.iter().map(|target| target.destination.map_or(0, |to| to.family as u32)).collect();
    let network = worker::Network {
        first_port: testbed::FIRST_PORT,
        key,
        hops: Arc::new(gateways.into()),
        taken: net.numbers(),
        link: net.numbers(),
        drops: Arc::default(),
    };
    let probes = scenario.rate() * (life.time.0.0 / 1_000_000_000 + 2);
    let (sink, queue) = queue(usize::try_from(probes).map_err(|e| e.to_string())?);
    let wanted = Wanted { sink, ..Wanted::default() };
    let mut assembly = Assembly::new(&plan, &ways, network, (1, 1), wanted);
    let common = Arc::clone(assembly.common());
    let clock = net.clock();
    let begin = clock.now();
    let mut looping = assembly.both(net.engine(), net.queue(), net.clock(), begin);
    drop(assembly);
    while clock.now() < begin + life.time.0 && looping.turn() {}
    common.ask(Phase::Drain);
    while looping.turn() {}
    drop(looping);

    let path = folder.join("results.jsonl");
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let wall = WallClock { offset_ns: (1_700_000_000 + step) * 1_000_000_000 };
    let writer =
        Writer::open(Encoder::new(Format::Jsonl, Arc::clone(&plan), wall), Some(&path)).map_err(|e| told(&e))?;
    let report = results::spawn(writer, vec![queue], |_| (), |_| ()).map_err(|e| told(&e))?.join();
    let snapshot = tally::snapshot(&common.tallies, clock.now());
    let targets = plan.targets.len() as u64;
    let summary = Summary::new(
        &snapshot,
        &[],
        &InterfaceInfo::default(),
        targets,
        common.ledger.answered_targets(common.ledger.slots()),
        report.dropped,
    );
    let summary_path = folder.join("summary.json");
    summary.write(&summary_path).map_err(|e| told(&e))?;
    let record = folder.join("record.jsonl");
    let (mut lines, witnessed) = (String::new(), net.witnessed());
    for (number, request) in (0..).zip(&witnessed) {
        request.write(number, &mut lines);
    }
    witness::write_end(witnessed.len() as u64, 0, &mut lines);
    fs::write(&record, lines).map_err(|e| told(&e))?;

    let text = fs::read_to_string(&path).map_err(|e| told(&e))?;
    let summary = evidence::summary(&summary_path)?;
    let lives = vec![Life { results: evidence::results(&path)?, summary, timeout_ns: life.timeout.0.0 }];
    let verdict = judge(&lives, &evidence::record(&record)?, &Terms::default());
    Ok(Done { verdict, lives, text })
}

fn plan(scenario: &Scenario, timeout: Nanos) -> Plan {
    let probe = &scenario.probe;
    let kind = match (probe.tcp, probe.udp) {
        (Some(port), _) => Kind::Tcp { port },
        (None, Some(port)) => Kind::Udp { port, content: Content::of_port(port) },
        (None, None) => Kind::default(),
    };
    let shape = Shape::of(kind);
    let group = Group::named("g");
    let group = Group { interval: probe.interval.0, timeout, targets: 0..probe.all_targets(), shape, ..group };
    let addresses = Arc::<AddressTable>::default();
    let of = |family| (0..probe.targets).map(move |place| probe.target(family, place));
    let target = |address| Target { destination: Some(addresses.enter(address)), label_set: 0 };
    Plan {
        groups: vec![group],
        sums: vec![Sum { group: 0, values: vec![] }],
        label_sets: vec![LabelSet { labels: std::collections::BTreeMap::default(), sums: [0; 3] }],
        targets: probe.family.each().iter().copied().flat_map(of).map(target).collect(),
        addresses,
        ..Plan::default()
    }
}
