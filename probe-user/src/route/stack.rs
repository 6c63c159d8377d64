//! From the interface that routes name down to the devices on which frames leave and arrive. Pure.
//!
//! Addresses, routes and neighbours belong to the upper device: `bond0`, `eth0.100`, `bond0.100`. XDP programs and AF_XDP sockets
//! belong to the physical devices beneath, its *ports*: a socket takes frames of its own device's queues only (`xsk_rcv_check`), and
//! upper devices have no XDP of their own. So probes carry the upper device's addresses, and the tags that it would have given them.
//!
//! | upper device | ports | tags |
//! |---|---|---|
//! | a card, veth or whatever stands for itself | itself | none |
//! | a VLAN | its parent's | its parent's, and its own inside |
//! | a bond | its members | none |
//! | a bridge, team or VRF | none: refused, with the names of what could be used | |

use super::{Bond, BondMode, Candidate, Interface, StackError};
use crate::wire::Tags;

/// How probes by an interface reach the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Whose routes, addresses and neighbours are used.
    pub upper: Interface,
    /// The tags that frames carry at the ports.
    pub tags: Tags,
    /// The bond whose members the ports are, if they are.
    pub bond: Option<Interface>,
    /// The devices that programs and sockets go on, at least one. Members of a bond in the order in which to attach to them: those
    /// that it does not use now come first, so that it can do without the others when their turn comes.
    pub ports: Vec<Interface>,
}

impl Stack {
    /// What is beneath `upper`; `all` are the interfaces of this network namespace.
    ///
    /// # Errors
    /// Programs and sockets can't go beneath it, or it has nothing beneath.
    pub fn resolve(upper: &Interface, all: &[Interface]) -> Result<Self, StackError> {
        let mut tags = Tags::NONE;
        // Every VLAN on the way down is one more tag: there are few.
        let mut at = upper;
        while at.kind.as_deref() == Some("vlan") {
            let parent = all.iter().find(|other| Some(other.index) == at.parent).filter(|_| !at.parent_elsewhere);
            let (Some(parent), Some(tag)) = (parent, at.tag) else {
                return Err(StackError::Elsewhere { name: upper.name.clone() });
            };
            // From the upper device down each tag is put outside of those before.
            tags = tags.inside(tag).map_err(|_| StackError::Tags { name: upper.name.clone() })?;
            at = parent;
        }
        let members = || all.iter().filter(|other| other.master == Some(at.index));
        let names = || members().map(|member| member.name.clone()).collect();
        let name = at.name.clone();
        let stack = |bond, ports| Self { upper: upper.clone(), tags, bond, ports };
        match at.kind.as_deref() {
            Some("bridge") => Err(StackError::Bridge { name, ports: names() }),
            Some("team") => Err(StackError::Team { name, ports: names() }),
            Some("vrf") => Err(StackError::Vrf { name, ports: names() }),
            Some("bond") => {
                let bond = at.bond.ok_or_else(|| StackError::NoMembers { name: name.clone() })?;
                let refused = match bond.mode {
                    BondMode::Broadcast => Some("broadcast".to_owned()),
                    BondMode::Unknown(number) => Some(number.to_string()),
                    _ => None,
                };
                if let Some(mode) = refused {
                    return Err(StackError::Mode { name, mode, members: names() });
                }
                if let Some((member, kind)) = members().find_map(|member| Some((member, stacked(member)?))) {
                    let (member, kind) = (member.name.clone(), kind.to_owned());
                    return Err(StackError::Member { name, member, kind });
                }
                let mut ports: Vec<Interface> = members().cloned().collect();
                if ports.is_empty() {
                    return Err(StackError::NoMembers { name });
                }
                let sends_by = bond.sends_by(&ports.iter().map(Interface::candidate).collect::<Vec<_>>(), None);
                ports.sort_by_key(|port| (Some(port.index) == sends_by, !bond.discards(&port.candidate()), port.index));
                Ok(stack(Some(at.clone()), ports))
            }
            _ => Ok(stack(None, vec![at.clone()])),
        }
    }

    /// The interface for itself, whatever is beneath: for generic mode, in which the kernel's stack has dealt with bond, bridge and tags
    /// by the time that a program sees a frame.
    pub fn alone(upper: &Interface) -> Self {
        Self { upper: upper.clone(), tags: Tags::NONE, bond: None, ports: vec![upper.clone()] }
    }

    /// What probes that leave by this port carry as their source.
    pub fn source_mac(&self, port: &Interface) -> [u8; 6] {
        if self.follows_members_address() { port.mac } else { self.upper.mac }
    }

    /// Whether the upper device's address is always that of the bond's active member. That goes for the bond, and for what stands on it
    /// and has no address of its own.
    pub fn follows_members_address(&self) -> bool {
        let follows =
            |bond: &Interface| bond.bond.is_some_and(|Bond { takes_members_address, .. }| takes_members_address);
        self.bond.as_ref().is_some_and(|bond| follows(bond) && self.upper.mac == bond.mac)
    }
}

/// The kind of a device that stands on others.
fn stacked(interface: &Interface) -> Option<&str> {
    interface.kind.as_deref().filter(|kind| matches!(*kind, "vlan" | "bond" | "bridge" | "team" | "vrf"))
}

impl Interface {
    /// As a bond's member.
    pub fn candidate(&self) -> Candidate {
        Candidate { index: self.index, carrier: self.carrier, member: self.member }
    }
}

#[cfg(test)]
#[path = "stack_tests.rs"]
mod tests;
