//! Names, looked up again when their time to live ends. What nobody says any more stays: a name server that is down, or a zone that was
//! lost, takes no target away.

use super::{settings::Wants, table::Table};
use crate::{
    base::Family,
    enrich::{Answer, Resolvers, Servers, addresses_of},
};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hickory_resolver::{TokioResolver, proto::rr::Name};
use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{sleep_until, timeout};

/// Names that are looked up at once: each may have four sockets.
const AT_ONCE: usize = 64;
/// Names that the C library is asked for at once: each holds a thread.
const LIBRARY_AT_ONCE: usize = 4;
/// After that a name is looked up again, whatever its time to live: /etc/hosts has none.
const MOST: Duration = Duration::from_secs(3_600);
/// Between two tries at a name that nobody says anything of: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// No name takes longer.
const LONGEST: Duration = Duration::from_secs(20);

/// One name.
struct Known {
    wants: Wants,
    /// By family, in the order of the answer.
    found: [Vec<IpAddr>; 2],
    due: Instant,
    /// Fruitless looks in a row.
    failures: u32,
    /// Whether it was looked up once.
    is_old: bool,
    is_asked: bool,
}

/// What came of looking a name up: by family, None where it was not asked for.
struct Found {
    name: Box<str>,
    answers: [Option<Answer<Vec<IpAddr>>>; 2],
}

struct Names {
    table: Arc<Table>,
    known: HashMap<Box<str>, Known>,
    due: BTreeSet<(Instant, Box<str>)>,
    least: Duration,
}

/// Looks up all names of all lists, again and again. No name is looked up sooner than after `least`.
pub(super) async fn work(table: Arc<Table>, servers: Servers, least: Duration) {
    let has_library = servers == Servers::Host;
    let library = Arc::new(tokio::sync::Semaphore::new(LIBRARY_AT_ONCE));
    let mut resolvers = Resolvers::new(servers, AT_ONCE * 2);
    let mut names = Names { table, known: HashMap::new(), due: BTreeSet::new(), least };
    let mut running = FuturesUnordered::new();
    names.renew();
    loop {
        let now = Instant::now();
        while running.len() < AT_ONCE
            && let Some((name, wants)) = names.next(now)
        {
            let resolver = resolvers.get(now);
            let library = has_library.then(|| Arc::clone(&library));
            running.push(look_up(name, wants, resolver, library));
        }
        let next = names.due.first().map(|(due, _)| *due).filter(|_| running.len() < AT_ONCE);
        tokio::select! {
            () = names.table.names_changed.notified() => {}
            Some(found) = running.next(), if !running.is_empty() => {
                names.take(found, Instant::now());
                continue;
            }
            () = sleep_until(next.unwrap_or(now).into()), if next.is_some() => continue,
        }
        names.renew();
    }
}

impl Names {
    /// Names have come or gone.
    fn renew(&mut self) {
        let (wanted, version) = self.table.names();
        let gone: Vec<Box<str>> = self.known.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in &gone {
            if let Some(known) = self.known.remove(name) {
                self.due.remove(&(known.due, name.clone()));
            }
        }
        let now = Instant::now();
        for (name, wants) in wanted {
            match self.known.get_mut(&name) {
                Some(known) if known.wants == wants => {}
                Some(known) => {
                    known.wants = wants;
                    if !known.is_asked && self.due.remove(&(known.due, name.clone())) {
                        known.due = now;
                        self.due.insert((now, name));
                    }
                }
                None => {
                    self.due.insert((now, name.clone()));
                    let found = Default::default();
                    let known = Known { wants, found, due: now, failures: 0, is_old: false, is_asked: false };
                    self.known.insert(name, known);
                }
            }
        }
        let open = self.known.values().filter(|known| !known.is_old).count();
        self.table.names_seen(version, open, &gone);
    }

