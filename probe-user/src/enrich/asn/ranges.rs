//! Tables of ranges as iptoasn.com publishes them: a line a range, with tabs between first address, last address, AS number, country and
//! description. IPv4 and IPv6 may be mixed; addresses of IPv4 may be numbers, as in its files of that form.

use super::{super::text, Network, error::shown, parsed};
use std::{
    collections::HashMap,
    io::{self, BufRead, Read as _},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// A line of such a file is some hundred bytes long at most.
const LONGEST_LINE: u64 = 4_096;
const FORM: &str =
    "a line is `first address, last address, AS number, country, description` with a tab between each two";

/// Why a line is wrong.
pub(super) enum Wrong {
    Line(usize, String),
    Read(io::Error),
}

/// Who has which addresses.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// Ascending, apart from each other.
    v4: Vec<Range<u32>>,
    v6: Vec<Range<u128>>,
    names: Vec<Option<Arc<str>>>,
}

/// So many of them lie in memory that each is as small as can be.
#[derive(Debug)]
struct Range<A> {
    first: A,
    last: A,
    asn: u32,
    /// Of the name.
    index: u32,
    /// Where it stood.
    line: u32,
}

impl Ranges {
    /// Reads a table to its end.
    pub(super) fn read(mut content: impl BufRead) -> Result<Self, Wrong> {
        let mut ranges = Self::default();
        let mut known = HashMap::new();
        let (mut bytes, mut line) = (Vec::new(), 0);
        loop {
            bytes.clear();
            line += 1;
            let length = (&mut content).take(LONGEST_LINE).read_until(b'\n', &mut bytes).map_err(Wrong::Read)?;
            if length == 0 {
                break;
            }
            if length as u64 == LONGEST_LINE && !bytes.ends_with(b"\n") {
                return Err(Wrong::Line(line, format!("more than {LONGEST_LINE} bytes in a line; {FORM}")));
            }
            let text = if line == 1 { bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes) } else { &bytes };
            let text = text.trim_ascii_end();
            if !text.is_empty() && !text.starts_with(b"#") {
                ranges.line(text, line, &mut known).map_err(|reason| Wrong::Line(line, reason))?;
            }
        }
        drop(known);
        sort(&mut ranges.v4, |address| Ipv4Addr::from_bits(address).into())?;
        sort(&mut ranges.v6, |address| IpAddr::V6(address.into()))?;
        if ranges.v4.is_empty() && ranges.v6.is_empty() {
            return Err(Wrong::Line(line, "the file ends without a range that has an AS".to_owned()));
        }
        Ok(ranges)
    }

    fn line(&mut self, text: &[u8], line: usize, known: &mut HashMap<Vec<u8>, u32>) -> Result<(), String> {
        let mut fields = text.splitn(5, |byte| *byte == b'\t');
        let mut field = || fields.next().ok_or_else(|| format!("`{}` has too few columns; {FORM}", shown(text)));
        let (first, last, asn) = (address(field()?)?, address(field()?)?, field()?);
        let asn = std::str::from_utf8(asn).ok().and_then(parsed);
        let asn = asn.ok_or_else(|| format!("`{}` has no AS number in its third column; {FORM}", shown(text)))?;
        // The country is not shown, and a table without it and descriptions is one too.
        let description = fields.nth(1).unwrap_or_default();
        if first.is_ipv4() != last.is_ipv4() {
            return Err(format!("{first} and {last} are of two families; give each a range of its own"));
        }
        if first > last {
            return Err(format!("the range ends before it begins ({first} to {last}); swap its ends"));
        }
        if asn == 0 {
            // Nobody routes it.
            return Ok(());
        }
        let room = |index: usize| u32::try_from(index).map_err(|_| "the table is too long".to_owned());
        let (line, index) = (room(line)?, room(self.name(description, known))?);
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                self.v4.push(Range { first: first.to_bits(), last: last.to_bits(), asn, index, line });
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                self.v6.push(Range { first: first.to_bits(), last: last.to_bits(), asn, index, line });
            }
            _ => {}
        }
        Ok(())
    }

    /// The index of a name, each kept once.
    fn name(&mut self, description: &[u8], known: &mut HashMap<Vec<u8>, u32>) -> usize {
        if let Some(index) = known.get(description) {
            return *index as usize;
        }
        let index = self.names.len();
        self.names.push(text::free_text(description).map(Arc::from));
        known.insert(description.to_vec(), u32::try_from(index).unwrap_or(u32::MAX));
        index
    }

    /// Who has this address.
    pub(super) fn find(&self, address: IpAddr) -> Option<Network> {
        let (asn, index) = match address {
            IpAddr::V4(address) => find(&self.v4, address.to_bits())?,
            IpAddr::V6(address) => find(&self.v6, address.to_bits())?,
        };
        Some(Network { asn, name: self.names.get(index as usize).cloned().flatten() })
    }
}

fn find<A: Ord + Copy>(ranges: &[Range<A>], address: A) -> Option<(u32, u32)> {
    let after = ranges.partition_point(|range| range.first <= address);
    let range = ranges.get(after.checked_sub(1)?)?;
    (address <= range.last).then_some((range.asn, range.index))
}

/// Puts them in order; an address must not be in two.
fn sort<A: Ord + Copy>(ranges: &mut Vec<Range<A>>, shown: impl Fn(A) -> IpAddr) -> Result<(), Wrong> {
    ranges.sort_by_key(|range| range.first);
    ranges.shrink_to_fit();
    for pair in ranges.windows(2) {
        if let [before, after] = pair
            && after.first <= before.last
        {
            let (upper, lower) = (before.line.min(after.line), before.line.max(after.line));
            let reason =
                format!("{} is in line {upper}'s range already; leave each address in one range", shown(after.first));
            return Err(Wrong::Line(lower as usize, reason));
        }
    }
    Ok(())
}

fn address(field: &[u8]) -> Result<IpAddr, String> {
    let text = std::str::from_utf8(field).unwrap_or_default();
    let number =
        || text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok().map(Ipv4Addr::from_bits)).flatten();
    let address = text.parse().ok().or_else(|| number().map(IpAddr::V4));
    address.ok_or_else(|| format!("`{}` is not an address; {FORM}", shown(field)))
}

#[cfg(test)]
#[path = "ranges_tests.rs"]
mod tests;
