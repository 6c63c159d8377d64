//! What the kernel says of a bond and of its members, and by which of them probes leave. Pure.
//!
//! | mode | sends by | a member at which the bond discards what arrives |
//! |---|---|---|
//! | active-backup | the active member | every other one |
//! | balance-tlb | the active member | every other one |
//! | balance-alb | the active member, whose address is the bond's | none |
//! | 802.3ad | a member of the active aggregator that is distributing | one that is not collecting |
//! | balance-rr, balance-xor | a member that is up | none |
//!
//! (`bond_should_deliver_exact_match` and `bond_set_slave_inactive_flags` of the kernel; with `all_slaves_active` nothing is discarded.)
//! A balancing bond would spread frames over its members. Probes all leave by one of those: which one a reply comes in by is up to
//! the switch, so they are received on every member.

use rtnetlink::packet_route::link::{
    BondAllPortActive, BondFailOverMac, BondMode, BondPortState, InfoBond, InfoBondPort, LacpState, MiiStatus,
};

/// How a bond spreads frames over its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By one member, which another replaces when it fails.
    ActiveBackup,
    /// By those that the switch has agreed to, by LACP.
    Lacp,
    /// By all that are up: balance-rr and balance-xor.
    Balance,
    /// balance-tlb: out by all, in by the active member.
    Tlb,
    /// balance-alb: out and in by all, each with a MAC address of its own.
    Alb,
    /// Each frame by each member.
    Broadcast,
    /// One that came later than this program.
    Unknown(u8),
}

/// What the kernel says of a bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bond {
    /// How it spreads frames.
    pub mode: Mode,
    /// The index of its active member, in modes that have one.
    pub active: Option<u32>,
    /// What arrives at inactive members is delivered too (`all_slaves_active`).
    pub delivers_all: bool,
    /// Its MAC address is the active member's (`fail_over_mac active`); else all members have the bond's.
    pub takes_members_address: bool,
}

/// What the kernel says of an interface as a bond's member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The bond's word that it is in use: active, and not a backup.
    pub in_use: bool,
    /// The bond's word that its link is up, delays (`updelay`) included.
    pub up: bool,
    /// 802.3ad: our side takes frames from it, and puts frames out by it; true where there is no LACP.
    pub collecting: bool,
    /// See `collecting`.
    pub distributing: bool,
    /// 802.3ad: the other side says that it takes frames from this link; true where there is no LACP.
    pub partner_collecting: bool,
}

/// One port of a bond, as far as the choice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its index.
    pub index: u32,
    /// Its carrier.
    pub carrier: bool,
    /// The bond's word on it; None: it is not a member now.
    pub member: Option<Member>,
}

impl Bond {
    pub(super) fn read(attributes: &[InfoBond]) -> Self {
        let mut bond = Self { mode: Mode::Balance, active: None, delivers_all: false, takes_members_address: false };
        for attribute in attributes {
            match attribute {
                InfoBond::Mode(mode) => {
                    bond.mode = match mode {
                        BondMode::ActiveBackup => Mode::ActiveBackup,
                        BondMode::Ieee8023Ad => Mode::Lacp,
                        BondMode::BalanceRr | BondMode::BalanceXor => Mode::Balance,
                        BondMode::BalanceTlb => Mode::Tlb,
                        BondMode::BalanceAlb => Mode::Alb,
                        BondMode::Broadcast => Mode::Broadcast,
                        other => Mode::Unknown(u8::from(*other)),
                    }
                }
                InfoBond::ActivePort(index) => bond.active = Some(*index).filter(|index| *index != 0),
                InfoBond::AllPortsActive(all) => bond.delivers_all = *all == BondAllPortActive::Delivered,
                InfoBond::FailOverMac(policy) => bond.takes_members_address = *policy == BondFailOverMac::Active,
                _ => {}
            }
        }
        bond
    }

    /// Whether the bond discards what arrives for us at this member.
    pub fn discards(&self, port: &Candidate) -> bool {
        let Some(member) = port.member else { return true };
        if self.delivers_all {
            return false;
        }
        match self.mode {
            Mode::ActiveBackup | Mode::Tlb => match self.active {
                Some(active) => active != port.index,
                // Between two active members.
                None => !member.in_use,
            },
            // With coupled_control off a member collects before it is in use (Linux 6.9).
            Mode::Lacp => !member.in_use && !member.collecting,
            Mode::Balance | Mode::Alb | Mode::Broadcast | Mode::Unknown(_) => false,
        }
    }

