//! The way to the targets: interface, source address, gateway, and whether it answers.

use super::{Check, Status, neighbours};
use crate::{
    base::{Family, Nanos},
    route::{Hop, LinkState, Neighbour, RouteError, Routes, Watch},
};
use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

/// More than a few next hops are counted, not listed.
const LISTED: usize = 8;

pub(super) async fn look(routes: Result<Routes, RouteError>, checks: &mut Vec<Check>) {
    let routes = match routes {
        Ok(routes) => routes,
        Err(error) => return checks.push(Check::new("route", Status::Problem, error.to_string())),
    };
    let routed = routes.of.len() - routes.unrouted.as_ref().map_or(0, |unrouted| unrouted.count);
    let detail = format!("{routed} of {} targets through {}", routes.of.len(), routes.interface.name);
    checks.push(match &routes.unrouted {
        None => Check::new("route", Status::Ok, detail),
        Some(unrouted) => Check::new("route", Status::Warning, format!("{detail}: {unrouted}")),
    });
    let resolution = match resolve(&routes).await {
        Ok(resolution) => resolution,
        Err(error) => return checks.push(Check::new("neighbours", Status::Problem, error.to_string())),
    };
    let few = routes.hops.len() <= LISTED;
    let listed = routes.hops.iter().filter(|hop| few || !hop.on_link).take(LISTED);
    checks.extend(listed.map(|hop| describe(hop, &routes.interface.name)));
    if let Some(error) = resolution.error().filter(|_| resolution.unanswered.len() > LISTED) {
        checks.push(Check::new("gateways", Status::Problem, error));
    }
    neighbours::look(&routes, checks);
}

async fn resolve(routes: &Routes) -> Result<crate::route::Resolution, RouteError> {
    let link = Arc::new(LinkState::new());
    Watch::open(routes.interface.clone(), routes.hops.clone(), link, since_start).await?.resolve().await
}

fn describe(hop: &Hop, interface: &str) -> Check {
    let Hop { address, source, .. } = hop;
    let title = if hop.on_link { format!("target {address}") } else { format!("gateway {address}") };
    let asked = Family::of(*address).neighbour_protocol();
    match hop.neighbour() {
        Neighbour::Resolved(mac) => {
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            Check::new(title, Status::Ok, format!("answers {asked} on {interface}: {mac}, source address {source}"))
        }
        Neighbour::Unresolved | Neighbour::Unknown if hop.on_link => Check::new(
            title,
            Status::Warning,
            format!("does not answer {asked} on {interface}: probes to it are unreachable"),
        ),
        Neighbour::Unresolved | Neighbour::Unknown => {
            Check::new(title, Status::Problem, format!("does not answer {asked} on {interface}")).advise(format!(
                "is it up, and on that network? `ip neigh show dev {interface}` tells what the kernel knows"
            ))
        }
    }
}

/// Time for the few seconds of a look; not to be compared with stamps.
fn since_start() -> Nanos {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().into()
}
