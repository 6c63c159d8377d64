//! What waits for one Alertmanager. Who puts never waits; of each alert only what is true now is kept, and if there is no room the oldest
//! goes, counted.

use super::labels::{Alert, Labels};
use crate::ledger::histogram::{Distribution, Histogram};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::Notify;

/// Alerts that may wait for one Alertmanager, as many as for Prometheus'.
pub const CAPACITY: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub struct Outbox {
    /// What the Alertmanager is called.
    name: String,
    capacity: usize,
    waiting: Mutex<Waiting>,
    /// Something waits.
    pub(super) filled: Notify,
    sent: AtomicU64,
    errors: AtomicU64,
    dropped: AtomicU64,
    latency: Histogram,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The first to be sent first.
    order: VecDeque<Labels>,
    alerts: HashMap<Labels, Alert>,
}

/// How it fares, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// What it is called.
    pub alertmanager: String,
    /// Alerts that it took.
    pub sent: u64,
    /// Alerts in requests that failed.
    pub errors: u64,
    /// Alerts that it will not get: it refused them, or they found no room.
    pub dropped: u64,
    /// Alerts that wait.
    pub waiting: usize,
    /// As many as may.
    pub capacity: usize,
    /// How long requests took.
    pub latency: Distribution,
}

impl Outbox {
    /// Empty.
    pub fn new(name: String, capacity: usize) -> Self {
        Self {
            name,
            capacity,
            waiting: Mutex::default(),
            filled: Notify::new(),
            sent: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            latency: Histogram::default(),
        }
    }

    /// What the Alertmanager is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts alerts behind those that wait. One that waits already keeps its place, and what it says is replaced.
    pub fn put(&self, alerts: &[Alert]) {
        let mut waiting = self.waiting();
        for alert in alerts {
            if waiting.alerts.insert(alert.labels.clone(), alert.clone()).is_some() {
                continue;
            }
            waiting.order.push_back(alert.labels.clone());
            if waiting.order.len() > self.capacity
                && let Some(oldest) = waiting.order.pop_front()
            {
                waiting.alerts.remove(&oldest);
                self.dropped.fetch_add(1, Relaxed);
            }
        }
        let is_empty = waiting.order.is_empty();
        drop(waiting);
        if !is_empty {
            self.filled.notify_one();
        }
    }

    /// Takes the first of those that wait.
    pub fn take(&self, most: usize) -> Vec<Alert> {
        let mut waiting = self.waiting();
        let many = most.min(waiting.order.len());
        let taken: Vec<Labels> = waiting.order.drain(..many).collect();
        taken.iter().filter_map(|labels| waiting.alerts.remove(labels)).collect()
    }

    /// They could not be sent: they wait again, before all others; but for those of which something newer waits, and those for which
    /// there is no room any more.
    pub fn put_back(&self, alerts: Vec<Alert>) {
        let mut waiting = self.waiting();
        for alert in alerts.into_iter().rev() {
            if waiting.alerts.contains_key(&alert.labels) {
                continue;
            }
            if waiting.order.len() >= self.capacity {
                self.dropped.fetch_add(1, Relaxed);
                continue;
            }
            waiting.order.push_front(alert.labels.clone());
            waiting.alerts.insert(alert.labels.clone(), alert);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting().order.is_empty()
    }

    /// A request took so long, and so many alerts were taken.
    pub(super) fn count_sent(&self, alerts: usize) {
        self.sent.fetch_add(alerts as u64, Relaxed);
    }

    /// A request with so many failed; for good where they are not sent again.
    pub(super) fn count_failed(&self, alerts: usize, for_good: bool) {
        self.errors.fetch_add(alerts as u64, Relaxed);
        if for_good {
            self.dropped.fetch_add(alerts as u64, Relaxed);
        }
    }

    /// A request took so long, whatever came of it.
    pub(super) fn took(&self, time: crate::base::Nanos) {
        self.latency.record(time);
    }

    /// How it fares.
    pub fn status(&self) -> Status {
        Status {
            alertmanager: self.name.clone(),
            sent: self.sent.load(Relaxed),
            errors: self.errors.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            waiting: self.waiting().order.len(),
            capacity: self.capacity,
            latency: self.latency.snapshot(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Annotations, Name};
    use std::collections::BTreeMap;

    fn alert(n: u32, ends: Option<u64>) -> Alert {
        let labels = Labels::new(Name::TargetDown, &BTreeMap::new(), [("target", &*n.to_string())]);
        Alert { labels, annotations: Annotations::default(), starts_unix_ns: 1, ends_unix_ns: ends }
    }

    fn numbers(alerts: &[Alert]) -> Vec<u32> {
        alerts.iter().filter_map(|alert| alert.labels.get("target").parse().ok()).collect()
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room_and_is_counted() {
        let outbox = Outbox::new("am".into(), 5);
        outbox.put(&(0..8).map(|n| alert(n, None)).collect::<Vec<_>>());
        // Those that wait are not more for being put again, and say what is true now.
        outbox.put(&[alert(3, Some(7)), alert(4, None)]);
        let status = outbox.status();
        assert_eq!((status.waiting, status.capacity, status.dropped), (5, 5, 3));
        let taken = outbox.take(2);
        assert_eq!((numbers(&taken), taken[0].ends_unix_ns), (vec![3, 4], Some(7)));
        assert_eq!(numbers(&outbox.take(64)), [5, 6, 7]);
        assert!(outbox.is_empty() && outbox.take(64).is_empty());
    }

    #[test]
    fn what_could_not_be_sent_comes_first_again_unless_something_newer_is_known() {
        let outbox = Outbox::new("am".into(), 4);
        outbox.put(&[alert(1, None), alert(2, None), alert(3, None)]);
        let failed = outbox.take(2);
        outbox.put(&[alert(2, Some(9))]);
        outbox.put_back(failed);
        let taken = outbox.take(64);
        assert_eq!(numbers(&taken), [1, 3, 2]);
        assert_eq!(taken[2].ends_unix_ns, Some(9));
        outbox.put(&(10..14).map(|n| alert(n, None)).collect::<Vec<_>>());
        outbox.put_back(taken);
        assert_eq!((outbox.status().waiting, outbox.status().dropped), (4, 3));
    }
}
