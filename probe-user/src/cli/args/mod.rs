//! The command line. Its names are what people type and scripts hold on to: they stay.
//!
//! Wrong arguments end in one message and exit status 2; see [`parse`].

use clap::{
    ArgAction, Args, Parser, Subcommand, ValueEnum, builder::PossibleValue, builder::PossibleValuesParser,
    builder::TypedValueParser,
};
use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

mod enrich;
mod init;
mod tools;
mod trace;
mod values;
pub use enrich::{EnrichArgs, NamesArgs};
pub use init::{GenerateArgs, InitArgs};
pub use tools::{CheckArgs, DoctorArgs, ReflectArgs};
pub use trace::TraceArgs;
pub use values::Rate;

use crate::{
    base::{Family, Nanos, Outcome, Settlement, Sources},
    config::{self, ProbeSettings},
    nic::{Engine, Mode, SOURCE_PORTS},
    results::{Format, Outcomes},
    run,
    targets::{self, Exclusions, Families, Group, GroupInput, Options, Plan, Shard, TargetList},
    wire::{Content, Kind, Shape},
};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "echolot",
    version,
    about = "An echo sounder for networks: who answers, how far away, and what was lost",
    after_help = "Examples:
  echolot ping 192.0.2.7 host.example     ping hosts until Ctrl-C
  echolot sweep 198.51.100.0/24           who answers in this network?
  echolot trace 192.0.2.7                 through whom does the way there lead?
  echolot init -o echolot.yml             begin a configuration
  echolot run -c echolot.yml              monitor for ever
  echolot doctor                          what can this machine do?

echolot COMMAND --help shows each command's options and more examples.",
    max_term_width = 110,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// How the log is written, to standard error
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t, help_heading = OUTPUT)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How the log is written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// A line for people an event
    #[default]
    Text,
    /// A JSON object a line, with its time
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Monitor for ever: metrics, a page, a live view
    Run(RunArgs),
    /// Ping many hosts at once
    Ping(PingArgs),
    /// Send one probe to each of many targets
    Sweep(SweepArgs),
    /// Find the way to targets, hop by hop
    Trace(TraceArgs),
    /// Say what this machine can do, and what is in the way
    Doctor(DoctorArgs),
    /// Answer echo requests, and TCP, at XDP speed: a test network's far end
    Reflect(ReflectArgs),
    /// Check a configuration file: is it right, how much memory, what rate?
    Check(CheckArgs),
    /// Write a commented configuration for this host
    Init(InitArgs),
    /// Write man pages and completions, for packages
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// `echolot run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echolot run -c echolot.yml                            monitor, serve metrics
  echolot run -c echolot.yml -f jsonl -o probes.jsonl   and keep every result
  echolot run -c echolot.yml --dry-run                  what would be probed?

Metrics are served where the file's `listen` says; without it, nowhere.

It ends on Ctrl-C or SIGTERM: sending stops, what is in flight is waited for, and a summary is printed. A second \
signal ends the waiting.

Exit status: 0 ended as asked, 2 could not run.")]
pub struct RunArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Where no terminal shows the live view: a line this often; 0 for none
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = values::progress_interval)]
    pub progress_interval: Nanos,
    /// Probe multicast, broadcast and reserved addresses too, at which nobody is
    #[arg(long)]
    pub allow_reserved: bool,
    /// Append events to a file, a JSON object a line [default: the file's `events`]
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub events: Option<PathBuf>,
    /// Let whoever reaches `listen` have the configuration read again: POST /-/reload; SIGHUP does so without
    #[arg(long = "web.enable-lifecycle")]
    pub lifecycle: bool,
    /// How probes leave.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Where results go.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How results are written [default: none]
    #[arg(short, long, value_enum, default_value_t = Format::None, hide_default_value = true, help_heading = OUTPUT)]
    pub format: Format,
}

/// `echolot ping`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echolot ping 192.0.2.7                            once a second until Ctrl-C
  echolot ping -c 5 -i 0.2 192.0.2.7 host.example   five to each, five a second
  echolot ping -p tcp:443 192.0.2.7                 is port 443 open, and how far away?
  echolot ping -p udp:53 192.0.2.53                 does the name server answer?
  echolot ping -s 1472 --dscp EF --flows 8 192.0.2.7   large ones, marked, over eight paths in turn
  echolot ping -c 10 -i 10ms -q 198.51.100.0/24     statistics alone
  echolot ping --mtu 192.0.2.7 host.example         how long may a datagram be that gets there?
  echolot ping -c 1 --targets hosts.txt -f list     who answers?
  echolot ping -c 3 --names 192.0.2.0/28            and what are they called?

