//! The traits of worker for real: XDP programs, AF_XDP sockets, transmit engines, drop counters. All unsafe code of this crate.
