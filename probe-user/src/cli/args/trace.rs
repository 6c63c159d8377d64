//! The arguments of `echolot trace`.

use super::{EnrichArgs, NetworkArgs, OUTPUT, OutputArgs, PROBES, Rate, TargetArgs, source_ports, values};
use crate::{
    base::{Nanos, Ttls},
    config::{self, ProbeSettings},
    path::Flows,
    results::Format,
    run,
    targets::Group,
    wire::{Content, Kind, Shape},
};
use clap::Args;

/// `echolot trace`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echolot trace 192.0.2.7                       the way there, by echo requests
  echolot trace -p tcp:443 host.example         the way that connections to its port 443 take
  echolot trace -p udp:53 -6 host.example       by questions to its name server, over IPv6
  echolot trace -c 10 192.0.2.7                 ten rounds: loss and times of each hop
  echolot trace --flows auto 192.0.2.7          all branches where routers balance
  echolot trace -f jsonl -r 20k --per-hop 500 --targets hosts.txt   many, with care for the routers nearby

All probes of a flow look alike to routers that balance, so they take one way. A hop that says less than those behind it limits its \
answers; nothing is lost there.

Exit status: 0 every target answered, 1 one did not, 2 could not run.")]
pub struct TraceArgs {
    /// Whose way is found.
    #[command(flatten)]
    pub targets: TargetArgs,
    /// Rounds; 0: until Ctrl-C
    #[arg(short, long, value_name = "ROUNDS", default_value_t = 1, help_heading = PROBES)]
    pub count: u64,
    /// From the beginning of a target's round to that of its next, 10ms to 1h; a bare number is seconds
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = values::interval, help_heading = PROBES)]
    pub interval: Nanos,
    /// What is sent: icmp, echo requests; tcp:PORT, SYNs; udp:PORT, questions to a name server
    #[arg(short, long, value_name = "KIND", default_value_t = Kind::Echo, help_heading = PROBES)]
    pub probe: Kind,
    /// How long a hop may take to answer, 1ms to 60s; a bare number is seconds
    #[arg(short = 'W', long, value_name = "TIME", default_value = "1s", value_parser = values::timeout, help_heading = PROBES)]
    pub timeout: Nanos,
    /// The first time to live
    #[arg(long, value_name = "TTL", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=63), help_heading = PROBES)]
    pub first: u8,
    /// The last time to live
    #[arg(short, long, value_name = "TTL", default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..=63), help_heading = PROBES)]
    pub max_ttl: u8,
    /// So many hops in a row that say nothing end a path, unless the target is known to be farther
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=63), help_heading = PROBES)]
    pub gap: u8,
    /// How many flows, 1 to 256, each of which routers that balance by flow may send another way; or auto: as many as show all branches, with
    /// a probability of 95 %
    #[arg(long, value_name = "N|auto", default_value = "1", help_heading = PROBES)]
    pub flows: Flows,
    /// Probes a second, such as 500 or 50k
    #[arg(short, long, value_name = "PPS|max", default_value = "10000", help_heading = PROBES)]
    pub rate: Rate,
    /// Probes a second that a router is asked to answer, at most
    #[arg(long, value_name = "PPS", default_value = "1000", help_heading = PROBES)]
    pub per_hop: Rate,
    /// Bytes of payload of an echo request, 18 to 1472
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(18..=1472), help_heading = PROBES)]
    pub size: Option<u16>,
    /// Differentiated services code point, 0 to 63 or EF, CS0 to CS7, AF11 to AF43
    #[arg(long, value_name = "DSCP", default_value = "0", value_parser = config::dscp, help_heading = PROBES)]
    pub dscp: u8,
    /// The first port that TCP and UDP probes are sent from, outside of net.ipv4.ip_local_port_range [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(source_ports()), help_heading = PROBES)]
    pub source_port: Option<u16>,
    /// How probes leave.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// What is shown of routers beside their addresses.
    #[command(flatten)]
    pub enrich: EnrichArgs,
    /// How paths are written
    #[arg(short, long, value_enum, default_value_t = Format::Text, help_heading = OUTPUT)]
    pub format: Format,
    /// Where they go.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl TraceArgs {
    /// A group whose probes find the routers on the way.
    ///
    /// # Errors
    /// Arguments that don't fit each other.
    pub(crate) fn group(&self) -> Result<Group, run::Failure> {
        let wrong = |what: String| Err(run::Failure::new(what));
        if self.first > self.max_ttl {
            return wrong(format!("--first {} is beyond -m {}: raise -m", self.first, self.max_ttl));
        }
        // A question brings the number of its probe back, and has all of a flow's from one port.
        let kind = match self.probe {
            Kind::Udp { port, .. } => Kind::Udp { port, content: Content::of_port(53) },
            kind => kind,
        };
        match kind {
            Kind::Echo if self.source_port.is_some() => {
                return wrong(
                    "--source-port: only probes to a port have one; leave it out, or add -p tcp:PORT or udp:PORT"
                        .into(),
                );
            }
            Kind::Tcp { .. } | Kind::Udp { .. } if self.size.is_some() => {
                return wrong(format!("-s: a {kind} probe is as long as it is; leave it out"));
            }
            _ => {}
        }
        let settings = ProbeSettings {
            kind,
            size: self.size,
            ttl: Shape::default().ttl,
            dscp: self.dscp,
            dont_fragment: true,
            flows: self.flows.most(),
        };
        let group = settings.group(Some(self.timeout), Group::named("trace"));
        Ok(Group { count: Some(0), ttls: Some(Ttls::up_to(self.max_ttl)), ..group })
    }
}
