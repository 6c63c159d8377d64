//! A TUN device: packets that the kernel sends by it are read here, and what is written here arrives by it.
#![expect(unsafe_code, reason = "the one request that makes the device, which std and rustix can't")]

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd as _,
};

/// The kernel's `struct ifreq`, of which it reads name and flags.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Makes a TUN device of this name in the network namespace of the calling thread. A read gives one packet, a write sends one,
/// from their IP headers on. The device goes when the file is closed.
///
/// # Errors
/// The kernel's: no `/dev/net/tun`, no permission, a name that is taken or too long.
pub(super) fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    let flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
    // One byte less: the name ends with a zero.
    let room = request.name[..libc::IFNAMSIZ - 1].get_mut(..name.len());
    room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(name.as_bytes());
    // SAFETY: the file is open, and the request is as long as the `struct ifreq` that the kernel reads and writes; both outlive
    // the call.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(file) }
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>(), "the kernel's own");
