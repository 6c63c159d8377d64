//! What rounds come to: each hop's loss and times, and whether the path changed.

use super::{Change, Path, Way};
use crate::base::{Ended, Nanos};
use std::{collections::BTreeMap, net::IpAddr};

/// Round-trip times kept of a hop, for percentiles and a picture: the latest.
const KEPT: usize = 1_024;
/// A hop that answers less often than the ones behind it, by more than this share of the probes, limits its errors.
const MARGIN: f64 = 0.05;

/// What a target's rounds came to, of one flow.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    hops: BTreeMap<u8, HopRounds>,
    rounds: u64,
    reached: u64,
    way: Way,
    changes: u64,
}

/// What the probes with one time to live came to.
#[derive(Clone, Debug, Default)]
pub struct HopRounds {
    /// That left this machine.
    pub sent: u64,
    /// About which something was heard.
    pub heard: u64,
    /// Who was heard, and how often; first whoever was heard last.
    pub from: Vec<(IpAddr, u64)>,
    /// Round-trip times, the latest last.
    rtts: Vec<Nanos>,
    /// Where the oldest of those is, once there are as many as are kept.
    oldest: usize,
    sum: f64,
    squares: f64,
    best: Option<Nanos>,
    worst: Option<Nanos>,
    /// Differences of times that follow one another, added up (RFC 3393 speaks of such).
    jitter: Nanos,
}

/// What is to be thought of a hop that does not always answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It always answered.
    Fine,
    /// It never said anything.
    Silent,
    /// Those behind it answered more often: nothing is lost here, but it says no more than so much.
    Limits,
    /// Probes or answers were lost here, or before, or it is the last.
    Loses,
}

impl Verdict {
    /// As in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Silent => "silent",
            Self::Limits => "limits",
            Self::Loses => "loses",
        }
    }
}

impl Rounds {
    /// Another round, of the target at `address`. What changed, if something did: a hop that says nothing has not changed.
    pub fn add(&mut self, path: &Path, address: IpAddr) -> Option<Change> {
        self.rounds += 1;
        self.reached += u64::from(path.reached);
        for hop in &path.hops {
            if matches!(hop.ended, Ended::Unsent(_) | Ended::Unheard) {
                continue;
            }
            self.hops.entry(hop.ttl).or_default().add(hop.address(address), hop.rtt());
        }
        let change = self.way.follow(path, address);
        self.changes += u64::from(change.is_some());
        change
    }

    /// How many there were.
    pub const fn rounds(&self) -> u64 {
        self.rounds
    }

    /// In how many the target answered.
    pub const fn reached(&self) -> u64 {
        self.reached
    }

    /// How often the path changed.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// How many hops the path has, as it was last.
    pub const fn length(&self) -> Option<u8> {
        self.way.length()
    }

    /// By distance.
    pub fn hops(&self) -> impl Iterator<Item = (u8, &HopRounds)> {
        self.hops.iter().map(|(ttl, hop)| (*ttl, hop))
    }

    /// What is to be thought of a hop.
    pub fn verdict(&self, ttl: u8) -> Verdict {
        let Some(hop) = self.hops.get(&ttl) else { return Verdict::Silent };
        if hop.heard == 0 {
            return Verdict::Silent;
        }
        if hop.heard == hop.sent {
            return Verdict::Fine;
        }
        let least = self.hops.range(ttl + 1..).map(|(_, behind)| behind.loss()).fold(1.0, f64::min);
        if hop.loss() - least > MARGIN { Verdict::Limits } else { Verdict::Loses }
    }
}

impl HopRounds {
    fn add(&mut self, from: Option<IpAddr>, rtt: Option<Nanos>) {
        self.sent += 1;
        let Some((from, rtt)) = from.zip(rtt) else { return };
        self.heard += 1;
        match self.from.iter().position(|(known, _)| *known == from) {
            Some(at) => {
                self.from[at].1 += 1;
                self.from[..=at].rotate_right(1);
            }
            None => self.from.insert(0, (from, 1)),
        }
        if let Some(last) = self.last() {
            self.jitter += if rtt > last { rtt - last } else { last - rtt };
        }
        let seconds = rtt.as_secs_f64();
        self.sum += seconds;
        self.squares += seconds * seconds;
        self.best = Some(self.best.map_or(rtt, |best| best.min(rtt)));
        self.worst = Some(self.worst.map_or(rtt, |worst| worst.max(rtt)));
        if self.rtts.len() < KEPT {
            self.rtts.push(rtt);
        } else {
            self.rtts[self.oldest] = rtt;
            self.oldest = (self.oldest + 1) % KEPT;
        }
    }

