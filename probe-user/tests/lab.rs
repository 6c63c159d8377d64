//! What must be seen: the program as people run it, end to end, in a lab of network namespaces.
//!
//! ```text
//!   NAME-near                                       NAME-far
//!   near0  10.63.0.1/24  ───────── veth ─────────   far0  10.63.0.2/24
//!          fd00:63::1/64                                   fd00:63::2/64
//!   10.64.0.0/12 via 10.63.0.2                      answers for all of 10.64.0.0/12
//!   fd00:64::/108 via fd00:63::2                    and of fd00:64::/108:
//!   echolot, curl                                   the kernel's own stack, `echolot reflect`, or nobody
//!                                                   tcpdump
//! ```
//!
//! | test | proves |
//! |---|---|
//! | `sweep::of_the_kernels_stack` | 1,048,576 of 1,048,576 addresses are answered at 200,000 a second, each is in the results once, nothing is unexplained |
//! | `sweep::of_the_reflector` | the same, and the list of those that answered has each once |
//! | `monitor::a_fleet_without_loss` | none lost, the equation at every scrape, results and metrics agree; after SIGTERM it stops sending, drains, and nothing is in flight |
//! | `pacing::even_and_scattered` | of 10,000 neighbours at 1 s, every 10 ms hold their share, and no /24 more than 3 probes of them |
//! | `pacing::the_judge_sees_bursts_and_neighbours` | the test above can fail |
//! | `pacing::the_witness_adds_up_what_the_sender_owes` | what excuses a bin there |
//! | `silence::exactly_the_unanswered_are_lost` | with the far end silent and its link up, *lost* are the probes whose requests a capture saw go unanswered, no other |
//! | `stopped::what_was_stamped_in_time_is_answered` | a process that was stopped for 3 s has lost nobody: its kernel was awake |
//! | `strangers::excuse_nobody` | a silent target beside frames that no protocol of this host wants: all its probes are *lost*, none *unheard*, and it goes down on time |
//! | `link::near_down` | while the near link is down probes are *unsent*, none *lost*, no target goes down, and it goes on after; nothing *unsent* is in a capture |
//! | `link::far_down` | the same where it is the carrier that goes |
//! | `queues::more_of_them` | a receive queue that comes while echolot runs gets a socket; until then its replies are *unheard*, none *lost* |
//! | `queues::another_mtu_and_a_restart` | another MTU, down and up again: nothing is *lost*, and it goes on |
//! | `eye::tshark_and_etherparse_read_every_probe` | a capture in far holds as many requests as were sent, with right checksums and the fields expected |
//! | `families::*` | the same program over IPv4 and IPv6: ping, sweep and run, names and sources by family, link-local targets, who is not there and who says so, each beside `ping -6`, and every IPv6 probe read by tshark and etherparse |
//! | `paths::a_flow_takes_one_path_and_flows_take_both` | with two paths of equal cost, counted at their far ends, every flow of every kind keeps to one, and flows walk both where Linux hashes what they differ in |
//! | `hops::*` | probes with few hops to live are answered by the routers that the far end's rules name, of every kind and over both families, and each as often as it was asked |
//! | `tcp::*` | open, closed and dropped ports as a plain connect finds them; errors about SYNs; half open connections ended, which tshark counts and the far kernel no longer has; nothing of it reaches this host's own stack; a port that has just closed says so beside a thousand pending; of 20,000 SYNs by each engine (1,048,576 in the long form) the far kernel holds nothing, and this host's own TCP, UDP and ping go on |
//! | `udp::*` | open, closed and silent UDP ports as the kernel's own sockets find them, by both engines over both families; a name server is asked beside this host's own questions, and this host's stack sends no ICMP about any of it |
//! | `crosscheck::*` | what echolot says of ports, name servers and hosts, by both engines over both families, is what `nc`, `dig`, `ping` and `fping` say of the same: open, closed, prohibited and silent, response codes, who answers with which time to live, and who else says why not |
//!
//! They need root, tcpdump, tshark, curl, nc, dig and fping; without root each says so and is passed over, a missing tool is a failure.
//! They measure time, so one lab is up at a time, whatever the number of test threads.
//!
//! The long form has 100,000 targets for 60 seconds and no allowance for a machine that is busy with other things, and
//! takes six minutes on a quiet machine with two cores:
//!
//! ```text
//! ECHOLOT_LONG=1 cargo test --release -p echolot --test lab -- --nocapture
//! ```
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

#[path = "lab/capture.rs"]
mod capture;
#[path = "lab/crosscheck.rs"]
mod crosscheck;
#[path = "lab/eye.rs"]
mod eye;
#[path = "lab/families.rs"]
mod families;
#[path = "lab/harness.rs"]
mod harness;
#[path = "lab/hops.rs"]
mod hops;
#[path = "lab/link.rs"]
mod link;
#[path = "lab/monitor.rs"]
mod monitor;
#[path = "lab/pacing.rs"]
mod pacing;
#[path = "lab/paths.rs"]
mod paths;
#[path = "lab/queues.rs"]
mod queues;
#[path = "lab/results.rs"]
mod results;
#[path = "lab/silence.rs"]
mod silence;
#[path = "lab/stopped.rs"]
mod stopped;
#[path = "lab/strangers.rs"]
mod strangers;
#[path = "lab/sweep.rs"]
mod sweep;
#[path = "lab/tcp.rs"]
mod tcp;
#[path = "lab/udp.rs"]
mod udp;
