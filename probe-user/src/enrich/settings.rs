//! What is to be found out, and by whom.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where AS numbers come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AsnSource {
    /// From nowhere.
    #[default]
    Off,
    /// From DNS, in the manner of Team Cymru: the zones below asn.cymru.com, through the same name servers.
    Dns,
    /// From a file: [`super::AsnTable`] says of which form.
    File(PathBuf),
}

impl AsnSource {
    /// The same, a relative path being one in this folder.
    pub fn within(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            other => other,
        }
    }
}

impl FromStr for AsnSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("it must be a file, dns or off".into()),
            "off" => Ok(Self::Off),
            "dns" => Ok(Self::Dns),
            // A file of such a name is ./dns.
            path => Ok(Self::File(path.into())),
        }
    }
}

impl fmt::Display for AsnSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Dns => f.write_str("dns"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Who is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Servers {
    /// Those of /etc/resolv.conf, read again when it changes, after /etc/hosts.
    #[default]
    Host,
    /// These, over UDP and TCP, and nothing else.
    These(Vec<SocketAddr>),
}

/// What is to be found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether names are, by reverse DNS.
    pub names: bool,
    /// Where AS numbers come from.
    pub asn: AsnSource,
    /// Who is asked.
    pub servers: Servers,
}

impl Settings {
    /// Whether there is nothing to find out.
    pub fn is_off(&self) -> bool {
        !self.names && self.asn == AsnSource::Off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_word_or_a_file() {
        for (text, source) in [
            ("off", AsnSource::Off),
            ("dns", AsnSource::Dns),
            ("./dns", AsnSource::File("./dns".into())),
            ("ip2asn-v4.tsv.gz", AsnSource::File("ip2asn-v4.tsv.gz".into())),
        ] {
            assert_eq!(text.parse(), Ok(source.clone()), "{text}");
            assert_eq!(source.to_string(), text);
        }
        assert!("".parse::<AsnSource>().is_err());
    }

    #[test]
    fn a_relative_file_is_one_in_the_folder() {
        let within = |text: &str| text.parse().map(|source: AsnSource| source.within(Path::new("/etc/echolot")));
        assert_eq!(within("as.mmdb"), Ok(AsnSource::File("/etc/echolot/as.mmdb".into())));
        assert_eq!(within("/srv/as.mmdb"), Ok(AsnSource::File("/srv/as.mmdb".into())));
        assert_eq!(within("dns"), Ok(AsnSource::Dns));
    }
}
