//! Where lines go: a file of our own, or standard output.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    os::{fd::AsFd, unix::fs::FileTypeExt as _},
    path::{Path, PathBuf},
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
    /// None: a named pipe. Opening one waits for its reader, so it is opened by who writes, at the first write.
    file: Option<File>,
    path: PathBuf,
    /// A regular file that we made: nobody else's bytes are in it, and its end can be cut off.
    own: bool,
}

impl Output {
    /// Makes the file, or empties it; None is standard output, past the buffer of the standard library.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, WriteError> {
        let Some(path) = path else {
            let name = "standard output".to_owned();
            return match io::stdout().as_fd().try_clone_to_owned() {
                Ok(fd) => Ok(Self { name, file: Some(File::from(fd)), path: PathBuf::new(), own: false }),
                Err(source) => Err(WriteError { name, doing: "use it", source, advice: "Name a file with -o" }),
            };
        };
        let name = path.display().to_string();
        let advice = "Name another file with -o, or leave -o out to write to standard output";
        if fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo()) {
            return Ok(Self { name, file: None, path: path.into(), own: false });
        }
        match File::create(path) {
            Ok(file) => {
                let own = file.metadata().is_ok_and(|meta| meta.is_file());
                Ok(Self { name, file: Some(file), path: path.into(), own })
            }
            Err(source) => Err(WriteError { name, doing: "create the output file", source, advice }),
        }
    }
}

impl Destination for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => self.file.insert(File::options().write(true).open(&self.path)?).write(bytes),
        }
    }

    fn take_back(&mut self, n: usize) -> bool {
        let cut = |file: &mut File| {
            let end = file.stream_position()?.saturating_sub(n as u64);
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))
        };
        self.own && self.file.as_mut().is_some_and(|file| cut(file).is_ok())
    }
}
