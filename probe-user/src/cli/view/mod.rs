//! What a terminal shows. Every view is a function from figures to text; [`Live`] alone touches the terminal.

use crate::run::Live;
use crate::{
    base::Nanos,
    nic::InterfaceInfo,
    results::{
        Summary,
        human::{NOTHING, count},
    },
};

mod accuracy;
mod keys;
pub mod path_table;
pub(crate) mod paths;
pub mod ping;
mod run;
mod summary;
mod sweep;

pub use accuracy::accuracy;
pub use run::RunView;
pub use summary::summary;
pub use sweep::SweepView;

/// Takes the picture away and says what it all came to, on standard error.
pub fn finish(live: Option<&Live>, figures: &Summary) {
    let width = live.map_or(usize::MAX, Live::width);
    if let Some(live) = live {
        live.clear();
    }
    eprint!("{}", summary(figures, width));
}

/// `eth0 (afxdp, copy)`.
fn by(interface: &InterfaceInfo) -> String {
    format!("{} ({}, {})", interface.name, interface.engine, interface.mode)
}

/// How many a second, `10,000/s`; `-` over no time.
fn rate(n: u64, over: Nanos) -> String {
    if over == Nanos::ZERO {
        return NOTHING.to_owned();
    }
    let a_second = u128::from(n) * 1_000_000_000 / u128::from(over.0);
    format!("{}/s", count(u64::try_from(a_second).unwrap_or(u64::MAX)))
}

/// Lines of a label and cells, the cells under each other. What doesn't fit the width goes on below; a cell stays whole
/// unless it alone is too wide.
struct Sheet {
    width: usize,
    text: String,
}

/// Where cells begin.
const INDENT: usize = 13;
const GAP: &str = "   ";

impl Sheet {
    fn new(width: usize) -> Self {
        Self { width, text: String::new() }
    }

    /// A line as it is, cut off at the width.
    fn plain(&mut self, line: &str) {
        self.text.extend(line.chars().take(self.width));
        self.text.push('\n');
    }

    /// A label and its cells. Without cells there is no line.
    fn row(&mut self, label: &str, cells: &[String]) {
        let mut line = format!("{label:INDENT$}");
        for (i, cell) in cells.iter().enumerate() {
            let gap = if i == 0 || line.trim().is_empty() { "" } else { GAP };
            if i > 0 && line.len() + gap.len() + cell.len() > self.width {
                self.plain(&line);
                line = format!("{:INDENT$}{cell}", "");
            } else {
                line.push_str(gap);
                line.push_str(cell);
            }
        }
        if !cells.is_empty() {
            self.plain(&line);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! Fixed figures for the tests of the views.

    use super::*;
    use crate::{
        base::{Cause, Outcome, State},
        ledger::{Snapshot, SumRow, histogram::Histogram},
        nic::LocalDrops,
        results::Summary,
        wire::RejectedReason,
    };

    pub(crate) fn interface() -> InterfaceInfo {
        InterfaceInfo {
            name: "eth0".into(),
            driver: "veth".into(),
            mode: "copy",
            engine: "afxdp",
            queues: 2,
            up: true,
            ..InterfaceInfo::default()
        }
    }

    pub(crate) fn drops() -> Vec<LocalDrops> {
        let drop = |cause, frames| LocalDrops { interface: "eth0".into(), direction: "receive", cause, frames };
        vec![drop("ring_full", 12), drop("no_fill", 0)]
    }

    /// After `seconds` of 10,000 targets at one probe a second each: of each second's probes one is lost.
    pub(crate) fn snapshot(seconds: u64) -> Snapshot {
        let (rtt, lag) = (Histogram::default(), Histogram::default());
        for n in 1..=100 {
            rtt.record(Nanos::from_micros(n * 10));
            lag.record(Nanos::from_micros(n));
        }
        let mut settled = [0; Outcome::ALL.len()];
        settled[Outcome::Lost as usize] = seconds;
        settled[Outcome::Answered as usize] = 9_999 * seconds;
        let mut states = [0; State::ALL.len()];
        (states[State::Up as usize], states[State::Down as usize]) = (9_998, 2);
        let row = SumRow {
            probes: 10_000 * seconds + 41,
            settled,
            unsent: [0; Cause::ALL.len()],
            hops: 0,
            skipped: 3,
            late: 4,
            duplicate: 5,
            contradicted: 6,
            rtt: rtt.snapshot(),
            states,
            flapping: 0,
            path_changes: 0,
        };
        let mut rejected = [0; RejectedReason::ALL.len()];
        rejected[RejectedReason::Cookie as usize] = 7;
        Snapshot {
            at: Nanos::from_secs(1_000 + seconds),
            sums: vec![row],
            rejected,
            send_lag: lag.snapshot(),
            first_send: Some(Nanos::from_secs(1_000)),
            last_settled: Some(Nanos::from_secs(1_000 + seconds)),
            ..Snapshot::default()
        }
    }

    /// Of a run in which nothing happened.
    pub(crate) fn summary() -> Summary {
        let empty = Snapshot { unsent: [0; Cause::ALL.len()], ..Snapshot::default() };
        Summary::new(&empty, &[], &interface(), 5, 0, 0)
    }

    #[test]
    fn a_sheet_breaks_lines_between_cells() {
        let mut sheet = Sheet::new(34);
        sheet.row("probes", &["answered 100".into(), "lost 1".into(), "unreachable 2".into()]);
        sheet.row("nothing", &[]);
        sheet.plain("0123456789012345678901234567890123456789");
        assert_eq!(
            sheet.text,
            "probes       answered 100   lost 1\n             unreachable 2\n0123456789012345678901234567890123\n"
        );
    }

    #[test]
    fn rates_need_time() {
        assert_eq!(rate(5_000, Nanos::from_millis(500)), "10,000/s");
        assert_eq!(rate(5_000, Nanos::ZERO), "-");
    }
}
