//! A packet socket for the packets of one protocol on one interface.

use super::protocol::{Mac, Sender};
use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr,
};

/// Bytes for what has come and is not read yet: some 5,000 packets. The kernel may grant less.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// Bytes of a packet that are looked at. Answers have 28 and 72; of IPv6 some have more options.
const PACKET: usize = 256;

/// What has come: its bytes, and where it came from if it is this interface's and for us.
pub(super) struct Received {
    packet: [u8; PACKET],
    length: usize,
    pub(super) sender: Option<Sender>,
}

impl Received {
    pub(super) fn packet(&self) -> &[u8] {
        &self.packet[..self.length]
    }
}

pub(super) struct Socket {
    fd: OwnedFd,
    interface: libc::c_int,
    ethertype: libc::c_int,
}

impl Socket {
    /// Nothing comes before it is bound; then what the filter passes.
    pub(super) fn open(interface: u32, ethertype: libc::c_int, filter: &[libc::sock_filter]) -> io::Result<Self> {
        let interface = libc::c_int::try_from(interface).map_err(io::Error::other)?;
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // Of no protocol yet: nothing comes before it is bound to the interface.
        // SAFETY: takes numbers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that the kernel has just made for us, and that nothing else knows.
        let socket = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, interface, ethertype };
        // What these two do not do is only work: our own questions are no answers.
        for (level, option, value) in
            [(libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER), (libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)]
        {
            if let Err(error) = socket.set(level, option, &value) {
                tracing::debug!(option, %error, "an option of the packet socket for neighbours is not set");
            }
        }
        if !filter.is_empty() {
            // The kernel copies the instructions and writes to none of them.
            let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
            let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
            socket.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
        }
        Ok(socket)
    }

    /// From now on it sees its protocol's packets on its interface.
    pub(super) fn bind(&self) -> io::Result<()> {
        let address = self.address([0; 6]);
        // SAFETY: an address of that size, read during the call only.
        let bound = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), size_of_address()) };
        if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The interface's MAC address, now.
    pub(super) fn mac(&self) -> io::Result<Mac> {
        let mut address = self.address([0; 6]);
        let mut size = size_of_address();
        // SAFETY: room of that size, written during the call only.
        let done = unsafe { libc::getsockname(self.fd.as_raw_fd(), (&raw mut address).cast(), &raw mut size) };
        if done == 0 { Ok(mac_of(&address)) } else { Err(io::Error::last_os_error()) }
    }

    pub(super) fn send(&self, to: Mac, packet: &[u8]) -> io::Result<()> {
        let address = self.address(to);
        let (fd, address) = (self.fd.as_raw_fd(), (&raw const address).cast());
        // SAFETY: the packet and an address of that size, read during the call only.
        let sent = unsafe { libc::sendto(fd, packet.as_ptr().cast(), packet.len(), 0, address, size_of_address()) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next packet.
    pub(super) fn receive(&self) -> io::Result<Received> {
        let mut packet = [0; PACKET];
        let mut from = self.address([0; 6]);
        let mut size = size_of_address();
        let (fd, address) = (self.fd.as_raw_fd(), (&raw mut from).cast());
        // SAFETY: room for as many bytes as are named, and for an address of that size, written during the call only.
        let read = unsafe { libc::recvfrom(fd, packet.as_mut_ptr().cast(), packet.len(), 0, address, &raw mut size) };
        let Ok(length) = usize::try_from(read) else { return Err(io::Error::last_os_error()) };
        // The kernel shows a frame that is tagged for a VLAN device first to sockets of the device beneath, and then under the VLAN
        // device's index; one of a VLAN that nobody has is another host's.
        let to_us = match from.sll_pkttype {
            _ if from.sll_ifindex != self.interface => None,
            libc::PACKET_HOST => Some(true),
            libc::PACKET_BROADCAST | libc::PACKET_MULTICAST => Some(false),
            _ => None,
        };
        let sender = to_us.map(|to_us| Sender { mac: mac_of(&from), to_us });
        Ok(Received { packet, length, sender })
    }

    /// `T` is what the option takes: a number, or a program whose instructions are there during the call.
    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let size = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
        // SAFETY: a value of that size, read during the call only; what it points to lives as long.
        let done = unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, option, ptr::from_ref(value).cast(), size) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn address(&self, mac: Mac) -> libc::sockaddr_ll {
        let [a, b, c, d, e, f] = mac;
        libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
            sll_protocol: u16::try_from(self.ethertype).unwrap_or_default().to_be(),
            sll_ifindex: self.interface,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [a, b, c, d, e, f, 0, 0],
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn mac_of(address: &libc::sockaddr_ll) -> Mac {
    let [a, b, c, d, e, f, _, _] = address.sll_addr;
    [a, b, c, d, e, f]
}

fn size_of_address() -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of::<libc::sockaddr_ll>()).unwrap_or(0)
}
