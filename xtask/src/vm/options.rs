//! What `cargo xtask vm test` is asked for.

use std::path::PathBuf;

use super::USAGE;
use super::machine::Card;
use super::packages::RELEASES;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) kernels: Vec<String>,
    pub(super) cards: Vec<Card>,
    pub(super) program: PathBuf,
    /// Scenarios by name; empty: all.
    pub(super) scenarios: Vec<String>,
    /// What the scenario `tries` tries.
    pub(super) tries: Vec<Try>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Help,
    List,
    /// The Debian package on these kernels and cards.
    Package(Options),
    Test(Options),
}

/// The scenario that is made of tries.
pub(super) const TRIES: &str = "tries";

/// One sweep in a virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Try {
    pub(super) label: String,
    engine: String,
    mode: String,
    /// `max` or probes a second.
    rate: String,
    pub(super) seconds: u64,
}

impl Try {
    fn new(label: &str, engine: &str, mode: &str, rate: &str, seconds: u64) -> Self {
        let [label, engine, mode, rate] = [label, engine, mode, rate].map(String::from);
        Self { label, engine, mode, rate, seconds }
    }

    /// From `LABEL:ENGINE:MODE:RATE:SECONDS`.
    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [label, engine, mode, rate, seconds] = parts[..] else {
            return Err(format!("--try {text}: it is LABEL:ENGINE:MODE:RATE:SECONDS"));
        };
        let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if ![label, engine, mode, rate].into_iter().all(plain) || (rate != "max" && rate.parse::<u32>().is_err()) {
            return Err(format!("--try {text}: letters, digits and - only, and RATE is a number or max"));
        }
        let seconds = seconds.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
        let seconds = seconds.ok_or_else(|| format!("--try {text}: SECONDS is 1 to 3600"))?;
        Ok(Self::new(label, engine, mode, rate, seconds))
    }

    /// As a line for the scenario.
    pub(super) fn shown(&self) -> String {
        format!("{} {} {} {} {}", self.label, self.engine, self.mode, self.rate, self.seconds)
    }
}

/// What is tried unless something else is asked for.
fn tries(seconds: u64) -> Vec<Try> {
    vec![
        // A call for each probe: a thousand page pools a second.
        Try::new("live-calls", "live-frames", "auto", "1000", seconds),
        // As fast as it goes, and faster than the card: refusals.
        Try::new("live-max", "live-frames", "auto", "max", 5),
        Try::new("afxdp", "afxdp", "auto", "1000", 10),
        Try::new("afxdp-max", "afxdp", "auto", "max", 5),
        Try::new("copy-max", "afxdp", "copy", "max", 5),
    ]
}

/// Reads the arguments after `vm`.
pub(super) fn parse(arguments: &[String]) -> Result<Wanted, String> {
    let (mut kernels, mut cards, mut scenarios, mut own) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut seconds = 60;
    let mut program = PathBuf::from("target/release/echolot");
    let mut rest = arguments.iter();
    let is_package = match rest.next().map(String::as_str) {
        Some("test") => false,
        Some("package") => true,
        Some("list") if rest.next().is_none() => return Ok(Wanted::List),
        Some("-h" | "--help") => return Ok(Wanted::Help),
        _ => return Err(format!("vm wants the command test, package or list\n\n{USAGE}")),
    };
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "-h" | "--help" => return Ok(Wanted::Help),
            "--kernel" => kernels.push(kernel(value()?)?),
            "--driver" => {
                let name = value()?;
                let card = Card::ALL.into_iter().find(|card| card.driver() == name);
                cards.push(card.ok_or_else(|| format!("--driver {name}: it is igb or virtio_net"))?);
            }
            "--seconds" if !is_package => {
                let number = value()?;
                seconds =
                    number.parse().ok().filter(|seconds| (4..=600).contains(seconds)).ok_or("--seconds is 4 to 600")?;
            }
            "--scenario" if !is_package => scenarios.push(value()?),
            "--program" => program = value()?.into(),
            "--try" if !is_package => own.push(Try::parse(&value()?)?),
            other => {
                let command = if is_package { "package" } else { "test" };
                return Err(format!("vm {command} takes no {other}\n\n{USAGE}"));
            }
        }
    }
    // It is systemd that is looked at there, and the card is one that most virtual machines have.
    let (all_kernels, all_cards) =
        if is_package { (&RELEASES[2..], &[Card::VirtioNet][..]) } else { (&RELEASES[..], &Card::ALL[..]) };
    if kernels.is_empty() {
        kernels.extend(all_kernels.iter().map(|release| (*release).to_owned()));
    }
    if cards.is_empty() {
        cards.extend(all_cards);
    }
    if !own.is_empty() && !scenarios.iter().any(|name| name == TRIES) {
        scenarios.push(TRIES.into());
    }
    let tries = if own.is_empty() { tries(seconds) } else { own };
    let options = Options { kernels, cards, program, scenarios, tries };
    Ok(if is_package { Wanted::Package(options) } else { Wanted::Test(options) })
}

