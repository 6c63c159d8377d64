//! The object of the XDP programs of far ends and measurements, and its maps.

use aya::maps::{Map, MapError};
use echolot::nic::{NicError, Program, Source};
use std::io;

/// As the compiler has made it: programs and maps are those of `probe-ebpf/src/far`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/echolot-far"));

/// The program of that name.
pub(crate) fn source(name: &'static str) -> Source<'static> {
    Source { object: OBJECT, name, ..Source::default() }
}

/// A map of an attached program, out of its hands. It lives for as long as either does.
pub(crate) fn take<T: TryFrom<Map, Error = MapError>>(
    program: &mut Program,
    name: &'static str,
) -> Result<T, NicError> {
    let missing = || failed("find the map", name, io::Error::from(io::ErrorKind::NotFound));
    let map = program.object().take_map(name).ok_or_else(missing)?;
    T::try_from(map).map_err(|error| failed("open the map", name, error))
}

/// What could not be done with a map or a program.
pub(crate) fn failed(
    what: &'static str,
    name: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> NicError {
    NicError::Program { what, name, error: Box::new(error) }
}
