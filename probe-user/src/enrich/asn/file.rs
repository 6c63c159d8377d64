//! A file of AS numbers, of whichever form.

use super::{
    AsnError, Network,
    mmdb::Mmdb,
    ranges::{Ranges, Wrong},
};
use flate2::bufread::MultiGzDecoder;
use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    net::IpAddr,
    path::Path,
};

/// More than any such file has unpacked: what is packed may claim to be without end.
const LARGEST: u64 = 2 << 30;
const FORMS: &str =
    "name a file in MaxMind's format (such as GeoLite2-ASN.mmdb) or a table of ranges (such as ip2asn-combined.tsv.gz)";

/// AS numbers and names from a file: one in MaxMind's format with `autonomous_system_number` and `autonomous_system_organization`
/// (GeoLite2-ASN) or `asn` and `as_name` or `name` (IPinfo), or a table of ranges as iptoasn.com publishes them (first address, last
/// address, AS number, country, description, with tabs between). Either may be packed by gzip. Its content tells which it is.
pub struct AsnTable(Form);

enum Form {
    Ranges(Ranges),
    Mmdb(Mmdb),
}

impl fmt::Debug for AsnTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.0 {
            Form::Ranges(_) => "ranges",
            Form::Mmdb(_) => "MaxMind's",
        };
        f.debug_tuple("AsnTable").field(&form).finish()
    }
}

impl AsnTable {
    /// Reads a file.
    ///
    /// # Errors
    /// It can't be opened or read, or is of none of these forms; or the line that is wrong.
    pub fn open(path: &Path) -> Result<Self, AsnError> {
        Self::read(open(path)?, &path.display().to_string())
    }

    /// Reads what is in a file of this name.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(content: impl Read, file: &str) -> Result<Self, AsnError> {
        let wrong = |line, reason| AsnError { file: file.to_owned(), line, reason };
        let broken = |error: &io::Error| wrong(None, format!("it can't be read: {error}"));
        let mut content: Box<dyn BufRead + '_> = Box::new(BufReader::with_capacity(1 << 16, content));
        if begin(&mut content, broken)?.starts_with(b"\x1f\x8b") {
            content = Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(content).take(LARGEST)));
        }
        let first = begin(&mut content, broken)?;
        if first.is_empty() {
            return Err(wrong(None, format!("it is empty; {FORMS}")));
        }
        if first.starts_with(b"PK\x03\x04") || first.get(257..262) == Some(b"ustar") {
            return Err(wrong(None, "it is an archive; unpack it and name the file in it".to_owned()));
        }
        if !first.contains(&0) {
            let ranges = Ranges::read(content).map_err(|error| match error {
                Wrong::Line(line, reason) => wrong(Some(line), reason),
                Wrong::Read(error) => broken(&error),
            })?;
            return Ok(Self(Form::Ranges(ranges)));
        }
        let mut bytes = Vec::new();
        content.take(LARGEST).read_to_end(&mut bytes).map_err(|error| broken(&error))?;
        if !Mmdb::is_one(&bytes) {
            return Err(wrong(None, format!("it is of no form that is known here; {FORMS}")));
        }
        Mmdb::read(bytes).map(|mmdb| Self(Form::Mmdb(mmdb))).map_err(|reason| wrong(None, reason))
    }

    /// Who has this address.
    pub fn find(&self, address: IpAddr) -> Option<Network> {
        match &self.0 {
            Form::Ranges(ranges) => ranges.find(address),
            Form::Mmdb(mmdb) => mmdb.find(address),
        }
    }
}

/// What comes first, without taking it.
fn begin(content: &mut dyn BufRead, broken: impl Fn(&io::Error) -> AsnError) -> Result<&[u8], AsnError> {
    content.fill_buf().map_err(|error| broken(&error))
}

/// Opens a file for reading; a pipe will do.
pub(in super::super) fn open(path: &Path) -> Result<File, AsnError> {
    let wrong = |reason: String| AsnError { file: path.display().to_string(), line: None, reason };
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => wrong(format!("there is no such file; {FORMS}")),
        _ => wrong(format!("it can't be opened: {error}")),
    })?;
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => Err(wrong(format!("it is a folder; {FORMS}"))),
        _ => Ok(file),
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
