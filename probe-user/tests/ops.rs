//! echolot as those who operate it meet it: the program itself, in a lab of two namespaces, with what goes wrong in the
//! night. Needs root; one lab at a time.
//!
//! | folder | proves |
//! |---|---|
//! | `alerts` | two Alertmanagers are told of outages once, whatever is away or killed meanwhile |
//! | `bridge` | a bridge is refused, and what the refusal names works |
//! | `errors` | whatever is in the way is told in one line, with the exit status that is promised |
//! | `output` | a full disk, or a reader that doesn't read, costs results that are counted, and never a probe |
//! | `discovery` | sources of targets that are down at the start hold nothing up, and are told of |
//! | `killed` | SIGKILL at any moment leaves nothing behind, and starting again at once works |
//! | `threads` | loop threads kick and sleep, and allocate nothing |
//! | `neighbours` | the host's own ping and TCP don't notice echolot beside them |
//! | `notified` | a service manager is told that it is ready, reloads, ends, and is alive: not while a thread stands |
//! | `on_link` | a large flat network is probed from the first second on, and the host's neighbour table stays the host's |
//! | `reflect` | a far end that answers TCP: this machine's own connections to it are opened and refused |
//! | `tcp` | ports that are open, closed and silent are told as such, and nobody's connection comes to be |
//! | `udp` | datagrams are answered, refused and lost, name servers say what they say, and source ports refuse nobody |
//! | `mtu` | the path MTU is found, by who says it and by silence, and as `ping` and `tracepath` find it |
//! | `reload` | the configuration is read again under way: nothing is lost, the program stays attached, what is refused changes nothing |
//! | `pages` | what docs/tasks tells people to type does what it says |
//! | `scraped` | promtool is content with a live scrape, and a real Prometheus finds what is expected |
//! | `vantages` | three places in one Prometheus: the dashboard has data, and rules tell a target from the network near a place |
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

#[path = "ops/alerts.rs"]
mod alerts;
#[path = "ops/bridge.rs"]
mod bridge;
#[path = "ops/discovery.rs"]
mod discovery;
#[path = "ops/errors.rs"]
mod errors;
#[path = "ops/killed.rs"]
mod killed;
#[path = "ops/mtu.rs"]
mod mtu;
#[path = "ops/neighbours.rs"]
mod neighbours;
#[path = "ops/network.rs"]
mod network;
#[path = "ops/notified.rs"]
mod notified;
#[path = "ops/on_link.rs"]
mod on_link;
#[path = "ops/output.rs"]
mod output;
#[path = "ops/pages.rs"]
mod pages;
#[path = "ops/place.rs"]
mod place;
#[path = "ops/reflect.rs"]
mod reflect;
#[path = "ops/reload.rs"]
mod reload;
#[path = "ops/scraped.rs"]
mod scraped;
#[path = "ops/sources.rs"]
mod sources;
#[path = "ops/tcp.rs"]
mod tcp;
#[path = "ops/threads.rs"]
mod threads;
#[path = "promtool/tools.rs"]
mod tools;
#[path = "ops/udp.rs"]
mod udp;
#[path = "ops/vantages.rs"]
mod vantages;
