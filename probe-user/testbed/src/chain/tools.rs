//! traceroute and mtr, and what they and echolot say of a path, in one form that can be compared.

use super::{Chain, Node};
use echolot::base::Family;
use serde_json::Value;
use std::{collections::BTreeSet, fmt, net::IpAddr, process::Command, time::Duration};

/// For what should happen at once, on a machine that has something else to do.
pub const SOON: Duration = Duration::from_secs(30);

/// Who answered at a hop, and what else was said of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hop {
    /// Nobody: a star.
    pub addresses: BTreeSet<IpAddr>,
    /// traceroute's marks: `!N`, `!H`, `!X`.
    pub marks: BTreeSet<String>,
    /// MPLS label stacks: label, class and time to live of each, the outermost first.
    pub labels: Vec<(u32, u8, u8)>,
}

impl Hop {
    /// These answered.
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { addresses: addresses.into_iter().collect(), ..Self::default() }
    }
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        f.write_str(if addresses.is_empty() { "*".into() } else { addresses.join(" ") }.as_str())?;
        self.marks.iter().try_for_each(|mark| write!(f, " {mark}"))?;
        self.labels.iter().try_for_each(|label| write!(f, " {label:?}"))
    }
}

/// A path, the first hop first.
#[derive(Clone, PartialEq, Eq)]
pub struct Hops(
    /// By time to live, from 1 on.
    pub Vec<Hop>,
);

impl fmt::Debug for Hops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, hop)| write!(f, "\n{:3}  {hop:?}", at + 1))
    }
}

impl Hops {
    /// The hop with this time to live.
    #[track_caller]
    pub fn hop(&self, ttl: u8) -> &Hop {
        self.0.get(usize::from(ttl) - 1).unwrap_or_else(|| panic!("no hop {ttl} of {self:?}"))
    }

    /// Who was seen anywhere.
    pub fn all(&self) -> BTreeSet<IpAddr> {
        self.0.iter().flat_map(|hop| hop.addresses.iter().copied()).collect()
    }

    /// What several walks saw together.
    pub fn together(walks: impl IntoIterator<Item = Hops>) -> Self {
        let mut all: Vec<Hop> = Vec::new();
        for Hops(hops) in walks {
            all.resize(all.len().max(hops.len()), Hop::default());
            for (hop, seen) in all.iter_mut().zip(hops) {
                hop.addresses.extend(seen.addresses);
                hop.marks.extend(seen.marks);
                if !seen.labels.is_empty() {
                    hop.labels = seen.labels;
                }
            }
        }
        Self(all)
    }

    /// The same addresses at every hop, as sets. Stars at the end are no hops: each tool goes on for as long as it likes.
    #[track_caller]
    pub fn agrees(&self, other: &Hops) {
        let seen = |Hops(hops): &Hops| -> Vec<BTreeSet<IpAddr>> {
            let length = hops.iter().rposition(|hop| !hop.addresses.is_empty()).map_or(0, |last| last + 1);
            hops[..length].iter().map(|hop| hop.addresses.clone()).collect()
        };
        assert!(seen(self) == seen(other), "these are not the same: {self:?}\n{other:?}");
    }