Exit status: 0 every probe was answered, 1 some were not, 2 could not run.")]
pub struct PingArgs {
    /// Who is pinged.
    #[command(flatten)]
    pub targets: TargetArgs,
    /// Probes to each target [default: until Ctrl-C]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..), help_heading = PROBES)]
    pub count: Option<u64>,
    /// Time between two probes to a target, 10ms to 1h; a bare number is seconds
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = values::interval,
          help_heading = PROBES)]
    pub interval: Nanos,
    /// How long a datagram may be on the way to each target and back: its path MTU, up to that of the interface or 1500
    #[arg(long, help_heading = PROBES, conflicts_with_all = [
        "count", "interval", "size", "probe", "dns", "payload", "hex", "dont_fragment", "flows", "source_port", "quiet", "output", "summary",
        "names", "asn",
    ])]
    pub mtu: bool,
    /// What is asked.
    #[command(flatten)]
    pub probes: ProbeArgs,
    /// How probes leave.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Nothing but the statistics at the end
    #[arg(short, long, conflicts_with_all = ["format", "output"], help_heading = OUTPUT)]
    pub quiet: bool,
    /// How results are written
    #[arg(short, long, value_enum, default_value_t = Format::Text, help_heading = OUTPUT)]
    pub format: Format,
    /// What is shown of targets beside what was measured.
    #[command(flatten)]
    pub names: NamesArgs,
    /// Where results go.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `echolot sweep`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echolot sweep 198.51.100.0/24                          one result a line
  echolot sweep 10.64.0.0/12 -r 200k -f list -o up.txt   who answers, in a file
  echolot sweep 10.64.0.0/12 --shard 2/4                 the second of four equal parts
  echolot sweep 198.51.100.0/24 -p tcp:22 -f jsonl       whose port 22 is open, whose closed?
  echolot sweep 198.51.100.0/24 -p udp:53 --dns \"example.com AAAA\"   which name servers answer that?
  echolot sweep 198.51.100.0/24 -p udp:7 --hex 00ff17    whose echo service?
  echolot sweep --targets nets.txt --exclude never.txt --only lost,unreachable -f csv

Exit status: 0 complete, 2 could not run, 3 incomplete: something unsent or unheard, or a result dropped.")]
pub struct SweepArgs {
    /// Who is probed.
    #[command(flatten)]
    pub targets: TargetArgs,
    /// Probes a second, such as 500, 50k or 1.5M; max sends as fast as the engine can
    #[arg(short, long, value_name = "PPS|max", default_value = "10000", help_heading = PROBES)]
    pub rate: Rate,
    /// Probe the I-th of N equal parts of the targets, 1/N to N/N
    #[arg(long, value_name = "I/N", help_heading = PROBES)]
    pub shard: Option<Shard>,
    /// What is asked.
    #[command(flatten)]
    pub probes: ProbeArgs,
    /// How probes leave.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Write only results with these outcomes, separated by commas
    #[arg(long, value_name = "OUTCOME", value_delimiter = ',', value_parser = outcome(), help_heading = OUTPUT)]
    pub only: Vec<Outcome>,
    /// How results are written
    #[arg(short, long, value_enum, default_value_t = Format::Text, help_heading = OUTPUT)]
    pub format: Format,
    /// What is shown of targets beside what was measured.
    #[command(flatten)]
    pub names: NamesArgs,
    /// Where results go.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What is asked of targets, and what probes look like.
#[derive(Debug, Args)]
#[command(next_help_heading = PROBES)]
pub struct ProbeArgs {
    /// What is asked: icmp, an echo; tcp:PORT, whether the port is open; udp:PORT, whether something answers there
    #[arg(short, long, value_name = "KIND", default_value_t = Kind::Echo)]
    pub probe: Kind,
    /// How long an answer may take, 1ms to 60s; a bare number is seconds [default: 1s; of TCP 3s]
    #[arg(short = 'W', long, value_name = "TIME", value_parser = values::timeout)]
    pub timeout: Option<Nanos>,
    /// What a UDP probe asks a name server: a name and a type [default: of udp:53 \". NS\"]
    #[arg(long, value_name = "QUESTION", value_parser = Content::dns, conflicts_with_all = ["payload", "hex"])]
    pub dns: Option<Content>,
    /// What a UDP probe carries, a text
    #[arg(long, value_name = "TEXT", value_parser = Content::text, allow_hyphen_values = true, conflicts_with = "hex")]
    pub payload: Option<Content>,
    /// The same in hexadecimal digits, such as 00ff17
    #[arg(long, value_name = "HEX", value_parser = Content::hex)]
    pub hex: Option<Content>,
    /// Bytes of payload, up to 1472: of an echo from 18 on; a UDP probe's text or bytes are padded with zeros [default: of ping's
    /// echo 56, else as few as there can be]
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1..=1472))]
    pub size: Option<u16>,
    /// Time to live, of IPv6 hop limit, 1 to 255
    #[arg(long, value_name = "N", default_value_t = Shape::default().ttl, value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: u8,
    /// Differentiated services code point, 0 to 63 or EF, CS0 to CS7, AF11 to AF43
    #[arg(long, value_name = "DSCP", default_value = "0", value_parser = config::dscp)]
    pub dscp: u8,
    /// Whether IPv4 probes forbid routers to fragment them (do) or allow it (dont)
    #[arg(short = 'M', value_name = "do|dont", default_value = "do", value_parser = values::dont_fragment(), action = ArgAction::Set)]
    pub dont_fragment: bool,
    /// How many flows probes walk, one after the other, 1 to 64: routers that balance by flow send each its own way
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub flows: u16,
    /// The first port that TCP and UDP probes are sent from, outside of net.ipv4.ip_local_port_range [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(source_ports()))]
    pub source_port: Option<u16>,
}

