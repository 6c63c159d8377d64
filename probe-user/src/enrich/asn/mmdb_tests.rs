//! Of files in MaxMind's format, which a writer here makes (<https://maxmind.github.io/MaxMind-DB/>).
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

/// A value of a record.
#[derive(Clone)]
pub(crate) enum Field {
    Number(u32),
    Text(&'static str),
    Table(Vec<(&'static str, Field)>),
}

/// What a value is, in the format's words.
fn control(kind: u8, size: usize) -> Vec<u8> {
    assert!(size < 285, "longer ones are not written here");
    let (size, more) = if size < 29 { (size as u8, None) } else { (29, Some((size - 29) as u8)) };
    // Types from 8 on stand in a byte of their own.
    let mut bytes = if kind < 8 { vec![kind << 5 | size] } else { vec![size, kind - 7] };
    bytes.extend(more);
    bytes
}

fn encode(field: &Field) -> Vec<u8> {
    match field {
        Field::Text(text) => [control(2, text.len()), text.as_bytes().to_vec()].concat(),
        Field::Number(number) => [control(6, 4), number.to_be_bytes().to_vec()].concat(),
        Field::Table(entries) => {
            let entries = entries.iter().flat_map(|(key, value)| [encode(&Field::Text(key)), encode(value)].concat());
            [
                control(
                    7,
                    match field {
                        Field::Table(all) => all.len(),
                        _ => 0,
                    },
                ),
                entries.collect(),
            ]
            .concat()
        }
    }
}

/// A file of that type: records of prefixes, IPv4 ones below ::/96 as the format has it.
pub(crate) fn file(kind: &'static str, records: &[(&str, Field)]) -> Vec<u8> {
    const EMPTY: usize = usize::MAX;
    const DATA: usize = 1 << 32;
    let (mut tree, mut data): (Vec<[usize; 2]>, Vec<u8>) = (vec![[EMPTY; 2]], Vec::new());
    for (prefix, record) in records {
        let (address, length) = prefix.split_once('/').unwrap();
        let length: usize = length.parse().unwrap();
        let (bits, length) = match address.parse().unwrap() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 96 + length),
            IpAddr::V6(address) => (address.to_bits(), length),
        };
        let mut node = 0;
        for depth in 0..length {
            let side = (bits >> (127 - depth) & 1) as usize;
            if depth + 1 == length {
                tree[node][side] = DATA + data.len();
            } else {
                if tree[node][side] == EMPTY {
                    tree.push([EMPTY; 2]);
                    tree[node][side] = tree.len() - 1;
                }
                node = tree[node][side];
            }
        }
        data.extend(encode(record));
    }
    let nodes = tree.len();
    let pointer = |to: usize| match to {
        EMPTY => nodes,
        DATA.. => to - DATA + nodes + 16,
        node => node,
    };
    let mut bytes: Vec<u8> = Vec::new();
    for to in tree.into_iter().flatten() {
        bytes.extend(&u32::try_from(pointer(to)).unwrap().to_be_bytes()[1..]);
    }
    bytes.extend([0; 16]);
    bytes.extend(data);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    let nodes = u32::try_from(nodes).unwrap();
    bytes.extend(control(7, 9));
    for (key, value) in [
        ("binary_format_major_version", [control(5, 1), vec![2]].concat()),
        ("binary_format_minor_version", control(5, 0)),
        ("build_epoch", [control(9, 4), vec![0x65, 0, 0, 0]].concat()),
        ("database_type", encode(&Field::Text(kind))),
        ("description", control(7, 0)),
        ("ip_version", [control(5, 1), vec![6]].concat()),
        ("languages", control(11, 0)),
        ("node_count", encode(&Field::Number(nodes))),
        ("record_size", [control(5, 1), vec![24]].concat()),
    ] {
        bytes.extend(encode(&Field::Text(key)));
        bytes.extend(value);
    }
    bytes
}

/// As GeoLite2-ASN has it.
pub(crate) fn geolite(asn: u32, organization: &'static str) -> Field {
    Field::Table(vec![
        ("autonomous_system_number", Field::Number(asn)),
        ("autonomous_system_organization", Field::Text(organization)),
    ])
}

fn found(mmdb: &Mmdb, address: &str) -> Option<(u32, Option<String>)> {
    let network = mmdb.find(address.parse().unwrap())?;
    Some((network.asn, network.name.map(|name| name.to_string())))
}

fn named(asn: u32, name: &str) -> Option<(u32, Option<String>)> {
    Some((asn, Some(name.to_owned())))
}

#[test]
fn numbers_and_names_are_read_as_geolite_writes_them() {
    let bytes = file(
        "GeoLite2-ASN",
        &[
            ("192.0.2.0/24", geolite(64_500, "EXAMPLE-AS")),
            ("10.0.0.0/8", geolite(64_501, "\u{1b}[2Jhostile")),
            ("2001:db8::/32", geolite(4_294_967_295, "SIX")),
            ("203.0.113.0/24", Field::Table(vec![("autonomous_system_number", Field::Number(64_503))])),
            ("198.51.100.0/24", geolite(0, "nobody")),
        ],
    );
    assert!(Mmdb::is_one(&bytes));
    let mmdb = Mmdb::read(bytes).unwrap();
    for (address, expected) in [
        ("192.0.2.7", named(64_500, "EXAMPLE-AS")),
        ("192.0.3.0", None),
        ("10.64.0.1", named(64_501, "[2Jhostile")),
        ("2001:db8::1", named(u32::MAX, "SIX")),
        ("2001:db9::1", None),
        ("203.0.113.1", Some((64_503, None))),
        ("198.51.100.1", None),
    ] {
        assert_eq!(found(&mmdb, address), expected, "{address}");
    }
}

#[test]
fn and_as_ipinfo_does() {
    let record = |asn, key, name| {
        Field::Table(vec![("asn", asn), ("domain", Field::Text("example.com")), (key, Field::Text(name))])
    };
    let bytes = file(
        "ipinfo asn",
        &[
            ("192.0.2.0/24", record(Field::Text("AS64500"), "name", "Example Ltd")),
            ("198.51.100.0/24", record(Field::Number(64_501), "as_name", "Another")),
            ("203.0.113.0/24", record(Field::Text(""), "name", "nobody")),
        ],
    );
    let mmdb = Mmdb::read(bytes).unwrap();
    assert_eq!(found(&mmdb, "192.0.2.7"), named(64_500, "Example Ltd"));
    assert_eq!(found(&mmdb, "198.51.100.7"), named(64_501, "Another"));
    assert_eq!(found(&mmdb, "203.0.113.7"), None);
}

#[test]
fn a_file_about_something_else_is_refused_by_its_type() {
    let city = Field::Table(vec![
        ("city", Field::Text("Berlin")),
        ("name", Field::Table(vec![("en", Field::Text("Berlin"))])),
    ]);
    let error = Mmdb::read(file("GeoLite2-City", &[("192.0.2.0/24", city)])).err().unwrap();
    assert!(error.contains("(GeoLite2-City) and has no AS numbers; name a file that has"), "{error}");
}

#[test]
fn a_broken_file_is_refused_or_tells_nothing_and_never_panics() {
    let whole = file(
        "GeoLite2-ASN",
        &[("192.0.2.0/24", geolite(64_500, "EXAMPLE-AS")), ("2001:db8::/32", geolite(64_501, "SIX"))],
    );
    let mut random = fastrand::Rng::with_seed(7);
    let addresses: [IpAddr; 2] = ["192.0.2.7".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let mut refused = 0;
    for round in 0..2_000 {
        let mut bytes = whole.clone();
        if round % 2 == 0 {
            bytes.drain(..random.usize(..bytes.len()));
        }
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        match Mmdb::read(bytes) {
            Ok(mmdb) => addresses.iter().for_each(|address| drop(mmdb.find(*address))),
            Err(error) => {
                refused += 1;
                assert!(!error.chars().any(char::is_control) && error.contains("; "), "{error:?}");
            }
        }
    }
    assert!(refused > 0, "nothing was broken");
}
