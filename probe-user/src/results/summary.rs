//! What a run came to: one JSON object, and the same figures for people.

use super::output::WriteError;
use crate::{
    base::{Cause, Nanos, Outcome},
    ledger::{Snapshot, histogram::Distribution},
    nic::{InterfaceInfo, LocalDrops},
    wire::{Kind, RejectedReason},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The sums of a run, over all its groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Targets of the plan.
    pub targets: u64,
    /// Targets that answered at least once.
    pub targets_answered: u64,
    /// Probes that came due.
    pub probes: u64,
    /// Settled, indexed like `Outcome::ALL`.
    pub settled: [u64; Outcome::ALL.len()],
    /// About which a router said that their time to live ended with it.
    pub hops: u64,
    /// Entered and not settled.
    pub in_flight: u64,
    /// Due times that passed without a probe.
    pub skipped: u64,
    /// Replies after their timeout.
    pub late: u64,
    /// Further replies to an answered probe, and further errors about one that was heard of.
    pub duplicate: u64,
    /// Replies to a probe settled as unreachable or unsent, and errors about an unsent one.
    pub contradicted: u64,
    /// Replies that failed their checks, indexed like `RejectedReason::ALL`.
    pub rejected: [u64; RejectedReason::ALL.len()],
    /// Why probes were not sent, indexed like `Cause::ALL`. Not in the JSON form.
    pub unsent: [u64; Cause::ALL.len()],
    /// Frames and results that this machine dropped, by `direction_cause`; results are "results".
    pub drops: Vec<(String, u64)>,
    /// First send to last settled.
    pub span: Nanos,
    /// Round-trip times; None when nothing was answered.
    pub rtt: Option<Times>,
    /// What was asked of targets: `icmp`, `tcp:443`; of groups that ask differently, all of it, separated by commas.
    pub probe: String,
    /// The interface's name.
    pub interface: String,
    /// "afxdp" or "live-frames".
    pub engine: &'static str,
    /// "zero-copy", "copy" or "generic".
    pub mode: &'static str,
}