fn kernel(name: String) -> Result<String, String> {
    let release = name.split_once('.').is_some_and(|(major, minor)| {
        [major, minor].iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
    });
    if release || name.ends_with(".deb") {
        return Ok(name);
    }
    Err(format!("--kernel {name}: it is a release such as 6.18, or the path of a linux-image package"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that meets none fails")]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Wanted, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    fn options(line: &str) -> Options {
        match read(line).unwrap() {
            Wanted::Test(options) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_is_asked_for() {
        let usual = options("test");
        assert_eq!(
            (&usual.kernels[..], usual.cards),
            (&["6.1", "6.12", "6.18"].map(String::from)[..], Card::ALL.to_vec())
        );
        assert_eq!((usual.tries, usual.scenarios), (tries(60), Vec::new()));
        let some = options(
            "test --kernel 6.1 --kernel ./k.deb --driver igb --seconds 10 --program p --scenario a --scenario b",
        );
        assert_eq!(
            (&some.kernels[..], &some.scenarios[..]),
            (&["6.1", "./k.deb"].map(String::from)[..], &["a", "b"].map(String::from)[..])
        );
        assert_eq!(some.cards, [Card::Igb]);
        assert_eq!((some.tries, some.program), (tries(10), PathBuf::from("p")));
        let own = options("test --try a:afxdp:copy:max:3");
        assert_eq!(
            (own.tries, own.scenarios),
            (vec![Try::new("a", "afxdp", "copy", "max", 3)], vec![TRIES.to_owned()])
        );
        assert_eq!(Try::new("a", "afxdp", "copy", "max", 3).shown(), "a afxdp copy max 3");
        let Wanted::Package(package) = read("package --program p").unwrap() else { panic!("another command") };
        assert_eq!((&package.kernels[..], package.cards), (&["6.18".to_owned()][..], vec![Card::VirtioNet]));
        assert_eq!((read("test --help"), read("list")), (Ok(Wanted::Help), Ok(Wanted::List)));
    }

    #[test]
    fn errors_say_what_is_wanted() {
        for (line, part) in [
            ("", "wants the command"),
            ("boot", "wants the command"),
            ("test --kernel new", "a release such as 6.18"),
            ("test --driver e1000", "igb or virtio_net"),
            ("test --seconds 0", "4 to 600"),
            ("test --seconds", "needs a value"),
            ("test --try a:b", "LABEL:ENGINE"),
            ("test --try a:b;c:d:1:2", "letters, digits"),
            ("test --try a:b:d:x:2", "RATE is a number"),
            ("test --try a:b:d:1:0", "SECONDS is"),
            ("test --fast", "takes no --fast"),
            ("package --scenario modes", "vm package takes no --scenario"),
        ] {
            let told = read(line).unwrap_err();
            assert!(told.contains(part), "{line}: {told}");
        }
    }
}