impl ProbeArgs {
    /// A group that asks this of its targets; an echo has so many bytes of payload unless it is said.
    ///
    /// # Errors
    /// Arguments that are not for this kind of probe.
    pub(crate) fn group(&self, name: &str, echo: Option<u16>) -> Result<Group, run::Failure> {
        let wrong = |what: String| Err(run::Failure::new(what));
        let kind = self.kind()?;
        if let (Kind::Echo, Some(_)) = (kind, self.source_port) {
            return wrong(
                "--source-port: only probes to a port have one; leave it out, or add -p tcp:PORT or udp:PORT".into(),
            );
        }
        let (ttl, dscp, dont_fragment, flows) = (self.ttl, self.dscp, self.dont_fragment, self.flows);
        let size = self.size.or(echo.filter(|_| kind == Kind::Echo));
        let settings = ProbeSettings { kind, size, ttl, dscp, dont_fragment, flows };
        match (self.size, settings.sizes()) {
            (Some(_), Err(why)) => return wrong(format!("-s: {why}; leave it out")),
            (Some(size), Ok(sizes)) if !sizes.contains(&size.into()) => {
                return wrong(format!(
                    "-s {size}: such a probe ({kind}) carries {} to {} bytes",
                    sizes.start(),
                    sizes.end()
                ));
            }
            _ => {}
        }
        if let (true, Err(why)) = (flows > 1, settings.check_flows()) {
            return wrong(format!("--flows: {why}; leave it out"));
        }
        Ok(settings.group(self.timeout, Group::named(name)))
    }

    /// What is asked, with what a UDP probe carries.
    fn kind(&self) -> Result<Kind, run::Failure> {
        let said = [("--dns", self.dns), ("--payload", self.payload), ("--hex", self.hex)];
        match (self.probe, said.into_iter().find_map(|(option, content)| Some((option, content?)))) {
            (Kind::Udp { port, .. }, Some((_, content))) => Ok(Kind::Udp { port, content }),
            (kind, None) => Ok(kind),
            (_, Some((option, _))) => {
                let port = if option == "--dns" { "53" } else { "PORT" };
                Err(run::Failure::new(format!(
                    "{option}: only a UDP probe carries that; leave it out, or add -p udp:{port}"
                )))
            }
        }
    }
}

fn source_ports() -> std::ops::RangeInclusive<i64> {
    let bound = |port: &u64| i64::try_from(*port).unwrap_or(i64::MAX);
    bound(SOURCE_PORTS.start())..=bound(SOURCE_PORTS.end())
}

