//! This host's addresses: which of them can be sent from, and which of them stay.

use super::{
    RouteError, Unusable, Why,
    netlink::{all, number_of},
};
use crate::base::Family;
use rtnetlink::{
    Handle,
    packet_route::address::{AddressAttribute, AddressFlags, AddressMessage},
};
use std::net::{IpAddr, Ipv6Addr};

/// IFA_F_TEMPORARY: of IPv6 the flag that says *secondary* of IPv4 says that an address was made for privacy, and goes after a day.
const TEMPORARY: AddressFlags = AddressFlags::Secondary;

/// One address on one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnAddress {
    interface: u32,
    address: IpAddr,
    flags: AddressFlags,
}

/// Those of one family.
#[derive(Debug, Default)]
pub(super) struct OwnAddresses(Vec<OwnAddress>);

impl OwnAddresses {
    /// As the kernel lists them now.
    pub(super) async fn list(handle: &Handle, family: Family) -> Result<Self, RouteError> {
        let mut request = handle.address().get();
        request.message_mut().header.family = number_of(family);
        let known = all("listing this host's addresses", request.execute()).await?;
        Ok(Self(known.iter().filter_map(read).filter(|own| Family::of(own.address) == family).collect()))
    }

    /// Why nothing can be sent from an address that was asked for; None if something can.
    pub(super) fn refusal(&self, source: IpAddr) -> Option<Why> {
        let unusable = |own: &OwnAddress| own.unusable().map(|unusable| Why::SourceUnusable(source, unusable));
        // The same link-local address may be on several interfaces.
        let mut found = self.0.iter().filter(|own| own.address == source).map(unusable);
        let first = found.next().unwrap_or(Some(Why::SourceGone(source)));
        if first.is_none() || found.any(|why| why.is_none()) { None } else { first }
    }

    /// All, each once, for a person to choose from.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.0.iter().map(|own| own.address).collect();
        // Their order is the kernel's.
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        addresses
    }

    /// What to send from where the kernel has chosen `source`: that, unless it is an address made for privacy, which the kernel changes
    /// every day, and its interface has one in the same network that stays.
    pub(super) fn stable(&self, source: IpAddr) -> IpAddr {
        let IpAddr::V6(temporary) = source else { return source };
        let is_temporary = |own: &&OwnAddress| own.address == source && own.flags.contains(TEMPORARY);
        let Some(chosen) = self.0.iter().find(is_temporary) else { return source };
        let stays = self.0.iter().filter(|own| own.interface == chosen.interface && own.stays());
        // Of several always the same one.
        stays.filter(|own| is_beside(own.address, temporary)).map(|own| own.address).min().unwrap_or(source)
    }
}

impl OwnAddress {
    fn unusable(&self) -> Option<Unusable> {
        if self.flags.contains(AddressFlags::Dadfailed) {
            return Some(Unusable::Duplicate);
        }
        // An optimistic address may be sent from while it is being looked for elsewhere (RFC 4429).
        let tentative = self.flags.contains(AddressFlags::Tentative) && !self.flags.contains(AddressFlags::Optimistic);
        tentative.then_some(Unusable::Tentative)
    }

    fn stays(&self) -> bool {
        self.unusable().is_none() && !self.flags.intersects(TEMPORARY | AddressFlags::Deprecated)
    }
}

/// Whether an address is of the same /64, and so of the same scope.
fn is_beside(address: IpAddr, other: Ipv6Addr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[..4] == other.segments()[..4])
}

fn read(message: &AddressMessage) -> Option<OwnAddress> {
    // IFA_LOCAL is ours; on a point-to-point link IFA_ADDRESS is the other end's.
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    let address = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    })
    .or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    // The header holds eight of the flags, IFA_FLAGS all.
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let of_header = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    Some(OwnAddress { interface: message.header.index, address, flags: flags.unwrap_or(of_header) })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn own(interface: u32, address: &str, flags: AddressFlags) -> OwnAddress {
        OwnAddress { interface, address: address.parse().unwrap(), flags }
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_stable_address_is_taken_for_one_made_for_privacy() {
        let [none, permanent] = [AddressFlags::empty(), AddressFlags::Permanent];
        let own = OwnAddresses(vec![
            own(2, "2001:db8:0:1::aaaa", TEMPORARY),
            own(2, "2001:db8:0:1::9", AddressFlags::Deprecated),
            own(2, "2001:db8:0:1::8", AddressFlags::Tentative),
            own(2, "2001:db8:0:1::7", AddressFlags::Tentative | AddressFlags::Dadfailed),
            own(2, "2001:db8:0:1::21", permanent),
            own(2, "2001:db8:0:1::20", none),
            own(3, "2001:db8:0:1::1", permanent),
            own(2, "2001:db8:0:2::bbbb", TEMPORARY),
            own(3, "2001:db8:0:2::1", permanent),
        ]);
        assert_eq!(own.stable(ip("2001:db8:0:1::aaaa")), ip("2001:db8:0:1::20"));
        assert_eq!(own.stable(ip("2001:db8:0:2::bbbb")), ip("2001:db8:0:2::bbbb"), "another interface's is none");
        assert_eq!(own.stable(ip("2001:db8:0:1::9")), ip("2001:db8:0:1::9"), "the kernel's choice");
        assert_eq!(own.stable(ip("2001:db8:0:9::9")), ip("2001:db8:0:9::9"));
        assert_eq!(own.stable(ip("192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn what_can_not_be_sent_from_is_named() {
        let tentative = AddressFlags::Tentative;
        let own = OwnAddresses(vec![
            own(2, "2001:db8::1", tentative),
            own(2, "2001:db8::2", tentative | AddressFlags::Optimistic),
            own(2, "2001:db8::3", tentative | AddressFlags::Dadfailed),
            own(2, "fe80::1", tentative),
            own(3, "fe80::1", AddressFlags::Permanent),
        ]);
        let because = |address: &str, why| Some(Why::SourceUnusable(ip(address), why));
        assert_eq!(own.refusal(ip("2001:db8::1")), because("2001:db8::1", Unusable::Tentative));
        assert_eq!(own.refusal(ip("2001:db8::2")), None);
        assert_eq!(own.refusal(ip("2001:db8::3")), because("2001:db8::3", Unusable::Duplicate));
        assert_eq!(own.refusal(ip("fe80::1")), None);
        assert_eq!(own.refusal(ip("2001:db8::4")), Some(Why::SourceGone(ip("2001:db8::4"))));
        assert_eq!(own.addresses().len(), 4);
    }
}
