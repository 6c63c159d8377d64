//! Follows a bond while it runs: which member sends, at which members it discards what arrives, who joins and who leaves.
//!
//! The kernel tells of each change (RTNLGRP_LINK), except that it may hold back word of a lost carrier for a second and says nothing
//! of LACP's partner: so it is also asked every [`LOOK`].

use super::{
    Bond, Candidate, LinkState, Member, RouteError, Stack, connect,
    interface::{has_carrier, link_of},
    netlink::{Notification, notification},
};
use crate::base::Nanos;
use futures_util::StreamExt;
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::NetlinkMessage,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{InfoData, InfoPortData, LinkAttribute, LinkInfo, LinkMessage},
    },
    sys::SocketAddr,
};
use std::{fmt, io, pin::Pin, sync::Arc};
use tokio::sync::watch;

/// Between two looks at the bond.
const LOOK: Nanos = Nanos::from_millis(100);
/// For so long after a failover silence says nothing yet: the switch learns in its own time where our address is now.
const SETTLES: Nanos = Nanos::from_millis(100);

/// A port as its bond has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortView {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is a member now.
    pub is_member: bool,
    /// Whether the bond discards what arrives there.
    pub discards: bool,
    /// Whether programs and sockets are on it.
    pub is_ours: bool,
}

/// How a bond is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The index of the member to send by, if there is one.
    pub sends_by: Option<u32>,
    /// The ports that were there at the beginning and those that have joined since.
    pub ports: Vec<PortView>,
}

/// What one link message says, as far as it matters here.
#[derive(Clone, Debug)]
struct Seen {
    index: u32,
    name: String,
    master: Option<u32>,
    carrier: bool,
    bond: Option<Bond>,
    member: Option<Member>,
}

impl Seen {
    fn read(link: &LinkMessage) -> Self {
        let carrier = has_carrier(link.header.flags);
        let mut seen =
            Self { index: link.header.index, name: String::new(), master: None, carrier, bond: None, member: None };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => seen.name.clone_from(name),
                LinkAttribute::Controller(master) => seen.master = Some(*master),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Data(InfoData::Bond(attributes)) => seen.bond = Some(Bond::read(attributes)),
                            LinkInfo::PortData(InfoPortData::BondPort(attributes)) => {
                                seen.member = Some(Member::read(attributes));
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        seen
    }

    fn candidate(&self, bond: u32) -> Candidate {
        let member = self.member.filter(|_| self.master == Some(bond));
        Candidate { index: self.index, carrier: self.carrier, member }
    }
}

/// What follows from one look: the view, and how the ports' link is.
#[derive(Debug, Default)]
struct Judge {
    view: View,
    /// The ports that frames arrived by for us.
    hearing: Vec<u32>,
    /// The ports that programs and sockets are on.
    ours: Vec<u32>,
}

/// What a look found, beside the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// Nothing to send by, or replies may arrive where nobody hears them: at a member that is not ours.
    Down,
    /// A member that sent, or that frames arrived by, no longer does.
    Changed,
    /// All is as it was, or better.
    Fine,
}

impl Judge {
    /// `ports` in the order in which they became known.
    fn look(&mut self, bond: &Bond, ports: &[(String, Candidate)]) -> Condition {
        let candidates: Vec<Candidate> = ports.iter().map(|(_, candidate)| *candidate).collect();
        let before = self.view.sends_by;
        let hears =
            |port: &&Candidate| port.carrier && port.member.is_some_and(|member| member.up) && !bond.discards(port);
        let hearing: Vec<u32> = candidates.iter().filter(hears).map(|port| port.index).collect();
        let is_ours = |index: &u32| self.ours.contains(index);
        let all_heard = hearing.iter().all(is_ours);
        let sends_by = bond.sends_by(&candidates, before).filter(|index| all_heard && is_ours(index));
        let lost = self.hearing.iter().any(|index| !hearing.contains(index));
        self.view = View {
            sends_by,
            ports: ports
                .iter()
                .map(|(name, port)| PortView {
                    index: port.index,
                    name: name.clone(),
                    is_member: port.member.is_some(),
                    discards: bond.discards(port),
                    is_ours: is_ours(&port.index),
                })
                .collect(),
        };
        self.hearing = hearing;
        match sends_by {
            None => Condition::Down,
            Some(_) if lost || before.is_some_and(|before| Some(before) != sends_by) => Condition::Changed,
            Some(_) => Condition::Fine,
        }
    }
}

type Notifications =
    Pin<Box<dyn futures_util::Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)> + Send>>;