impl SweepArgs {
    /// The outcomes to write: those of `--only`, or all.
    pub fn outcomes(&self) -> Outcomes {
        if self.only.is_empty() { Outcomes::ALL } else { self.only.iter().copied().collect() }
    }
}

/// Who is probed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Targets")]
pub struct TargetArgs {
    /// Address, CIDR, range (192.0.2.1-192.0.2.9) or name
    #[arg(value_name = "TARGET", required_unless_present = "target_files")]
    pub targets: Vec<String>,
    /// Read targets from a file, one a line; - is standard input; may be repeated
    #[arg(long = "targets", value_name = "FILE")]
    pub target_files: Vec<PathBuf>,
    /// Leave out the addresses, CIDRs and ranges in a file, one a line; may be repeated
    #[arg(long = "exclude", value_name = "FILE")]
    pub exclude_files: Vec<PathBuf>,
    /// Probe multicast, broadcast and reserved addresses too, at which nobody is
    #[arg(long)]
    pub allow_reserved: bool,
    /// IPv4 alone: names stand for their IPv4 address [default: the one that the resolver names first]
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 alone
    #[arg(short = '6', long = "ipv6")]
    pub ipv6: bool,
}

impl TargetArgs {
    const fn family(&self) -> Families {
        match (self.ipv4, self.ipv6) {
            (true, _) => Families::Only(Family::V4),
            (_, true) => Families::Only(Family::V6),
            _ => Families::Any,
        }
    }

    /// A plan of one group with everybody who is named, in arguments and in files; and who is never probed.
    ///
    /// # Errors
    /// Names the argument, or the file and line; or says why there is no plan.
    pub fn plan(&self, group: Group, options: &Options) -> Result<(Plan, Exclusions), targets::Error> {
        let mut list = TargetList::from_arguments(&self.targets)?;
        for file in &self.target_files {
            list.read_file(file)?;
        }
        let exclude = Exclusions::read_files(&self.exclude_files)?;
        let group = Group { family: self.family(), ..group };
        let lists = vec![list];
        // No name may turn out to be where nobody is either.
        let mut never = exclude;
        if !self.allow_reserved {
            targets::check_reserved(&group.name, &lists, &never)?;
            never = never.and(&targets::reserved());
        }
        let input = GroupInput { group, labels: BTreeMap::default(), lists };
        Ok((targets::build(vec![input], &never, options)?, never))
    }
}

/// How probes leave.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// The interface to use [default: the one that routes to the targets]
    #[arg(short = 'I', long, value_name = "IFACE")]
    pub interface: Option<String>,
    /// A source address; of several of a family each target's probes take one after the other [default: as the kernel chooses]
    #[arg(short = 'S', long = "source", value_name = "ADDRESS")]
    pub sources: Vec<IpAddr>,
    /// What sends; run takes the configuration's unless this is given [default: auto]
    #[arg(long, value_enum)]
    pub engine: Option<Engine>,
    /// How the interface is used; run takes the configuration's unless this is given [default: auto]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// ICMP identifier, 0 to 65535 or 0x0 to 0xffff [default: random]
    #[arg(long, value_name = "ID", value_parser = values::identifier)]
    pub identifier: Option<u16>,
    /// Makes the order of the targets repeatable [default: random; in run the configuration's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Say what would be done, and send nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl NetworkArgs {
    /// The order of the targets follows from it.
    pub fn seed_or_random(&self) -> Option<u64> {
        Some(self.seed.unwrap_or_else(|| fastrand::u64(..)))
    }
}

/// Where results go.
#[derive(Debug, Args)]
#[command(next_help_heading = OUTPUT)]
pub struct OutputArgs {
    /// Write results to a file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write a summary in JSON to a file when all is done
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
}

/// Those of `-S`.
///
/// # Errors
/// They are too many, or one is there twice.
pub(super) fn sources(addresses: &[IpAddr]) -> Result<Sources, run::Failure> {
    Sources::from_addresses(addresses.iter().copied()).map_err(|error| run::Failure::new(format!("-S: {error}")))
}

impl NetworkArgs {
    /// For probes as these.
    pub(crate) fn network(&self, probes: &ProbeArgs) -> run::Network {
        self.sending_from(probes.source_port)
    }