/// A distribution in eight numbers, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Times {
    pub min: u64,
    pub mean: u64,
    pub stddev: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Times {
    /// None when there are none.
    pub fn of(distribution: &Distribution) -> Option<Self> {
        let quantile = |share| distribution.quantile(share).map(|at| at.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, and never negative")]
        let whole = |ns: f64| ns.round() as u64;
        Some(Self {
            min: distribution.min.0,
            mean: whole(distribution.mean()?),
            stddev: whole(distribution.stddev()?),
            p50: quantile(0.5)?,
            p90: quantile(0.9)?,
            p99: quantile(0.99)?,
            p999: quantile(0.999)?,
            max: distribution.max.0,
        })
    }
}

impl Summary {
    /// From the last snapshot. `results_dropped` are those that the writer reports.
    pub fn new(
        snapshot: &Snapshot,
        drops: &[LocalDrops],
        interface: &InterfaceInfo,
        targets: u64,
        targets_answered: u64,
        results_dropped: u64,
    ) -> Self {
        let mut rtt = Distribution::default();
        let mut summary = Self {
            targets,
            targets_answered,
            probes: 0,
            settled: [0; Outcome::ALL.len()],
            hops: 0,
            in_flight: 0,
            skipped: 0,
            late: 0,
            duplicate: 0,
            contradicted: 0,
            rejected: snapshot.rejected,
            unsent: snapshot.unsent,
            drops: Vec::new(),
            span: match (snapshot.first_send, snapshot.last_settled) {
                (Some(first), Some(last)) => last - first,
                _ => Nanos::ZERO,
            },
            rtt: None,
            probe: Kind::default().to_string(),
            interface: interface.name.clone(),
            engine: interface.engine,
            mode: interface.mode,
        };
        for row in &snapshot.sums {
            summary.probes += row.probes;
            summary.settled.iter_mut().zip(row.settled).for_each(|(sum, n)| *sum += n);
            summary.hops += row.hops;
            summary.in_flight += row.in_flight();
            summary.skipped += row.skipped;
            summary.late += row.late;
            summary.duplicate += row.duplicate;
            summary.contradicted += row.contradicted;
            rtt.merge(&row.rtt);
        }
        summary.rtt = Times::of(&rtt);
        for drop in drops {
            summary.add_drops(format!("{}_{}", drop.direction, drop.cause), drop.frames);
        }
        summary.add_drops("results".to_owned(), results_dropped);
        summary
    }

    /// Says what was asked of targets. Unless it is said: an echo.
    #[must_use]
    pub fn asking(self, probe: String) -> Self {
        Self { probe, ..self }
    }

    /// Several queues or interfaces may have dropped for the same cause.
    fn add_drops(&mut self, cause: String, n: u64) {
        match self.drops.iter_mut().find(|(name, _)| *name == cause) {
            Some((_, sum)) => *sum += n,
            None => self.drops.push((cause, n)),
        }
    }

    /// How many probes ended so.
    pub const fn of(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Hop => self.hops,
            _ => self.settled[outcome as usize],
        }
    }

    /// Results that were asked for and not written.
    pub fn results_dropped(&self) -> u64 {
        self.drops.iter().filter(|(cause, _)| cause == "results").map(|(_, n)| n).sum()
    }

    /// The JSON form, on several lines.
    ///
    /// # Errors
    /// None that is known: every member is a number or a string.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// Tries whether a summary can be written to `path`, and leaves nothing there: asked before anything is measured.
    ///
    /// # Errors
    /// What [`Summary::write`] would meet, as far as can be known.
    pub fn can_be_written(path: &Path) -> Result<(), WriteError> {
        let try_it = || {
            // Opening a pipe would wait for its reader.
            if fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
                return Ok(());
            }
            if path.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let beside = temporary_beside(path)?;
            File::create(&beside)?;
            fs::remove_file(beside)
        };
        try_it().map_err(|source| refused(path, source))
    }

    /// Writes the JSON form to `path`, at once or not at all: a reader never sees half of it.
    ///
    /// # Errors
    /// When the file can't be written; what was there before is still there then.
    pub fn write(&self, path: &Path) -> Result<(), WriteError> {
        let write = || {
            // What is not a regular file (a pipe, /dev/stdout) can't be replaced, only written to.
            if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
                return File::options().write(true).open(path)?.write_all(self.to_json()?.as_bytes());
            }
            let beside = temporary_beside(path)?;
            let mut file = File::create(&beside)?;
            let written = file.write_all(self.to_json()?.as_bytes()).and_then(|()| file.sync_all());
            let renamed = written.and_then(|()| fs::rename(&beside, path));
            if renamed.is_err() {
                // The first error is the one to tell.
                let _gone_or_not = fs::remove_file(&beside);
            }
            renamed
        };
        write().map_err(|source| refused(path, source))
    }
}

fn refused(path: &Path, source: io::Error) -> WriteError {
    WriteError {
        name: path.display().to_string(),
        doing: "write the summary",
        source,
        advice: "Name a file in a folder that exists and has room with --summary",
    }
}

/// A name in the same folder, so that renaming is atomic.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(hidden))
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("targets", &self.targets)?;
        map.serialize_entry("targets_answered", &self.targets_answered)?;
        map.serialize_entry("probes", &self.probes)?;
        for outcome in Outcome::ALL {
            map.serialize_entry(outcome.name(), &self.of(outcome))?;
        }
        // Of probes that came due there are none.
        if self.hops > 0 {
            map.serialize_entry(Outcome::Hop.name(), &self.hops)?;
        }
        map.serialize_entry("in_flight", &self.in_flight)?;
        map.serialize_entry("skipped", &self.skipped)?;
        map.serialize_entry("late", &self.late)?;
        map.serialize_entry("duplicate", &self.duplicate)?;
        map.serialize_entry("contradicted", &self.contradicted)?;
        let rejected = RejectedReason::ALL.iter().zip(self.rejected);
        map.serialize_entry("rejected", &Pairs(|| rejected.clone().map(|(reason, n)| (reason.name(), n))))?;
        map.serialize_entry("drops", &Pairs(|| self.drops.iter().map(|(cause, n)| (cause.as_str(), *n))))?;
        map.serialize_entry("seconds", &self.span.as_secs_f64())?;
        map.serialize_entry("rtt_ns", &self.rtt)?;
        map.serialize_entry("probe", &self.probe)?;
        map.serialize_entry("interface", &self.interface)?;
        map.serialize_entry("engine", self.engine)?;
        map.serialize_entry("mode", self.mode)?;
        map.serialize_entry("version", env!("CARGO_PKG_VERSION"))?;
        map.end()
    }
}

