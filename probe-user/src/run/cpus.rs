//! Which CPUs suit packet loops best, of those that this process may use.

use std::{collections::BTreeSet, fs, path::Path};

/// Where a CPU sits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cpu {
    /// The kernel's number for it.
    pub(super) number: usize,
    /// Its NUMA node, where the machine has several.
    node: Option<usize>,
    /// The lowest number of the CPUs that share its core, itself included: hyper-threads have one in common.
    core: usize,
}

/// The CPUs that this process may use, best first: those on the card's NUMA node before others, and a thread of each core before
/// any second one.
pub(super) fn best_first(interface: &str) -> Vec<Cpu> {
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let nodes = nodes();
    let cpus = allowed.into_iter().map(|core| {
        let siblings = format!("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", core.id);
        let core_of = fs::read_to_string(siblings).ok().and_then(|text| parse_list(&text).first().copied());
        let node = nodes.iter().find(|(_, cpus)| cpus.contains(&core.id)).map(|(node, _)| *node);
        Cpu { number: core.id, node, core: core_of.unwrap_or(core.id) }
    });
    // -1, or no such file: the card has no node, or is no hardware.
    let node = fs::read_to_string(format!("/sys/class/net/{interface}/device/numa_node"));
    order(cpus.collect(), node.ok().and_then(|text| text.trim().parse().ok()))
}

/// Of CPUs that are sorted so, those that are as good as the first: on its node, and no second thread of a core.
pub(super) fn first_class(cpus: &[Cpu]) -> &[Cpu] {
    let mut cores = BTreeSet::new();
    let end = cpus.iter().position(|cpu| cpu.node != cpus[0].node || !cores.insert(cpu.core));
    &cpus[..end.unwrap_or(cpus.len())]
}

/// Without those that share a core with one of the `taken`, unless there are no others.
pub(super) fn apart(cpus: &[Cpu], taken: &[Cpu]) -> Vec<Cpu> {
    let apart: Vec<Cpu> = cpus.iter().filter(|cpu| taken.iter().all(|other| other.core != cpu.core)).cloned().collect();
    if apart.is_empty() { cpus.to_vec() } else { apart }
}

fn order(mut cpus: Vec<Cpu>, node: Option<usize>) -> Vec<Cpu> {
    let mut cores = BTreeSet::new();
    cpus.sort_by_key(|cpu| cpu.number);
    let mut ranked: Vec<(bool, bool, Cpu)> =
        cpus.into_iter().map(|cpu| (node.is_some() && cpu.node != node, !cores.insert(cpu.core), cpu)).collect();
    ranked.sort_by_key(|(far, second, cpu)| (*far, *second, cpu.number));
    ranked.into_iter().map(|(_, _, cpu)| cpu).collect()
}

/// The machine's NUMA nodes and their CPUs; none where it has only one or doesn't tell.
fn nodes() -> Vec<(usize, Vec<usize>)> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/node") else { return Vec::new() };
    let nodes: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let node = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            Some((node, list(&entry.path().join("cpulist"))))
        })
        .collect();
    if nodes.len() > 1 { nodes } else { Vec::new() }
}

fn list(path: &Path) -> Vec<usize> {
    fs::read_to_string(path).map(|text| parse_list(&text)).unwrap_or_default()
}

/// Numbers as the kernel lists them: `0-3,8`.
fn parse_list(text: &str) -> Vec<usize> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse::<usize>().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
impl Cpu {
    /// A core of its own, on a machine of one node.
    pub(super) fn plain(number: usize) -> Self {
        Self { number, node: None, core: number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(number: usize, node: usize, core: usize) -> Cpu {
        Cpu { number, node: Some(node), core }
    }

    fn numbers(cpus: &[Cpu]) -> Vec<usize> {
        cpus.iter().map(|cpu| cpu.number).collect()
    }

    #[test]
    fn the_cards_node_comes_first_and_second_threads_last() {
        // Two nodes of two cores of two threads, numbered as Linux does: the second threads behind all first ones.
        let cpus: Vec<Cpu> = [(0, 0, 0), (1, 0, 1), (2, 1, 2), (3, 1, 3), (4, 0, 0), (5, 0, 1), (6, 1, 2), (7, 1, 3)]
            .map(|(number, node, core)| cpu(number, node, core))
            .into();
        assert_eq!(numbers(&order(cpus.clone(), Some(1))), [2, 3, 6, 7, 0, 1, 4, 5]);
        assert_eq!(numbers(&order(cpus.clone(), None)), [0, 1, 2, 3, 4, 5, 6, 7], "no node is nearer");
        let best = order(cpus, Some(1));
        assert_eq!(numbers(first_class(&best)), [2, 3]);
        assert!(first_class(&[]).is_empty());
        assert_eq!(numbers(&apart(&best[1..], &best[..1])), [3, 7, 0, 1, 4, 5], "6 shares a core with 2");
    }

    #[test]
    fn where_all_share_a_core_they_are_used_all_the_same() {
        let both = [cpu(0, 0, 0), cpu(1, 0, 0)];
        assert_eq!(numbers(&apart(&both[1..], &both[..1])), [1]);
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_list("\n"), [0; 0]);
    }

    #[test]
    fn this_machine_has_a_best_cpu() {
        assert!(!best_first("lo").is_empty());
    }
}
