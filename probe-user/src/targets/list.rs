//! Lists of targets: from the command line, and from files of one target a line.

use super::{
    AddressRange, Error, TargetSpec,
    span::{self, Span},
};
use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    fs::File,
    io::{self, BufRead, BufReader},
    net::IpAddr,
    path::Path,
};

/// A name, and an address that it has.
pub type AddressOfName = (Box<str>, IpAddr);

/// Targets that have their labels in common, as written: eight bytes an address or range of IPv4, 32 of IPv6.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TargetList {
    /// Labels of these targets; they overlay those of the group.
    pub labels: BTreeMap<String, String>,
    pub(super) v4: Vec<Span<u32>>,
    pub(super) v6: Vec<Span<u128>>,
    names: Vec<Box<str>>,
    of_names: Vec<AddressOfName>,
}

impl TargetList {
    /// No targets yet, with these labels.
    pub fn with_labels(labels: BTreeMap<String, String>) -> Self {
        Self { labels, ..Self::default() }
    }

    /// Targets as the command line names them. An error says which argument.
    pub fn from_arguments<S: AsRef<str>>(arguments: &[S]) -> Result<Self, Error> {
        let mut list = Self::default();
        for (i, text) in arguments.iter().enumerate() {
            let place = || format!("argument {}", i + 1);
            list.push(text.as_ref().parse().map_err(|error| Error::Spec { place: place(), error })?);
        }
        Ok(list)
    }

    /// Adds the targets of a file of one target a line; `-` is stdin. `#` begins a comment, blank lines are skipped.
    /// An error names file and line.
    pub fn read_file(&mut self, file: &Path) -> Result<(), Error> {
        read_file(file, &mut |spec, _| {
            self.push(spec);
            Ok(())
        })
    }

    /// The same from something else than a file, which is called `name` in errors.
    pub fn read(&mut self, input: impl BufRead, name: &str) -> Result<(), Error> {
        read_lines(input, name, &mut |spec, _| {
            self.push(spec);
            Ok(())
        })
    }

    /// Adds one target.
    pub fn push(&mut self, spec: TargetSpec) {
        match spec {
            TargetSpec::Addresses(AddressRange::V4(span)) => self.v4.push(span),
            TargetSpec::Addresses(AddressRange::V6(span)) => self.v6.push(span),
            TargetSpec::Name(name) => self.names.push(name),
        }
    }

    /// Adds the targets of another list; its labels are dropped.
    pub(super) fn append(&mut self, mut other: Self) {
        self.v4.append(&mut other.v4);
        self.v6.append(&mut other.v6);
        self.names.append(&mut other.names);
        self.of_names.append(&mut other.of_names);
    }

    /// Addresses, CIDRs and ranges, in the order in which they were added, IPv4's first.
    pub fn ranges(&self) -> impl Iterator<Item = AddressRange> {
        let v4 = self.v4.iter().copied().map(AddressRange::V4);
        v4.chain(self.v6.iter().copied().map(AddressRange::V6))
    }

    /// Names, in the order in which they were added.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// Adds an address of a name: a target of its own, called `NAME/ADDRESS`.
    pub fn push_address_of(&mut self, name: &str, address: IpAddr) {
        self.of_names.push((name.into(), address));
    }

    /// Addresses of names, in the order in which they were added.
    pub fn addresses_of_names(&self) -> &[AddressOfName] {
        &self.of_names
    }

    /// Puts for each name what it stands for: its addresses, each a target of its own; a name without any stays.
    #[must_use]
    pub fn with_all_addresses<'a>(mut self, addresses: impl Fn(&str) -> &'a [IpAddr]) -> Self {
        for name in std::mem::take(&mut self.names) {
            match addresses(&name) {
                [] => self.names.push(name),
                found => found.iter().for_each(|address| self.push_address_of(&name, *address)),
            }
        }
        self
    }

    /// The names, and the addresses of names.
    pub(super) fn into_names(self) -> (Vec<Box<str>>, Vec<AddressOfName>) {
        (self.names, self.of_names)
    }

    /// How many targets the lists name, each once; a name is one.
    pub fn distinct(lists: &[Self]) -> u64 {
        let v4 = span::merge(lists.iter().flat_map(|list| list.v4.iter().copied()).collect());
        let v6 = span::merge(lists.iter().flat_map(|list| list.v6.iter().copied()).collect());
        let names: HashSet<&str> = lists.iter().flat_map(|list| &list.names).map(|name| &**name).collect();
        let of_names: HashSet<_> = lists.iter().flat_map(|list| &list.of_names).collect();
        let counts = v4.iter().map(Span::count).chain(v6.iter().map(Span::count));
        let addresses = counts.fold(0u128, u128::saturating_add);
        u64::try_from(addresses).unwrap_or(u64::MAX).saturating_add((names.len() + of_names.len()) as u64)
    }

    /// Whether nothing was named.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && self.names.is_empty() && self.of_names.is_empty()
    }
}