    /// What `traceroute -n` printed.
    pub fn of_traceroute(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| {
            let (number, rest) = line.trim_start().split_once(' ')?;
            let number: usize = number.parse().ok()?;
            let mut hop = Hop::default();
            for word in rest.split_whitespace() {
                if let Ok(address) = word.parse() {
                    hop.addresses.insert(address);
                } else if word.starts_with('!') {
                    hop.marks.insert(word.to_owned());
                } else if let Some(stack) = word.strip_prefix("<MPLS:").and_then(|word| word.strip_suffix('>')) {
                    hop.labels = stack.split('/').map(traceroutes_label).collect();
                }
            }
            Some((number, hop))
        });
        let mut hops = Vec::new();
        for (number, hop) in lines {
            // It may have been told to begin further on.
            hops.resize(number, Hop::default());
            hops[number - 1] = hop;
        }
        Self(hops)
    }

    /// What `mtr --json -n` printed. Of several that answered at a hop it tells one.
    pub fn of_mtr(text: &str) -> Self {
        let report: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let hubs = report["report"]["hubs"].as_array().unwrap();
        Self(hubs.iter().map(|hub| Hop::of(hub["host"].as_str().unwrap().parse::<IpAddr>())).collect())
    }

    /// What `echolot trace -f jsonl` wrote of one target: all its lines, of all flows and rounds, together.
    pub fn of_echolot(lines: &str, target: IpAddr) -> Self {
        let objects = lines.lines().map(|line| -> Value { serde_json::from_str(line).unwrap() });
        let target = target.to_string();
        Self::together(objects.filter(|object| object["address"] == target.as_str()).map(|object| {
            let mut hops = Vec::new();
            for hop in object["hops"].as_array().unwrap() {
                let ttl = usize::try_from(hop["ttl"].as_u64().unwrap()).unwrap();
                hops.resize(hops.len().max(ttl), Hop::default());
                let labels = hop["mpls"].as_array().into_iter().flatten().map(echolots_label);
                let said = ["hop", "answered", "unreachable"].iter().any(|outcome| hop["outcome"] == *outcome);
                let who = hop["address"].as_str().or(hop["from"].as_str()).filter(|_| said);
                hops[ttl - 1].addresses.extend(who.map(|who| who.parse::<IpAddr>().unwrap()));
                hops[ttl - 1].labels = labels.collect();
            }
            Hops(hops)
        }))
    }
}

/// `L=100,E=0,S=1,T=1`.
fn traceroutes_label(entry: &str) -> (u32, u8, u8) {
    let field = |name: &str| -> u32 {
        let value = entry.split(',').find_map(|field| field.strip_prefix(name)).and_then(|rest| rest.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {name} in {entry}")).parse().unwrap()
    };
    (field("L"), field("E") as u8, field("T") as u8)
}

fn echolots_label(entry: &Value) -> (u32, u8, u8) {
    let field = |name: &str| u32::try_from(entry[name].as_u64().unwrap()).unwrap();
    (field("label"), field("exp") as u8, field("ttl") as u8)
}

/// What mtr says of each hop: who, sent, lost in per cent.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Who; None: nobody.
    pub host: Option<IpAddr>,
    /// Probes.
    pub sent: u64,
    /// Per cent.
    pub loss: f64,
}

impl Chain {
    /// `traceroute` from near to the target, with these arguments beside the usual ones: numbers for names, one probe a hop, all
    /// that it takes for a long chain.
    #[track_caller]
    pub fn traceroute(&self, family: Family, arguments: &str) -> Hops {
        Hops::of_traceroute(&self.traceroute_text(self.target(family), arguments))
    }

    /// The same to anyone, as it was printed.
    #[track_caller]
    pub fn traceroute_text(&self, target: IpAddr, arguments: &str) -> String {
        let mut command = self.command(Node::Near, "traceroute");
        command.args(["-n", "-q", "1", "-w", "2", "-m", "40"]).args(arguments.split_whitespace());
        let text = output(command.arg(target.to_string()));
        println!("{text}");
        text
    }

    /// `mtr`'s report, with these arguments beside the usual ones, as it was printed.
    #[track_caller]
    pub fn mtr_text(&self, family: Family, arguments: &str) -> String {
        let mut command = self.command(Node::Near, "mtr");
        command.args(["-n", "-m", "40", "-U", "40", "-G", "1"]).args(arguments.split_whitespace());
        let text = output(command.arg(self.target(family).to_string()));
        println!("{text}");
        text
    }

    /// The path as `mtr` has it.
    #[track_caller]
    pub fn mtr(&self, family: Family, arguments: &str) -> Hops {
        Hops::of_mtr(&self.mtr_text(family, &format!("--report --json {arguments}")))
    }

