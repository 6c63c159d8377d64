//! Source address, next hop and neighbour, from the kernel's tables, and the interface's condition.
//!
//! - `Routes::discover` asks the kernel which way each target lies: interface, next hop, source address.
//! - [`Watch`] has the kernel resolve gateways before the first probe, and then follows its tables for as long as it
//!   runs: neighbours into [`Hop`], the link into [`LinkState`]. Packet loops read both without a lock.
//! - [`NeighbourTable`] says which targets on the link are to be asked by ARP or neighbour discovery of our own, because they are more
//!   than the kernel's table should hold of ours, and [`NeighbourQueue`] is where senders say which of them they want.
//! - [`Follower`] hears of changes in routes and addresses; [`Found`] is what the kernel says then, and [`Difference`] what that changes.
//!
//! Everything here runs on a control thread's tokio runtime, and talks to the network namespace of the thread that calls
//! [`connect`] or [`Watch::open`].

mod bond;
mod cache;
mod discover;
mod error;
pub(crate) mod ethtool;
mod features;
mod follow;
mod gateways;
pub(crate) mod genl;
mod hops;
mod interface;
mod life;
mod link;
mod lookup;
mod members;
mod neighbours;
mod netlink;
mod overview;
mod own;
mod segments;
mod several;
mod share;
mod stack;
mod survey;
mod watch;
mod ways;

pub use bond::{Bond, Candidate, Member, Mode as BondMode};
pub use discover::{Found, Routes, Unrouted};
pub use error::{RouteError, StackError, Unusable, Why};
pub use features::XdpFeatures;
pub use follow::{Changed, Follower};
pub use gateways::FailedGateways;
pub use hops::{Hop, Hops, NO_ROUTE, NO_SOURCE, Neighbour};
pub use interface::{AttachedProgram, Interface, XdpMode};
pub use life::Life;
pub use link::LinkState;
pub use members::{Members, PortView, View};
pub use neighbours::{Answer, NeighbourQueue, NeighbourTable, Question, Told, Wake, Weight};
pub use netlink::{clock_offset, connect};
pub use overview::{Overview, WayOut};
pub use share::{KernelAsks, Share, neighbours_at_most, share_of_kernel};
pub use stack::Stack;
pub use watch::{Resolution, Watch};
pub use ways::Difference;
