//! Sources of targets on loopback: files that are renamed, swapped, broken and taken away, HTTP servers of every kind, names that change.
//! Of each: what the log says, what the metrics say, and which change comes of it, if any.
//!
//! | file | what is proven |
//! |---|---|
//! | `support` | sources at work, whose changes, states and log lines are kept |
//! | `server` | an HTTP server that answers as it is told to, over TLS too |
//! | `files` | target files, exclusions, and folders that can't be watched |
//! | `http` | lists over HTTP |
//! | `tls` | certificates and secrets |
//! | `names` | names in DNS |
//! | `prometheus` | a real Prometheus finds the same targets |
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "discovery/files.rs"]
mod files;
#[path = "discovery/http.rs"]
mod http;
#[path = "discovery/names.rs"]
mod names;
#[path = "discovery/prometheus.rs"]
mod prometheus;
#[path = "discovery/server.rs"]
mod server;
#[path = "discovery/support.rs"]
mod support;
#[path = "discovery/tls.rs"]
mod tls;
