//! Names to addresses, beside the measurement: nothing waits for a name that does not resolve.

use super::Failure;
use super::ways::Word;
use crate::{
    base::{Family, TargetIndex},
    targets::{Exclusions, Name, Plan},
    worker::Common,
};
use futures_util::{StreamExt as _, stream};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};
use tokio::sync::mpsc::UnboundedSender;

/// Look-ups at once.
const AT_ONCE: usize = 32;
/// The start waits no longer for names.
const NAMES_WAITED_FOR: Duration = Duration::from_secs(3);
/// Between two tries at a name: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// What is to be looked up.
#[derive(Clone)]
struct Question {
    target: TargetIndex,
    name: Name,
    /// Whether a probe of its group fits over IPv6.
    fits_v6: bool,
}

impl Question {
    /// For each name of the plan that has no address.
    fn all(plan: &Plan) -> Vec<Self> {
        let fits_v6 = |target| {
            let group = plan.group_of(target).map(|group| &plan.groups[group]);
            group.is_some_and(|group| group.shape.over(Family::V6).is_possible())
        };
        let question = |(index, name): (&u32, &Name)| {
            let target = TargetIndex(*index);
            Self { target, name: name.clone(), fits_v6: fits_v6(target) }
        };
        let open = |(index, _): &(&u32, &Name)| plan.targets[**index as usize].destination.is_none();
        plan.names.iter().filter(open).map(question).collect()
    }

    /// The first address of the name that will do.
    async fn ask(&self, exclude: &Exclusions) -> Result<IpAddr, String> {
        let address = match zone(&self.name.text) {
            // The kernel is not asked what it means: that the zone is the interface has been seen.
            Some((address, _)) => address.into(),
            None => {
                let found = tokio::net::lookup_host((&*self.name.text, 0)).await.map_err(|error| error.to_string())?;
                self.choose(found.map(|socket| socket.ip()))?
            }
        };
        if exclude.contains(address) { Err(format!("it is {address}, which is excluded")) } else { Ok(address) }
    }

    /// Of a name's addresses, in the resolver's order.
    fn choose(&self, found: impl Iterator<Item = IpAddr>) -> Result<IpAddr, String> {
        let mut is_too_long = false;
        for address in found {
            let family = Family::of(address);
            if self.name.family.is_some_and(|wanted| wanted != family) {
                continue;
            }
            if family == Family::V4 || self.fits_v6 {
                return Ok(address);
            }
            is_too_long = true;
        }
        Err(match (is_too_long, self.name.family) {
            (true, _) => "it has only IPv6 addresses, and probes are too long for IPv6: lower their size".into(),
            (false, Some(family)) => format!("it has no IPv{} address", family.name()),
            (false, None) => "it has no address".into(),
        })
    }
}

/// A link-local address and the interface on whose link it is, as the name of a target has them.
fn zone(name: &str) -> Option<(Ipv6Addr, &str)> {
    let (address, zone) = name.split_once('%')?;
    Some((address.parse().ok()?, zone))
}

/// The interface that targets with a zone are on.
///
/// # Errors
/// They are on several, or on another than the one that probes leave by.
pub(super) fn zone_of(plan: &Plan, interface: Option<&str>) -> Result<Option<String>, Failure> {
    let mut found = interface;
    for name in plan.names.values() {
        let Some((_, zone)) = zone(&name.text) else { continue };
        match found {
            Some(other) if other != zone => {
                return Err(Failure::new(format!(
                    "{} is on the link of {zone}, and probes leave by {other}: one echolot probes through one interface. Leave the \
                     target out, or run another echolot with -I {zone}",
                    name.text
                )));
            }
            _ => found = Some(zone),
        }
    }
    Ok(found.map(str::to_owned))
}

/// Looks up every name of the plan that has no address yet. What does not resolve is an error, or with `for_ever` stays
/// unresolved for now.
pub(super) async fn resolve_all(plan: &mut Plan, exclude: &Exclusions, for_ever: bool) -> Result<(), Failure> {
    let questions = Question::all(plan);
    resolve(plan, questions, exclude, for_ever).await
}

/// The same of those names alone that are not in the plan of before: the others keep the address that they have.
pub(super) async fn resolve_new(plan: &mut Plan, before: &Plan, exclude: &Exclusions) -> Result<(), Failure> {
    let group = |plan: &Plan, target| plan.group_of(target).map(|group| plan.groups[group].name.clone());
    let known: HashSet<(Option<String>, &Name)> =
        before.names.iter().map(|(target, name)| (group(before, TargetIndex(*target)), name)).collect();
    let mut questions = Question::all(plan);
    questions.retain(|question| !known.contains(&(group(plan, question.target), &question.name)));
    resolve(plan, questions, exclude, true).await
}

