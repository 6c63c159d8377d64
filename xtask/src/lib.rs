//! Chores that the rest of the workspace shares: the eBPF build (also called by `probe-user/build.rs`), set-up, the
//! lab of network namespaces (also used by tests), virtual machines, the Debian package. Built first on a bare machine, so it depends on next to nothing.

pub mod command;
pub mod demo;
pub mod ebpf;
pub mod fuzz;
pub mod lab;
pub mod package;
pub mod setup;
pub mod vm;
