//! What all ports dropped, for whoever asks.

use super::{NicError, drops::PortSampler};
use crate::{ledger::unheard::DropLog, metrics::LocalDrops, wire::RejectedReason};

/// Reads the drop counters of all ports. A control thread calls [`DropSampler::sample`] every 50 ms or so: until it has, a queue
/// that dropped frames does not count as drained.
pub struct DropSampler(pub(super) Vec<PortSampler>);

impl DropSampler {
    /// Reads all sockets and notes in `log` what was dropped since the last time, before any queue counts as drained by it.
    ///
    /// # Errors
    /// If a socket's statistics can't be read; what was read before it counts.
    pub fn sample(&mut self, log: &DropLog) -> Result<(), NicError> {
        self.0.iter_mut().try_for_each(|port| port.sample(log))
    }

    /// Every cause of [`super::DROP_CAUSES`] with its count since the interface was opened, as of the last sample: port by port.
    pub fn local_drops(&self) -> Vec<LocalDrops> {
        self.0.iter().flat_map(PortSampler::local_drops).collect()
    }

    /// Replies that steer refused and passed to the kernel, indexed like `RejectedReason::ALL`. The reasons that only
    /// userspace finds are 0 here.
    ///
    /// # Errors
    /// If a program's counters can't be read.
    pub fn rejected(&self) -> Result<[u64; RejectedReason::ALL.len()], NicError> {
        let mut sums = [0; RejectedReason::ALL.len()];
        for port in &self.0 {
            sums.iter_mut().zip(port.rejected()?).for_each(|(sum, rejected)| *sum += rejected);
        }
        Ok(sums)
    }
}
