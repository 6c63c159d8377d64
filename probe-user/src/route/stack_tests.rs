#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

use super::*;
use crate::{route::Member, wire::Tag};
use probe_ebpf::wire::ethernet;

fn card(index: u32, name: &str) -> Interface {
    let mac = [2, 0, 0, 0, 0, u8::try_from(index).unwrap()];
    Interface { index, name: name.to_owned(), mac, ..Interface::example() }
}

fn vlan(index: u32, name: &str, parent: u32, protocol: u16, id: u16) -> Interface {
    let tag = Some(Tag { protocol, id });
    Interface { kind: Some("vlan".to_owned()), parent: Some(parent), tag, ..card(index, name) }
}

fn bond(index: u32, mode: BondMode, active: Option<u32>) -> Interface {
    let bond = Bond { mode, active, delivers_all: false, takes_members_address: false };
    Interface { kind: Some("bond".to_owned()), bond: Some(bond), ..card(index, "bond0") }
}

fn member(index: u32, name: &str, master: u32, in_use: bool) -> Interface {
    let member = Member { in_use, up: true, collecting: true, distributing: true, partner_collecting: true };
    Interface { master: Some(master), member: Some(member), ..card(index, name) }
}

fn names(stack: &Stack) -> Vec<&str> {
    stack.ports.iter().map(|port| port.name.as_str()).collect()
}

#[test]
fn a_card_is_its_own_port() {
    let card = card(2, "eth0");
    let stack = Stack::resolve(&card, std::slice::from_ref(&card)).unwrap();
    assert_eq!(stack, Stack::alone(&card));
    assert_eq!((names(&stack), stack.source_mac(&card)), (vec!["eth0"], card.mac));
}

#[test]
fn a_vlan_leaves_by_its_parent_with_its_tag() {
    let vlan_100 = Interface { mac: [6; 6], ..vlan(3, "eth0.100", 2, ethernet::VLAN, 100) };
    let all = [card(2, "eth0"), vlan_100.clone(), vlan(4, "eth0.100.7", 3, ethernet::VLAN, 7)];
    let stack = Stack::resolve(&vlan_100, &all).unwrap();
    assert_eq!((names(&stack), stack.tags.to_string()), (vec!["eth0"], "VLAN 100".to_owned()));
    assert_eq!(stack.source_mac(&stack.ports[0]), [6; 6], "it may have an address of its own");
    let inner = Stack::resolve(&all[2], &all).unwrap();
    assert_eq!((names(&inner), inner.tags.to_string()), (vec!["eth0"], "VLAN 7 in VLAN 100".to_owned()));
    assert_eq!(inner.tags.as_slice()[0].id, 100, "the parent's tag is the outer one");
    let third = vlan(5, "eth0.100.7.1", 4, ethernet::VLAN, 1);
    let error = Stack::resolve(&third, &[&all[..], std::slice::from_ref(&third)].concat()).unwrap_err();
    assert_eq!(error, StackError::Tags { name: "eth0.100.7.1".to_owned() });
}

#[test]
fn a_vlan_whose_parent_is_elsewhere_is_refused() {
    let vlan = Interface { parent_elsewhere: true, ..vlan(3, "eth0.100", 2, ethernet::VLAN, 100) };
    // Another device has that number here.
    let error = Stack::resolve(&vlan, &[card(2, "eth0"), vlan.clone()]).unwrap_err();
    assert_eq!(error, StackError::Elsewhere { name: "eth0.100".to_owned() });
    assert_eq!(names(&Stack::alone(&vlan)), ["eth0.100"]);
}

#[test]
fn a_bonds_members_are_its_ports_and_backups_come_first() {
    let bond = bond(9, BondMode::ActiveBackup, Some(2));
    let all = [member(2, "eth0", 9, true), member(3, "eth1", 9, false), card(4, "eth2"), bond.clone()];
    let stack = Stack::resolve(&bond, &all).unwrap();
    assert_eq!((names(&stack), stack.bond.as_ref(), stack.tags), (vec!["eth1", "eth0"], Some(&bond), Tags::NONE));
    assert_eq!(stack.source_mac(&stack.ports[0]), bond.mac);
    let vlan = vlan(10, "bond0.100", 9, ethernet::SERVICE_VLAN, 100);
    let stack = Stack::resolve(&vlan, &[&all[..], std::slice::from_ref(&vlan)].concat()).unwrap();
    assert_eq!((names(&stack), stack.tags.as_slice()), (vec!["eth1", "eth0"], &[vlan.tag.unwrap()][..]));
    assert_eq!((&stack.upper, stack.bond), (&vlan, Some(bond)));
}

#[test]
fn where_the_bond_takes_its_members_address_probes_do() {
    let mut bond = bond(9, BondMode::ActiveBackup, Some(2));
    bond.bond.as_mut().unwrap().takes_members_address = true;
    bond.mac = card(2, "eth0").mac;
    let all = [member(2, "eth0", 9, true), member(3, "eth1", 9, false), bond.clone()];
    let stack = Stack::resolve(&bond, &all).unwrap();
    assert_eq!(stack.source_mac(&all[1]), all[1].mac);
    let own = Interface { mac: [6; 6], ..vlan(10, "bond0.100", 9, ethernet::VLAN, 100) };
    let stack = Stack::resolve(&own, &[&all[..], std::slice::from_ref(&own)].concat()).unwrap();
    assert_eq!(stack.source_mac(&all[1]), [6; 6], "a VLAN with an address of its own keeps it");
}

#[test]
fn what_cannot_be_used_names_what_can() {
    let kind = |kind: &str| Interface { kind: Some(kind.to_owned()), ..card(9, "br0") };
    let of = |upper: &Interface, ports: &[Interface]| {
        Stack::resolve(upper, &[ports, std::slice::from_ref(upper)].concat()).unwrap_err().to_string()
    };
    let ports = [member(2, "eth0", 9, true), member(3, "eth1", 9, true)];
    let bridge = of(&kind("bridge"), &ports);
    for part in ["br0 is a bridge", "(eth0, eth1)", "veth", "echolot1 master br0", "--mode generic"] {
        assert!(bridge.contains(part), "{part}: {bridge}");
    }
    assert!(
        of(&vlan(5, "br0.7", 9, ethernet::VLAN, 7), &[kind("bridge")]).contains("br0 is a bridge"),
        "and what is on it"
    );
    assert!(of(&kind("team"), &ports).contains("(eth0, eth1)"));
    assert!(of(&kind("vrf"), &ports).contains("(eth0, eth1)"));
    assert!(of(&bond(9, BondMode::Broadcast, None), &ports).contains("mode broadcast"));
    assert!(of(&bond(9, BondMode::ActiveBackup, None), &[]).contains("without members"));
    let vlans = [Interface { master: Some(9), ..vlan(5, "eth0.7", 2, ethernet::VLAN, 7) }];
    let error = of(&bond(9, BondMode::ActiveBackup, None), &vlans);
    assert!(error.contains("a bond of eth0.7, which is a vlan"), "{error}");
}
