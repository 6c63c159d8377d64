//! echolot: a kernel-bypass, high-rate prober.
//!
//! The folders are the program. Imports point one way, downwards in this list, and never from one to another of the same row;
//! `tests/imports.rs` holds that.
//!
//! | folder | what lives there |
//! |---|---|
//! | [`cli`] | one file a command: what people type, and what they see |
//! | [`run`] | a worker joined to a NIC, and all beside it that is not packets |
//! | [`config`], [`http`], [`doctor`] | what people write, scrape and ask |
//! | [`metrics`] | what all of it came to, for machines |
//! | [`alert`] | and whom it wakes |
//! | [`results`] | the same for people and their scripts |
//! | [`nic`] | the card: XDP programs, AF_XDP sockets, transmit engines |
//! | [`worker`] | the packet loops, and the traits that they need |
//! | [`ledger`] | what is owed and what came back |
//! | [`discovery`] | where targets come from, and that they change |
//! | [`targets`] | who is probed |
//! | [`schedule`], [`health`], [`path`], [`route`], [`enrich`] | when, what it means, through whom, which way, whose it is |
//! | [`wire`], [`client`] | bytes; HTTP requests of our own |
//! | [`base`] | the words that all share |
//!
//! Beneath all is the library of `probe_ebpf`: what userspace and the XDP programs share.

pub mod alert;
pub mod base;
pub mod cli;
pub mod client;
pub mod config;
pub mod discovery;
pub mod doctor;
pub mod enrich;
pub mod health;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod nic;
pub mod path;
pub mod results;
pub mod route;
pub mod run;
pub mod schedule;
pub mod targets;
pub mod wire;
pub mod worker;
