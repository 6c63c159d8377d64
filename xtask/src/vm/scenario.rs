//! A scenario: a shell file in `scenarios/`, whose head says what it needs and what must come out.

use std::fmt;
use std::fs;
use std::path::Path;

use super::check::Check;
use super::machine::Card;
use super::options::TRIES;

/// What a scenario may take in all, unless its head says otherwise. Emulation on a busy machine is slow.
const SECONDS: u64 = 300;

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scenario {
    /// The file's name without `.sh`.
    pub(super) name: String,
    /// The first line of its head.
    pub(super) about: String,
    /// Kernels that it is for, such as `6.12`; empty: all.
    kernels: Vec<String>,
    /// Drivers that it is for; empty: all.
    drivers: Vec<String>,
    /// Modules that it needs beside the card's.
    pub(super) modules: Vec<String>,
    /// Programs that it needs beside the usual ones: built beside echolot, or on this machine's PATH.
    pub(super) programs: Vec<String>,
    /// What kind of machine it runs in.
    pub(super) shape: Shape,
    /// How long it may take.
    pub(super) seconds: u64,
    /// What must come out.
    pub(super) checks: Vec<Check>,
    /// The file.
    pub(super) body: String,
}

/// What a machine has. Scenarios that want the same share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    /// Pairs of a near and a far port, each pair on a wire of its own.
    pub(super) cards: u8,
    /// Queue pairs of each virtio_net port; igb has its own number.
    pub(super) queues: u8,
    /// Frames a second that the near virtio_net ports send, or 0 for as many as they can; igb can't be slowed.
    pub(super) pace: u32,
}

impl Shape {
    /// A pair of ports with a queue each.
    pub(super) const USUAL: Self = Self { cards: 1, queues: 1, pace: 0 };
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.cards, self.queues)?;
        if self.pace > 0 { write!(f, "-{}", self.pace) } else { Ok(()) }
    }
}

impl Scenario {
    /// From a file's name and text.
    ///
    /// # Errors
    /// What is wrong with its head.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("scenario {name}: {what}");
        let mut head = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
        let about = head.next().filter(|about| !about.is_empty());
        let mut scenario = Self {
            name: name.into(),
            about: about.ok_or_else(|| wrong("its first line is `# What it proves`"))?.into(),
            kernels: Vec::new(),
            drivers: Vec::new(),
            modules: Vec::new(),
            programs: Vec::new(),
            shape: Shape::USUAL,
            seconds: SECONDS,
            checks: Vec::new(),
            body: text.into(),
        };
        let list = |value: &str| -> Vec<String> {
            value.split([',', ' ']).filter(|word| !word.is_empty()).map(String::from).collect()
        };
        for line in head {
            let Some((word, value)) = line.split_once(": ") else { continue };
            let number = |least: u64, most: u64| {
                let number = value.parse().ok().filter(|number| (least..=most).contains(number));
                number.ok_or_else(|| wrong(&format!("{word}: {value} is not a number from {least} to {most}")))
            };
            match word {
                "kernels" => scenario.kernels = list(value),
                "drivers" => scenario.drivers = list(value),
                "modules" => scenario.modules = list(value),
                "programs" => scenario.programs = list(value),
                "cards" => scenario.shape.cards = number(1, 4)? as u8,
                "queues" => scenario.shape.queues = number(1, 8)? as u8,
                "pace" => scenario.shape.pace = number(1_000, 100_000)? as u32,
                "seconds" => scenario.seconds = number(1, 3600)?,
                _ => {
                    if let Some(what) = word.strip_prefix("check ") {
                        scenario.checks.push(Check::parse(what, value).map_err(|why| wrong(&why))?);
                    }
                }
            }
        }
        let unknown = scenario.drivers.iter().find(|name| Card::ALL.iter().all(|card| card.driver() != **name));
        if let Some(driver) = unknown {
            return Err(wrong(&format!("drivers: there is no {driver}")));
        }
        if scenario.checks.is_empty() {
            return Err(wrong("it proves nothing: its head has no `# check WHAT: LEFT = RIGHT`"));
        }
        Ok(scenario)
    }

    /// The one that is judged by the card's counters, which may take so long.
    pub(super) fn tries(body: &[u8], seconds: u64) -> Self {
        Self {
            name: TRIES.into(),
            about: "Frames sent and memory are what the card and the kernel count.".into(),
            kernels: Vec::new(),
            drivers: Vec::new(),
            modules: Vec::new(),
            programs: Vec::new(),
            shape: Shape::USUAL,
            seconds,
            checks: Vec::new(),
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }

    /// All in a folder, by name.
    ///
    /// # Errors
    /// What can't be read, or is wrong.
    pub(super) fn all(folder: &Path) -> Result<Vec<Self>, String> {
        let said = |error: std::io::Error| format!("{}: {error}", folder.display());
        let mut all = Vec::new();
        for entry in fs::read_dir(folder).map_err(said)? {
            let path = entry.map_err(said)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".sh")) else { continue };
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            all.push(Self::parse(name, &text)?);
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// Whether it is for this pair; a kernel from a package is for all.
    pub(super) fn is_for(&self, kernel: &str, card: Card) -> bool {
        let kernel =
            self.kernels.is_empty() || kernel.ends_with(".deb") || self.kernels.iter().any(|one| one == kernel);
        kernel && (self.drivers.is_empty() || self.drivers.iter().any(|one| one == card.driver()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that meets none fails")]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_is_needed() {
        let text = "# Failover loses nothing.\n#\n# It takes a link down: the wire's.\n# kernels: 6.12, 6.18\n# drivers: igb\n\
                    # cards: 2\n# modules: bonding 8021q\n# programs: nc\n# seconds: 90\n\
                    # check all answered: *.answered = *.probes\n\nlab\n# cards: 4\n";
        let scenario = Scenario::parse("bond", text).unwrap();
        assert_eq!((scenario.name.as_str(), scenario.about.as_str()), ("bond", "Failover loses nothing."));
        assert_eq!(scenario.shape, Shape { cards: 2, ..Shape::USUAL });
        assert_eq!(
            (&scenario.modules[..], &scenario.programs[..]),
            (&["bonding".into(), "8021q".into()][..], &["nc".into()][..])
        );
        assert_eq!((scenario.seconds, scenario.checks.len()), (90, 1));
        assert!(scenario.is_for("6.18", Card::Igb) && scenario.is_for("./k.deb", Card::Igb));
        assert!(!scenario.is_for("6.1", Card::Igb) && !scenario.is_for("6.18", Card::VirtioNet));
    }

    #[test]
    fn a_head_that_is_wrong_is_refused() {
        for (text, part) in [
            ("lab\n", "first line"),
            ("# About.\nlab\n", "proves nothing"),
            ("# About.\n# cards: 9\n# check a: a = 1\n", "1 to 4"),
            ("# About.\n# drivers: e1000\n# check a: a = 1\n", "no e1000"),
            ("# About.\n# check a: a is 1\n", "check a"),
        ] {
            let told = Scenario::parse("x", text).unwrap_err();
            assert!(told.starts_with("scenario x: ") && told.contains(part), "{text}: {told}");
        }
    }

    #[test]
    fn those_that_are_here_can_be_read() {
        let all = Scenario::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/vm/scenarios")).unwrap();
        assert!(!all.is_empty());
        assert!(all.iter().all(|scenario| Card::ALL.iter().any(|card| scenario.is_for("x.deb", *card))));
    }
}