    /// A name that is due.
    fn next(&mut self, now: Instant) -> Option<(Box<str>, Wants)> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (_, name) = self.due.pop_first()?;
        let known = self.known.get_mut(&name)?;
        known.is_asked = true;
        Some((name, known.wants))
    }

    /// Takes over what came of looking a name up.
    fn take(&mut self, Found { name, answers }: Found, now: Instant) {
        // Gone meanwhile.
        let Some(known) = self.known.get_mut(&name) else { return };
        let is_first = !std::mem::replace(&mut known.is_old, true);
        known.is_asked = false;
        let mut again: Option<Instant> = None;
        let (mut is_said, mut is_failed) = (false, false);
        for (family, answer) in answers.into_iter().enumerate() {
            let until = match answer {
                None => continue,
                Some(Answer::Is(found, until)) => {
                    known.found[family] = in_order(&known.found[family], found);
                    is_said = true;
                    until
                }
                // Of a name that has an address of the other family, this is an answer.
                Some(Answer::None(until)) => until,
                Some(Answer::Failed) => {
                    is_failed = true;
                    continue;
                }
            };
            again = Some(again.map_or(until, |again| again.min(until)));
        }
        let wait = if is_failed || (again.is_none() && !is_said) {
            let doubled = RETRY.0 * 2u32.saturating_pow(known.failures.min(6));
            known.failures += 1;
            doubled.min(RETRY.1)
        } else {
            known.failures = 0;
            // Beyond the answer's end by a little: until then the resolver has it from its memory.
            let until = again.unwrap_or(now).saturating_duration_since(now) + Duration::from_millis(2);
            until.min(MOST)
        };
        known.due = now + if is_failed { wait } else { wait.max(self.least) };
        self.due.insert((known.due, name.clone()));
        // A server that has many hands them out in turns: who wants one is told of that one alone.
        let shown =
            |found: &Vec<IpAddr>| found[..if known.wants.all { found.len() } else { found.len().min(1) }].to_vec();
        let all = is_said.then(|| as_a_client(&known.found.each_ref().map(shown)));
        self.table.name(&name, all.as_deref(), is_first);
    }
}

/// Those that were there stay in front, in their order: servers hand answers out in turns, and no target shall move for that.
fn in_order(before: &[IpAddr], mut found: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut kept: Vec<IpAddr> = before.iter().copied().filter(|address| found.contains(address)).collect();
    found.retain(|address| !kept.contains(address));
    found.sort_unstable();
    found.dedup();
    // Whoever was first was first in an answer. A name that is new begins with what sorts first: so it does at every start.
    kept.append(&mut found);
    kept
}

/// Both families in one list, those first that a client would take: IPv6 where this host has a way there, as the C library does
/// (RFC 6724).
fn as_a_client([v4, v6]: &[Vec<IpAddr>; 2]) -> Vec<IpAddr> {
    let v6_first = v4.is_empty() || v6.first().is_some_and(|address| has_way(*address));
    let (first, second) = if v6_first { (v6, v4) } else { (v4, v6) };
    first.iter().chain(second).copied().collect()
}

/// Whether the kernel knows a way to an address. Nothing is sent.
fn has_way(to: IpAddr) -> bool {
    UdpSocket::bind("[::]:0").and_then(|socket| socket.connect(SocketAddr::new(to, 9))).is_ok()
}

async fn look_up(
    name: Box<str>,
    wants: Wants,
    resolver: Option<TokioResolver>,
    library: Option<Arc<tokio::sync::Semaphore>>,
) -> Found {
    let ask = async |family: Family| {
        if !wants.families[family as usize] {
            return None;
        }
        let (Some(resolver), Ok(asked)) = (&resolver, Name::from_ascii(&name)) else { return Some(Answer::Failed) };
        Some(timeout(LONGEST, addresses_of(resolver, asked, family)).await.unwrap_or(Answer::Failed))
    };
    let (v4, v6) = tokio::join!(ask(Family::V4), ask(Family::V6));
    let mut answers = [v4, v6];
    let is_nobody = answers.iter().flatten().all(|answer| matches!(answer, Answer::None(_)));
    if let Some(library) = library.filter(|_| is_nobody)
        && let Ok(_turn) = library.acquire().await
        && let Ok(found) = tokio::net::lookup_host((&*name, 0)).await
    {
        // What only this host knows (nsswitch.conf): containers, mDNS, directories.
        let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        let until = Instant::now() + RETRY.1;
        for (family, answer) in Family::ALL.into_iter().zip(&mut answers) {
            let of_family: Vec<IpAddr> = found.iter().copied().filter(|a| Family::of(*a) == family).collect();
            if answer.is_some() && !of_family.is_empty() {
                *answer = Some(Answer::Is(of_family, until));
            }
        }
    }
    Found { name, answers }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn answers_in_turns_move_no_target() {
        let order = |before, found| in_order(&addresses(before), addresses(found));
        assert_eq!(order("", "10.0.0.3 10.0.0.1 10.0.0.2"), addresses("10.0.0.1 10.0.0.2 10.0.0.3"));
        assert_eq!(order("10.0.0.2 10.0.0.1", "10.0.0.1 10.0.0.2"), addresses("10.0.0.2 10.0.0.1"));
        assert_eq!(order("10.0.0.2 10.0.0.1", "10.0.0.1 10.0.0.0"), addresses("10.0.0.1 10.0.0.0"));
        assert_eq!(order("10.0.0.2", "10.0.0.9 10.0.0.9"), addresses("10.0.0.9"));
    }

    #[test]
    fn ipv6_comes_first_where_there_is_a_way() {
        let both = |v4, v6| as_a_client(&[addresses(v4), addresses(v6)]);
        assert_eq!(both("127.0.0.1", "::1"), addresses("::1 127.0.0.1"));
        assert_eq!(both("", "ff::1"), addresses("ff::1"));
    }
}
