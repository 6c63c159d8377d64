//! What a reload can change and what not; and by what one configuration is told from another.

use super::Config;
use crate::{
    alert::Alertmanager,
    base::TargetIndex,
    targets::{Group, Plan},
};
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
};

/// Bits of a hash: as many as a gauge holds exactly, and Alertmanager's has.
const BITS: u32 = 48;

impl Config {
    /// What takes a restart to change, as in the file, each with what it is.
    pub fn fixed(&self) -> Vec<(&'static str, String)> {
        fn text(value: impl std::fmt::Debug) -> String {
            format!("{value:?}")
        }
        vec![
            ("interface", text(&self.interface)),
            ("source", text(&self.sources)),
            ("source_port", text(self.source_port)),
            ("listen", text(self.listen)),
            ("vantage", text(&self.vantage)),
            ("alertmanagers", alertmanagers(&self.alerts.alertmanagers)),
            ("alerts", text((self.alerts.resend, self.alerts.individually))),
            ("state", text(&self.alerts.state)),
            ("events", text(&self.events)),
            ("enrich", text(&self.enrich)),
            ("engine", text(self.engine)),
            ("mode", text(self.mode)),
            ("identifier", text(self.identifier)),
        ]
    }
}

/// What they are called, and a hash of all that is said of them: their URLs may have secrets in them.
fn alertmanagers(all: &[Alertmanager]) -> String {
    let names: Vec<String> = all.iter().map(Alertmanager::name).collect();
    let mut hasher = DefaultHasher::new();
    format!("{all:?}").hash(&mut hasher);
    format!("{names:?} {:04x}", hasher.finish() & 0xffff)
}

/// A hash of all that a configuration says: its settings, groups and targets, whatever files those stand in. Comments and the order of keys
/// are not in it. Never 0. Of builds with another compiler it may be another.
pub fn hash(config: &Config, plan: &Plan) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", (config.fixed(), config.seed, config.rate_limit, &config.exclude)).hash(&mut hasher);
    for group in &plan.groups {
        let settings = Group { targets: 0..0, further: Vec::new(), ..group.clone() };
        (format!("{settings:?}"), group.targets.len()).hash(&mut hasher);
    }
    format!("{:?}", plan.label_sets).hash(&mut hasher);
    for (index, target) in (0..).zip(&plan.targets) {
        // One write a target where that does: there may be ten million.
        match plan.address_of(TargetIndex(index)) {
            Some(IpAddr::V4(address)) => {
                hasher.write_u64(u64::from(target.label_set) << 32 | u64::from(address.to_bits()))
            }
            other => (target.label_set, other).hash(&mut hasher),
        }
    }
    for (index, name) in &plan.names {
        (index, name).hash(&mut hasher);
    }
    (hasher.finish() >> (u64::BITS - BITS)).max(1)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use std::path::Path;

    fn of(text: &str) -> u64 {
        let config = super::super::parse(Path::new("file"), text.into()).unwrap();
        hash(&config, &config.plan().unwrap())
    }

    #[test]
    fn what_is_said_is_in_the_hash_and_how_is_not() {
        let one = of("groups: [{name: g, interval: 1s, targets: [192.0.2.7, host.example]}]");
        assert_eq!(
            one,
            of("# a comment\ngroups:\n  - targets: [host.example, 192.0.2.7]\n    name: g\n    interval: 1s\n")
        );
        assert!(one > 0 && one < 1 << BITS);
        for other in [
            "groups: [{name: g, interval: 2s, targets: [192.0.2.7, host.example]}]",
            "groups: [{name: g, interval: 1s, targets: [192.0.2.8, host.example]}]",
            "groups: [{name: g, interval: 1s, targets: [192.0.2.7, other.example]}]",
            "groups: [{name: g, interval: 1s, labels: {a: b}, targets: [192.0.2.7, host.example]}]",
            "vantage: fra\ngroups: [{name: g, interval: 1s, targets: [192.0.2.7, host.example]}]",
            "listen: 127.0.0.1:1\ngroups: [{name: g, interval: 1s, targets: [192.0.2.7, host.example]}]",
            "groups: [{name: g, interval: 1s, per_target: all, targets: [192.0.2.7, host.example]}]",
        ] {
            assert_ne!(one, of(other), "{other}");
        }
    }
}
