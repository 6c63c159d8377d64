//! Of tables of ranges.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Result<Ranges, String> {
    Ranges::read(text.as_bytes()).map_err(|wrong| match wrong {
        Wrong::Line(line, reason) => format!("{line}: {reason}"),
        Wrong::Read(error) => error.to_string(),
    })
}

fn found(ranges: &Ranges, address: &str) -> Option<(u32, Option<String>)> {
    let network = ranges.find(address.parse().unwrap())?;
    Some((network.asn, network.name.map(|name| name.to_string())))
}

#[test]
fn addresses_of_both_families_are_found_between_the_ends_of_their_range() {
    let table = "\u{feff}# of the lab\n\
        2001:db8::\t2001:db8:ffff:ffff:ffff:ffff:ffff:ffff\t64502\tDE\tSIX\r\n\
        192.0.2.0\t192.0.2.127\tAS64500\tDE\tEXAMPLE-AS Beispiel \u{dc}ber\tmit Tabulator\n\
        \n\
        0.0.0.0\t0.255.255.255\t0\tNone\tNot routed\n\
        3325256704\t3325256959\t64501\tFR\t\n\
        203.0.113.7\t203.0.113.7\t64500\n";
    let ranges = read(table).unwrap();
    let example = Some((64_500, Some("EXAMPLE-AS Beispiel \u{dc}ber\u{fffd}mit Tabulator".to_owned())));
    for (address, expected) in [
        ("192.0.1.255", None),
        ("192.0.2.0", example.clone()),
        ("192.0.2.127", example),
        ("192.0.2.128", None),
        ("0.0.0.1", None),
        ("198.51.100.0", Some((64_501, None))),
        ("198.51.100.255", Some((64_501, None))),
        ("203.0.113.7", Some((64_500, None))),
        ("255.255.255.255", None),
        ("2001:db8::7", Some((64_502, Some("SIX".to_owned())))),
        ("2001:db9::", None),
        ("::", None),
    ] {
        assert_eq!(found(&ranges, address), expected, "{address}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_to_do() {
    for (text, expected) in [
        ("", "1: the file ends without a range that has an AS"),
        (
            "root:x:0:0:root:/root:/bin/sh\n",
            "1: `root:x:0:0:root:/root:/bin/sh` is not an address; a line is `first address, last",
        ),
        ("192.0.2.0\t192.0.2.255\n", "1: `192.0.2.0\\t192.0.2.255` has too few columns; a line is"),
        (
            "# a\n192.0.2.0\t192.0.2.255\tDE\t64500\tA\n",
            "2: `192.0.2.0\\t192.0.2.255\\tDE\\t64500\\tA` has no AS number in its third",
        ),
        (
            "192.0.2.255\t192.0.2.0\t64500\tDE\tA\n",
            "1: the range ends before it begins (192.0.2.255 to 192.0.2.0); swap",
        ),
        ("192.0.2.0\t2001:db8::\t64500\tDE\tA\n", "1: 192.0.2.0 and 2001:db8:: are of two families; give"),
        (
            "10.0.0.0\t10.255.255.255\t64500\tDE\tA\n192.0.2.0\t192.0.2.255\t64500\tDE\tA\n10.1.0.0\t10.1.0.255\t64501\tDE\tB\n",
            "3: 10.1.0.0 is in line 1's range already; leave each address in one range",
        ),
        ("\u{1b}[2J\t1\t2\n", "1: `\\u{1b}[2J` is not an address"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(expected), "{text:?}: {error}");
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    let error = read(&"1".repeat(10_000_000)).unwrap_err();
    assert!(error.starts_with("1: more than 4096 bytes in a line"), "{error}");
}

/// A table of ranges apart from each other, in any order, and the gaps between them.
fn tables() -> impl Strategy<Value = Vec<(u32, u32, u32)>> {
    let cuts = prop::collection::btree_set(any::<u32>(), 2..40);
    (cuts, any::<u64>()).prop_map(|(cuts, seed)| {
        let cuts: Vec<u32> = cuts.into_iter().collect();
        let mut ranges: Vec<_> =
            cuts.chunks_exact(2).zip(64_500..).map(|(pair, asn)| (pair[0], pair[1], asn)).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut ranges);
        ranges
    })
}

proptest! {
    #[test]
    fn of_any_table_each_address_is_found_as_a_walk_through_it_finds_it(ranges in tables(), others in prop::collection::vec(any::<u32>(), 20)) {
        let v6 = |address: u32| std::net::Ipv6Addr::from_bits(u128::from(address) << 64);
        let line = |(first, last, asn): &(u32, u32, u32)| {
            let (v4_first, v4_last) = (Ipv4Addr::from_bits(*first), Ipv4Addr::from_bits(*last));
            format!("{v4_first}\t{v4_last}\t{asn}\tDE\tAS {asn}\n{}\t{}\t{asn}\tDE\tAS {asn}\n", v6(*first), v6(*last))
        };
        let table = read(&ranges.iter().map(line).collect::<String>()).unwrap();
        let ends = ranges.iter().flat_map(|(first, last, _)| [first.saturating_sub(1), *first, *last, last.saturating_add(1)]);
        for address in ends.chain(others) {
            let expected = ranges.iter().find(|(first, last, _)| (first..=last).contains(&&address)).map(|(.., asn)| *asn);
            let asn = |address: IpAddr| table.find(address).map(|network| network.asn);
            prop_assert_eq!(asn(Ipv4Addr::from_bits(address).into()), expected);
            prop_assert_eq!(asn(v6(address).into()), expected);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "([0-9a-f.:]{0,12}\t|AS|\\PC|\n|\t){0,40}") {
        if let Err(error) = read(&text) {
            prop_assert!(!error.chars().any(char::is_control) && error.len() < 1_000, "{error:?}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _either = Ranges::read(&bytes[..]);
    }
}
