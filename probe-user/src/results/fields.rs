//! Bytes of single fields: numbers, addresses, dates, quoting. Nothing here allocates beyond the buffer it appends to.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
};

/// "00", "01", ... "99".
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut i = 0;
    while i < 100 {
        pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    pairs
};

/// Appends a number in decimal.
#[inline]
pub(super) fn push_u64(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while n >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(n % 100) as usize]);
        n /= 100;
    }
    if n >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[n as usize]);
    } else {
        at -= 1;
        digits[at] = PAIRS[n as usize][1];
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends the low `width` decimal digits of a number, zeros in front; at most 10.
#[inline]
pub(super) fn push_padded(out: &mut Vec<u8>, mut n: u64, width: usize) {
    let mut digits = [b'0'; 10];
    let mut at = digits.len();
    while at > 0 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(n % 100) as usize]);
        n /= 100;
    }
    out.extend_from_slice(&digits[digits.len() - width..]);
}

/// Appends an address as people write it.
#[inline]
pub(super) fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => push_v4(out, address),
        // Into a vector, writing can't fail.
        IpAddr::V6(address) => _ = write!(out, "{address}"),
    }
}

#[inline]
fn push_v4(out: &mut Vec<u8>, address: Ipv4Addr) {
    let mut dotted = [0u8; 16];
    let mut len = 0;
    for octet in address.octets() {
        if octet >= 100 {
            dotted[len] = b'0' + octet / 100;
            len += 1;
        }
        let [tens, ones] = PAIRS[(octet % 100) as usize];
        if octet >= 10 {
            dotted[len] = tens;
            len += 1;
        }
        dotted[len] = ones;
        dotted[len + 1] = b'.';
        len += 2;
    }
    out.extend_from_slice(&dotted[..len - 1]);
}

/// Appends text as a JSON string, with its quotes.
pub(super) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Appends text as a CSV field: quoted where RFC 4180 asks for it.
pub(super) fn push_csv(out: &mut Vec<u8>, text: &str) {
    if !text.bytes().any(|b| matches!(b, b'"' | b',' | b'\n' | b'\r')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for &byte in text.as_bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Turns nanoseconds since 1970 into RFC 3339 in UTC. The date is worked out once a second and remembered.
#[derive(Debug)]
pub(super) struct Calendar {
    second: u64,
    /// "2026-11-20T21:00:00."
    text: Vec<u8>,
}

impl Calendar {
    pub(super) fn new() -> Self {
        let mut calendar = Self { second: 0, text: Vec::with_capacity(24) };
        calendar.turn_to(0);
        calendar
    }

    /// Appends the time with `decimals` (1 to 9) digits of the second's fraction, cut off and not rounded.
    #[inline]
    pub(super) fn push(&mut self, out: &mut Vec<u8>, unix_ns: u64, decimals: u32) {
        let (second, nanos) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
        if second != self.second {
            self.turn_to(second);
        }
        out.extend_from_slice(&self.text);
        push_padded(out, nanos / 10u64.pow(9 - decimals), decimals as usize);
        out.push(b'Z');
    }

    fn turn_to(&mut self, second: u64) {
        let (days, of_day) = (second / 86_400, second % 86_400);
        let (year, month, day) = civil_from_days(days);
        self.second = second;
        self.text.clear();
        let parts = [(year, b'-', 4), (month, b'-', 2), (day, b'T', 2)];
        let clock = [(of_day / 3_600, b':', 2), (of_day / 60 % 60, b':', 2), (of_day % 60, b'.', 2)];
        for (number, after, width) in parts.into_iter().chain(clock) {
            push_padded(&mut self.text, number, width);
            self.text.push(after);
        }
    }
}

/// Nanoseconds since 1970, UTC, as RFC 3339 has it, to the nanosecond.
pub fn rfc3339(unix_ns: u64) -> String {
    let mut text = Vec::with_capacity(32);
    Calendar::new().push(&mut text, unix_ns, 9);
    String::from_utf8(text).unwrap_or_default()
}

/// Year, month and day of a day counted from 1970-01-01. Howard Hinnant, "chrono-compatible low-level date algorithms":
/// years begin in March, so that the leap day is the last one, and 146,097 days make an era of 400 years.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_of_known_moments() {
        let mut calendar = Calendar::new();
        // `date -u -d @N` says the same.
        for (second, date) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_795_208_400, "2026-11-20T21:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            let time = text(|out| calendar.push(out, second * 1_000_000_000 + 123_456_789, 9));
            assert_eq!(time, format!("{date}.123456789Z"));
            assert_eq!(text(|out| calendar.push(out, second * 1_000_000_000 + 5_999_999, 3)), format!("{date}.005Z"));
        }
    }

    proptest! {
        #[test]
        fn numbers_read_as_the_standard_library_writes_them(n: u64, small in 0u64..1_000_000) {
            prop_assert_eq!(text(|out| push_u64(out, n)), n.to_string());
            prop_assert_eq!(text(|out| push_u64(out, small)), small.to_string());
            prop_assert_eq!(text(|out| push_padded(out, small, 9)), format!("{small:09}"));
        }

        #[test]
        fn addresses_read_as_the_standard_library_writes_them(bits: u32) {
            let address = IpAddr::from(Ipv4Addr::from_bits(bits));
            prop_assert_eq!(text(|out| push_address(out, address)), address.to_string());
        }

        #[test]
        fn json_strings_come_back_whole(original: String) {
            let quoted = text(|out| push_json_string(out, &original));
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), original);
        }

        #[test]
        fn days_follow_each_other(days in 0u64..1_000_000) {
            let (today, tomorrow) = (civil_from_days(days), civil_from_days(days + 1));
            prop_assert!(tomorrow > today);
            prop_assert!((1..=31).contains(&today.2) && (1..=12).contains(&today.1));
            prop_assert!(tomorrow.2 == today.2 + 1 || tomorrow.2 == 1);
        }
    }

    #[test]
    fn csv_quotes_only_what_needs_it() {
        assert_eq!(text(|out| push_csv(out, "host.example")), "host.example");
        assert_eq!(text(|out| push_csv(out, "a \"b\", c")), "\"a \"\"b\"\", c\"");
        assert_eq!(text(|out| push_csv(out, "two\nlines")), "\"two\nlines\"");
    }
}
