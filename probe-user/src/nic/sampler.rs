//! What all ports dropped, for whoever asks.

use super::{
    NicError,
    drops::{PortSampler, Want},
};
use crate::{base::Nanos, ledger::unheard::DropLog, nic::LocalDrops, wire::RejectedReason};

/// Reads the drop counters of all ports. A control thread calls [`DropSampler::sample`] every 50 ms or so: until it has, a queue
/// that dropped frames does not count as drained, and a probe that nobody answered is not judged.
pub struct DropSampler(pub(super) Vec<PortSampler>);

impl DropSampler {
    /// Reads all sockets, and the interfaces' own counters where somebody waits for them, and notes in `log` what was dropped since
    /// the last time, before any queue counts as drained by it.
    ///
    /// # Errors
    /// If a socket's statistics can't be read; what was read before it counts.
    pub fn sample(&mut self, log: &DropLog) -> Result<(), NicError> {
        self.sample_as(log, if log.is_asked() { Want::Soon } else { Want::Rarely })
    }

    /// The same, of everything, for the last figures.
    ///
    /// # Errors
    /// As [`DropSampler::sample`].
    pub fn sample_all(&mut self, log: &DropLog) -> Result<(), NicError> {
        self.sample_as(log, Want::Now)
    }

    fn sample_as(&mut self, log: &DropLog, want: Want) -> Result<(), NicError> {
        let mut until = Nanos::MAX;
        for port in &mut self.0 {
            until = until.min(port.sample(log, want)?);
        }
        log.noted_until(until);
        Ok(())
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
