//! The families of sums. The prometheus crate's own vectors want the same label names in all rows of a family; here
//! each group has its own `sum_by`, so the families are built from the snapshot and only encoded by the crate.

use super::{
    ExpositionError, Source,
    encode::{distribution, family, label, number, value},
    families::{self as f, Family},
    process,
};
use crate::{
    base::{Cause, Outcome, State},
    health::Hold,
    ledger::{Snapshot, SumRow},
    targets::{self, Group, Plan},
    wire::RejectedReason,
};
use prometheus::{
    TextEncoder,
    proto::{LabelPair, Metric, MetricFamily},
};
use std::{collections::HashSet, sync::Arc};

/// Every family but those of single targets, in the text format 0.0.4.
///
/// # Errors
/// A label name that Prometheus would refuse; a reload in the middle, three times in a row.
pub fn sums(source: &dyn Source) -> Result<String, ExpositionError> {
    let (plan, snapshot) = consistent(source)?;
    let mut families = by_group(&plan, &snapshot)?;
    families.extend(local(source, &snapshot));
    families.extend(process::families());
    // The encoder refuses an empty family: no group, no drop counter.
    families.retain(|family| !family.get_metric().is_empty());
    Ok(TextEncoder::new().encode_to_string(&families)?)
}

/// A plan and the counters that belong to it.
pub(crate) fn consistent(source: &dyn Source) -> Result<(Arc<Plan>, Snapshot), ExpositionError> {
    for _ in 0..3 {
        let plan = source.plan();
        let snapshot = source.snapshot();
        if Arc::ptr_eq(&plan, &source.plan()) && plan.sums.len() == snapshot.sums.len() {
            return Ok((plan, snapshot));
        }
    }
    Err(ExpositionError::Reloaded)
}

fn by_group(plan: &Plan, snapshot: &Snapshot) -> Result<Vec<MetricFamily>, ExpositionError> {
    for group in &plan.groups {
        for name in group.sum_by.iter().filter(|name| *name != targets::FAMILY) {
            targets::check_label_name(name).map_err(|why| ExpositionError::Label { group: group.name.clone(), why })?;
        }
    }
    let rows: Vec<(Vec<LabelPair>, &SumRow, &[f64])> = plan
        .sums
        .iter()
        .zip(&snapshot.sums)
        .map(|(sum, row)| {
            let group = &plan.groups[sum.group];
            let own = group.sum_by.iter().zip(&sum.values).map(|(name, value)| label(name, value));
            let labels = std::iter::once(label("group", &group.name)).chain(own).collect();
            (labels, row, group.buckets.as_slice())
        })
        .collect();
    let plain = |what: Family, value: fn(&SumRow) -> u64| {
        family(what, rows.iter().map(|(labels, row, _)| number(what, labels.clone(), value(row))))
    };
    let split = |what: Family, name: &'static str, values: &[&'static str], counts: fn(&SumRow) -> &[u64]| {
        let cells = rows.iter().flat_map(|(labels, row, _)| {
            values.iter().zip(counts(row)).map(|(value, &n)| {
                let mut labels = labels.clone();
                labels.push(label(name, value));
                number(what, labels, n)
            })
        });
        family(what, cells)
    };
    let distributions = rows.iter().map(|(labels, row, bounds)| distribution(labels.clone(), &row.rtt, bounds));
    Ok(vec![
        plain(f::PROBES, |row| row.probes),
        split(f::SETTLED, "outcome", &Outcome::ALL.map(Outcome::name), |row| &row.settled),
        split(f::UNSENT, "cause", &Cause::ALL.map(Cause::name), |row| &row.unsent),
        plain(f::IN_FLIGHT, SumRow::in_flight),
        plain(f::SKIPPED, |row| row.skipped),
        plain(f::LATE, |row| row.late),
        plain(f::DUPLICATE, |row| row.duplicate),
        plain(f::CONTRADICTED, |row| row.contradicted),
        family(f::RTT, distributions),
        split(f::TARGETS, "state", &State::ALL.map(State::name), |row| &row.states),
        plain(f::FLAPPING, |row| row.flapping),
        family(f::GROUP_INFO, named_once(plan).map(group_info)),
    ])
}

