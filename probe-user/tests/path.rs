//! Chains of routers (`testbed::chain`), for what is said of paths: held against what *traceroute*, *mtr* and *ping* say of them.
//!
//! ```text
//!   near ── r1 ── r2 ── … ── rN ── target        each a network namespace, forwarding by the kernel, IPv4 and IPv6
//!             r3 ┬─ r4 ─── r5 ──┬─ r6            branches: by flows, by addresses, packet by packet
//!                └─ r4-1 ─ r5-1 ┘
//!             r6 ── this process ── r8           a router in userspace: testbed::router
//!   near ── names                                a place for a name server
//! ```
//!
//! | test | proves |
//! |---|---|
//! | `whole::*` | all 30 routers of a chain answer by ICMP, UDP and TCP over both families, and all that lies behind each does, to echolot's probes as well; the chain is gone when it is dropped, and when its test fails or is killed |
//! | `branches::*` | of flows each keeps to its branch and all together see every one; by addresses they go one way, packet by packet any; a branch that is taken alone is seen alone |
//! | `limits::*` | a router that limits its errors seems to lose when it is asked quickly, and not when slowly, and no later hop does |
//! | `quirks::*` | what a router in userspace says is read by others as its rule has it: silence, short and changed quotes, labels both ways, refusals, foreign addresses, late and doubled answers, time to live that is kept or runs below 1 |
//! | `trace::*` | `echolot trace` sees all of that, by every kind of probe and over both families: the same hops, both branches, who is silent and who limits; and no name server gets in its way |
//! | `followed::*` | `echolot run` keeps paths: a branch that is taken instead is an event with both, a target behind a link that was cut goes down with the last hop that answers |
//! | `ways::*` | a link that loses its carrier ends a path where it was cut; a held packet is late by as much as was said |
//!
//! They need root, traceroute, mtr, fping, nft and tcpdump; without root each says so and is passed over, a missing tool is a
//! failure.
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use testbed::chain::{self, balance, tools};

#[path = "path/branches.rs"]
mod branches;
#[path = "path/followed.rs"]
mod followed;
#[path = "path/limits.rs"]
mod limits;
#[path = "path/quirks.rs"]
mod quirks;
#[path = "path/trace.rs"]
mod trace;
#[path = "path/ways.rs"]
mod ways;
#[path = "path/whole.rs"]
mod whole;
