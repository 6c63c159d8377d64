//! The commands that probe nobody's targets: what this machine can do, a far end, and whether a configuration is right.

use super::values;
use clap::Args;
use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf};
use url::Url;

/// `echolot doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echolot doctor                    every check, for people
  echolot doctor 192.0.2.7          and the way to a target
  echolot doctor -I eth0 --json     one interface, for programs

Exit status: 0 fine, 1 a problem.")]
pub struct DoctorArgs {
    /// Addresses whose routes and next hops are looked at
    #[arg(value_name = "ADDRESS")]
    pub targets: Vec<IpAddr>,
    /// The interface to look at [default: the one that routes to the addresses, or all]
    #[arg(short = 'I', long, value_name = "IFACE")]
    pub interface: Option<String>,
    /// A source address that probes would have, or several in turn
    #[arg(short = 'S', long = "source", value_name = "ADDRESS")]
    pub sources: Vec<IpAddr>,
    /// Write one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `echolot reflect`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echolot reflect -I veth1                until Ctrl-C
  echolot reflect -I veth1 --seconds 30   for half a minute
  echolot reflect -I veth1 --tcp 80,443   TCP too: these two ports are open, all others closed
  echolot reflect -I veth1 --udp 7,53     UDP too: what is sent to port 7 comes back, port 53 answers questions

It prints `ready` on standard error once it answers. It answers every echo request that arrives, to whatever \
address: use it in test networks only. With --tcp it answers SYNs likewise and swallows all other TCP, so no \
connection to this host, such as one by SSH, gets through this interface; without it TCP is left to the kernel. With --udp it answers UDP: what arrives at one of \
these ports is sent back as it is, of a DNS question at port 53 a response without records, and any other port is \
refused with an ICMP error. Swallowed are what comes to port 53 and is no question, and what comes to another port from \
one below 1024, as two services would otherwise answer each other for ever.

Exit status: 0 ended as asked, 2 could not run.")]
pub struct ReflectArgs {
    /// The interface whose echo requests, SYNs and UDP datagrams are answered
    #[arg(short = 'I', long, value_name = "IFACE")]
    pub interface: String,
    /// Answer TCP too; these are the ports that are open, separated by commas, or FROM-TO: a SYN to any other is refused with a RST
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = values::ports)]
    pub tcp: Vec<RangeInclusive<u16>>,
    /// Answer UDP too; these are the ports that are open, as above: a datagram to any other is refused with an ICMP error
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = values::ports)]
    pub udp: Vec<RangeInclusive<u16>>,
    /// End after this many seconds [default: on Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
}

/// `echolot check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echolot check echolot.yml           what it probes, at what rate, in how much memory
  echolot check echolot.yml --json    the same for programs
  echolot check echolot.yml --against http://localhost:9115
                                      and what a reload would change there

Exit status: 0 the file is right, 2 it is not.")]
pub struct CheckArgs {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Write one JSON object
    #[arg(long)]
    pub json: bool,
    /// Say what this file would change in the echolot that listens there; names and lists over HTTP are asked for as it would
    #[arg(long, value_name = "URL")]
    pub against: Option<Url>,
    /// Allow multicast, broadcast and reserved addresses, at which nobody is
    #[arg(long)]
    pub allow_reserved: bool,
}
