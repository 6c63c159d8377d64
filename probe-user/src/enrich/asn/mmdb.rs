//! Files in MaxMind's format: GeoLite2-ASN and those of others with the same fields, and IPinfo's.

use super::{super::text, Network, number};
use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::Deserialize;
use std::{net::IpAddr, sync::Arc};

/// Records that are looked at to see whether a file says anything of ASes.
const LOOKED_AT: usize = 1_000;

/// Such a file, in memory.
pub(super) struct Mmdb(Reader<Vec<u8>>);

/// What is read of a record.
#[derive(Deserialize)]
struct Record<'a> {
    autonomous_system_number: Option<u32>,
    #[serde(borrow)]
    autonomous_system_organization: Option<&'a str>,
    asn: Option<Number<'a>>,
    as_name: Option<&'a str>,
    name: Option<Text<'a>>,
}

/// IPinfo writes "AS64500", others a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number<'a> {
    Plain(u64),
    #[serde(borrow)]
    Text(&'a str),
    Other(serde::de::IgnoredAny),
}

/// In files about other things `name` may be anything.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    #[serde(borrow)]
    Is(&'a str),
    Other(serde::de::IgnoredAny),
}

impl Record<'_> {
    fn network(&self) -> Option<Network> {
        let asn = match (self.autonomous_system_number, &self.asn) {
            (Some(asn), _) => Some(asn).filter(|asn| *asn != 0),
            (None, Some(Number::Plain(asn))) => u32::try_from(*asn).ok().filter(|asn| *asn != 0),
            (None, Some(Number::Text(text))) => number(text),
            (None, Some(Number::Other(_)) | None) => None,
        };
        let name = match self.name {
            Some(Text::Is(name)) => Some(name),
            Some(Text::Other(_)) | None => None,
        };
        let name = self.autonomous_system_organization.or(self.as_name).or(name);
        Some(Network { asn: asn?, name: name.and_then(|name| text::free_text(name.as_bytes())).map(Arc::from) })
    }
}

impl Mmdb {
    /// Whether these may be the bytes of such a file: its description begins so.
    pub(super) fn is_one(bytes: &[u8]) -> bool {
        const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
        // At most so far from the end, by the format's definition.
        let last = &bytes[bytes.len().saturating_sub(128 * 1_024)..];
        last.windows(MARKER.len()).any(|window| window == MARKER)
    }

    /// Of a file's content.
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, String> {
        let broken = |error: MaxMindDbError| {
            let error = super::error::shown(error.to_string().as_bytes());
            format!("it is in MaxMind's format and broken ({error}); get it again")
        };
        let reader = Reader::from_source(bytes).map_err(broken)?;
        let mut says = false;
        for network in reader.networks(WithinOptions::default()).map_err(broken)?.take(LOOKED_AT) {
            let record = network.map_err(broken)?;
            // Of a file about other things the fields may be of other types.
            if let Ok(Some(record)) = record.decode::<Record>()
                && record.network().is_some()
            {
                says = true;
                break;
            }
        }
        if says {
            return Ok(Self(reader));
        }
        let kind = super::error::shown(reader.metadata().database_type.as_bytes());
        Err(format!(
            "it is in MaxMind's format ({kind}) and has no AS numbers; name a file that has, such as GeoLite2-ASN.mmdb"
        ))
    }

    /// Who has this address. What is broken in a file tells nothing.
    pub(super) fn find(&self, address: IpAddr) -> Option<Network> {
        self.0.lookup(address).ok()?.decode::<Record>().ok()??.network()
    }
}

#[cfg(test)]
#[path = "mmdb_tests.rs"]
pub(super) mod tests;
