//! What an interface's driver says that it can do with XDP.

use super::genl::{ask, attribute};
use std::io;

/// See linux/netdev.h.
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;

/// A driver's XDP features, as the kernel's netdev family tells them (Linux 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures(pub u64);

impl XdpFeatures {
    /// Programs run in the driver.
    pub const BASIC: Self = Self(1);
    /// They may redirect, and so fill AF_XDP sockets.
    pub const REDIRECT: Self = Self(2);
    /// It transmits frames that were redirected to it, live frames among them. A veth does while its peer has a program.
    pub const NDO_XMIT: Self = Self(4);
    /// AF_XDP without copying.
    pub const ZERO_COPY: Self = Self(8);
    /// Frames in several pieces are received.
    pub const SCATTER: Self = Self(32);

    /// Those of the interface with this index, as they are now.
    ///
    /// # Errors
    /// Above all where the kernel does not know the family.
    pub fn of(interface: u32) -> io::Result<Self> {
        let answer = ask("netdev", DEV_GET, &attribute(DEV_IFINDEX, &interface.to_ne_bytes()))?;
        Ok(Self(answer.number(DEV_XDP_FEATURES).unwrap_or(0)))
    }

    /// Whether these are among them.
    pub const fn has(self, features: Self) -> bool {
        self.0 & features.0 == features.0
    }
}
