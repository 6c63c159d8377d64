//! Routes, neighbours and links against a real kernel, as root.
//!
//! ```text
//!   namespace near                                namespace far
//!   near0 10.99.0.1/24 ─────────── veth ───────── far0 10.99.0.254/24, 10.99.0.2/24
//!   default via 10.99.0.254
//! ```
//!
//! Each test makes its own pair of namespaces, and runs itself again inside `near` (netlink sockets belong to the

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use echolot::{
    base::{Nanos, Sources},
    route::{
        self, Found, Hop, Hops, Interface, LinkState, NO_ROUTE, NO_SOURCE, Neighbour, RouteError, Routes, Watch, Why,
        XdpMode,
    },
};
use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr},
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

#[path = "route/examined.rs"]
mod examined;
#[path = "route/v6.rs"]
mod v6;

const INSIDE: &str = "ECHOLOT_ROUTE_TEST_FAR";
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 254);
const HERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const NOT_HERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 77);
const BEHIND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

fn sh(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// Both namespaces; gone when dropped, with the veth between them.
struct Pair {
    near: String,
    far: String,
}

impl Pair {
    fn make(test: &str) -> Self {
        // Several tests and test runs at once: their names tell them apart.
        let pair = Self {
            near: format!("el-route-{}-{test}-near", std::process::id()).replace("::", "-"),
            far: format!("el-route-{}-{test}-far", std::process::id()).replace("::", "-"),
        };
        let Self { near, far } = &pair;
        sh(&format!(
            "ip netns add {near}
             ip netns add {far}
             ip -n {near} link add near0 type veth peer name far0 netns {far}
             ip -n {near} addr add 10.99.0.1/24 dev near0
             ip -n {far} addr add 10.99.0.254/24 dev far0
             ip -n {far} addr add 10.99.0.2/24 dev far0
             ip -n {near} link set lo up
             ip -n {near} link set near0 up
             ip -n {far} link set far0 up
             ip -n {near} route add default via 10.99.0.254"
        ));
        pair
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            drop(Command::new("ip").args(["netns", "del", name]).status());
        }
    }
}

/// Runs `body` in the near namespace; it is given the far one's name.
fn inside<F: Future<Output = ()>>(test: &str, body: impl FnOnce(String) -> F) {
    if let Ok(far) = std::env::var(INSIDE) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bound = Duration::from_secs(60);
        return runtime.block_on(async { tokio::time::timeout(bound, body(far)).await.unwrap() });
    }
    if !is_root() {
        println!("skipped: needs root");
        return;
    }
    let pair = Pair::make(test);
    let output = Command::new("ip")
        .args(["netns", "exec", &pair.near])
        .arg(std::env::current_exe().unwrap())
        .args(["--include-ignored", "--exact", test, "--nocapture"])
        .env(INSIDE, &pair.far)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    // A name that matches no test would pass without having run.
    assert!(said.contains("1 passed"), "{said}");
}

