//! The exposition and its server from outside: read back by a parser of its own, by promtool, and by a real
//! Prometheus; documented to the last label; and not to be held up by any client.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

#[path = "promtool/fake.rs"]
mod fake;
#[path = "promtool/http.rs"]
mod http;
#[path = "promtool/openmetrics.rs"]
mod openmetrics;
#[path = "promtool/parse.rs"]
mod parse;
#[path = "promtool/policy.rs"]
mod policy;
#[path = "promtool/prometheus.rs"]
mod prometheus;
#[path = "promtool/server.rs"]
mod server;
#[path = "promtool/text.rs"]
mod text;
#[path = "promtool/tools.rs"]
mod tools;
