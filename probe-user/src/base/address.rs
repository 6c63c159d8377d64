//! Addresses of either family, in as little room as millions of them should take.

use std::{
    fmt::Debug,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// By what neighbours are asked for their MAC address.
    pub const fn neighbour_protocol(self) -> &'static str {
        match self {
            Self::V4 => "ARP",
            Self::V6 => "neighbour discovery",
        }
    }

    /// As in configurations and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "4",
            Self::V6 => "6",
        }
    }
}

/// An address of one family, which takes no more room than it must.
pub trait Address: Copy + Ord + Debug + Into<IpAddr> {
    /// The lowest.
    const FIRST: Self;
    /// Its length in bits.
    const BITS: u8;

    /// Where the address is of this family.
    fn of(address: IpAddr) -> Option<Self>;

    /// The first and the last address of a prefix: any address in it, and its length in bits, [`Address::BITS`] at most.
    fn span(self, length: u8) -> (Self, Self);

    /// The one that follows, if it is not the highest.
    fn next(self) -> Option<Self>;
}

impl Address for Ipv4Addr {
    const FIRST: Self = Self::UNSPECIFIED;
    const BITS: u8 = 32;

    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    fn span(self, length: u8) -> (Self, Self) {
        let hosts = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
        (Self::from_bits(self.to_bits() & !hosts), Self::from_bits(self.to_bits() | hosts))
    }

    fn next(self) -> Option<Self> {
        self.to_bits().checked_add(1).map(Self::from_bits)
    }
}

impl Address for Ipv6Addr {
    const FIRST: Self = Self::UNSPECIFIED;
    const BITS: u8 = 128;

    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        }
    }

    fn span(self, length: u8) -> (Self, Self) {
        let hosts = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
        (Self::from_bits(self.to_bits() & !hosts), Self::from_bits(self.to_bits() | hosts))
    }

    fn next(self) -> Option<Self> {
        self.to_bits().checked_add(1).map(Self::from_bits)
    }
}

/// A target's address in 32 bits, as it is handed from the ledger to the engines: an IPv4 address is its own handle, an IPv6 address
/// stands in the [`AddressTable`]. Whoever has a handle knows the family from elsewhere. 0 is nobody's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct AddressHandle(pub u32);

impl AddressHandle {
    /// The IPv4 address.
    #[inline]
    pub const fn v4(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0)
    }
}

impl From<Ipv4Addr> for AddressHandle {
    #[inline]
    fn from(address: Ipv4Addr) -> Self {
        Self(address.to_bits())
    }
}

/// Where a target's probes go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Destination {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Its address.
    pub handle: AddressHandle,
}

impl From<Ipv4Addr> for Destination {
    fn from(address: Ipv4Addr) -> Self {
        Self { family: Family::V4, handle: address.into() }
    }
}

/// IPv6 addresses by their handles. It only grows, so a handle means the same address for as long as the program runs; whoever reads
/// does so without a lock.
#[derive(Debug, Default)]
pub struct AddressTable(boxcar::Vec<Ipv6Addr>);

impl AddressTable {
    /// Bytes that an IPv6 address takes here.
    pub const BYTES_PER_ADDRESS: usize = size_of::<Ipv6Addr>() + 1;

    /// An address as a destination. Each call with an IPv6 address takes another handle.
    pub fn enter(&self, address: IpAddr) -> Destination {
        match address {
            IpAddr::V4(address) => address.into(),
            // There are no more targets than 32 bits can count.
            IpAddr::V6(address) => {
                let place = u32::try_from(self.0.push(address)).unwrap_or(u32::MAX);
                let handle = AddressHandle(place.saturating_add(1));
                Destination { family: Family::V6, handle }
            }
        }
    }

    /// The address of a destination that was entered here.
    #[inline]
    pub fn address(&self, of: Destination) -> IpAddr {
        match of.family {
            Family::V4 => of.handle.v4().into(),
            Family::V6 => self.v6(of.handle).into(),
        }
    }

    /// The IPv6 address of a handle; that of nobody (`::`) where there is none.
    pub fn v6(&self, handle: AddressHandle) -> Ipv6Addr {
        self.0.get((handle.0 as usize).wrapping_sub(1)).copied().unwrap_or(Ipv6Addr::UNSPECIFIED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_address_comes_back(addresses in prop::collection::vec(any::<IpAddr>(), 0..100)) {
            let table = AddressTable::default();
            let destinations: Vec<Destination> = addresses.iter().map(|address| table.enter(*address)).collect();
            for (address, destination) in addresses.iter().zip(destinations) {
                prop_assert_eq!(table.address(destination), *address);
                prop_assert_eq!(destination.family, Family::of(*address));
            }
        }
    }

    #[test]
    fn a_handle_that_nobody_entered_is_nobodys() {
        let table = AddressTable::default();
        assert_eq!(table.enter(Ipv6Addr::LOCALHOST.into()).handle, AddressHandle(1));
        assert_eq!([0, 2, 7].map(|handle| table.v6(AddressHandle(handle))), [Ipv6Addr::UNSPECIFIED; 3]);
        assert_eq!(size_of::<Destination>(), 8);
        assert_eq!(size_of::<Option<Destination>>(), 8);
    }
}