fn now() -> Nanos {
    static START: OnceLock<Instant> = OnceLock::new();
    // Not at zero, so that a guard before the first moment is not cut off.
    Nanos::from_secs(1_000) + Nanos::from(START.get_or_init(Instant::now).elapsed())
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn discover(targets: &[Ipv4Addr]) -> Routes {
    Routes::discover(&route::connect().unwrap(), targets.iter().copied(), None, &Sources::default()).await.unwrap()
}

fn sources(addresses: impl IntoIterator<Item = Ipv4Addr>) -> Sources {
    Sources::from_addresses(addresses.into_iter().map(Into::into)).unwrap()
}

async fn refused(targets: &[Ipv4Addr], interface: Option<&str>, source: Option<Ipv4Addr>) -> RouteError {
    Routes::discover(&route::connect().unwrap(), targets.iter().copied(), interface, &sources(source))
        .await
        .unwrap_err()
}

async fn watch(routes: &Routes) -> (Watch, Arc<LinkState>) {
    let link = Arc::new(LinkState::new());
    let watch = Watch::open(routes.interface.clone(), routes.hops.clone(), link.clone(), now).await.unwrap();
    (watch, link)
}

fn mac_of_far(far: &str) -> [u8; 6] {
    let output = Command::new("ip").args(["-n", far, "-o", "link", "show", "far0"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mac = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
    let bytes: Vec<u8> = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn is_resolved(hop: &Hop) -> bool {
    hop.neighbour().is_resolved()
}

#[test]
#[ignore = "needs root: make test runs it"]
fn hops_are_found_and_resolved() {
    inside("hops_are_found_and_resolved", |far| async move {
        let routes = discover(&[HERE, NOT_HERE, BEHIND, Ipv4Addr::new(198, 51, 100, 9), HERE]).await;
        assert_eq!(routes.interface.name, "near0");
        assert_eq!(routes.of, [0, 1, 2, 2, 0]);
        assert_eq!(routes.unrouted, None);
        let shapes: Vec<_> = routes.hops.iter().map(|hop| (hop.address, hop.source, hop.on_link)).collect();
        let [here, not_here, gateway, source] = [HERE, NOT_HERE, GATEWAY, SOURCE].map(IpAddr::from);
        assert_eq!(shapes, [(here, source, true), (not_here, source, true), (gateway, source, false)]);
        let (mut watch, link) = watch(&routes).await;
        assert!(link.is_up());
        let start = Instant::now();
        let resolution = watch.resolve().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!((resolution.on_link, resolution.on_link_unanswered), (2, 1));
        assert_eq!(resolution.error(), None);
        let mac = Neighbour::Resolved(mac_of_far(&far));
        let neighbours: Vec<_> = routes.hops.iter().map(Hop::neighbour).collect();
        assert_eq!(neighbours, [mac, Neighbour::Unresolved, mac]);
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_silent_gateway_is_reported_within_the_bound() {
    inside("a_silent_gateway_is_reported_within_the_bound", |far| async move {
        sh(&format!("ip -n {far} addr del 10.99.0.254/24 dev far0"));
        let routes = discover(&[BEHIND]).await;
        let (mut watch, _) = watch(&routes).await;
        let start = Instant::now();
        let resolution = watch.resolve().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(resolution.unanswered, [GATEWAY]);
        let error = resolution.error().unwrap();
        assert!(error.starts_with("gateway 10.99.0.254 on near0 does not answer ARP"), "{error}");
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn each_kind_of_route_is_told() {
    inside("each_kind_of_route_is_told", |far| async move {
        sh(&format!(
            "ip route add unreachable 198.18.1.0/24
             ip route add blackhole 198.18.2.0/24
             ip route add prohibit 198.18.3.0/24
             ip link add other0 type veth peer name other1 netns {far}
             ip addr add 10.98.0.1/24 dev other0
             ip link set other0 up
             ip -n {far} link set other1 up
             ip route add 198.18.4.0/24 via 10.98.0.7
             ip route add 203.0.113.128/25 via 10.99.0.2 table 100
             ip rule add to 203.0.113.192/26 lookup 100"
        ));
        let of_kind = |n| Ipv4Addr::new(198, 18, n, 1);
        for (target, why) in [
            (of_kind(1), Why::Unreachable),
            (of_kind(2), Why::Invalid),
            (of_kind(3), Why::Prohibited),
            (of_kind(4), Why::Elsewhere("other0".to_owned())),
            (SOURCE, Why::Local),
            (Ipv4Addr::new(10, 99, 0, 255), Why::Broadcast),
            (Ipv4Addr::new(224, 0, 0, 5), Why::Multicast),
            (Ipv4Addr::new(255, 255, 255, 255), Why::Broadcast),
        ] {
            let routes = discover(&[BEHIND, target, target]).await;
            assert_eq!(routes.of, [0, NO_ROUTE, NO_ROUTE], "{target}");
            let unrouted = routes.unrouted.unwrap();
            assert_eq!((unrouted.count, unrouted.example, unrouted.why), (2, IpAddr::from(target), why));
        }
        // A rule's edge is an edge too, and its table counts only behind it.
        let around = [127, 128, 191, 192].map(|last| Ipv4Addr::new(203, 0, 113, last));
        let routes = discover(&around).await;
        assert_eq!(routes.of, [0, 0, 0, 1]);
        assert_eq!(routes.hops[1].address, HERE);
        // Through a named interface: its own routes only, and no guessing that what has no route is on the link.
        let handle = route::connect().unwrap();
        let routes =
            Routes::discover(&handle, [BEHIND, of_kind(4)], Some("other0"), &Sources::default()).await.unwrap();
        assert_eq!(routes.of, [NO_ROUTE, 0]);
        assert_eq!(routes.unrouted.unwrap().why, Why::NoRoute);
        assert_eq!(routes.hops[0].source, Ipv4Addr::new(10, 98, 0, 1));
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_can_not_work_is_refused_with_the_reason() {
    inside("what_can_not_work_is_refused_with_the_reason", |far| async move {
        let error = refused(&[BEHIND], Some("eth7"), None).await.to_string();
        assert!(error.starts_with("eth7: no such interface. This host has: lo, near0"), "{error}");
        let error = refused(&[BEHIND], Some("lo"), None).await;
        assert!(matches!(error, RouteError::Loopback { .. }), "{error}");
        let error = refused(&[], None, None).await;
        assert!(matches!(error, RouteError::NoTargets), "{error}");
        let error = refused(&[BEHIND], None, Some(Ipv4Addr::new(10, 99, 0, 3))).await.to_string();
        assert!(error.starts_with("source 10.99.0.3 is not an address of this host"), "{error}");
        assert!(error.contains("10.99.0.1"), "{error}");
        sh("ip tuntap add dev tun7 mode tun && ip link set tun7 up");
        let error = refused(&[BEHIND], Some("tun7"), None).await;
        assert!(matches!(error, RouteError::NotEthernet { .. }), "{error}");
        sh("ip route del default");
        let error = refused(&[BEHIND, BEHIND, BEHIND], None, None).await.to_string();
        assert!(error.starts_with("no route to 203.0.113.5: no entry in the routing tables"), "{error}");
        assert!(error.contains("any of the 2 other targets"), "{error}");
        let error = refused(&[BEHIND], Some("near0"), None).await.to_string();
        assert!(error.starts_with("no route to 203.0.113.5 through near0: "), "{error}");
        sh(&format!("ip -n {far} link set far0 down"));
        let error = refused(&[HERE], Some("near0"), None).await;
        assert!(matches!(error, RouteError::NoCarrier { .. }), "{error}");
        sh("ip link set near0 down");
        let error = refused(&[HERE], Some("near0"), None).await;
        assert!(matches!(error, RouteError::Down { .. }), "{error}");
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn without_the_privilege_it_is_named() {
    inside("without_the_privilege_it_is_named", |_| async move {
        // What works above, without the capability.
        let output = Command::new("setpriv")
            .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
            .arg(std::env::current_exe().unwrap())
            .args(["--include-ignored", "--exact", "hops_are_found_and_resolved", "--nocapture"])
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("Permission { interface: \"near0\" }"), "{said}");
        assert!(!said.contains("setpriv"), "{said}");
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_source_is_used() {
    inside("a_source_is_used", |_| async move {
        sh("ip addr add 10.99.0.9/24 dev near0");
        let source = Ipv4Addr::new(10, 99, 0, 9);
        let handle = route::connect().unwrap();
        for interface in [None, Some("near0")] {
            let routes = Routes::discover(&handle, [BEHIND, HERE], interface, &sources(Some(source))).await.unwrap();
            assert!(routes.hops.iter().all(|hop| hop.source == source), "{:?}", routes.hops);
            assert_eq!(routes.of, [0, 1]);
        }
    });
}

/// Two uplinks, as a policy rule makes them: what leaves from the second address takes another gateway.
#[test]
#[ignore = "needs root: make test runs it"]
fn sources_in_turn_take_ways_of_their_own() {
    inside("sources_in_turn_take_ways_of_their_own", |_| async move {
        let [first, second, third] = [SOURCE, Ipv4Addr::new(10, 99, 0, 9), Ipv4Addr::new(10, 99, 0, 10)];
        let other = IpAddr::from([10, 99, 0, 7]);
        for command in [
            "ip addr add 10.99.0.9/24 dev near0",
            "ip addr add 10.99.0.10/24 dev near0",
            "ip route add default via 10.99.0.7 table 7",
            "ip rule add from 10.99.0.9 table 7",
        ] {
            sh(command);
        }
        let handle = route::connect().unwrap();
        let wanted = sources([first, second, third]);
        let routes = Routes::discover(&handle, [BEHIND, HERE], None, &wanted).await.unwrap();
        let way = |target: usize, turn| {
            let place = routes.hops.in_turn(routes.of[target], turn)?;
            let hop = &routes.hops[place as usize];
            Ok::<_, u32>((hop.address, hop.source, hop.on_link))
        };
        let gateway = IpAddr::from(GATEWAY);
        assert_eq!(way(0, 0), Ok((gateway, first.into(), false)));
        assert_eq!(way(0, 1), Ok((other, second.into(), false)), "by its own gateway");
        assert_eq!(way(0, 2), Ok((gateway, third.into(), false)));
        for (turn, source) in (0..).zip([first, third]) {
            assert_eq!(way(1, 2 * turn), Ok((HERE.into(), source.into(), true)));
        }
        // One goes away: the others keep their ways.
        sh("ip addr del 10.99.0.9/24 dev near0");
        let found = Found::ask(&handle, [BEHIND, HERE], routes.interface.index, false, &wanted).await.unwrap();
        let hops: Hops = found.hops.into_iter().collect();
        let sources = |target: usize| hops.turns(found.of[target]).map(|(_, hop)| hop.source).collect::<Vec<_>>();
        assert_eq!([sources(0), sources(1)], [[first, third]; 2].map(|turns| turns.map(IpAddr::from).to_vec()));
        assert_eq!(hops.in_turn(found.of[0], 1), Err(NO_SOURCE));
        let unrouted = found.unrouted.unwrap();
        assert_eq!((unrouted.count, unrouted.why), (2, Why::SourceGone(second.into())));
        // All that are not of this host are refused at the start.
        let error = Routes::discover(&handle, [BEHIND], None, &wanted).await.unwrap_err().to_string();
        assert!(error.contains("10.99.0.9"), "{error}");
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_million_targets_are_discovered_fast() {
    inside("a_million_targets_are_discovered_fast", |_| async move {
        let targets = (0..1_048_576).map(|n| Ipv4Addr::from_bits(0x0a40_0000 + n));
        let start = Instant::now();
        let routes = Routes::discover(&route::connect().unwrap(), targets, None, &Sources::default()).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(routes.hops.len(), 1);
        assert!(routes.of.iter().all(|&hop| hop == 0));
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_changed_mac_address_is_seen() {
    inside("a_changed_mac_address_is_seen", |far| async move {
        // As a standby gateway does when it takes over, the far end announces itself.
        sh(&format!("ip netns exec {far} sysctl -qw net.ipv4.conf.all.arp_notify=1"));
        // The kernel disregards an announcement that comes within this time (1 s by default) of the last word.
        sh("sysctl -qw net.ipv4.neigh.near0.locktime=0");
        let routes = discover(&[BEHIND]).await;
        let (mut watch, _) = watch(&routes).await;
        watch.resolve().await.unwrap();
        let task = tokio::spawn(watch.run());
        let after = Neighbour::Resolved([2, 0, 0, 0, 0xbe, 0xef]);
        assert_ne!(routes.hops[0].neighbour(), after);
        sh(&format!("ip -n {far} link set far0 address 02:00:00:00:be:ef"));
        until("the new address", || routes.hops[0].neighbour() == after).await;
        task.abort();
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn an_entry_made_by_hand_is_used_and_stays() {
    inside("an_entry_made_by_hand_is_used_and_stays", |far| async move {
        let show = || {
            let output = Command::new("ip").args(["neigh", "show", "dev", "near0"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        sh("ip neigh replace 10.99.0.254 lladdr 02:00:00:00:00:07 dev near0 nud permanent");
        let routes = discover(&[BEHIND, HERE]).await;
        let (mut watch, link) = watch(&routes).await;
        assert_eq!(watch.resolve().await.unwrap().on_link_unanswered, 0);
        assert_eq!(routes.hops[0].neighbour(), Neighbour::Resolved([2, 0, 0, 0, 0, 7]));
        let task = tokio::spawn(watch.run());
        // A link that returns has all neighbours asked about, gateways first. Its fall took the one that was learnt.
        sh(&format!("ip -n {far} link set far0 down"));
        until("the link down", || !link.is_up()).await;
        until("the learnt one gone", || !show().contains("10.99.0.2 ")).await;
        sh(&format!("ip -n {far} link set far0 up"));
        until("the learnt one back", || show().contains("10.99.0.2 ")).await;
        assert!(show().contains("10.99.0.254 lladdr 02:00:00:00:00:07 PERMANENT"), "{}", show());
        task.abort();
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_gateway_is_confirmed_lost_and_found() {
    inside("a_gateway_is_confirmed_lost_and_found", |far| async move {
        // A hurried kernel: what is not confirmed within a second or so is asked again, once a second.
        sh("sysctl -qw net.ipv4.neigh.near0.base_reachable_time_ms=1000 net.ipv4.neigh.near0.delay_first_probe_time=1");
        let routes = discover(&[BEHIND]).await;
        let (mut watch, link) = watch(&routes).await;
        watch.resolve().await.unwrap();
        let task = tokio::spawn(watch.run());
        let gateway = &routes.hops[0];
        assert!(is_resolved(gateway));
        // Flushed: nothing that senders would see, and the kernel has it again at once.
        sh("ip neigh flush dev near0");
        let kernel_has_it = || {
            assert!(is_resolved(gateway));
            let shown = Command::new("ip").args(["neigh", "show", "10.99.0.254", "dev", "near0"]).output().unwrap();
            String::from_utf8(shown.stdout).unwrap().contains("REACHABLE")
        };
        until("the gateway in the kernel's table", kernel_has_it).await;
        // Nothing else talks to the gateway: that it is gone is found out by our refresh alone.
        sh(&format!("ip -n {far} addr del 10.99.0.254/24 dev far0"));
        until("the gateway's loss", || !is_resolved(gateway)).await;
        sh(&format!("ip -n {far} addr add 10.99.0.254/24 dev far0"));
        until("the gateway's return", || is_resolved(gateway)).await;
        assert!(link.is_up());
        task.abort();
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_link_is_followed() {
    inside("the_link_is_followed", |far| async move {
        let routes = discover(&[BEHIND]).await;
        let (mut watch, link) = watch(&routes).await;
        watch.resolve().await.unwrap();
        let task = tokio::spawn(watch.run());
        for (down, up) in [
            ("ip link set near0 down".to_owned(), "ip link set near0 up".to_owned()),
            (format!("ip -n {far} link set far0 down"), format!("ip -n {far} link set far0 up")),
        ] {
            let before = now();
            assert!(link.is_up() && link.down_since().is_none());
            sh(&down);
            let went_down_before = now();
            until("the link down", || !link.is_up()).await;
            let seen = now();
            assert!(link.down_since().unwrap() < went_down_before, "{down}");
            assert!(link.was_down_between(before, went_down_before), "{down}");
            // Flushed with the link, but kept for when it returns.
            assert!(is_resolved(&routes.hops[0]));
            sh(&up);
            until("the link up", || link.is_up()).await;
            let after = link.down_until() + Nanos(1);
            assert!(seen < after && after <= now() + Nanos::from_millis(101));
            assert!(link.was_down_between(seen, seen), "{down}");
            until("the other end is given time", || now() > after).await;
            assert!(!link.was_down_between(after, now()), "{up}");
            assert!(is_resolved(&routes.hops[0]));
        }
        // Too short for anyone to have looked in between: this thread is the watcher's too.
        let before = now();
        sh(&format!("ip -n {far} link set far0 down && ip -n {far} link set far0 up"));
        let after = now();
        until("a short fall", || link.is_up() && link.was_down_between(before, after)).await;
        sh("ip link del near0");
        until("the interface gone", || link.is_gone()).await;
        assert!(!link.is_up());
        task.abort();
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn many_on_link_targets_are_resolved() {
    inside("many_on_link_targets_are_resolved", |far| async move {
        sh("ip addr add 10.97.0.1/16 dev near0");
        // The far end is the upper half of these, each of them.
        sh(&format!(
            "ip -n {far} addr add 10.97.255.254/16 dev far0 && ip -n {far} route add local 10.97.1.0/24 dev lo"
        ));
        // No more than our share of the kernel's table: an eighth of gc_thresh3, which is 1,024 unless somebody changed it.
        let targets: Vec<_> = (0..120).map(|n| Ipv4Addr::from_bits(0x0a61_0100 - 60 + n)).collect();
        let routes = discover(&targets).await;
        assert_eq!(routes.hops.len(), 120);
        let (mut watch, _) = watch(&routes).await;
        let resolution = watch.resolve().await.unwrap();
        assert_eq!((resolution.on_link, resolution.on_link_unanswered), (120, 60));
        assert!(routes.hops.iter().take(60).all(|hop| !is_resolved(hop)));
        assert!(routes.hops.iter().skip(60).all(is_resolved));
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn lost_notifications_are_made_up_for() {
    inside("lost_notifications_are_made_up_for", |_| async move {
        let routes = discover(&[BEHIND]).await;
        let (mut watch, _) = watch(&routes).await;
        watch.resolve().await.unwrap();
        let task = tokio::spawn(watch.run());
        // More words than fit into any buffer while nobody listens (this thread is the watcher's): the last is lost.
        let mac = |n: u32| format!("02:00:00:00:{:02x}:{:02x}", n >> 8, n & 0xff);
        let words: String = (0..20_000)
            .map(|n| format!("neigh replace 10.99.0.254 lladdr {} dev near0 nud reachable\n", mac(n)))
            .collect();
        let file = std::env::temp_dir().join(format!("el-route-words-{}", std::process::id()));
        std::fs::write(&file, words).unwrap();
        let done = Command::new("ip").arg("-batch").arg(&file).status();
        std::fs::remove_file(&file).unwrap();
        assert!(done.unwrap().success());
        let start = Instant::now();
        let last = Neighbour::Resolved([2, 0, 0, 0, (19_999_u16 >> 8) as u8, (19_999_u16 & 0xff) as u8]);
        until("the last word", || routes.hops[0].neighbour() == last).await;
        // Left alone, the kernel would say it again after some 30 s.
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        task.abort();
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn an_interface_is_described() {
    inside("an_interface_is_described", |far| async move {
        sh("ip link set near0 mtu 1400 address 02:00:00:00:00:11");
        let handle = route::connect().unwrap();
        let interface = Interface::by_name(&handle, "near0").await.unwrap();
        assert_eq!((interface.mtu, interface.mac), (1400, [2, 0, 0, 0, 0, 0x11]));
        assert_eq!(interface.driver.as_deref(), Some("veth"));
        assert!(interface.up && interface.carrier && interface.xdp.is_none());
        assert_eq!(Interface::by_index(&handle, interface.index).await.unwrap(), Some(interface));
        assert_eq!(Interface::by_index(&handle, 9_999).await.unwrap(), None);
        sh(&format!("ip link add two0 numrxqueues 2 numtxqueues 2 type veth peer name two1 netns {far}"));
        assert_eq!(Interface::by_name(&handle, "two0").await.unwrap().rx_queues, 2);
    });
}
