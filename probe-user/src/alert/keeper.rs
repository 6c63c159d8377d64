//! What fires and what has ended, and when each is sent again.

use super::labels::{Alert, Annotations, Labels, Moment};
use crate::base::Nanos;
use std::collections::HashMap;

/// What has ended is sent for so long: whoever missed it hears it again, as of Prometheus.
pub(super) const KEPT: Nanos = Nanos::from_secs(900);
/// Ended alerts that are kept: of more the oldest are forgotten, and end by themselves where they were missed.
pub(super) const MOST_ENDED: usize = 20_000;

/// Between looks for those.
const LOOK: Nanos = Nanos::from_secs(1);

/// All alerts by their labels.
#[derive(Debug)]
pub struct Keeper {
    resend: Nanos,
    alerts: HashMap<Labels, Entry>,
    ended: usize,
    is_changed: bool,
    /// When somebody next looks for what has ended long ago.
    forget_at: Nanos,
}

#[derive(Debug)]
struct Entry {
    annotations: Annotations,
    starts_unix_ns: u64,
    /// When it ended, by both clocks.
    ended: Option<Moment>,
    /// When it is to be sent next.
    due: Nanos,
}

impl Entry {
    fn alert(&self, labels: &Labels) -> Alert {
        Alert {
            labels: labels.clone(),
            annotations: self.annotations.clone(),
            starts_unix_ns: self.starts_unix_ns,
            ends_unix_ns: self.ended.map(|moment| moment.unix_ns),
        }
    }
}

impl Keeper {
    /// Has none. What fires is sent again after `resend`.
    pub fn new(resend: Nanos) -> Self {
        Self { resend, alerts: HashMap::new(), ended: 0, is_changed: false, forget_at: Nanos::ZERO }
    }

    /// Those of an earlier process: all are to be sent, and what fired goes on to fire until somebody says otherwise.
    pub fn restore(&mut self, alerts: Vec<Alert>, now: Moment) {
        for Alert { labels, annotations, starts_unix_ns, ends_unix_ns } in alerts {
            let ago = ends_unix_ns.map_or(Nanos::ZERO, |unix_ns| Nanos(now.unix_ns.saturating_sub(unix_ns)));
            if ago >= KEPT {
                continue;
            }
            // Of one that ended before the machine started the time that is left is a little longer.
            let ended = ends_unix_ns.map(|unix_ns| Moment { at: now.at - ago.min(now.at), unix_ns });
            self.ended += usize::from(ended.is_some());
            self.alerts.insert(labels, Entry { annotations, starts_unix_ns, ended, due: now.at });
        }
        self.is_changed = true;
    }

    /// It fires, since now where it did not. It is sent at once where that or what it says is news.
    pub fn fire(&mut self, labels: &Labels, annotations: Annotations, now: Moment) {
        if let Some(entry) = self.alerts.get_mut(labels)
            && entry.ended.is_none()
        {
            if entry.annotations != annotations {
                (entry.annotations, entry.due) = (annotations, now.at);
                self.is_changed = true;
            }
            return;
        }
        let entry = Entry { annotations, starts_unix_ns: now.unix_ns, ended: None, due: now.at };
        let before = self.alerts.insert(labels.clone(), entry);
        self.ended -= usize::from(before.is_some());
        self.is_changed = true;
    }

    /// It says something else from the next time on that it is sent, if it fires.
    pub fn reword(&mut self, labels: &Labels, annotations: Annotations) {
        if let Some(entry) = self.alerts.get_mut(labels).filter(|entry| entry.ended.is_none()) {
            entry.annotations = annotations;
        }
    }

    /// It no longer fires.
    pub fn resolve(&mut self, labels: &Labels, now: Moment) {
        let Some(entry) = self.alerts.get_mut(labels).filter(|entry| entry.ended.is_none()) else { return };
        (entry.ended, entry.due) = (Some(now), now.at);
        self.ended += 1;
        self.is_changed = true;
    }

    /// Whether it fires.
    pub fn is_firing(&self, labels: &Labels) -> bool {
        self.alerts.get(labels).is_some_and(|entry| entry.ended.is_none())
    }

    /// What it says, if it fires.
    pub fn annotations(&self, labels: &Labels) -> Option<&Annotations> {
        self.alerts.get(labels).filter(|entry| entry.ended.is_none()).map(|entry| &entry.annotations)
    }

    /// All that fire, in no order.
    pub fn firing(&self) -> impl Iterator<Item = &Labels> {
        self.alerts.iter().filter(|(_, entry)| entry.ended.is_none()).map(|(labels, _)| labels)
    }

    /// What is to be sent now, in the order of their labels. To be sent again: what fires, and what has ended lately.
    pub fn due(&mut self, now: Nanos) -> Vec<Alert> {
        let resend = self.resend;
        let mut due = Vec::new();
        for (labels, entry) in self.alerts.iter_mut().filter(|(_, entry)| entry.due <= now) {
            entry.due = now + resend;
            due.push(entry.alert(labels));
        }
        due.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        if now >= self.forget_at {
            self.forget(now);
            self.forget_at = now + LOOK;
        }
        due
    }

    /// Who fires and is to be sent now: what it says may be said anew before.
    pub fn about_to_be_sent(&self, now: Nanos) -> impl Iterator<Item = &Labels> {
        self.alerts.iter().filter(move |(_, entry)| entry.ended.is_none() && entry.due <= now).map(|(labels, _)| labels)
    }

    /// All that is to outlive this process, if that has changed since somebody last asked; in the order of their labels.
    pub fn changed(&mut self) -> Option<Vec<Alert>> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let mut all: Vec<Alert> = self.alerts.iter().map(|(labels, entry)| entry.alert(labels)).collect();
        all.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Some(all)
    }

    /// What has ended long ago, and of too many the oldest.
    fn forget(&mut self, now: Nanos) {
        let mut ended: Vec<(Nanos, Labels)> = Vec::new();
        if self.ended > 0 {
            let of = |(labels, entry): (&Labels, &Entry)| Some((entry.ended?.at, labels.clone()));
            ended = self.alerts.iter().filter_map(of).collect();
            ended.sort_unstable();
        }
        let excess = ended.len().saturating_sub(MOST_ENDED);
        for (number, (at, labels)) in ended.into_iter().enumerate() {
            if number >= excess && at + KEPT > now {
                break;
            }
            self.alerts.remove(&labels);
            self.ended -= 1;
            self.is_changed = true;
        }
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