/// The groups of a plan without those of before that are there for what is still in flight.
fn named_once(plan: &Plan) -> impl Iterator<Item = &Group> {
    let mut seen = HashSet::new();
    plan.groups.iter().filter(move |group| seen.insert(&group.name))
}

fn group_info(group: &Group) -> Metric {
    let labels = vec![
        label("group", &group.name),
        label("probe", &group.shape.kind.to_string()),
        label(targets::FAMILY, group.family.name()),
    ];
    number(f::GROUP_INFO, labels, 1)
}

fn local(source: &dyn Source, snapshot: &Snapshot) -> Vec<MetricFamily> {
    let rejected = RejectedReason::ALL.iter().zip(snapshot.rejected);
    let rejected = rejected.map(|(reason, n)| number(f::REJECTED, vec![label("reason", reason.name())], n));
    let resets = ["sent", "dropped"].iter().zip(snapshot.resets);
    let resets = resets.map(|(result, n)| number(f::RESETS, vec![label("result", result)], n));
    let drops = source.drops();
    let drops = drops.iter().map(|drop| {
        let labels =
            vec![label("interface", &drop.interface), label("direction", drop.direction), label("cause", drop.cause)];
        number(f::LOCAL_DROPS, labels, drop.frames)
    });
    let interface = source.interface();
    let interface_info = vec![
        label("interface", &interface.name),
        label("driver", &interface.driver),
        label("mode", interface.mode),
        label("engine", interface.engine),
        label("reason", &interface.reason),
    ];
    let build = vec![label("version", VERSION), label("revision", REVISION)];
    let reload = source.reload();
    let delays = bounds_from(0.000_01);
    let dwells = bounds_from(0.000_001);
    let holds = Hold::ALL.iter().zip(snapshot.held);
    let holds = holds.map(|(hold, held)| number(f::STATE_HOLD, vec![label("reason", hold.name())], u64::from(held)));
    vec![
        family(f::REJECTED, rejected),
        family(f::RESETS, resets),
        family(f::LOCAL_DROPS, drops),
        family(f::SEND_LAG, [distribution(Vec::new(), &snapshot.send_lag, &delays)]),
        family(f::TRANSMIT_DWELL, [distribution(Vec::new(), &snapshot.transmit_dwell, &dwells)]),
        family(f::RECEIVE_DELAY, [distribution(Vec::new(), &snapshot.receive_delay, &delays)]),
        family(f::INTERFACE_INFO, [number(f::INTERFACE_INFO, interface_info, 1)]),
        family(f::INTERFACE_UP, [number(f::INTERFACE_UP, Vec::new(), u64::from(interface.up))]),
        family(f::INTERFACE_QUEUES, [number(f::INTERFACE_QUEUES, Vec::new(), interface.queues as u64)]),
        family(f::STATE_HOLD, holds),
        family(f::EVENTS_DROPPED, [number(f::EVENTS_DROPPED, Vec::new(), snapshot.events_dropped)]),
        family(f::BUILD_INFO, [number(f::BUILD_INFO, build, 1)]),
        family(f::RELOAD_SUCCESSFUL, [number(f::RELOAD_SUCCESSFUL, Vec::new(), u64::from(reload.successful))]),
        family(f::RELOAD_TIMESTAMP, [value(f::RELOAD_TIMESTAMP, Vec::new(), reload.at_unix_seconds)]),
        family(f::CONFIG_HASH, [number(f::CONFIG_HASH, Vec::new(), source.config_hash().unwrap_or(0))]),
    ]
}

/// This build's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What it was built from, where the build was told.
pub(crate) const REVISION: &str = match option_env!("ECHOLOT_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Bounds of the histograms of this machine's own delays: doubled 20 times, from 10 us to 10.5 s, or from 1 us to 1.05 s.
fn bounds_from(first: f64) -> [f64; 21] {
    let mut bound = first / 2.0;
    std::array::from_fn(|_| {
        bound *= 2.0;
        bound
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_counted_from_ten_microseconds_to_ten_seconds() {
        let bounds = bounds_from(0.000_01);
        assert_eq!(bounds[0].to_string(), "0.00001");
        assert_eq!(bounds[20].to_string(), "10.48576");
    }
}
