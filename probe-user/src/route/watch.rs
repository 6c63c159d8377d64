//! Follows the kernel's tables: neighbours into hops, the link's condition into [`LinkState`].

use super::{
    Hops, Interface, LinkState, NeighbourQueue, RouteError,
    cache::{Cache, Event},
    connect,
    gateways::{Gateways, Question},
    interface::{has_carrier, link_of},
    netlink::{Notification, neighbour_address, neighbours, notification, set_neighbour},
    share_of_kernel,
};
use crate::base::{Family, Nanos};
use futures_util::{StreamExt, stream};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::NetlinkMessage,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{LinkAttribute, LinkMessage},
        neighbour::{NeighbourFlags, NeighbourMessage, NeighbourState},
    },
    sys::{AsyncSocket, SocketAddr},
};
use std::{collections::HashSet, fmt, io, net::IpAddr, pin::Pin, sync::Arc};

/// How long the kernel takes for its three questions, and then some.
const QUESTIONS_TAKE: Nanos = Nanos::from_millis(3_500);
/// On-link neighbours asked about every 50 ms: before the first probe, and while running.
const BURST_AT_START: usize = 100;
const BURST: usize = 25;
/// Between two looks at the link. The kernel may hold back word of lost carrier for a second (net/core/link_watch.c), but
/// tells at once when asked.
const LOOK: Nanos = Nanos::from_millis(100);
/// For so long after the link is up again silence says nothing yet: the other end takes notice in its own time, and its
/// kernel receives before it sends (on veth under load, 2 ms in which it swallowed its replies).
const SETTLES: Nanos = Nanos::from_millis(100);
/// After lost notifications: how long there has to be no word before the tables are read anew. What is still in the
/// socket is older than they are.
const QUIET: Nanos = Nanos::from_millis(20);
/// Between two looks whether a sender doubts that a gateway is alive.
const GATEWAYS: Nanos = Nanos::from_millis(20);
/// Bytes for notifications that we have not read yet. The kernel may grant less.
const NOTIFICATIONS: usize = 4 << 20;

type Notifications =
    Pin<Box<dyn futures_util::Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)> + Send>>;

/// The watcher of one interface and its hops. First [`Watch::resolve`], then [`Watch::run`] as a task.
///
/// It follows which hops there are: those that are added, or used again or no longer.
pub struct Watch {
    interface: Interface,
    link: Arc<LinkState>,
    now: fn() -> Nanos,
    handle: Handle,
    notifications: Notifications,
    cache: Cache,
    /// The last moment of which it is certain that the link was up, if it is.
    seen_up: Nanos,
    next_look: Nanos,
    /// How often the carrier has come and gone, as of the last look.
    carrier_changes: Option<u32>,
    /// Notifications were lost, and the tables not read since.
    overrun: bool,
    gateways: Gateways,
    hops: Arc<Hops>,
    /// Of the hops, as of the last look.
    version: u64,
    /// Where it is said what the kernel knows of those whom we ask ourselves.
    asked_by_us: Option<Arc<NeighbourQueue>>,
    /// Those of them whose entries were made by hand.
    fixed: HashSet<IpAddr>,
}

/// How resolving the hops came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// On which interface.
    pub interface: String,
    /// Gateways that do not answer.
    pub unanswered: Vec<IpAddr>,
    /// How many on-link targets the kernel asks for us; none where there are more than our share of its table.
    pub on_link: usize,
    /// How many of them do not answer: probes to these are *unreachable*.
    pub on_link_unanswered: usize,
}

impl Resolution {
    /// What to say where gateways do not answer: without them nothing behind them can be probed.
    pub fn error(&self) -> Option<String> {
        let first = self.unanswered.first()?;
        let others = match self.unanswered.len() - 1 {
            0 => String::new(),
            count => format!(" (nor do {count} others)"),
        };
        let family = Family::of(*first);
        // The kernel asks from there where it has no packet to send (ndisc_send_ns).
        let also = if family == Family::V6 { "; the interface needs a link-local address to ask from" } else { "" };
        Some(format!(
            "gateway {first} on {interface} does not answer {protocol}{others}: is it up, and on the network of {interface}? \
             `ip neigh show dev {interface}` and `ip route get {first}` tell what the kernel knows{also}",
            protocol = family.neighbour_protocol(),
            interface = self.interface
        ))
    }
}