    /// For probes that are sent from this port on, if they have one.
    pub(crate) fn sending_from(&self, source_port: Option<u16>) -> run::Network {
        let (mode, engine) = (self.mode.unwrap_or_default(), self.engine.unwrap_or_default());
        let (interface, identifier) = (self.interface.clone(), self.identifier);
        run::Network { interface, mode, engine, identifier, source_port }
    }

    /// Has the probes of a plan sent from the sources that were asked for.
    ///
    /// # Errors
    /// They are too many, or one is there twice.
    pub(crate) fn send_from(&self, plan: &mut Plan) -> Result<(), run::Failure> {
        plan.send_from(sources(&self.sources)?).map_err(|error| run::Failure::new(format!("-S: {error}")))
    }
}

impl OutputArgs {
    /// Where results go and which are wanted, if any.
    pub(crate) fn results(&self, format: Format, only: Outcomes) -> Option<run::Results> {
        let observe = Box::new(|_: &Settlement| ());
        let wanted = run::Results { format, path: self.output.clone(), only, like_ping: false, names: None, observe };
        (format != Format::None).then_some(wanted)
    }
}

const PROBES: &str = "Probes";
const OUTPUT: &str = "Output";

impl ValueEnum for Engine {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.about()))
    }
}

impl ValueEnum for Mode {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.about()))
    }
}

/// One outcome by its name; clap lists them when it is another.
fn outcome() -> impl TypedValueParser<Value = Outcome> {
    PossibleValuesParser::new(Outcome::ALL.map(Outcome::name))
        .try_map(|name| Outcome::ALL.into_iter().find(|outcome| outcome.name() == name).ok_or("no such outcome"))
}

/// Parses the program's arguments. Prints help or the version and ends with status 0 where that was asked for; ends with
/// one message and status 2 where they are wrong.
pub fn parse() -> Cli {
    Cli::parse()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    /// The group that a sweep with these arguments probes; each blank parts two of them.
    fn group(line: &str) -> Result<Group, String> {
        let arguments = ["echolot", "sweep"].into_iter().chain(line.split(' ')).chain(["10.0.0.1"]);
        let Command::Sweep(args) = Cli::try_parse_from(arguments).unwrap().command else { panic!("another command") };
        args.probes.group("sweep", None).map_err(|failure| failure.to_string())
    }

    #[test]
    fn probes_look_as_they_are_asked_to() {
        let plain = group("-p udp:53").unwrap();
        assert_eq!(plain.shape, Shape::of(Kind::Udp { port: 53, content: Content::of_port(53) }));
        assert_eq!(plain.timeout, Nanos::from_secs(1));
        let padded = group("-p udp:7 --hex 00ff17 -s 100 --ttl 1 --dscp EF -M dont").unwrap();
        let bytes = Shape::of(Kind::Udp { port: 7, content: Content::hex("00ff17").unwrap() });
        assert_eq!(padded.shape, Shape { payload: 100, ttl: 1, dscp: 46, dont_fragment: false, ..bytes });
        assert_eq!(group("--flows 8").map(|group| group.flow_count()), Ok(8));
        assert_eq!(group("-p tcp:80 --flows 8").map(|group| group.ports()), Ok(8));
        // What is padded to less than it is stays whole.
        assert_eq!(group("-s 18").map(|group| group.shape.payload), Ok(18));
    }

    #[test]
    fn what_a_kind_does_not_have_is_refused_with_what_to_do() {
        for (line, expected) in [
            ("--dns=.\tNS", "--dns: only a UDP probe carries that; leave it out, or add -p udp:53"),
            ("-p tcp:80 --payload x", "--payload: only a UDP probe carries that; leave it out, or add -p udp:PORT"),
            ("--hex 00", "--hex: only a UDP probe"),
            ("-p tcp:80 -s 56", "-s: a tcp:80 probe is a SYN, which carries no payload; leave it out"),
            ("-p udp:53 -s 56", "-s: a udp:53 probe is a DNS question, which is as long as it is; leave it out"),
            ("-p udp:7 --payload hello -s 4", "-s 4: such a probe (udp:7) carries 5 to 1472 bytes"),
            ("-s 17", "-s 17: such a probe (icmp) carries 18 to 1472 bytes"),
            ("-p udp:7 --flows 2", "--flows: udp:7 probes with a payload of one's own walk flows by themselves"),
            (
                "--source-port 61000",
                "--source-port: only probes to a port have one; leave it out, or add -p tcp:PORT or udp:PORT",
            ),
        ] {
            let error = group(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
