//! What begins a configuration, and what packages need.

use clap::Args;
use std::path::PathBuf;

/// `echolot init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echolot init -o echolot.yml                              for this host, in a file that is not there yet
  echolot init -o echolot.yml 192.0.2.7 198.51.100.0/24    with these targets
  echolot init                                             to look at

It has this host's interfaces in it, and names the one by which its default route leads. `echolot check` takes \
it as it is.

Exit status: 0 written, 2 not.")]
pub struct InitArgs {
    /// Targets to begin with: addresses, CIDRs, ranges, names
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// The interface to use [default: the one of the default route]
    #[arg(short = 'I', long, value_name = "IFACE")]
    pub interface: Option<String>,
    /// Write to a file, which must not be there yet [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `echolot generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Where to: `man` and `completions` are made in it
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}
