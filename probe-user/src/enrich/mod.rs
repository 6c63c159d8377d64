//! Names and networks of addresses, beside the measurement: reverse DNS, AS numbers and their names.
//!
//! Whoever wants to know of an address asks ([`Enricher::ask`]) and goes on; whoever shows it takes what is there by then
//! ([`Enricher::known`]). Both take no longer than a look into a table, whatever the name server does: a thread of its own asks, and
//! what it doesn't learn is a name that is missing and nothing else. Only who has nothing left to do may wait ([`Enricher::wait`]).
//!
//! What comes from DNS and from files is strangers' text: [`text`] makes it fit for terminals and JSON before anybody sees it. Uses
//! `base` at most.

mod asn;
mod enricher;
mod known;
mod lookup;
mod resolver;
mod settings;
mod shared;
mod text;

pub use asn::{AsnError, AsnTable, Network};
pub use enricher::Enricher;
pub use known::Known;
pub(crate) use resolver::{Answer, Resolvers, addresses_of};
pub use settings::{AsnSource, Servers, Settings};
