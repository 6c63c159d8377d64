//! What a UDP probe carries: a DNS question, or any bytes.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use probe_ebpf::wire::dns;
use std::{
    collections::BTreeSet,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

/// The most bytes that a probe can be given to carry: what an Ethernet frame without tags holds over IPv6.
const MOST: usize = 1_452;

/// What a UDP probe carries. Its bytes are kept once for as long as the process runs: what configurations name is little.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Content {
    /// A DNS query whose identifier is zero: each probe has its own, which the answer brings back.
    Dns(&'static [u8]),
    /// These bytes. Nothing of them need come back.
    Bytes(&'static [u8]),
}

/// Why there is no such content.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ContentError {
    /// Not a name and a type.
    #[error("a DNS question is a name and a type, such as \"example.com AAAA\"")]
    Question,
    /// There can be no such name.
    #[error("{0:?} can't be a DNS name: labels have up to 63 bytes, names up to 255")]
    Name(String),
    /// There is no such record type.
    #[error("{0:?} is no DNS record type: A, AAAA, NS, SOA, MX, TXT and so on, or TYPE and a number")]
    Type(String),
    /// Not pairs of hexadecimal digits.
    #[error("hexadecimal bytes are pairs of the digits 0-9 and a-f, such as \"00ff17\"")]
    Hex,
    /// More than fits a frame.
    #[error("{0} bytes: a UDP probe carries at most {MOST}")]
    Long(usize),
}

impl Content {
    /// What a port is asked unless it is said: the DNS port for the name servers of the root, which every name server has an answer to;
    /// any other is sent a word that names the sender.
    pub fn of_port(port: u16) -> Self {
        match port {
            53 => Self::question(Name::root(), RecordType::NS).unwrap_or(Self::Bytes(b"")),
            _ => Self::Bytes(b"echolot\n"),
        }
    }

    /// A DNS question by name and type, such as `example.com AAAA`; recursion is desired.
    ///
    /// # Errors
    /// It is none.
    pub fn dns(text: &str) -> Result<Self, ContentError> {
        let mut words = text.split_whitespace();
        let (Some(name), Some(kind), None) = (words.next(), words.next(), words.next()) else {
            return Err(ContentError::Question);
        };
        let mut parsed = Name::from_str(name).map_err(|_| ContentError::Name(name.into()))?;
        parsed.set_fqdn(true);
        let number = || kind.strip_prefix("TYPE")?.parse::<u16>().ok().map(RecordType::from);
        let upper = kind.to_ascii_uppercase();
        let kind = RecordType::from_str(&upper).ok().or_else(number).ok_or_else(|| ContentError::Type(kind.into()))?;
        Self::question(parsed, kind).ok_or_else(|| ContentError::Name(name.into()))
    }

    /// Bytes as text.
    ///
    /// # Errors
    /// More than fits a frame.
    pub fn text(text: &str) -> Result<Self, ContentError> {
        Self::bytes_of(text.as_bytes())
    }

    /// Bytes as hexadecimal digits; white space between them is skipped.
    ///
    /// # Errors
    /// Something else is among them, or they are more than fit a frame.
    pub fn hex(text: &str) -> Result<Self, ContentError> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, rest) = digits.as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        match (bytes, rest) {
            (Some(bytes), []) => Self::bytes_of(&bytes),
            _ => Err(ContentError::Hex),
        }
    }

    /// The bytes, of a DNS query without its identifier.
    #[inline]
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Dns(bytes) | Self::Bytes(bytes) => bytes,
        }
    }

    /// Whether an answer brings a proof back.
    #[inline]
    pub const fn is_dns(self) -> bool {
        matches!(self, Self::Dns(_))
    }

    fn question(name: Name, kind: RecordType) -> Option<Self> {
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name, kind));
        let bytes = message.to_vec().ok()?;
        debug_assert!(bytes.len() > dns::HEADER);
        Some(Self::Dns(kept(&bytes)))
    }

    fn bytes_of(bytes: &[u8]) -> Result<Self, ContentError> {
        if bytes.len() > MOST { Err(ContentError::Long(bytes.len())) } else { Ok(Self::Bytes(kept(bytes))) }
    }
}

/// The same bytes, kept.
fn kept(bytes: &[u8]) -> &'static [u8] {
    static KEPT: Mutex<BTreeSet<&'static [u8]>> = Mutex::new(BTreeSet::new());
    // A panic can't have left the set half written.
    let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = all.get(bytes) {
        return kept;
    }
    let new: &'static [u8] = Box::leak(bytes.into());
    all.insert(new);
    new
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn questions_are_as_dig_asks_them() {
        let question = [
            0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7, b'e', b'x', b'a', b'm', b'p', b'l', b'e', 3, b'c', b'o', b'm', 0, 0,
            28, 0, 1,
        ];
        for text in ["example.com AAAA", " example.com.  aaaa ", "example.com TYPE28"] {
            assert_eq!(Content::dns(text).unwrap().bytes(), question, "{text}");
        }
        static ROOT: [u8; 17] = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
        assert_eq!((Content::of_port(53), Content::dns(". NS")), (Content::Dns(&ROOT), Ok(Content::Dns(&ROOT))));
        assert!(!Content::of_port(7).is_dns());
    }

    #[test]
    fn what_is_none_says_why() {
        for text in ["", "example.com", "example.com A IN"] {
            assert_eq!(Content::dns(text), Err(ContentError::Question), "{text}");
        }
        assert_eq!(Content::dns("example.com AAAAA"), Err(ContentError::Type("AAAAA".into())));
        for name in [format!("{}.com", "a".repeat(64)), ["abcdefgh"; 40].join("."), "a..b".into()] {
            assert_eq!(Content::dns(&format!("{name} A")), Err(ContentError::Name(name)));
        }
        for text in ["0", "0g", "+1", "0x00", "é"] {
            assert_eq!(Content::hex(text), Err(ContentError::Hex), "{text}");
        }
        assert_eq!(Content::text(&"x".repeat(1_453)), Err(ContentError::Long(1_453)));
    }

    #[test]
    fn bytes_are_kept_once() {
        assert_eq!(Content::hex("00 fF 17").unwrap(), Content::Bytes(&[0, 255, 23]));
        let (a, b) = (Content::text("hello").unwrap(), Content::hex("68656c6c6f").unwrap());
        assert!(std::ptr::eq(a.bytes(), b.bytes()));
        assert_eq!((a, Content::text("").unwrap().bytes()), (b, &[][..]));
    }
}
