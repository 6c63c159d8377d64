//! What this host has, for whoever has to choose from it: its interfaces with their addresses, and the ways out.

use super::{
    Interface, RouteError,
    lookup::{Way, ask},
    netlink::all,
};
use rtnetlink::{
    Handle,
    packet_route::address::{AddressAttribute, AddressMessage},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that are reserved for a future that hasn't come: nobody has a route to them but the default one. Asking sends nothing.
const BEYOND: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(240, 0, 0, 1)), IpAddr::V6(Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 1))];

/// This host, as the kernel tells of it at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// All interfaces of this network namespace, in the kernel's order.
    pub interfaces: Vec<Interface>,
    /// Every address, with the index of its interface and the length of its network's prefix.
    pub addresses: Vec<(u32, IpAddr, u8)>,
    /// The way to what is far away, of each family that has one: IPv4's first.
    pub ways_out: Vec<WayOut>,
}

/// Where what is far away is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayOut {
    /// The interface's index.
    pub interface: u32,
    /// Through whom; None where everybody is on the link.
    pub gateway: Option<IpAddr>,
}

impl Overview {
    /// Asks the kernel. Blocks for a moment; not to be called from async code.
    ///
    /// # Errors
    /// Netlink failed, or no tokio runtime can be made.
    pub fn take() -> Result<Self, RouteError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| RouteError::netlink("starting a runtime", error))?;
        runtime.block_on(async { Self::ask(&super::connect()?).await })
    }

    async fn ask(handle: &Handle) -> Result<Self, RouteError> {
        let interfaces = Interface::all(handle).await?;
        let addresses = all("listing this host's addresses", handle.address().get().execute()).await?;
        let mut ways_out = Vec::new();
        for address in BEYOND {
            // A kernel without IPv6 has no way out by it, which is no error here.
            if let Ok(Way::Through { interface, gateway, .. }) = ask(handle, address, None, None).await {
                ways_out.push(WayOut { interface, gateway });
            }
        }
        Ok(Self { interfaces, addresses: addresses.iter().filter_map(address).collect(), ways_out })
    }

    /// The addresses of an interface.
    pub fn addresses_of(&self, interface: &Interface) -> impl Iterator<Item = (IpAddr, u8)> {
        let index = interface.index;
        self.addresses.iter().filter(move |(of, ..)| *of == index).map(|(_, address, length)| (*address, *length))
    }
}

fn address(message: &AddressMessage) -> Option<(u32, IpAddr, u8)> {
    let of = |local: bool| {
        message.attributes.iter().find_map(move |attribute| match attribute {
            AddressAttribute::Local(address) if local => Some(*address),
            AddressAttribute::Address(address) if !local => Some(*address),
            _ => None,
        })
    };
    // On a point-to-point link IFA_ADDRESS is the other end's, and IFA_LOCAL ours.
    Some((message.header.index, of(true).or_else(|| of(false))?, message.header.prefix_len))
}