    /// Which member to send by, if there is one now. Of several `current` is kept for as long as it will do: a probe's path should not
    /// change without need.
    pub fn sends_by(&self, ports: &[Candidate], current: Option<u32>) -> Option<u32> {
        let will_do = |port: &Candidate| {
            let member = port.member.filter(|member| member.up && port.carrier)?;
            let will_do = match self.mode {
                Mode::ActiveBackup | Mode::Tlb | Mode::Alb => self.active == Some(port.index),
                Mode::Lacp => member.in_use && member.distributing,
                Mode::Balance | Mode::Broadcast | Mode::Unknown(_) => member.in_use,
            };
            // Of those that will do one where the other side listens is better.
            will_do.then_some((!member.partner_collecting, current != Some(port.index), port.index))
        };
        ports.iter().filter_map(will_do).min().map(|(_, _, index)| index)
    }
}

impl Member {
    pub(super) fn read(attributes: &[InfoBondPort]) -> Self {
        let mut member =
            Self { in_use: true, up: true, collecting: true, distributing: true, partner_collecting: true };
        for attribute in attributes {
            match attribute {
                InfoBondPort::BondPortState(state) => member.in_use = *state == BondPortState::Active,
                InfoBondPort::MiiStatus(status) => {
                    // Going down is still up until its delay is over; the carrier is looked at besides.
                    member.up = matches!(status, MiiStatus::Up | MiiStatus::GoingDown);
                }
                InfoBondPort::AdActorOperPortState(state) => {
                    member.collecting = state.contains(LacpState::COLLECTING);
                    member.distributing = state.contains(LacpState::DISTRIBUTING);
                }
                InfoBondPort::AdPartnerOperPortState(state) => {
                    member.partner_collecting = state.contains(LacpState::COLLECTING);
                }
                _ => {}
            }
        }
        member
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Member =
        Member { in_use: true, up: true, collecting: true, distributing: true, partner_collecting: true };
    const BACKUP: Member = Member { in_use: false, ..FINE };

    fn bond(mode: Mode, active: Option<u32>) -> Bond {
        Bond { mode, active, delivers_all: false, takes_members_address: false }
    }

    fn port(index: u32, member: Member) -> Candidate {
        Candidate { index, carrier: true, member: Some(member) }
    }

    #[test]
    fn active_backup_is_the_active_members() {
        let ports = [port(2, FINE), port(3, BACKUP)];
        let now = bond(Mode::ActiveBackup, Some(2));
        assert_eq!(now.sends_by(&ports, None), Some(2));
        assert!(!now.discards(&ports[0]) && now.discards(&ports[1]));
        // The bond is ahead of the word on its members.
        let after = bond(Mode::ActiveBackup, Some(3));
        assert_eq!(after.sends_by(&ports, Some(2)), Some(3));
        assert!(after.discards(&ports[0]) && !after.discards(&ports[1]));
        let unplugged = [Candidate { carrier: false, ..ports[0] }, ports[1]];
        assert_eq!(now.sends_by(&unplugged, Some(2)), None, "until the bond has chosen another");
        assert!(!Bond { delivers_all: true, ..now }.discards(&ports[1]));
        let nobody = bond(Mode::ActiveBackup, None);
        assert_eq!(nobody.sends_by(&ports, Some(2)), None);
        assert!(!nobody.discards(&ports[0]) && nobody.discards(&ports[1]));
    }

    #[test]
    fn lacp_sends_by_who_distributes_and_stays_there() {
        let lacp = bond(Mode::Lacp, None);
        let ports = [port(2, FINE), port(3, FINE)];
        assert_eq!((lacp.sends_by(&ports, None), lacp.sends_by(&ports, Some(3))), (Some(2), Some(3)));
        let silent = [ports[0], port(3, Member { partner_collecting: false, ..FINE })];
        assert_eq!(lacp.sends_by(&silent, Some(3)), Some(2), "the other side does not listen there any more");
        assert_eq!(lacp.sends_by(&silent[1..], Some(3)), Some(3), "better than nowhere: there may be no LACP there");
        let out = Member { distributing: false, collecting: false, in_use: false, ..FINE };
        assert_eq!(lacp.sends_by(&[port(2, out), ports[1]], Some(2)), Some(3));
        assert!(lacp.discards(&port(2, out)) && !lacp.discards(&ports[1]));
        assert!(!lacp.discards(&port(2, Member { collecting: true, ..out })), "it collects before it distributes");
        assert_eq!(lacp.sends_by(&[port(2, Member { up: false, ..FINE })], None), None);
    }

    #[test]
    fn balancing_sends_by_one_and_receives_by_all() {
        let balance = bond(Mode::Balance, None);
        let ports = [port(2, FINE), port(3, FINE), Candidate { index: 4, carrier: true, member: None }];
        assert_eq!(balance.sends_by(&ports, Some(3)), Some(3));
        assert_eq!(balance.sends_by(&ports, Some(4)), Some(2), "it has left");
        assert!(!balance.discards(&ports[0]) && balance.discards(&ports[2]));
        let alb = bond(Mode::Alb, Some(3));
        assert_eq!(alb.sends_by(&ports, None), Some(3));
        assert!(!alb.discards(&ports[0]), "others may have learned its address");
        assert!(bond(Mode::Tlb, Some(3)).discards(&ports[0]));
    }
}