/// A line of a file; only shown when something is wrong with it.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    file: &'a str,
    number: u64,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.number)
    }
}

/// What is done with each target of a file.
pub(super) type Take<'a> = &'a mut dyn FnMut(TargetSpec, Line<'_>) -> Result<(), Error>;

/// Reads a file of one target a line; `-` is stdin.
pub(super) fn read_file(path: &Path, take: Take<'_>) -> Result<(), Error> {
    if path == Path::new("-") {
        return read_lines(io::stdin().lock(), "stdin", take);
    }
    let file = path.display().to_string();
    match File::open(path) {
        Ok(opened) => read_lines(BufReader::with_capacity(1 << 16, opened), &file, take),
        Err(error) => Err(Error::Read { file, error }),
    }
}

/// Longer than any target with its comment; a binary file is noticed before it fills memory.
const LONGEST_LINE: u64 = 4096;

pub(super) fn read_lines(mut input: impl BufRead, file: &str, take: Take<'_>) -> Result<(), Error> {
    let mut buffer = Vec::new();
    for number in 1.. {
        let line = Line { file, number };
        let content = |reason: &str| Error::Content { place: line.to_string(), reason: reason.into() };
        buffer.clear();
        let read = io::Read::take(&mut input, LONGEST_LINE).read_until(b'\n', &mut buffer);
        if read.map_err(|error| Error::Read { file: file.to_owned(), error })? == 0 {
            break;
        }
        if buffer.len() as u64 == LONGEST_LINE && !buffer.ends_with(b"\n") {
            return Err(content("the line is longer than 4096 bytes; write one target a line"));
        }
        let text = std::str::from_utf8(&buffer).map_err(|_| content("the line is not UTF-8 text"))?;
        let text = text.strip_prefix('\u{feff}').filter(|_| number == 1).unwrap_or(text);
        let text = text.split('#').next().unwrap_or(text).trim();
        if text.is_empty() {
            continue;
        }
        let spec = text.parse().map_err(|error| Error::Spec { place: line.to_string(), error })?;
        take(spec, line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut specs = Vec::new();
        let read = read_lines(bytes, "list", &mut |spec, _| {
            specs.push(spec.to_string());
            Ok(())
        });
        read.map(|()| specs).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_lines_with_comments_blanks_and_foreign_line_ends() {
        let text = "\u{feff}# head\n10.0.0.1\r\n\n  10.0.0.0/30 # four\n\thost.example\n#\n10.0.0.1-3";
        assert_eq!(read(text.as_bytes()).unwrap(), ["10.0.0.1", "10.0.0.0/30", "host.example", "10.0.0.1-10.0.0.3"]);
        assert_eq!(read(b"").unwrap(), [""; 0]);
    }

    #[test]
    fn errors_name_the_line() {
        let long = [b"10.0.0.1\n".as_slice(), &[b'a'; 5000]].concat();
        let table: [(&[u8], &str); 4] = [
            (b"10.0.0.1\n\n10.0.0.300\n", "list:3: `10.0.0.300` is not a target"),
            (b"10.0.0.1 10.0.0.2\n", "list:1: `10.0.0.1 10.0.0.2` is not a target: it contains white space"),
            (b"\xff\xfe\n", "list:1: the line is not UTF-8"),
            (&long, "list:2: the line is longer"),
        ];
        for (bytes, expected) in table {
            let error = read(bytes).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn errors_name_the_argument_and_the_file() {
        let error = TargetList::from_arguments(&["10.0.0.1", "10.0.0.1:80"]).unwrap_err().to_string();
        assert!(error.starts_with("argument 2: `10.0.0.1:80` is not a target: it has a port"), "{error}");
        let error = TargetList::default().read_file(Path::new("/nowhere/list")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/list: cannot be read: No such file"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