/// The follower of a bond. [`Members::run`] is a task; what it finds comes by [`Members::views`].
pub struct Members {
    name: String,
    bond: u32,
    /// Indices, in the order in which they became known.
    known: Vec<u32>,
    link: Arc<LinkState>,
    now: fn() -> Nanos,
    handle: Handle,
    notifications: Notifications,
    judge: Judge,
    /// The ports that programs and sockets are on, as they are told.
    ours: watch::Receiver<Vec<u32>>,
    /// The last moment of which it is certain that all was as it is.
    seen: Nanos,
    next_look: Nanos,
    views: watch::Sender<View>,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").field("bond", &self.name).finish_non_exhaustive()
    }
}

impl Members {
    /// Begins to follow the stack's bond, and looks for the first time. None if the stack has no bond. `link` is the condition of the
    /// ports, apart from the bond's own: down while there is nothing to send by, and for a moment at each failover. `ours` are the
    /// indices of the ports that programs and sockets are on, as the caller keeps them. `now` is CLOCK_MONOTONIC. Call it inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// Netlink failed.
    pub async fn open(
        stack: &Stack,
        link: Arc<LinkState>,
        ours: watch::Receiver<Vec<u32>>,
        now: fn() -> Nanos,
    ) -> Result<Option<Self>, RouteError> {
        let Some(bond) = &stack.bond else { return Ok(None) };
        let opening = |error| RouteError::netlink("subscribing to changes of links", error);
        let (connection, _, notifications) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).map_err(opening)?;
        tokio::spawn(connection);
        let known: Vec<u32> = stack.ports.iter().map(|port| port.index).collect();
        let mut members = Self {
            name: bond.name.clone(),
            bond: bond.index,
            known,
            link,
            now,
            handle: connect()?,
            notifications: Box::pin(notifications),
            judge: Judge::default(),
            ours,
            seen: now(),
            next_look: now(),
            views: watch::Sender::new(View::default()),
        };
        members.look().await?;
        Ok(Some(members))
    }

    /// How the bond is, from now on.
    pub fn views(&self) -> watch::Receiver<View> {
        self.views.subscribe()
    }

    /// Follows for ever: returns only when netlink has failed for good, with the reason. Drop it to end it.
    pub async fn run(mut self) -> RouteError {
        loop {
            if let Err(error) = self.step().await {
                return error;
            }
        }
    }

    async fn step(&mut self) -> Result<(), RouteError> {
        let rest = (self.next_look - (self.now)()).to_duration();
        let is_due = match tokio::time::timeout(rest, self.notifications.next()).await {
            Err(_elapsed) => true,
            Ok(Some((message, _))) => self.concerns(message),
            Ok(None) => return Err(RouteError::netlink("following the bond", io::ErrorKind::BrokenPipe)),
        };
        if is_due { self.look().await } else { Ok(()) }
    }

    /// Whether a message is about the bond or one of its ports, or tells of a new one.
    fn concerns(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) -> bool {
        match notification(message.payload) {
            Some(Notification::Change(RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)))
                if link.header.interface_family == AddressFamily::Unspec =>
            {
                let seen = Seen::read(&link);
                seen.index == self.bond || self.known.contains(&seen.index) || self.has_joined(&seen)
            }
            // Who joined meanwhile is found by the next message about it; the others are looked at now.
            Some(Notification::Overrun) => true,
            _ => false,
        }
    }

    fn has_joined(&mut self, seen: &Seen) -> bool {
        let joined = seen.master == Some(self.bond);
        if joined {
            self.known.push(seen.index);
        }
        joined
    }

    /// Asks the kernel how the bond is now.
    ///
    /// # Errors
    /// Netlink failed.
    pub async fn look(&mut self) -> Result<(), RouteError> {
        let asked = (self.now)();
        self.next_look = asked + LOOK;
        // One after the other: there are few, and the kernel answers each in some ten microseconds.
        let bond = link_of(&self.handle, self.bond).await?.as_ref().map(Seen::read);
        let Some(bond) = bond.and_then(|seen| seen.bond) else {
            // The watcher of the upper device says so to everybody.
            self.link.went_down(self.seen);
            return Ok(());
        };
        let mut ports = Vec::with_capacity(self.known.len());
        for index in self.known.clone() {
            let port = link_of(&self.handle, index).await?.as_ref().map(Seen::read);
            let gone = Candidate { index, carrier: false, member: None };
            let name = port.as_ref().map_or_else(|| format!("interface {index}"), |seen| seen.name.clone());
            ports.push((name, port.map_or(gone, |seen| seen.candidate(self.bond))));
        }
        let before = self.judge.view.clone();
        self.judge.ours.clone_from(&self.ours.borrow_and_update());
        let condition = self.judge.look(&bond, &ports);
        self.tell(&before);
        match condition {
            Condition::Down => self.link.went_down(self.seen),
            Condition::Changed => {
                self.link.went_down(self.seen);
                self.link.came_up((self.now)() + SETTLES);
            }
            Condition::Fine if !self.link.is_up() => self.link.came_up((self.now)() + SETTLES),
            Condition::Fine => {}
        }
        self.seen = asked;
        Ok(())
    }

    /// To the log and to whoever follows.
    fn tell(&mut self, before: &View) {
        let view = &self.judge.view;
        if view == before {
            return;
        }
        let called = |index: u32| view.ports.iter().find(|port| port.index == index).map_or("", |port| &port.name);
        match (before.sends_by, view.sends_by) {
            (None, Some(now)) => tracing::info!("{}: probes leave by {}", self.name, called(now)),
            (Some(was), Some(now)) if was != now => {
                tracing::warn!("{}: probes leave by {} now, no longer by {}", self.name, called(now), called(was));
            }
            (Some(was), None) => tracing::warn!("{}: nothing to send by, {} is out", self.name, called(was)),
            _ => {}
        }
        let is_known = |port: &PortView| before.ports.iter().any(|other| other == port);
        for port in view.ports.iter().filter(|port| port.is_member && !port.is_ours && !is_known(port)) {
            tracing::info!(
                "{}: its member {} has joined or come up since the start: echolot goes on it, and while replies may arrive there before \
                 that, probes are unsent",
                self.name,
                port.name
            );
        }
        self.views.send_replace(view.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::BondMode;

    const FINE: Member =
        Member { in_use: true, up: true, collecting: true, distributing: true, partner_collecting: true };

    fn bond(mode: BondMode, active: Option<u32>) -> Bond {
        Bond { mode, active, delivers_all: false, takes_members_address: false }
    }

    fn port(index: u32, carrier: bool, member: Option<Member>) -> (String, Candidate) {
        (format!("eth{index}"), Candidate { index, carrier, member })
    }

    #[test]
    fn a_failover_is_a_change_and_the_time_without_any_is_down() {
        let mut judge = Judge { ours: vec![2, 3], ..Judge::default() };
        let backup = Some(Member { in_use: false, ..FINE });
        let both = [port(2, true, Some(FINE)), port(3, true, backup)];
        let on = |active| bond(BondMode::ActiveBackup, active);
        assert_eq!(judge.look(&on(Some(2)), &both), Condition::Fine, "the first look");
        assert_eq!(judge.view.sends_by, Some(2));
        assert_eq!(judge.view.ports.iter().map(|port| port.discards).collect::<Vec<_>>(), [false, true]);
        assert_eq!(judge.look(&on(Some(2)), &both), Condition::Fine);
        // The carrier goes; the bond takes notice later.
        let unplugged = [port(2, false, Some(FINE)), port(3, true, backup)];
        assert_eq!(judge.look(&on(Some(2)), &unplugged), Condition::Down);
        assert_eq!(judge.look(&on(Some(3)), &unplugged), Condition::Fine, "down is over");
        assert_eq!(judge.view.sends_by, Some(3));
        // By hand, at once.
        assert_eq!(judge.look(&on(Some(2)), &both), Condition::Changed);
    }

    #[test]
    fn whoever_frames_arrived_by_is_missed() {
        let mut judge = Judge { ours: vec![2, 3], ..Judge::default() };
        let balance = bond(BondMode::Balance, None);
        assert_eq!(judge.look(&balance, &[port(2, true, Some(FINE)), port(3, true, Some(FINE))]), Condition::Fine);
        assert_eq!(judge.look(&balance, &[port(2, true, Some(FINE)), port(3, false, Some(FINE))]), Condition::Changed);
        assert_eq!(judge.view.sends_by, Some(2));
        assert_eq!(judge.look(&balance, &[port(2, true, Some(FINE)), port(3, true, Some(FINE))]), Condition::Fine);
        assert_eq!(judge.look(&balance, &[port(2, true, Some(FINE)), port(3, true, None)]), Condition::Changed);
        assert!(!judge.view.ports[1].is_member && judge.view.ports[1].discards);
    }

    #[test]
    fn nothing_is_sent_while_replies_may_arrive_where_nobody_hears_them() {
        let mut judge = Judge { ours: vec![2], ..Judge::default() };
        let (both, backup) = (bond(BondMode::Balance, None), Some(Member { in_use: false, ..FINE }));
        assert_eq!(judge.look(&both, &[port(2, true, Some(FINE))]), Condition::Fine);
        let joined = [port(2, true, Some(FINE)), port(3, true, Some(FINE))];
        assert_eq!((judge.look(&both, &joined), judge.view.sends_by), (Condition::Down, None));
        assert!(judge.view.ports[0].is_ours && !judge.view.ports[1].is_ours);
        // As a backup it is no matter, until its turn comes.
        let idle = [port(2, true, Some(FINE)), port(3, true, backup)];
        assert_eq!(judge.look(&bond(BondMode::ActiveBackup, Some(2)), &idle), Condition::Changed);
        assert_eq!(judge.look(&bond(BondMode::ActiveBackup, Some(2)), &idle), Condition::Fine);
        assert_eq!(judge.look(&bond(BondMode::ActiveBackup, Some(3)), &idle), Condition::Down);
    }
}