    /// What `mtr` has counted at each hop.
    #[track_caller]
    pub fn mtr_counted(&self, family: Family, arguments: &str) -> Vec<Counted> {
        let text = self.mtr_text(family, &format!("--report --json {arguments}"));
        let report: Value = serde_json::from_str(&text).unwrap();
        let hubs = report["report"]["hubs"].as_array().unwrap();
        let counted = |hub: &Value| Counted {
            host: hub["host"].as_str().unwrap().parse().ok(),
            sent: hub["Snt"].as_u64().unwrap(),
            loss: hub["Loss%"].as_f64().unwrap(),
        };
        hubs.iter().map(counted).collect()
    }
}

/// A command's output; a failure shows what it printed.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}{text}", String::from_utf8_lossy(&output.stderr));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_tools_print_is_read_as_the_same_path() {
        let traceroute = "traceroute to 10.0.0.9 (10.0.0.9), 40 hops max, 60 byte packets
 1  10.0.0.1  0.1 ms
 2  *
 3  10.0.0.3 <MPLS:L=100,E=3,S=0,T=1/L=16,E=0,S=1,T=254>  0.2 ms 10.0.1.3  0.3 ms
 4  10.0.0.9  0.4 ms !X
";
        let seen = Hops::of_traceroute(traceroute);
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        assert_eq!(seen.hop(1), &Hop::of([address("10.0.0.1")]));
        assert_eq!(seen.hop(2), &Hop::default());
        assert_eq!(seen.hop(3).addresses, [address("10.0.0.3"), address("10.0.1.3")].into());
        assert_eq!(seen.hop(3).labels, [(100, 3, 1), (16, 0, 254)]);
        assert_eq!(seen.hop(4).marks, ["!X".to_owned()].into());

        let stack = json!([{"label": 100, "exp": 3, "ttl": 1}, {"label": 16, "exp": 0, "ttl": 254}]);
        let first = json!([
            {"ttl": 1, "outcome": "hop", "address": "10.0.0.1"},
            {"ttl": 2, "outcome": "lost"},
            {"ttl": 3, "outcome": "hop", "address": "10.0.0.3", "mpls": stack},
            {"ttl": 4, "outcome": "answered", "address": "10.0.0.9"},
            {"ttl": 5, "outcome": "lost"},
        ]);
        let second = json!([
            {"ttl": 1, "outcome": "hop", "address": "10.0.0.1"},
            {"ttl": 3, "outcome": "hop", "address": "10.0.1.3"},
            {"ttl": 4, "outcome": "unreachable", "from": "10.0.0.9"},
        ]);
        let echolot: Vec<String> = [
            json!({"target": "t", "address": "10.0.0.9", "flow": 0, "hops": first}),
            json!({"target": "t", "address": "10.0.0.9", "flow": 1, "hops": second}),
            json!({"target": "u", "address": "10.0.0.8", "hops": [{"ttl": 1, "outcome": "hop", "address": "10.0.0.7"}]}),
        ]
        .map(|object| object.to_string())
        .into();
        let echolot = echolot.join("\n");
        let by_echolot = Hops::of_echolot(&echolot, address("10.0.0.9"));
        by_echolot.agrees(&seen);
        assert_eq!(by_echolot.hop(3).labels, seen.hop(3).labels);

        let hosts = ["10.0.0.1", "???", "10.0.1.3", "10.0.0.9"].map(|host| json!({"host": host}));
        let by_mtr = Hops::of_mtr(&json!({"report": {"hubs": hosts}}).to_string());
        let differ = std::panic::catch_unwind(|| by_mtr.agrees(&seen));
        assert!(differ.is_err(), "one of two branches is not both");
        let other = Hops::of_traceroute(" 3  10.0.0.3  0.1 ms\n");
        Hops::together([by_mtr, other]).agrees(&seen);
    }
}
