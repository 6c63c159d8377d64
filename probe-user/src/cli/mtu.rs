//! `echolot ping --mtu`: how long a datagram may be that reaches a target and comes back whole.
//!
//! Each round asks every target in a dozen sizes at once, and the next one between the longest that was answered and the shortest that was
//! too long: 1,433 sizes take three rounds.

use super::{Failure, Status, args::PingArgs, show_log_above};
use crate::{
    base::{Ended, Family, Nanos, Outcome, Settlement, TargetIndex},
    config::ProbeSettings,
    results::{Format, Outcomes, Summary},
    run::{self, Job, Live, Moment, Results, Source, Starting, View},
    targets::{self, AddressRange, Exclusions, Group, GroupInput, Options, TargetList, TargetSpec},
    wire::{Kind, Shape},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Probes of a size in a round: so many without an answer are silence, and not chance.
const TRIES: u64 = 3;
/// Between two probes of a size to a target.
const INTERVAL: Nanos = Nanos::from_millis(300);
/// Sizes that a round parts what is left into.
const PARTS: u32 = 12;
/// Probes a second, of all targets: as a sweep unless it is told otherwise.
const RATE: u64 = 10_000;
/// Rounds without anything learned after which a target is given up.
const FRUITLESS: u32 = 2;
/// Longer probes are not made.
const LONGEST: u32 = 1_500;

/// Finds the path MTU of each target.
pub(super) fn run(args: &PingArgs) -> Result<Status, Failure> {
    if !matches!(args.format, Format::Text | Format::Jsonl) {
        return Err(Failure::new("--mtu: its results are text or JSON lines; add -f jsonl, or leave -f out"));
    }
    let live = Live::on_stderr();
    show_log_above(live.as_ref());
    let starting = Starting::begin("reading the targets", live.clone(), Status::Problem)?;
    let options = Options { seed: args.network.seed_or_random(), ..Options::default() };
    let (mut plan, exclude) = args.targets.plan(args.probes.group("mtu", None)?, &options)?;
    args.network.send_from(&mut plan)?;
    if Family::ALL.iter().any(|family| plan.sources.turns(*family) > 1) {
        return Err(Failure::new("-S: from each source the path may be another; with --mtu give one a family"));
    }
    let rate = RATE;
    let network = args.network.network(&args.probes);
    let mut job = Job::new(plan, exclude, network, rate);
    if args.network.dry_run {
        drop(starting);
        return run::dry_run(job);
    }
    let (most, interface) = run::longest_datagram(&mut job)?;
    let most = most.min(LONGEST);
    drop(starting);
    let mut sought: Vec<Sought> = (0..)
        .take(job.plan.targets.len())
        .map(TargetIndex)
        .filter_map(|index| {
            let address = job.plan.address_of(index)?;
            Some(Sought {
                name: job.plan.name_of(index)?.to_string(),
                address,
                search: Search::new(Family::of(address), most),
            })
        })
        .collect();
    sought.sort_by_key(|target| target.address);
    let interface_name = job.network.interface.take().unwrap_or(interface);
    let exclude = job.exclude;
    loop {
        let round = Round::new(&sought);
        if round.sizes.is_empty() {
            break;
        }
        // All of a round by the interface that the first was found for.
        let network = run::Network { interface: Some(interface_name.clone()), ..args.network.network(&args.probes) };
        if !round.ask(&mut sought, network, exclude.clone(), (args, live.clone()))? {
            break;
        }
    }
    for target in &sought {
        let found = target.found();
        match args.format {
            Format::Jsonl => println!("{}", serde_json::to_string(&found)?),
            _ => println!("{found}"),
        }
    }
    let all = sought.iter().all(|target| target.search.mtu().is_some());
    Ok(if all { Status::Complete } else { Status::Problem })
}

/// A target whose path MTU is looked for.
struct Sought {
    name: String,
    address: IpAddr,
    search: Search,
}

/// Between what lengths the path MTU lies. Bytes of IP datagrams.
#[derive(Debug)]
struct Search {
    family: Family,
    /// What every path must carry (RFC 791; RFC 8200): if that is not answered, nothing is learned from silence.
    least: u32,
    /// What this machine can send.
    most: u32,
    /// The longest that was answered.
    answered: Option<u32>,
    /// The shortest, above that, which was not, and what became of it; None: it is longer than this machine can send.
    too_long: Option<(u32, Why)>,
    fruitless: u32,
}

/// Why a length is too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    /// Somebody said so: by this reason.
    Told(&'static str, Option<IpAddr>),
    /// Nothing came back, while shorter ones were answered.
    Silence,
}

/// What came of a length in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Tried {
    answered: u64,
    lost: u64,
    told: Option<(&'static str, Option<IpAddr>)>,
}

impl Tried {
    fn count(&mut self, record: &Settlement) {
        match (record.outcome(), record.ended) {
            (Outcome::Answered, _) => self.answered += 1,
            (Outcome::Lost, _) => self.lost += 1,
            (_, Ended::Refused { reason, from, .. })
                if ["fragmentation_needed", "packet_too_big"].contains(&reason.name()) =>
            {
                self.told = Some((reason.name(), Some(from)));
            }
            // This machine's own failures and other errors say nothing about the length.
            _ => {}
        }
    }
}

impl Search {
    fn new(family: Family, most: u32) -> Self {
        let least = match family {
            Family::V4 => 68,
            Family::V6 => 1_280,
        };
        Self { family, least: least.min(most), most, answered: None, too_long: None, fruitless: 0 }
    }

    /// The first length that is known or held to be too long.
    fn end(&self) -> u32 {
        self.too_long.map_or(self.most + 1, |(length, _)| length)
    }

    /// The path MTU, once it is known.
    fn mtu(&self) -> Option<u32> {
        self.answered.filter(|answered| answered + 1 == self.end())
    }

    /// The lengths to ask next, ascending; none: it is done, or given up.
    fn next(&self) -> Vec<u32> {
        if self.mtu().is_some() || self.fruitless >= FRUITLESS {
            return Vec::new();
        }
        let begin = self.answered.unwrap_or(self.least);
        let rest = (self.end() - 1).saturating_sub(begin);
        let mut lengths = vec![self.least];
        lengths.extend((1..=PARTS).map(|part| begin + (rest * part).div_ceil(PARTS)));
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    /// Takes over what came of the lengths of a round.
    fn learn(&mut self, tried: &BTreeMap<u32, Tried>) {
        let before = (self.answered, self.too_long);
        let longest = tried.iter().filter(|(_, tried)| tried.answered > 0).map(|(length, _)| *length).max();
        self.answered = self.answered.max(longest);
        let hears = tried.get(&self.least).is_some_and(|tried| tried.answered > 0);
        for (length, tried) in tried {
            // What was answered once fits, whatever else was lost.
            if Some(*length) <= self.answered || *length >= self.end() {
                continue;
            }
            let why = match tried.told {
                Some((reason, from)) => Why::Told(reason, from),
                None if hears && tried.lost >= TRIES => Why::Silence,
                None => continue,
            };
            self.too_long = Some((*length, why));
        }
        // Of who never answered it does not help that a router says what is too long.
        let learned = self.answered.is_some() && (self.answered, self.too_long) != before;
        self.fruitless = if learned { 0 } else { self.fruitless + 1 };
    }
}

/// Everybody who is asked at once: by family and length, whom.
struct Round {
    sizes: BTreeMap<(Family, u32), Vec<usize>>,
}

impl Round {
    fn new(sought: &[Sought]) -> Self {
        let mut sizes: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (i, target) in sought.iter().enumerate() {
            for length in target.search.next() {
                sizes.entry((target.search.family, length)).or_default().push(i);
            }
        }
        Self { sizes }
    }

    /// Asks all. Returns whether it was carried out to its end.
    fn ask(
        &self,
        sought: &mut [Sought],
        network: run::Network,
        exclude: Exclusions,
        (args, live): (&PingArgs, Option<Live>),
    ) -> Result<bool, Failure> {
        let starting = Starting::begin("preparing a round", live, Status::Problem)?;
        let probes: usize = self.sizes.values().map(Vec::len).sum();
        let interval = INTERVAL.max(Nanos((probes as u64).saturating_mul(1_000_000_000 / RATE)));
        let inputs = self.sizes.iter().map(|((family, length), targets)| {
            let shortest = Shape::of(Kind::Echo).over(*family);
            let size = u16::try_from(*length).unwrap_or(u16::MAX).saturating_sub(shortest.headers());
            let settings =
                ProbeSettings { size: Some(size), ttl: args.probes.ttl, dscp: args.probes.dscp, ..Default::default() };
            let named = Group::named(format!("{length} bytes over IPv{}", family.name()));
            let group = settings.group(args.probes.timeout, Group { interval, count: Some(TRIES), ..named });
            let mut list = TargetList::default();
            for i in targets {
                list.push(TargetSpec::Addresses(AddressRange::from(sought[*i].address)));
            }
            GroupInput { group, labels: BTreeMap::default(), lists: vec![list] }
        });
        let plan = targets::build(inputs.collect(), &Exclusions::default(), &Options::default())?;
        // Which address each target of the plan is, and with which length it is asked.
        let lengths: Vec<u32> = self.sizes.keys().map(|(_, length)| *length).collect();
        let whose: Vec<Option<(IpAddr, u32)>> = (0..)
            .take(plan.targets.len())
            .map(TargetIndex)
            .map(|index| Some((plan.address_of(index)?, *lengths.get(plan.group_of(index)?)?)))
            .collect();
        let records = Arc::new(Mutex::new(Vec::new()));
        let observed = Arc::clone(&records);
        let observe = move |record: &Settlement| observed.lock().unwrap_or_else(PoisonError::into_inner).push(*record);
        let results = Results {
            format: Format::None,
            path: None,
            only: Outcomes::ALL,
            like_ping: false,
            names: None,
            observe: Box::new(observe),
        };
        let rate = run::whole(plan.needed_rate());
        let expected = plan.targets.len() as u64 * TRIES;
        let (results, summary) = (Some(results), None);
        let job = Job { results, summary, ..Job::new(plan, exclude, network, rate) };
        let summary = run::carry_out(job, starting, &mut Quiet)?;
        let mut tried: BTreeMap<IpAddr, BTreeMap<u32, Tried>> = BTreeMap::new();
        for record in records.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some((address, length)) = whose.get(record.target.0 as usize).copied().flatten() {
                tried.entry(address).or_default().entry(length).or_default().count(record);
            }
        }
        // Two names may be one address, and of one that was not asked nothing is learned: both come to an end.
        for target in sought.iter_mut().filter(|target| !target.search.next().is_empty()) {
            target.search.learn(tried.entry(target.address).or_default());
        }
        Ok(summary.probes == expected)
    }
}

/// What is shown of a round: nothing.
struct Quiet;

impl View for Quiet {
    fn begin(&mut self, _: &Moment<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn tick(&mut self, _: &Source) {}

    fn end(&mut self, _: &Summary, _: &Moment<'_>) {}

    fn live(&self) -> Option<Live> {
        None
    }
}

/// What was found of a target: a line, or serialized a JSON object.
#[derive(Serialize)]
struct Found<'a> {
    target: &'a str,
    address: IpAddr,
    /// Bytes of IP datagram; of `undecided` the longest that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    /// What ends it: `interface`, `fragmentation_needed`, `packet_too_big` or `silence`; `undecided`, `no_reply`.
    limit: &'static str,
    /// Who said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
    #[serde(skip)]
    least: u32,
}

impl Sought {
    fn found(&self) -> Found<'_> {
        let search = &self.search;
        let (mtu, why) = (search.answered, search.too_long.map(|(_, why)| why));
        let (limit, from) = match (mtu, search.mtu(), why) {
            (None, ..) => ("no_reply", None),
            (Some(_), None, _) => ("undecided", None),
            (_, Some(_), None) => ("interface", None),
            (_, Some(_), Some(Why::Silence)) => ("silence", None),
            (_, Some(_), Some(Why::Told(reason, from))) => (reason, from),
        };
        Found { target: &self.name, address: self.address, mtu, limit, from, least: search.least }
    }
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.target)?;
        if self.address.to_string() != self.target {
            write!(f, " ({})", self.address)?;
        }
        match (self.mtu, self.limit, self.from) {
            (Some(mtu), "interface", _) => write!(f, ": MTU {mtu}, no less than what this host sends"),
            (Some(mtu), "silence", _) => write!(f, ": MTU {mtu}, nothing answers what is longer"),
            (Some(mtu), "undecided", _) => {
                write!(f, ": MTU {mtu} or more: what is longer was neither answered nor refused for sure")
            }
            (Some(mtu), reason, Some(from)) => write!(f, ": MTU {mtu}, {reason} says {from}"),
            (Some(mtu), reason, None) => write!(f, ": MTU {mtu}, {reason}"),
            (None, ..) => write!(f, ": no reply, not even to {} bytes", self.least),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    const LOST: Tried = Tried { answered: 0, lost: TRIES, told: None };
    const ANSWERED: Tried = Tried { answered: TRIES, lost: 0, told: None };

    fn told() -> Tried {
        Tried { told: Some(("fragmentation_needed", Some(IpAddr::from([10, 0, 0, 1])))), ..Tried::default() }
    }

    /// Searches until it is done; how many rounds it took.
    fn carry_out(search: &mut Search, mut answer: impl FnMut(u32, u32) -> Tried) -> u32 {
        for round in 0.. {
            let lengths = search.next();
            if lengths.is_empty() {
                return round;
            }
            assert!(
                lengths.len() <= PARTS as usize + 1
                    && lengths.iter().all(|length| (search.least..=search.most).contains(length))
            );
            let tried = lengths.into_iter().map(|length| (length, answer(round, length))).collect();
            search.learn(&tried);
        }
        unreachable!("for ever")
    }

    #[test]
    fn a_whole_path_takes_one_round() {
        let mut search = Search::new(Family::V4, 1_500);
        assert_eq!(carry_out(&mut search, |_, _| ANSWERED), 1);
        assert_eq!((search.mtu(), search.too_long), (Some(1_500), None));
        let mut least = Search::new(Family::V6, 1_280);
        assert_eq!((carry_out(&mut least, |_, _| ANSWERED), least.mtu()), (1, Some(1_280)));
    }

    #[test]
    fn silence_counts_only_where_short_ones_are_answered() {
        let mut dead = Search::new(Family::V4, 1_500);
        carry_out(&mut dead, |_, _| LOST);
        assert_eq!((dead.mtu(), dead.answered, dead.too_long), (None, None, None));
        // A router that says what is too long does not make up for nobody behind it.
        let mut behind = Search::new(Family::V4, 1_500);
        let rounds = carry_out(&mut behind, |_, length| if length <= 1_381 { LOST } else { told() });
        assert_eq!((rounds, behind.mtu(), behind.answered), (FRUITLESS, None, None));
        // For a round the target is away altogether.
        let mut away = Search::new(Family::V4, 1_500);
        carry_out(&mut away, |round, length| if round != 1 && length <= 1_400 { ANSWERED } else { LOST });
        assert_eq!((away.mtu(), away.too_long), (Some(1_400), Some((1_401, Why::Silence))));
        // What this machine did not send or hear is no silence.
        let mut unsent = Search::new(Family::V4, 1_500);
        carry_out(&mut unsent, |_, length| if length <= 1_400 { ANSWERED } else { Tried { lost: TRIES - 1, ..LOST } });
        assert_eq!(unsent.mtu(), None);
        assert!(unsent.answered.is_some_and(|longest| longest <= 1_400));
    }

    #[test]
    fn one_answer_of_a_length_outweighs_its_losses_and_those_of_shorter_ones() {
        let mut search = Search::new(Family::V4, 1_500);
        let noisy = |_, length| match length {
            1_500 => Tried { answered: 1, lost: 2, told: None },
            68 => ANSWERED,
            _ => LOST,
        };
        assert_eq!((carry_out(&mut search, noisy), search.mtu()), (1, Some(1_500)));
    }

    #[test]
    fn who_says_it_is_believed_and_named() {
        let mut search = Search::new(Family::V4, 1_500);
        carry_out(&mut search, |_, length| if length <= 1_400 { ANSWERED } else { told() });
        let target = Sought { name: "host.example".into(), address: IpAddr::from([10, 0, 0, 7]), search };
        let found = target.found();
        assert_eq!(found.to_string(), "host.example (10.0.0.7): MTU 1400, fragmentation_needed says 10.0.0.1");
        assert_eq!(
            serde_json::to_string(&found).unwrap(),
            r#"{"target":"host.example","address":"10.0.0.7","mtu":1400,"limit":"fragmentation_needed","from":"10.0.0.1"}"#
        );
    }

    #[test]
    fn every_end_has_a_line() {
        let of = |answered, too_long| {
            let search = Search { answered, too_long, ..Search::new(Family::V4, 1_500) };
            let target = Sought { name: "10.0.0.7".into(), address: IpAddr::from([10, 0, 0, 7]), search };
            (target.found().to_string(), serde_json::to_value(target.found()).unwrap()["limit"].clone())
        };
        for (answered, too_long, line, limit) in [
            (Some(1_500), None, "10.0.0.7: MTU 1500, no less than what this host sends", "interface"),
            (Some(99), Some((100, Why::Silence)), "10.0.0.7: MTU 99, nothing answers what is longer", "silence"),
            (None, None, "10.0.0.7: no reply, not even to 68 bytes", "no_reply"),
            (
                Some(99),
                None,
                "10.0.0.7: MTU 99 or more: what is longer was neither answered nor refused for sure",
                "undecided",
            ),
        ] {
            assert_eq!(of(answered, too_long), (line.to_owned(), limit.into()));
        }
    }

    proptest! {
        #[test]
        fn every_mtu_is_found_in_three_rounds(mtu in 68u32..=1_500, silent: bool) {
            let mut search = Search::new(Family::V4, 1_500);
            let too_long = if silent { LOST } else { told() };
            let rounds = carry_out(&mut search, |_, length| if length <= mtu { ANSWERED } else { too_long });
            prop_assert_eq!(search.mtu(), Some(mtu));
            prop_assert!(rounds <= 3, "{} rounds", rounds);
        }
    }
}