    /// The share that nothing was heard about.
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { (self.sent - self.heard) as f64 / self.sent as f64 }
    }

    /// The latest round-trip time.
    pub fn last(&self) -> Option<Nanos> {
        if self.rtts.len() < KEPT { self.rtts.last() } else { self.rtts.get((self.oldest + KEPT - 1) % KEPT) }.copied()
    }

    /// The shortest.
    pub const fn best(&self) -> Option<Nanos> {
        self.best
    }

    /// The longest.
    pub const fn worst(&self) -> Option<Nanos> {
        self.worst
    }

    /// The mean, seconds.
    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    pub fn mean(&self) -> Option<f64> {
        (self.heard > 0).then(|| self.sum / self.heard as f64)
    }

    /// The standard deviation, seconds.
    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    pub fn deviation(&self) -> Option<f64> {
        let mean = self.mean()?;
        Some((self.squares / self.heard as f64 - mean * mean).max(0.0).sqrt())
    }

    /// The mean difference of times that follow one another, seconds.
    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    pub fn jitter(&self) -> Option<f64> {
        (self.heard > 1).then(|| self.jitter.as_secs_f64() / (self.heard - 1) as f64)
    }

    /// The time that this share of the latest times does not exceed.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
    pub fn percentile(&self, share: f64) -> Option<Nanos> {
        let mut sorted = self.rtts.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted.get(rank - 1).copied()
    }

    /// The latest times, at most so many, oldest first.
    pub fn latest(&self, many: usize) -> impl Iterator<Item = Nanos> {
        let (new, old) = self.rtts.split_at(self.oldest);
        old.iter().chain(new).skip(self.rtts.len().saturating_sub(many)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Hop, *};
    use crate::base::{MplsStack, Quote, QuoteProof, TargetIndex};

    const QUOTE: Quote = Quote { ttl: 1, proof: QuoteProof::Cookie, is_translated: false, labels: MplsStack::EMPTY };
    const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 9, 9));

    fn router(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    /// Routers by distance from 1, 0 for one that says nothing; behind them the target.
    fn path(routers: &[u8]) -> Path {
        let sent = Nanos::from_secs(1);
        let arrived = |n: u64| sent + Nanos::from_millis(n);
        let hop = |(ttl, n): (u8, &u8)| {
            let ended = match n {
                0 => Ended::Lost,
                n => Ended::Hop { arrived: arrived((*n).into()), ttl: 64, from: router(*n), quote: QUOTE },
            };
            Hop { ttl, sent, ended }
        };
        let mut hops: Vec<Hop> = (1..).zip(routers).map(hop).collect();
        let ttl = u8::try_from(hops.len()).expect("few") + 1;
        let ended = Ended::Answered { arrived: arrived(20), ttl: 64, port: None, rcode: None };
        hops.push(Hop { ttl, sent, ended });
        let target = TargetIndex(0);
        Path { target, round: 0, flow: 0, reached: true, sent, took: Nanos::from_millis(20), hops, by_packet: false }
    }

    #[test]
    fn who_says_less_than_those_behind_limits_and_does_not_lose() {
        let mut rounds = Rounds::default();
        for round in 0..20 {
            // The second answers every fourth time, the third never, the fourth loses as the target does: that is, not at all.
            let second = if round % 4 == 0 { 2 } else { 0 };
            assert_eq!(rounds.add(&path(&[1, second, 0, 4]), TARGET), None);
        }
        let verdicts: Vec<Verdict> = (1..=5).map(|ttl| rounds.verdict(ttl)).collect();
        use Verdict::{Fine, Limits, Silent};
        assert_eq!(verdicts, [Fine, Limits, Silent, Fine, Fine]);
        assert_eq!((rounds.rounds(), rounds.reached(), rounds.changes(), rounds.length()), (20, 20, 0, Some(5)));
        let mut lossy = Rounds::default();
        for round in 0..20 {
            let mut path = path(&[1, if round % 2 == 0 { 2 } else { 0 }]);
            if round % 2 == 1 {
                path.hops[2].ended = Ended::Lost;
                path.reached = false;
            }
            lossy.add(&path, TARGET);
        }
        assert_eq!([1, 2, 3].map(|ttl| lossy.verdict(ttl)), [Fine, Verdict::Loses, Verdict::Loses]);
    }

    #[test]
    fn a_change_names_both_paths_and_silence_is_none() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.add(&path(&[1, 2, 3]), TARGET), None);
        assert_eq!(rounds.add(&path(&[1, 0, 3]), TARGET), None);
        let change = rounds.add(&path(&[1, 7, 3]), TARGET).expect("another router");
        assert_eq!(change.ttl, 2);
        assert_eq!(change.old, [(1, router(1)), (2, router(2)), (3, router(3)), (4, TARGET)]);
        assert_eq!(change.new, [(1, router(1)), (2, router(7)), (3, router(3)), (4, TARGET)]);
        assert_eq!(rounds.add(&path(&[1, 7, 3, 4]), TARGET).expect("longer").ttl, 4);
        assert_eq!(rounds.changes(), 2);
    }

    #[test]
    fn times_are_summed_up() {
        let mut hop = HopRounds::default();
        for millis in [4, 2, 8, 6] {
            hop.add(Some(router(1)), Some(Nanos::from_millis(millis)));
        }
        hop.add(None, None);
        assert_eq!((hop.sent, hop.heard, hop.loss()), (5, 4, 0.2));
        assert_eq!(hop.best().zip(hop.worst()), Some((Nanos::from_millis(2), Nanos::from_millis(8))));
        assert_eq!(hop.last(), Some(Nanos::from_millis(6)));
        let near = |seconds: Option<f64>, millis: f64| (seconds.expect("heard") * 1e3 - millis).abs() < 1e-9;
        assert!(near(hop.mean(), 5.0) && near(hop.deviation(), 5f64.sqrt()) && near(hop.jitter(), 10.0 / 3.0));
        assert_eq!(hop.percentile(0.5), Some(Nanos::from_millis(4)));
        assert_eq!(hop.percentile(1.0), Some(Nanos::from_millis(8)));
        for _ in 0..2 * KEPT {
            hop.add(Some(router(1)), Some(Nanos::from_millis(1)));
        }
        hop.add(Some(router(2)), Some(Nanos::from_millis(9)));
        assert_eq!(hop.latest(2).collect::<Vec<_>>(), [1, 9].map(Nanos::from_millis));
        assert_eq!(hop.last(), Some(Nanos::from_millis(9)));
        assert_eq!(hop.from[0], (router(2), 1), "whoever was heard last");
    }
}
