//! Names to addresses, beside the measurement: nothing waits for a name that does not resolve.

use super::Failure;
use super::ways::Named;
use crate::{
    base::TargetIndex,
    targets::{Exclusions, Plan},
    worker::Common,
};
use futures_util::{StreamExt as _, stream};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use tokio::sync::mpsc::UnboundedSender;

/// Look-ups at once.
const AT_ONCE: usize = 32;
/// The start waits no longer for names.
const NAMES_WAITED_FOR: Duration = Duration::from_secs(3);
/// Between two tries at a name: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Looks up every name of the plan that has no address yet. What does not resolve is an error, or with `for_ever` stays
/// unresolved for now.
pub(super) async fn resolve_all(plan: &mut Plan, exclude: &Exclusions, for_ever: bool) -> Result<(), Failure> {
    let names: Vec<(u32, Box<str>)> = plan.names.iter().map(|(index, name)| (*index, name.clone())).collect();
    let looked_up =
        stream::iter(names).map(|(index, name)| async move { (index, look_up(&name, exclude).await, name) });
    let mut looked_up = looked_up.buffer_unordered(AT_ONCE);
    let deadline = tokio::time::Instant::now() + NAMES_WAITED_FOR;
    loop {
        match tokio::time::timeout_at(deadline, looked_up.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some((index, Ok(address), _))) => plan.targets[index as usize].address = Some(address),
            Ok(Some((_, Err(why), name))) if for_ever => tracing::warn!("{name} does not resolve ({why}): tried again"),
            Ok(Some((_, Err(why), name))) => {
                return Err(Failure::new(format!(
                    "{name} does not resolve: {why}. Is it spelled right? `getent ahostsv4 {name}` asks the same question"
                )));
            }
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
        }
    }
}

/// The first IPv4 address of a name.
async fn look_up(name: &str, exclude: &Exclusions) -> Result<Ipv4Addr, String> {
    let found = tokio::net::lookup_host((name, 0)).await.map_err(|error| error.to_string())?;
    let mut found = found.filter_map(|socket| match socket.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    match found.next() {
        None => Err("it has no IPv4 address".to_owned()),
        Some(address) if exclude.contains(address) => Err(format!("it is {address}, which is excluded")),
        Some(address) => Ok(address),
    }
}

/// Tries names that have no address again and again, and tells of those that have one: then it is found out which way they lie.
pub(super) fn retry(
    plan: &Plan,
    common: &Common,
    ways: UnboundedSender<Named>,
    exclude: Exclusions,
) -> impl Future<Output = ()> + Send + 'static {
    let is_open = |index: &u32| common.ledger.account(TargetIndex(*index)).address().is_none();
    let mut open: Vec<(u32, Box<str>)> =
        plan.names.iter().filter(|(index, _)| is_open(index)).map(|(index, name)| (*index, name.clone())).collect();
    async move {
        let mut pause = RETRY.0;
        while !open.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
            let (mut still, mut found) = (Vec::new(), Vec::new());
            for (index, name) in open {
                match look_up(&name, &exclude).await {
                    Ok(address) => found.push((TargetIndex(index), address)),
                    Err(_) => still.push((index, name)),
                }
            }
            open = still;
            // An error says that the end has come.
            if !found.is_empty() && ways.send(found).is_err() {
                return;
            }
        }
    }
}
