//! Whole lines on their way out. When the destination takes no more, what it got ends at the end of a record.

use super::output::Destination;
use std::{io, thread, time::Duration};

/// Bytes that wait to be written, and where each record ends in them.
#[derive(Debug, Default)]
pub(super) struct Spool {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// How much of the first record the destination has and could not give back.
    torn: usize,
}

impl Spool {
    /// Adds what `encode` appends as one record; false from it: there was none.
    pub(super) fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let any = encode(&mut self.bytes);
        if any {
            self.ends.push(self.bytes.len());
        }
        any
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Records that wait.
    pub(super) fn records(&self) -> usize {
        self.ends.len()
    }

    /// Forgets what waits. Returns how many records that were.
    pub(super) fn clear(&mut self) -> usize {
        let records = self.ends.len();
        *self = Self { bytes: std::mem::take(&mut self.bytes), ends: std::mem::take(&mut self.ends), torn: 0 };
        self.bytes.clear();
        self.ends.clear();
        records
    }

    /// Writes until all is out or the destination refuses. What it refused stays, from the beginning of a record where
    /// the destination can give back what it has of it; elsewhere the rest of that record will be written first.
    pub(super) fn flush(&mut self, destination: &mut impl Destination) -> io::Result<()> {
        let mut at = self.torn;
        let result = loop {
            if at == self.bytes.len() {
                break Ok(());
            }
            match destination.write(&self.bytes[at..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => at += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Somebody made our standard output non-blocking: wait as a blocking write would.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
                Err(e) => break Err(e),
            }
        };
        let whole = self.ends.partition_point(|&end| end <= at);
        let settled = if whole == 0 { 0 } else { self.ends[whole - 1] };
        self.torn = at - settled;
        if self.torn > 0 && destination.take_back(self.torn) {
            self.torn = 0;
        }
        self.bytes.drain(..settled);
        self.ends.drain(..whole);
        self.ends.iter_mut().for_each(|end| *end -= settled);
        result
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    /// Takes bytes in small pieces until it is full.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
        piece: usize,
        gives_back: bool,
    }

    impl Destination for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.piece).min(self.room - self.bytes.len());
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn take_back(&mut self, n: usize) -> bool {
            if self.gives_back {
                self.bytes.truncate(self.bytes.len() - n);
            }
            self.gives_back
        }
    }

    fn fill(spool: &mut Spool, lines: &[String]) {
        for line in lines {
            spool.append(|out| {
                out.extend_from_slice(line.as_bytes());
                true
            });
        }
    }

    proptest! {
        #[test]
        fn a_disk_that_fills_and_empties_holds_whole_records_all_along(
            lines in prop::collection::vec("[a-z\n]{0,20}\n", 1..30),
            rooms in prop::collection::vec(0usize..300, 0..6),
            piece in 1usize..50,
        ) {
            let mut spool = Spool::default();
            let mut disk = Disk { bytes: Vec::new(), room: 0, piece, gives_back: true };
            fill(&mut spool, &lines);
            for room in rooms {
                disk.room = disk.room.max(room);
                let done = spool.flush(&mut disk).is_ok();
                let whole = lines[..lines.len() - spool.records()].concat();
                prop_assert_eq!(std::str::from_utf8(&disk.bytes).unwrap(), whole);
                prop_assert_eq!(done, spool.records() == 0);
            }
            disk.room = usize::MAX;
            spool.flush(&mut disk).unwrap();
            prop_assert_eq!(disk.bytes, lines.concat().into_bytes());
        }

        #[test]
        fn a_pipe_gets_the_rest_of_a_torn_record_first(
            lines in prop::collection::vec("[a-z]{0,20}\n", 1..30),
            rooms in prop::collection::vec(0usize..300, 0..6),
        ) {
            let mut spool = Spool::default();
            let mut pipe = Disk { bytes: Vec::new(), room: 0, piece: 1000, gives_back: false };
            fill(&mut spool, &lines);
            for room in rooms {
                pipe.room = pipe.room.max(room);
                let _full_or_not = spool.flush(&mut pipe);
            }
            pipe.room = usize::MAX;
            spool.flush(&mut pipe).unwrap();
            prop_assert_eq!(pipe.bytes, lines.concat().into_bytes());
        }
    }
}
