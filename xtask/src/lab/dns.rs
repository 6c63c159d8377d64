//! A name server that knows three names, for tests of asking one (RFC 1035).

use std::net::{Ipv4Addr, Ipv6Addr};

/// The names that there are, and whether they have an IPv4 address ([`A`]) and an IPv6 address ([`AAAA`]). Any other name does not exist.
pub const NAMES: [(&str, bool, bool); 3] = [("both.lab", true, true), ("v4.lab", true, false), ("v6.lab", false, true)];
/// The IPv4 address of every name that has one.
pub const A: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// The IPv6 address of every name that has one.
pub const AAAA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 1);

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
/// Flags: it is a response, it is authoritative; the opcode; recursion is desired.
const RESPONSE: u16 = 1 << 15;
const AUTHORITATIVE: u16 = 1 << 10;
const OPCODE: u16 = 0xf << 11;
const RECURSION_DESIRED: u16 = 1 << 8;
/// "No such name".
const NXDOMAIN: u16 = 3;
/// Seconds.
const TIME_TO_LIVE: u32 = 60;

/// The response to a query with one question; None if it is none.
pub fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| Some(u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]));
    let flags = number(2)?;
    if flags & (RESPONSE | OPCODE) != 0 || number(4)? != 1 {
        return None;
    }
    let (name, end) = name(query)?;
    let (kind, class) = (number(end)?, number(end + 2)?);
    let found = NAMES.iter().find(|(known, ..)| name.eq_ignore_ascii_case(known));
    let address = match (found, kind, class) {
        (Some((_, true, _)), TYPE_A, CLASS_IN) => Some(A.octets().to_vec()),
        (Some((_, _, true)), TYPE_AAAA, CLASS_IN) => Some(AAAA.octets().to_vec()),
        _ => None,
    };
    let code = if found.is_some() { 0 } else { NXDOMAIN };
    let mut response = query[..2].to_vec();
    let counts = [RESPONSE | AUTHORITATIVE | flags & RECURSION_DESIRED | code, 1, u16::from(address.is_some()), 0, 0];
    response.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    response.extend(&query[HEADER..end + 4]);
    if let Some(address) = address {
        // A pointer to the question's name.
        response.extend([0xc0, HEADER as u8]);
        response.extend([kind, class].iter().flat_map(|word| word.to_be_bytes()));
        response.extend(TIME_TO_LIVE.to_be_bytes());
        response.extend((address.len() as u16).to_be_bytes());
        response.extend(address);
    }
    Some(response)
}

/// The name of the first question, without the dot at its end, and where in the query it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), HEADER);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        // Longer ones are pointers, which no question has.
        let label = query.get(at..at + length).filter(|_| length < 64)?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        at += length;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that meets none fails")]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.bytes());
        }
        query.push(0);
        query.extend([kind, CLASS_IN].iter().flat_map(|word| word.to_be_bytes()));
        query
    }

    #[test]
    fn names_have_the_addresses_that_are_said() {
        for (name, kind, address) in [
            ("both.lab", TYPE_A, &A.octets()[..]),
            ("BOTH.Lab", TYPE_AAAA, &AAAA.octets()),
            ("v4.lab", TYPE_A, &A.octets()),
            ("v6.lab", TYPE_AAAA, &AAAA.octets()),
        ] {
            let asked = query(name, kind);
            let answer = answer(&asked).unwrap();
            assert_eq!(answer[..12], [0x12, 0x34, 0x85, 0, 0, 1, 0, 1, 0, 0, 0, 0], "{name}");
            assert_eq!(answer[12..asked.len()], asked[12..], "the question as it was asked");
            let mut record = vec![0xc0, 12, 0, u8::try_from(kind).unwrap(), 0, 1, 0, 0, 0, 60, 0];
            record.push(u8::try_from(address.len()).unwrap());
            record.extend(address);
            assert_eq!(answer[asked.len()..], record, "{name}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        for (name, kind, code) in [
            ("v4.lab", TYPE_AAAA, 0),
            ("v6.lab", TYPE_A, 0),
            ("both.lab", 16, 0),
            ("nobody.lab", TYPE_A, 3),
            ("both.lab.more", TYPE_A, 3),
        ] {
            let asked = query(name, kind);
            let answer = answer(&asked).unwrap();
            assert_eq!(answer[..12], [0x12, 0x34, 0x85, code, 0, 1, 0, 0, 0, 0, 0, 0], "{name}");
            assert_eq!(answer[12..], asked[12..], "{name}");
        }
        let mut behind = query("both.lab", TYPE_A);
        behind.extend([0; 11]);
        assert!(answer(&behind).is_some(), "what may follow the question is no matter");
    }

    #[test]
    fn what_is_no_query_is_not_answered() {
        let good = query("both.lab", TYPE_A);
        for length in 0..good.len() {
            assert_eq!(answer(&good[..length]), None, "cut to {length}");
        }
        for (at, value) in [(2, 0x81), (2, 0x11), (5, 0), (5, 2), (12, 0xc0), (12, 200)] {
            let mut wrong = good.clone();
            wrong[at] = value;
            assert_eq!(answer(&wrong), None, "byte {at} is {value}");
        }
    }
}