async fn resolve(
    plan: &mut Plan,
    questions: Vec<Question>,
    exclude: &Exclusions,
    for_ever: bool,
) -> Result<(), Failure> {
    let asked = stream::iter(questions).map(|question| async move { (question.ask(exclude).await, question) });
    let mut answers = asked.buffer_unordered(AT_ONCE);
    let deadline = tokio::time::Instant::now() + NAMES_WAITED_FOR;
    loop {
        let (answer, question) = match tokio::time::timeout_at(deadline, answers.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(answer)) => answer,
            Err(_) if for_ever => {
                tracing::warn!("some names take long to resolve: the rest goes on without them");
                return Ok(());
            }
            Err(_) => {
                return Err(Failure::new(format!(
                    "looking names up took more than {} s: is the resolver (/etc/resolv.conf) reachable?",
                    NAMES_WAITED_FOR.as_secs()
                )));
            }
        };
        let name = &question.name.text;
        match answer {
            Ok(address) => {
                plan.targets[question.target.0 as usize].destination = Some(plan.addresses.enter(address));
            }
            Err(why) if for_ever => tracing::warn!("{name} does not resolve ({why}): tried again"),
            Err(why) => {
                return Err(Failure::new(format!(
                    "{name} does not resolve: {why}. Is it spelled right? `getent ahosts {name}` asks the same question"
                )));
            }
        }
    }
}

/// Tries names that have no address again and again, and tells of those that have one: then it is found out which way they lie.
pub(super) fn retry(
    plan: &Plan,
    common: &Common,
    ways: UnboundedSender<Word>,
    exclude: Exclusions,
) -> impl Future<Output = ()> + Send + 'static {
    let mut open = Question::all(plan);
    open.retain(|question| common.ledger.account(question.target).address().is_none());
    async move {
        let mut pause = RETRY.0;
        while !open.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
            let (mut still, mut found) = (Vec::new(), Vec::new());
            for question in open {
                match question.ask(&exclude).await {
                    Ok(address) => found.push((question.target, address)),
                    Err(_) => still.push(question),
                }
            }
            open = still;
            // An error says that the end has come.
            if !found.is_empty() && ways.send(Word::Named(found)).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(family: Option<Family>, fits_v6: bool) -> Question {
        Question { target: TargetIndex(0), name: Name { text: "host.example".into(), family }, fits_v6 }
    }

    #[test]
    fn of_a_names_addresses_the_first_that_will_do_is_taken() {
        let [v6, v4, other]: [IpAddr; 3] =
            ["2001:db8::7", "192.0.2.7", "192.0.2.8"].map(|text| text.parse().expect("an address"));
        let choose = |family, fits, of: &[IpAddr]| question(family, fits).choose(of.iter().copied());
        assert_eq!(choose(None, true, &[v6, v4]), Ok(v6));
        assert_eq!(choose(None, false, &[v6, v4]), Ok(v4));
        assert_eq!(choose(Some(Family::V4), true, &[v6, v4, other]), Ok(v4));
        assert_eq!(choose(Some(Family::V6), true, &[v4, v6]), Ok(v6));
        for (family, fits, of, why) in [
            (None, true, &[][..], "no address"),
            (Some(Family::V6), true, &[v4], "no IPv6 address"),
            (Some(Family::V4), true, &[v6], "no IPv4 address"),
            (None, false, &[v6], "lower their size"),
        ] {
            let error = choose(family, fits, of).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn zones_are_one_interface() {
        let plan = |names: &[&str]| {
            let names = (0..).zip(names).map(|(index, text)| (index, Name::from(*text))).collect();
            Plan { names, ..Plan::default() }
        };
        let of = |names: &[&str], interface| zone_of(&plan(names), interface).map_err(|error| error.to_string());
        assert_eq!(of(&["host.example"], None), Ok(None));
        assert_eq!(of(&["host.example"], Some("eth1")), Ok(Some("eth1".into())));
        assert_eq!(of(&["fe80::1%eth0", "fe80::2%eth0"], None), Ok(Some("eth0".into())));
        for (names, interface) in [(&["fe80::1%eth0", "fe80::2%eth1"][..], None), (&["fe80::2%eth1"], Some("eth0"))] {
            let error = of(names, interface).expect_err("two interfaces");
            assert!(error.contains("fe80::2%eth1 is on the link of eth1, and probes leave by eth0"), "{error}");
        }
    }
}
