//! The record of a probe, and its writers.
//!
//! A loop pushes each settled probe as a [`Record`] into its [`Sink`]: a bounded queue, no waiting, no allocation. One
//! thread ([`spawn`]) takes the records out, turns them into lines ([`Encoder`]) and writes those in large pieces. At
//! the end a [`Summary`] says what it all came to. May use everything below it; knows nothing of terminals.

mod encode;
mod events;
mod fields;
pub mod human;
mod line;
mod output;
mod paths;
mod spool;
mod summary;
mod text;
mod writer;

pub use encode::{Encoder, Format, WallClock};
pub use events::{EventLines, Fault, LastHop, NewWay, PathChanged, Via};
pub use fields::rfc3339;
pub use output::WriteError;
pub use paths::{
    PATH_CSV_HEADER, PathSubject, change_text, path_csv, path_header, path_json, paths_text, rounds_text, tree_text,
    whom,
};
pub use summary::{Summary, Times};
pub use writer::{Outcomes, WriteNews, WriteReport, Writer, Writing, spawn};

#[cfg(test)]
pub(crate) mod tests {
    //! A small plan and records of its targets, for the tests of this folder and of the views.

    use crate::{
        base::Nanos,
        targets::{Group, Plan, Target},
    };
    use std::net::Ipv4Addr;

    fn group(name: &str, targets: std::ops::Range<u32>) -> Group {
        Group {
            name: name.into(),
            interval: Nanos::from_secs(1),
            timeout: Nanos::from_secs(1),
            shape: crate::wire::Shape::echo(56),
            family: crate::targets::Families::Any,
            count: None,
            down_after: 3,
            up_after: 1,
            buckets: Vec::new(),
            labels: std::collections::BTreeMap::new(),
            sum_by: Vec::new(),
            per_target: crate::targets::PerTarget::None,
            exported: crate::targets::Exported::default(),
            flows: 1,
            ttls: None,
            path: None,
            further: Vec::new(),
            targets,
        }
    }

    /// 10.64.0.0 and host.example (10.64.0.1) in "edge", 10.64.0.2 in a group whose name needs every kind of quoting.
    pub(crate) fn plan() -> Plan {
        let target = |last| Target::v4(Ipv4Addr::new(10, 64, 0, last), 0);
        Plan {
            groups: vec![group("edge", 0..2), group("the \"far\", side", 2..3)],
            targets: (0..3).map(target).collect(),
            names: [(1, "host.example".into())].into(),
            ..Plan::default()
        }
    }
}