/// An object of names and numbers, in the order given.
struct Pairs<F>(F);

impl<'a, I: Iterator<Item = (&'a str, u64)>, F: Fn() -> I> Serialize for Pairs<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::ledger::{SumRow, histogram::Histogram};

    fn summary() -> Summary {
        let rtt = Histogram::default();
        [1_000, 2_000, 3_000].into_iter().for_each(|ns| rtt.record(Nanos(ns)));
        let row = SumRow {
            probes: 100,
            settled: [90, 3, 4, 1, 1],
            unsent: [0; Cause::ALL.len()],
            hops: 0,
            skipped: 5,
            late: 6,
            duplicate: 7,
            contradicted: 8,
            rtt: rtt.snapshot(),
            states: [0; 4],
            flapping: 0,
            path_changes: 0,
        };
        let snapshot = Snapshot {
            sums: vec![row.clone(), SumRow { rtt: Distribution::default(), ..row }],
            rejected: [0, 1, 0, 0, 2, 3, 4],
            first_send: Some(Nanos::from_secs(5)),
            last_settled: Some(Nanos::from_millis(6_500)),
            ..Snapshot::default()
        };
        let drop = |direction, cause, frames| LocalDrops { interface: "eth0".into(), direction, cause, frames };
        let drops = [drop("receive", "ring_full", 3), drop("transmit", "refused", 0), drop("receive", "ring_full", 4)];
        let interface =
            InterfaceInfo { name: "eth0".into(), mode: "copy", engine: "afxdp", ..InterfaceInfo::default() };
        Summary::new(&snapshot, &drops, &interface, 60, 50, 9).asking("icmp,tcp:443".into())
    }

    #[test]
    fn json_has_every_member_in_order() {
        let expected = format!(
            r#"{{"targets":60,"targets_answered":50,"probes":200,"answered":180,"unreachable":6,"lost":8,"unheard":2,"unsent":2,"in_flight":2,"skipped":10,"late":12,"duplicate":14,"contradicted":16,"rejected":{{"truncated":0,"corrupt":1,"cookie":0,"target":0,"age":2,"reset_without_ack":3,"fragment":4}},"drops":{{"receive_ring_full":7,"transmit_refused":0,"results":9}},"seconds":1.5,"rtt_ns":{{"min":1000,"mean":2000,"stddev":816,"p50":2016,"p90":3000,"p99":3000,"p999":3000,"max":3000}},"probe":"icmp,tcp:443","interface":"eth0","engine":"afxdp","mode":"copy","version":"{}"}}"#,
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(serde_json::to_string(&summary()).unwrap(), expected);
        let nothing = Summary::new(&Snapshot::default(), &[], &InterfaceInfo::default(), 0, 0, 0);
        let json = nothing.to_json().unwrap();
        assert!(json.contains("\"rtt_ns\": null") && json.ends_with("}\n"), "{json}");
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = std::env::temp_dir().join(format!("el-results-summary-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("summary.json");
        fs::write(&path, "old").unwrap();
        summary().write(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let missing = summary().write(&folder.join("none/summary.json")).unwrap_err().to_string();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(text, summary().to_json().unwrap());
        assert_eq!(names, ["summary.json"]);
        assert!(missing.contains("none/summary.json: can't write the summary: No such file"), "{missing}");
    }
}
