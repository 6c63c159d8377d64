//! The loops, the small traits that they need, and the handle by which the rest of the program asks them.
//!
//! A loop is six verbs long, see [`Loop::turn`]. What makes it a sender, a receiver or both is which of its parts have something to
//! do: a sender walks runs of targets, a receiver has queues. Loops share the ledger, lock-free, and nothing else.

mod adopter;
mod asks;
mod assembly;
mod backlog;
mod changes;
mod common;
mod debts;
mod drained;
mod drops_known;
mod dwell;
mod handed_over;
mod judge;
mod looping;
mod orders;
mod port_report;
mod precedence;
mod progress;
mod proof;
mod receiver;
mod refuse;
mod resets;
mod sender;
mod settle;
mod sink;
mod traits;
mod walk;

pub use adopter::Adopter;
pub use asks::{Ask, Asks};
pub use assembly::{Assembly, Network, Wanted};
pub use changes::{Changes, Transition};
use common::Asked;
pub use common::{Common, Phase};
pub use handed_over::{HandedOver, Word};
pub use looping::{Loop, NoQueues, NoTransmit};
pub use orders::Orders;
pub use progress::{Progress, STANDS};
pub use proof::{Proven, Reader, Said, Slots, WireReader, prove};
pub use receiver::Receiver;
pub use resets::Resets;
pub use sender::Sender;
pub(crate) use sink::Backlog;
pub use sink::{Queue, Sink, queue};
pub use traits::{Clock, Due, Fate, Leaving, Link, Receive, Rest, Room, Taken, Transmit};
