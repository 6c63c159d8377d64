//! Where lines go: a file of our own, or standard output.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    os::fd::AsFd,
    path::Path,
};

/// Something that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{name}: can't {doing}: {source}. {advice}")]
pub struct WriteError {
    /// The file, or "standard output".
    pub name: String,
    /// What was tried.
    pub doing: &'static str,
    /// Why it failed.
    pub source: io::Error,
    /// What to do.
    pub advice: &'static str,
}

/// What a spool empties into.
pub(super) trait Destination {
    /// As `io::Write::write`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Removes the last `n` bytes again. False where that can't be done.
    fn take_back(&mut self, n: usize) -> bool;
}

/// An open file.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) name: String,
    file: File,
    /// A regular file that we made: nobody else's bytes are in it, and its end can be cut off.
    own: bool,
}

impl Output {
    /// Makes the file, or empties it; None is standard output, past the buffer of the standard library.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, WriteError> {
        let Some(path) = path else {
            let name = "standard output".to_owned();
            return match io::stdout().as_fd().try_clone_to_owned() {
                Ok(fd) => Ok(Self { name, file: File::from(fd), own: false }),
                Err(source) => Err(WriteError { name, doing: "use it", source, advice: "Name a file with -o" }),
            };
        };
        let name = path.display().to_string();
        let advice = "Name another file with -o, or leave -o out to write to standard output";
        match File::create(path) {
            Ok(file) => Ok(Self { name, own: file.metadata().is_ok_and(|m| m.is_file()), file }),
            Err(source) => Err(WriteError { name, doing: "create the output file", source, advice }),
        }
    }
}

impl Destination for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn take_back(&mut self, n: usize) -> bool {
        let mut cut = || {
            let end = self.file.stream_position()?.saturating_sub(n as u64);
            self.file.set_len(end)?;
            self.file.seek(SeekFrom::Start(end))
        };
        self.own && cut().is_ok()
    }
}