/// A watcher that is gone proves nothing any more: gateways are believed to be alive, and no change of state waits for ever.
impl Drop for Watch {
    fn drop(&mut self) {
        self.gateways.believe();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("interface", &self.interface.name).finish_non_exhaustive()
    }
}

impl Watch {
    /// Begins to follow the kernel's tables; what they say already is in the hops and in `link` when it returns.
    /// `now` is CLOCK_MONOTONIC. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// Netlink failed.
    pub async fn open(
        interface: Interface,
        hops: Arc<Hops>,
        link: Arc<LinkState>,
        now: fn() -> Nanos,
    ) -> Result<Self, RouteError> {
        let opening = |error| RouteError::netlink("subscribing to changes of links and neighbours", error);
        let (mut connection, _, notifications) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link, MulticastGroup::Neigh]).map_err(opening)?;
        // An overrun is no error, only work.
        if let Err(error) = connection.socket_mut().socket_mut().set_rx_buf_sz(NOTIFICATIONS) {
            tracing::debug!(%error, "netlink receive buffer stays small");
        }
        tokio::spawn(connection);
        let mut watch = Self {
            gateways: Gateways::watch(Arc::clone(&hops)),
            cache: Cache::new(Arc::clone(&hops), share_of_kernel(), now()),
            version: hops.version(),
            hops,
            asked_by_us: None,
            fixed: HashSet::new(),
            handle: connect()?,
            notifications: Box::pin(notifications),
            seen_up: now(),
            next_look: now(),
            carrier_changes: None,
            overrun: false,
            interface,
            link,
            now,
        };
        watch.cache.begin();
        watch.read_resolved().await?;
        watch.look_at_link().await?;
        Ok(watch)
    }

    /// Has the kernel resolve every hop that it is asked about. Returns when all have answered or failed to, at the latest after about
    /// 3.5 s.
    ///
    /// # Errors
    /// No permission, or netlink failed. Neighbours that don't answer are no error here.
    pub async fn resolve(&mut self) -> Result<Resolution, RouteError> {
        self.resolve_until(|cache| cache.unknown() == 0).await
    }

    /// The same, but waits for gateways only. What else it says of is what is known by then.
    ///
    /// # Errors
    /// As for [`Watch::resolve`].
    pub async fn resolve_gateways(&mut self) -> Result<Resolution, RouteError> {
        self.resolve_until(|cache| cache.unknown_gateways() == 0).await
    }

    async fn resolve_until(&mut self, done: impl Fn(&Cache) -> bool) -> Result<Resolution, RouteError> {
        let on_link = self.cache.on_link();
        let asking = Nanos::from_millis(50 * (on_link / BURST_AT_START) as u64);
        let deadline = (self.now)() + QUESTIONS_TAKE + asking;
        // Whoever is not waited for is asked meanwhile.
        if self.link.is_up() {
            let due = self.cache.due((self.now)(), BURST_AT_START);
            self.ask(due).await?;
        }
        while !done(&self.cache) && (self.now)() < deadline {
            self.step(BURST_AT_START, deadline).await?;
        }
        Ok(Resolution {
            interface: self.interface.name.clone(),
            unanswered: self.cache.unresolved(true).collect(),
            on_link,
            on_link_unanswered: self.cache.unresolved(false).count(),
        })
    }

    /// From now on `queue` is told what the kernel knows of targets on the link that it is not asked about, and when there are others.
    ///
    /// # Errors
    /// Netlink failed.
    pub async fn tell(&mut self, queue: Arc<NeighbourQueue>) -> Result<(), RouteError> {
        self.asked_by_us = Some(queue);
        self.read_resolved().await
    }

    /// Follows for ever: returns only when netlink has failed for good, with the reason. Drop it to end it.
    pub async fn run(mut self) -> RouteError {
        loop {
            if let Err(error) = self.step(BURST, (self.now)() + GATEWAYS).await {
                return error;
            }
            self.ask_gateways().await;
        }
    }

    /// Asks about what is due, then waits for word or for the next that is due.
    async fn step(&mut self, burst: usize, deadline: Nanos) -> Result<(), RouteError> {
        if self.next_look <= (self.now)() {
            self.look_at_link().await?;
        }
        if self.version != self.hops.version() {
            self.renew().await?;
        }
        let mut until = deadline.min(self.next_look);
        // While the link is down there is no one to ask.
        if self.link.is_up() {
            let due = self.cache.due((self.now)(), burst);
            self.ask(due).await?;
            until = until.min(self.cache.next());
        }
        let mut rest = (until - (self.now)()).to_duration();
        if self.overrun {
            rest = QUIET.to_duration();
        }
        match tokio::time::timeout(rest, self.notifications.next()).await {
            Err(_elapsed) if self.overrun => self.read_all().await,
            Err(_elapsed) => Ok(()),
            Ok(Some((message, _))) => self.hear(message).await,
            Ok(None) => Err(RouteError::netlink("following the kernel's tables", io::ErrorKind::BrokenPipe)),
        }
    }

    async fn hear(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) -> Result<(), RouteError> {
        let now = (self.now)();
        match notification(message.payload) {
            Some(Notification::Change(RouteNetlinkMessage::NewNeighbour(message))) => {
                if let Some((address, event)) = self.read(&message) {
                    self.cache.tell(address, event, now);
                    self.tell_queue(address, event);
                    if message.header.state == NeighbourState::Reachable {
                        self.gateways.answered(address, now);
                    }
                }
            }
            Some(Notification::Change(RouteNetlinkMessage::DelNeighbour(message))) => {
                if let Some(address) = self.ours(&message) {
                    self.cache.tell(address, Event::Deleted, now);
                    self.tell_queue(address, Event::Deleted);
                }
            }
            Some(Notification::Change(RouteNetlinkMessage::NewLink(message))) if self.is_ours(&message) => {
                // The message tells what was, and a short fall may be told by it alone; what is, the kernel is asked.
                if !has_carrier(message.header.flags) {
                    self.went_down();
                }
                self.look_at_link().await?;
            }
            Some(Notification::Change(RouteNetlinkMessage::DelLink(message))) if self.is_ours(&message) => {
                self.vanished();
            }
            Some(Notification::Overrun) => self.overrun = true,
            _ => {}
        }
        Ok(())
    }

    /// Of those whom we ask ourselves the kernel's word counts only where somebody entered it by hand.
    fn tell_queue(&mut self, address: IpAddr, event: Event) {
        let Some(queue) = self.asked_by_us.as_ref().filter(|_| !self.cache.has(address)) else { return };
        match event {
            Event::Resolved { mac, fixed: true } => {
                self.fixed.insert(address);
                queue.tell((address, Some(mac)));
            }
            _ if self.fixed.remove(&address) => queue.tell((address, None)),
            Event::Resolved { fixed: false, .. } | Event::Failed | Event::Deleted => {}
        }
    }

    /// The neighbour that a message is about, if it is on our interface.
    fn ours(&self, message: &NeighbourMessage) -> Option<IpAddr> {
        let is_ip = matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6);
        if message.header.ifindex == self.interface.index && is_ip { neighbour_address(message) } else { None }
    }

    fn read(&self, message: &NeighbourMessage) -> Option<(IpAddr, Event)> {
        Some((self.ours(message)?, Event::read(message)?))
    }

    /// A bridge speaks of its ports in the same words, of another family.
    fn is_ours(&self, message: &LinkMessage) -> bool {
        message.header.index == self.interface.index && message.header.interface_family == AddressFamily::Unspec
    }

    /// Asks the kernel how the link is. It may have gone down at any moment since it was last seen up.
    async fn look_at_link(&mut self) -> Result<(), RouteError> {
        let asked = (self.now)();
        self.next_look = if self.link.is_gone() { Nanos::MAX } else { asked + LOOK };
        let Some(link) = link_of(&self.handle, self.interface.index).await? else {
            self.vanished();
            return Ok(());
        };
        let changes = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::CarrierChanges(count) => Some(*count),
            _ => None,
        });
        let flapped =
            std::mem::replace(&mut self.carrier_changes, changes).is_some_and(|before| Some(before) != changes);
        if !has_carrier(link.header.flags) {
            self.went_down();
            return Ok(());
        }
        // Down and up again, between two looks.
        if flapped {
            self.went_down();
        }
        if !self.link.is_up() {
            let now = (self.now)();
            self.link.came_up(now + SETTLES);
            self.cache.ask_all(now);
            tracing::info!(interface = self.interface.name, "the link is up again");
        }
        self.seen_up = asked;
        Ok(())
    }

    fn went_down(&mut self) {
        if self.link.is_up() {
            self.link.went_down(self.seen_up);
            tracing::warn!(interface = self.interface.name, "the link is down");
        }
    }

    fn vanished(&mut self) {
        if !self.link.is_gone() {
            self.link.vanished(self.seen_up);
            tracing::error!(
                interface = self.interface.name,
                "the interface was removed: nothing can be sent any more. Restart echolot once it is there again"
            );
        }
    }

    /// Has the kernel ask each gateway that a sender has doubts about: at once, by unicast, whatever it last knew of it.
    async fn ask_gateways(&mut self) {
        // While the link is down nothing can be proven, and nobody is to blame.
        if !self.link.is_up() {
            return self.gateways.forget();
        }
        for Question { address } in self.gateways.questions((self.now)()) {
            // Asking would turn an entry that was made by hand into an ordinary one: it is believed.
            if self.cache.is_fixed(address) {
                self.gateways.answered(address, (self.now)());
                continue;
            }
            let neighbour = (self.interface.index, address);
            let none = NeighbourFlags::empty();
            // An entry that is not there, or without a MAC address, can't be probed: the cache has it resolved.
            if let Err(error) = set_neighbour(self.handle.clone(), neighbour, NeighbourState::Probe, none).await {
                tracing::debug!(%address, %error, "the kernel does not probe a gateway");
                self.cache.tell(address, Event::Deleted, (self.now)());
            }
        }
    }

    /// Reads who is known already. Subscribed first, read second: no change falls in between. What failed some time ago is asked anew.
    async fn read_resolved(&mut self) -> Result<(), RouteError> {
        for message in self.neighbours().await? {
            if let Some((address, event @ Event::Resolved { .. })) = self.read(&message) {
                self.cache.tell(address, event, (self.now)());
                self.tell_queue(address, event);
            }
        }
        Ok(())
    }

    /// Those that the kernel knows: of IPv6 too where there is one of ours, whoever asks it.
    async fn neighbours(&mut self) -> Result<Vec<NeighbourMessage>, RouteError> {
        let mut known = neighbours(&self.handle, Family::V4).await?;
        if self.cache.has_family(Family::V6) {
            known.extend(neighbours(&self.handle, Family::V6).await?);
        }
        Ok(known)
    }

    /// Takes notice of hops that are new, or are used again or no longer.
    async fn renew(&mut self) -> Result<(), RouteError> {
        self.version = self.hops.version();
        self.cache.renew((self.now)());
        self.gateways.renew();
        if let Some(queue) = &self.asked_by_us {
            queue.renew();
        }
        // The kernel says nothing of a neighbour that it knows well when it is asked for it.
        self.read_resolved().await
    }

    /// After lost notifications: everything anew.
    async fn read_all(&mut self) -> Result<(), RouteError> {
        tracing::debug!("netlink notifications were lost, reading the tables anew");
        self.overrun = false;
        let messages = self.neighbours().await?;
        let events = messages.iter().filter_map(|message| self.read(message)).collect();
        self.cache.tell_all(events, (self.now)());
        self.look_at_link().await
    }

    /// Has the kernel behave as if it had a packet for each of these: what is stale is confirmed, what is missing resolved.
    async fn ask(&mut self, due: Vec<IpAddr>) -> Result<(), RouteError> {
        const AT_ONCE: usize = 32;
        const EPERM: i32 = 1;
        const ENOBUFS: i32 = 105;
        let index = self.interface.index;
        let questions = due.into_iter().map(|address| {
            let handle = self.handle.clone();
            let (none, use_it) = (NeighbourState::None, NeighbourFlags::Use);
            async move { (address, set_neighbour(handle, (index, address), none, use_it).await) }
        });
        let answers: Vec<_> = stream::iter(questions).buffer_unordered(AT_ONCE).collect().await;
        for (address, answer) in answers {
            let Err(error) = answer else { continue };
            match error.raw_os_error() {
                Some(EPERM) => return Err(RouteError::Permission { interface: self.interface.name.clone() }),
                // The neighbour table is full: let it forget some.
                Some(ENOBUFS) => self.cache.pause((self.now)()),
                _ => tracing::debug!(%address, %error, "the kernel does not resolve a neighbour"),
            }
        }
        Ok(())
    }
}
