//! Names and networks of what is shown.

use super::values;
use crate::{
    base::Nanos,
    enrich::{AsnSource, Servers, Settings},
};
use clap::Args;
use std::time::Duration;

/// Names and networks of addresses, which never hold a probe up.
#[derive(Debug, Args)]
#[command(next_help_heading = "Names and networks")]
pub struct EnrichArgs {
    /// Addresses alone: don't look their names up
    #[arg(short, long)]
    pub numeric: bool,
    /// Where AS numbers come from: a file in MaxMind's format or a table of ranges, dns (Team Cymru's zones), or off
    #[arg(long, value_name = "FILE|dns|off", default_value_t)]
    pub asn: AsnSource,
    /// How long names may still come once all is measured, 0 to 60s; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = values::names_wait)]
    pub names_wait: Nanos,
}

/// The same where nobody waits for names unless they are asked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Names and networks")]
pub struct NamesArgs {
    /// Look the names of addresses up: lines wait for them, probes do not
    #[arg(long)]
    pub names: bool,
    /// Where AS numbers come from: a file in MaxMind's format or a table of ranges, dns (Team Cymru's zones), or off
    #[arg(long, value_name = "FILE|dns|off", default_value_t)]
    pub asn: AsnSource,
    /// How long a line may wait for a name, 0 to 60s; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = values::names_wait)]
    pub names_wait: Nanos,
}

impl NamesArgs {
    /// What is to be found out, and how long a line may wait for it; None: nothing.
    pub fn wanted(&self) -> Option<(Settings, Duration)> {
        let settings = Settings { names: self.names, asn: self.asn.clone(), servers: Servers::Host };
        (!settings.is_off()).then(|| (settings, Duration::from_nanos(self.names_wait.0)))
    }
}

impl EnrichArgs {
    /// What is to be found out.
    pub fn settings(&self) -> Settings {
        Settings { names: !self.numeric, asn: self.asn.clone(), servers: Servers::Host }
    }

    /// How long the end may be put off for it.
    pub const fn wait(&self) -> Duration {
        Duration::from_nanos(self.names_wait.0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Shown {
        #[command(flatten)]
        enrich: EnrichArgs,
    }

    fn parsed(line: &str) -> Result<EnrichArgs, String> {
        let arguments = ["trace"].into_iter().chain(line.split_ascii_whitespace());
        Shown::try_parse_from(arguments).map(|shown| shown.enrich).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_looked_up_and_networks_are_not_unless_it_is_said() {
        let plain = parsed("").unwrap();
        assert_eq!(plain.settings(), Settings { names: true, asn: AsnSource::Off, servers: Servers::Host });
        assert_eq!(plain.wait(), Duration::from_millis(500));
        assert!(parsed("-n").unwrap().settings().is_off());
        let both = parsed("-n --asn dns --names-wait 2").unwrap();
        assert_eq!(both.settings(), Settings { names: false, asn: AsnSource::Dns, servers: Servers::Host });
        assert_eq!(both.wait(), Duration::from_secs(2));
        assert_eq!(parsed("--asn as.mmdb").unwrap().asn, AsnSource::File("as.mmdb".into()));
        assert_eq!(parsed("--names-wait 0").unwrap().wait(), Duration::ZERO);
    }

    #[test]
    fn what_is_wrong_says_what_was_expected() {
        for (line, expected) in [
            ("--names-wait 61", "it must be 0 to 60s"),
            ("--names-wait soon", "a time is"),
            ("--asn=", "a file, dns or off"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
