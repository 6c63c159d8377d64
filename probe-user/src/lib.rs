//! echolot: a kernel-bypass, high-rate prober.
//!
//! The folders are the program. Imports point one way, downwards in this list:
//!
//! | folder | what lives there |
//! |---|---|
//! | [`cli`] | one file a command; here a worker is joined to a NIC or to a simulated network |
//! | [`config`], [`http`], [`metrics`], [`results`], [`doctor`] | what people write, scrape and read |
//! | [`worker`], [`nic`], [`sim`] | the packet loops, and the two networks that they can run on |
//! | [`targets`], [`schedule`], [`ledger`], [`health`], [`route`] | who, when, what is owed, what it means, which way |
//! | [`wire`], [`time`] | bytes and nanoseconds |
//! | `probe_ebpf` | what userspace and the XDP programs share |

pub mod cli;
pub mod config;
pub mod doctor;
pub mod health;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod nic;
pub mod results;
pub mod route;
pub mod schedule;
pub mod sim;
pub mod targets;
pub mod time;
pub mod wire;
pub mod worker;
