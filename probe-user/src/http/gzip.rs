//! An answer packed while it is made: no more is held than the packer's window.

use flate2::{Compression, write::GzEncoder};
use std::io::Write;

/// What it is given, packed. An item may be empty: the packer has kept what it got.
pub(super) struct Gzip<I> {
    chunks: I,
    /// None once all is packed.
    packer: Option<GzEncoder<Vec<u8>>>,
}

impl<I> Gzip<I> {
    pub(super) fn new(chunks: I) -> Self {
        // Lines of metrics shrink to a tenth at the fastest level, and a scrape is on the same wire as probes.
        Self { chunks, packer: Some(GzEncoder::new(Vec::new(), Compression::fast())) }
    }
}

impl<I: Iterator<Item = Vec<u8>>> Iterator for Gzip<I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        match self.chunks.next() {
            Some(chunk) => {
                let packer = self.packer.as_mut()?;
                // A Vec takes whatever fits into memory: there is no error to see.
                packer.write_all(&chunk).ok()?;
                Some(std::mem::take(packer.get_mut()))
            }
            None => self.packer.take()?.finish().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test panics where it fails")]
    use super::*;
    use std::io::Read;

    #[test]
    fn what_was_packed_comes_out_and_little_is_held() {
        let chunk =
            |i: u32| (0..1000).flat_map(|n| format!("series{{n=\"{n}\"}} {i}\n").into_bytes()).collect::<Vec<u8>>();
        let (plain, mut longest): (Vec<u8>, usize) = ((0..200).flat_map(chunk).collect(), 0);
        let packed: Vec<u8> =
            Gzip::new((0..200).map(chunk)).inspect(|part| longest = longest.max(part.len())).flatten().collect();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
        assert!(back == plain);
        assert!(packed.len() < plain.len() / 5, "{} of {}", packed.len(), plain.len());
        assert!(longest < 64 * 1024, "{longest} bytes at once");
        let nothing: Vec<u8> = Gzip::new(std::iter::empty()).flatten().collect();
        assert_eq!(flate2::read::GzDecoder::new(&nothing[..]).read(&mut [0]).unwrap(), 0);
    }
}
