//! The same of IPv6, and of both families at once.
//!
//! ```text
//!   near0 2001:db8:99::1/64 ─── veth ─── far0 2001:db8:99::fe/64, 2001:db8:99::2/64
//!   default via 2001:db8:99::fe
//! ```

use super::{BEHIND, GATEWAY, HERE, SOURCE, inside, is_resolved, mac_of_far, now, refused, sh, until, watch};
use echolot::{
    base::{Family, Nanos, Sources},
    nic::NeighbourThread,
    route::{
        self, Changed, FailedGateways, Follower, Found, Hop, Interface, NO_ROUTE, NO_SOURCE, Neighbour, NeighbourQueue,
        NeighbourTable, RouteError, Routes, Unusable, Why,
    },
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

const SOURCE_6: Ipv6Addr = v6(0x99, 1);
const GATEWAY_6: Ipv6Addr = v6(0x99, 0xfe);
const HERE_6: Ipv6Addr = v6(0x99, 2);
const NOT_HERE_6: Ipv6Addr = v6(0x99, 0x77);
const BEHIND_6: Ipv6Addr = v6(0x5, 5);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);

const fn v6(network: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host)
}

/// Both ends have IPv6, and their link-local addresses are theirs.
async fn give_addresses(far: &str) {
    sh(&format!(
        "ip addr add {SOURCE_6}/64 dev near0 nodad
         ip -n {far} addr add {GATEWAY_6}/64 dev far0 nodad
         ip -n {far} addr add {HERE_6}/64 dev far0 nodad
         ip -6 route add default via {GATEWAY_6}"
    ));
    let at_far = format!("ip -n {far} -6 addr show tentative");
    let over = || said("ip -6 addr show tentative").is_empty() && said(&at_far).is_empty();
    until("duplicate address detection", over).await;
}

fn said(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn discover(targets: impl AsRef<[IpAddr]>, interface: Option<&str>) -> Routes {
    discover_from(targets, interface, Sources::default()).await.unwrap()
}

async fn discover_from(
    targets: impl AsRef<[IpAddr]>,
    interface: Option<&str>,
    sources: Sources,
) -> Result<Routes, RouteError> {
    let handle = route::connect().unwrap();
    Routes::discover(&handle, targets.as_ref().iter().copied(), interface, &sources).await
}

fn from(source: Ipv6Addr) -> Sources {
    Sources::from_addresses([source.into()]).unwrap()
}

#[test]
#[ignore = "needs root: make test runs it"]
fn both_families_in_any_order() {
    inside("v6::both_families_in_any_order", |far| async move {
        give_addresses(&far).await;
        let other = v6(0x6, 6);
        let targets: [IpAddr; 7] = [
            HERE_6.into(),
            HERE.into(),
            NOT_HERE_6.into(),
            BEHIND_6.into(),
            BEHIND.into(),
            other.into(),
            HERE_6.into(),
        ];
        let routes = discover(targets, None).await;
        assert_eq!(routes.interface.name, "near0");
        assert_eq!(routes.of, [0, 1, 2, 3, 4, 3, 0]);
        assert_eq!((&routes.unrouted, routes.expires), (&None, None));
        let hops: Vec<_> = routes.hops.iter().map(Hop::identity).collect();
        let [source, source_6] = [IpAddr::from(SOURCE), SOURCE_6.into()];
        let expected = [
            (HERE_6.into(), source_6, true, NO_ROUTE),
            (HERE.into(), source, true, NO_ROUTE),
            (NOT_HERE_6.into(), source_6, true, NO_ROUTE),
            (GATEWAY_6.into(), source_6, false, NO_ROUTE),
            (GATEWAY.into(), source, false, NO_ROUTE),
        ];
        assert_eq!(hops, expected);
        let (mut watch, _) = watch(&routes).await;
        let start = Instant::now();
        let resolution = watch.resolve().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!((resolution.on_link, resolution.on_link_unanswered), (3, 1));
        assert_eq!(resolution.error(), None);
        let mac = Neighbour::Resolved(mac_of_far(&far));
        let neighbours: Vec<_> = routes.hops.iter().map(Hop::neighbour).collect();
        assert_eq!(neighbours, [mac, mac, Neighbour::Unresolved, mac, mac]);
        // A gateway that is not there.
        sh("ip -6 route replace default via 2001:db8:99::66");
        let routes = discover([BEHIND.into(), BEHIND_6.into()], None).await;
        let (mut watch, _) = super::watch(&routes).await;
        let error = watch.resolve().await.unwrap().error().unwrap();
        assert!(error.starts_with("gateway 2001:db8:99::66 on near0 does not answer neighbour discovery"), "{error}");
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn each_kind_of_ipv6_route_is_told() {
    inside("v6::each_kind_of_ipv6_route_is_told", |far| async move {
        give_addresses(&far).await;
        let gateway = said(&format!("ip -n {far} -6 -o addr show dev far0 scope link"));
        let gateway = gateway.split_whitespace().nth(3).unwrap().trim_end_matches("/64").to_owned();
        sh(&format!(
            "ip -6 route add unreachable 2001:db8:101::/48
             ip -6 route add blackhole 2001:db8:102::/48
             ip -6 route add prohibit 2001:db8:103::/48
             ip link add other0 type veth peer name other1 netns {far}
             ip addr add 2001:db8:98::1/64 dev other0 nodad
             ip link set other0 up
             ip -n {far} link set other1 up
             ip -6 route add 2001:db8:104::/48 via 2001:db8:98::7
             ip -6 route add 2001:db8:105::/48 via {gateway} dev near0
             ip addr add 2001:db8:99::9/64 dev near0 nodad
             ip -6 route add 2001:db8:106::/48 via {GATEWAY_6} src 2001:db8:99::9
             ip -6 route add 2001:db8:107:8000::/49 via {HERE_6} table 100
             ip -6 rule add to 2001:db8:107:c000::/50 lookup 100"
        ));
        let mapped = Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0xcb00, 0x7105]);
        for (target, why) in [
            (v6(0x101, 1), Why::Unreachable),
            (v6(0x102, 1), Why::Invalid),
            (v6(0x103, 1), Why::Prohibited),
            (v6(0x104, 1), Why::Elsewhere("other0".to_owned())),
            (SOURCE_6, Why::Local),
            (Ipv6Addr::LOCALHOST, Why::Local),
            (Ipv6Addr::UNSPECIFIED, Why::Invalid),
            (mapped, Why::Invalid),
            ("ff02::1".parse().unwrap(), Why::Multicast),
            ("ff0e::5".parse().unwrap(), Why::Multicast),
            (LINK_LOCAL, Why::LinkLocal),
        ] {
            let routes = discover([BEHIND_6.into(), target.into(), BEHIND.into(), target.into()], None).await;
            assert_eq!(routes.of, [0, NO_ROUTE, 1, NO_ROUTE], "{target}");
            let unrouted = routes.unrouted.unwrap();
            assert_eq!((unrouted.count, unrouted.example, unrouted.why), (2, target.into(), why));
        }
        // A gateway's link-local address, and a source that the route names.
        let routes = discover([v6(0x105, 1).into(), v6(0x106, 1).into()], None).await;
        let hops: Vec<_> = routes.hops.iter().map(|hop| (hop.address, hop.on_link)).collect();
        assert_eq!(hops, [(gateway.parse().unwrap(), false), (GATEWAY_6.into(), false)]);
        assert_eq!(routes.hops[1].source, v6(0x99, 9));
        let (mut watch, _) = watch(&routes).await;
        assert_eq!(watch.resolve().await.unwrap().error(), None);
        // A rule's edge is an edge too, and its table counts only behind it.
        let around =
            [0x7fff, 0x8000, 0xbfff, 0xc000].map(|third| IpAddr::from([0x2001, 0xdb8, 0x107, third, 0, 0, 0, 1]));
        let routes = discover(around, None).await;
        assert_eq!(routes.of, [0, 0, 0, 1]);
        assert_eq!(routes.hops[1].address, HERE_6);
        // Through a named interface: its own routes only, with a source too.
        for sources in [Sources::default(), from(v6(0x98, 1))] {
            let targets = [BEHIND_6.into(), v6(0x104, 1).into()];
            let routes = discover_from(targets, Some("other0"), sources.clone()).await.unwrap();
            assert_eq!(routes.of, [NO_ROUTE, 0], "{sources:?}");
            assert_eq!(routes.unrouted.unwrap().why, Why::NoRoute, "{sources:?}");
            assert_eq!(routes.hops[0].source, v6(0x98, 1));
        }
        let routes = discover_from([v6(0x104, 1).into()], Some("near0"), from(SOURCE_6)).await.unwrap();
        assert_eq!(routes.hops[0].identity(), (GATEWAY_6.into(), SOURCE_6.into(), false, NO_ROUTE));
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_link_local_target_is_on_the_interface_that_is_named() {
    inside("v6::a_link_local_target_is_on_the_interface_that_is_named", |far| async move {
        give_addresses(&far).await;
        sh(&format!("ip -n {far} addr add {LINK_LOCAL}/64 dev far0 nodad"));
        let error = discover_from([LINK_LOCAL.into()], None, Sources::default()).await.unwrap_err().to_string();
        assert!(error.starts_with("no route to fe80::77: it is a link-local address"), "{error}");
        assert!(error.contains("--interface"), "{error}");
        let routes = discover([LINK_LOCAL.into(), BEHIND_6.into()], Some("near0")).await;
        let own = said("ip -6 -o addr show dev near0 scope link");
        let own = own.split_whitespace().nth(3).unwrap().trim_end_matches("/64").parse().unwrap();
        assert_eq!(routes.hops[0].identity(), (LINK_LOCAL.into(), own, true, NO_ROUTE));
        assert_eq!(routes.of, [0, 1]);
        let (mut watch, _) = watch(&routes).await;
        assert_eq!(watch.resolve().await.unwrap().on_link_unanswered, 0);
        assert!(routes.hops.iter().all(is_resolved));
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_can_not_be_sent_from_is_refused() {
    inside("v6::what_can_not_be_sent_from_is_refused", |far| async move {
        // Nothing but a link-local address: no gateway would forward what comes from it.
        sh(&format!("ip -n {far} addr add {GATEWAY_6}/64 dev far0 nodad && ip -6 route add {GATEWAY_6} dev near0"));
        sh(&format!("ip -6 route add default via {GATEWAY_6}"));
        until("an address of the link", || said("ip -6 addr show tentative").is_empty()).await;
        let routes = discover([BEHIND_6.into(), BEHIND.into()], None).await;
        assert_eq!(routes.of, [NO_SOURCE, 0]);
        assert_eq!(routes.unrouted.unwrap().why, Why::NoSource(Family::V6));
        sh(&format!("ip -6 route del default && ip -n {far} addr del {GATEWAY_6}/64 dev far0"));
        give_addresses(&far).await;

        let source = |n| v6(0x99, n);
        let targets = [BEHIND_6.into(), BEHIND.into()];
        let error = discover_from(targets, None, from(source(9))).await.unwrap_err().to_string();
        assert!(error.starts_with("source 2001:db8:99::9 is not an address of this host"), "{error}");
        assert!(error.contains("2001:db8:99::1"), "{error}");
        // Of a family without targets it is nobody's business.
        discover_from([BEHIND.into()], None, from(source(9))).await.unwrap();
        let refused = refused(&[BEHIND], None, Some(std::net::Ipv4Addr::new(10, 99, 0, 9))).await;
        assert!(matches!(refused, RouteError::NotOurs { .. }), "{refused}");

        // The far end has it.
        sh(&format!("ip addr add {HERE_6}/64 dev near0"));
        until("the duplicate is known", || said("ip -6 addr show dadfailed").contains("2001:db8:99::2")).await;
        let error = discover_from(targets, None, from(HERE_6)).await.unwrap_err();
        assert!(matches!(error, RouteError::SourceUnusable { why: Unusable::Duplicate, .. }), "{error}");
        // It would be a minute until it is known that nobody has it.
        sh("sysctl -qw net.ipv6.conf.near0.dad_transmits=60 && ip addr add 2001:db8:99::8/64 dev near0");
        let error = discover_from(targets, None, from(source(8))).await.unwrap_err().to_string();
        assert!(error.starts_with("source 2001:db8:99::8 can't be used: it is tentative"), "{error}");
        // While probes are under way that is no error, and the other family goes on.
        let handle = route::connect().unwrap();
        let index = Interface::by_name(&handle, "near0").await.unwrap().index;
        let ask = async |sources| Found::ask(&handle, targets, index, false, &sources).await;
        let found = ask(from(source(8))).await.unwrap();
        assert_eq!(found.of, [NO_SOURCE, 0]);
        assert_eq!(found.unrouted.unwrap().why, Why::SourceUnusable(source(8).into(), Unusable::Tentative));
        let found = ask(from(source(9))).await.unwrap();
        assert_eq!(found.unrouted.unwrap().why, Why::SourceGone(source(9).into()));
        let found = ask(from(SOURCE_6)).await.unwrap();
        assert_eq!((found.of, found.unrouted), (vec![0, 1], None));
        // Nor does the kernel choose one.
        sh("ip -6 addr del 2001:db8:99::1/64 dev near0 && ip -6 route replace default via 2001:db8:99::fe dev near0");
        let found = ask(Sources::default()).await.unwrap();
        assert_eq!(found.unrouted.map(|unrouted| unrouted.why), Some(Why::NoSource(Family::V6)));
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn an_address_that_stays_is_preferred_to_a_temporary_one() {
    inside("v6::an_address_that_stays_is_preferred_to_a_temporary_one", |far| async move {
        give_addresses(&far).await;
        sh("sysctl -qw net.ipv6.conf.near0.use_tempaddr=2
            ip -6 addr change 2001:db8:99::1/64 dev near0 mngtmpaddr");
        let kernels = || said(&format!("ip -6 route get {BEHIND_6}"));
        until("the kernel prefers the temporary one", || !kernels().contains("src 2001:db8:99::1 ")).await;
        let routes = discover([BEHIND_6.into(), HERE_6.into()], None).await;
        assert!(routes.hops.iter().all(|hop| hop.source == SOURCE_6), "{:?} {}", routes.hops, kernels());
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_route_that_ends_says_when() {
    inside("v6::a_route_that_ends_says_when", |far| async move {
        give_addresses(&far).await;
        sh(&format!("ip -6 route add 2001:db8:201::/48 via {HERE_6} expires 300"));
        let before = Instant::now();
        let routes = discover([BEHIND_6.into(), v6(0x201, 1).into()], None).await;
        let rest = routes.expires.unwrap() - before;
        assert!(Duration::from_secs(200) < rest && rest <= Duration::from_secs(301), "{rest:?}");
        assert_eq!(discover([BEHIND.into()], None).await.expires, None, "no IPv6 target, nothing read");
        sh(&format!("ip -6 route add 2001:db8:202::/48 via {HERE_6} expires 2"));
        let handle = route::connect().unwrap();
        let none = Sources::default();
        let ask = || Found::ask(&handle, [v6(0x202, 1)], routes.interface.index, false, &none);
        let found = ask().await.unwrap();
        let expires = found.expires.unwrap();
        assert_eq!(found.hops[0].address, HERE_6);
        assert!(expires <= Instant::now() + Duration::from_secs(3));
        // At that moment the kernel takes it no more, whether it has removed it or not.
        tokio::time::sleep_until((expires + Duration::from_millis(20)).into()).await;
        let found = ask().await.unwrap();
        assert_eq!(found.hops[0].address, GATEWAY_6);
        assert!(found.expires.unwrap() > Instant::now() + Duration::from_secs(100), "the other one");
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn several_next_hops_are_asked_for_one_by_one() {
    inside("v6::several_next_hops_are_asked_for_one_by_one", |far| async move {
        give_addresses(&far).await;
        sh(&format!("ip -6 route add 2001:db8:5::/48 nexthop via {GATEWAY_6} nexthop via {HERE_6}"));
        let targets: Vec<IpAddr> = (0..64).map(|n| v6(5, n).into()).chain([BEHIND.into()]).collect();
        let routes = discover(&targets, None).await;
        let by = |n: usize| routes.hops.get(routes.of[n]).unwrap();
        for (n, target) in targets.iter().enumerate().take(64) {
            let kernels = said(&format!("ip -6 route get {target} ipproto 58"));
            assert!(kernels.contains(&format!("via {} ", by(n).address)), "{kernels} {:?}", by(n));
        }
        let by_second = (0..64).filter(|n| by(*n).address == HERE_6).count();
        assert!((1..64).contains(&by_second), "{by_second} of 64");
        assert_eq!(by(64).address, GATEWAY);
        assert_eq!(routes.hops.len(), 3);
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn an_ipv6_gateway_is_confirmed_lost_and_found() {
    inside("v6::an_ipv6_gateway_is_confirmed_lost_and_found", |far| async move {
        sh(&format!("ip netns exec {far} sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.far0.ndisc_notify=1"));
        give_addresses(&far).await;
        let routes = discover([BEHIND_6.into()], None).await;
        let (mut watch, link) = watch(&routes).await;
        watch.resolve().await.unwrap();
        let task = tokio::spawn(watch.run());
        let gateway = &routes.hops[0];
        assert!(is_resolved(gateway));
        // A sender that doubts has it asked at once, and the kernel still knows that it is a router.
        gateway.life.doubt(now());
        until("proof that it is alive", || gateway.life.doubted().is_none()).await;
        assert!(said("ip -6 neigh show dev near0").contains("router"), "{}", said("ip -6 neigh show dev near0"));
        // Flushed: nothing that senders would see, and the kernel has it again at once.
        sh("ip -6 neigh flush dev near0");
        let kernel_has_it = || {
            assert!(is_resolved(gateway));
            said(&format!("ip -6 neigh show {GATEWAY_6} dev near0")).contains("REACHABLE")
        };
        until("the gateway in the kernel's table", kernel_has_it).await;
        // It dies: whoever doubts is told, and the kernel gives it up.
        sh(&format!("ip -n {far} addr del {GATEWAY_6}/64 dev far0"));
        gateway.life.doubt(now() + Nanos(1));
        until("its death", || gateway.life.dead_since().is_some()).await;
        until("its loss", || !is_resolved(gateway)).await;
        sh(&format!("ip -n {far} addr add {GATEWAY_6}/64 dev far0 nodad"));
        until("its return", || is_resolved(gateway) && gateway.life.dead_since().is_none()).await;
        // Another takes over, and announces itself.
        let after = Neighbour::Resolved([2, 0, 0, 0, 0xbe, 0xef]);
        assert_ne!(gateway.neighbour(), after);
        sh(&format!("ip -n {far} link set far0 address 02:00:00:00:be:ef"));
        until("the new address", || gateway.neighbour() == after).await;
        assert!(link.is_up());
        task.abort();
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn more_ipv6_targets_on_the_link_than_our_share_are_not_the_kernels() {
    inside("v6::more_ipv6_targets_on_the_link_than_our_share_are_not_the_kernels", |far| async move {
        give_addresses(&far).await;
        let share = u16::try_from(route::share_of_kernel().v6).unwrap();
        let targets =
            |count: u16| (0..count).map(|n| v6(0x99, 0x1000 + n).into()).chain([HERE.into()]).collect::<Vec<_>>();
        let routes = discover(targets(share + 1), None).await;
        let (mut watch, _) = watch(&routes).await;
        let resolution = watch.resolve().await.unwrap();
        assert_eq!((resolution.on_link, resolution.on_link_unanswered), (1, 0), "the one of IPv4");
        assert!(!said("ip -6 neigh show dev near0").contains("2001:db8:99::1"), "asked about none of them");
        let table = NeighbourTable::<Ipv6Addr>::new(routes.hops.clone(), route::share_of_kernel(), true);
        assert_eq!(table.len(), usize::from(share) + 1);
        let of_v6 = |hop: &&Hop| hop.family() == Family::V6;
        assert!(routes.hops.iter().filter(of_v6).all(|hop| hop.neighbour() == Neighbour::Unknown));
        let routes = discover(targets(share), None).await;
        let (mut watch, _) = super::watch(&routes).await;
        let resolution = watch.resolve().await.unwrap();
        assert_eq!((resolution.on_link, resolution.on_link_unanswered), (usize::from(share) + 1, share.into()));
        // On a busy machine the kernel is not done with all of them when that returns.
        let watching = tokio::spawn(watch.run());
        let given_up = || routes.hops.iter().filter(of_v6).all(|hop| hop.neighbour() == Neighbour::Unresolved);
        until("that all are given up", given_up).await;
        watching.abort();
        let table = NeighbourTable::<Ipv6Addr>::new(routes.hops.clone(), route::share_of_kernel(), true);
        assert!(table.is_empty());
    });
}

/// Whom the kernel is not asked about, the thread asks that senders have: who is there is found, who moves is followed, who was entered
/// by hand is believed.
#[test]
#[ignore = "needs root: make test runs it"]
fn neighbours_are_asked_beside_the_kernel() {
    inside("v6::neighbours_are_asked_beside_the_kernel", |far| async move {
        sh(&format!("ip netns exec {far} sysctl -qw net.ipv6.conf.far0.ndisc_notify=1"));
        give_addresses(&far).await;
        let share = u16::try_from(route::share_of_kernel().v6).unwrap();
        let nobody = (0..share).map(|n| v6(0x99, 0x1000 + n).into());
        let routes = discover([HERE_6.into()].into_iter().chain(nobody).collect::<Vec<_>>(), None).await;
        let hops = &routes.hops;
        let table = || NeighbourTable::<Ipv6Addr>::new(hops.clone(), route::share_of_kernel(), true);
        let none = NeighbourTable::<Ipv4Addr>::new(hops.clone(), route::share_of_kernel(), true);
        let (mut watch, link) = watch(&routes).await;
        let (queue, wake) = NeighbourQueue::new().unwrap();
        let queue = Arc::new(queue);
        watch.tell(queue.clone()).await.unwrap();
        let interface = routes.interface.index;
        let thread = NeighbourThread::start(interface, hops.clone(), (none, table()), (queue, wake), link).unwrap();
        let watching = tokio::spawn(watch.run());
        let want = |place| thread.queue().want(hops, place);

        want(0);
        want(1);
        let mac = Neighbour::Resolved(mac_of_far(&far));
        until("who is there", || hops[0].neighbour() == mac).await;
        let known = || said("ip -6 neigh show dev near0");
        assert!(!known().contains(&HERE_6.to_string()), "{}", known());
        until("who is not", || hops[1].neighbour() == Neighbour::Unresolved).await;
        assert_eq!(hops[2].neighbour(), Neighbour::Unknown, "nobody wants to know");
        // It moves, and announces itself. Three seconds have gone: word of it is heard again.
        let after = Neighbour::Resolved([2, 0, 0, 0, 0xbe, 0xef]);
        sh(&format!("ip -n {far} link set far0 address 02:00:00:00:be:ef"));
        until("where it has moved", || hops[0].neighbour() == after).await;
        // By hand.
        let by_hand = Neighbour::Resolved([2, 0, 0, 0, 0, 0x77]);
        sh(&format!("ip -6 neigh add {} lladdr 02:00:00:00:00:77 dev near0 nud permanent", hops[3].address));
        until("what was entered by hand", || hops[3].neighbour() == by_hand).await;
        // Who comes later is found when it is wanted again.
        sh(&format!("ip -n {far} addr add {}/64 dev far0 nodad", hops[1].address));
        until("who came", || {
            want(1);
            hops[1].neighbour() == after
        })
        .await;
        watching.abort();
    });
}

/// IPv6 leaves a gateway that has failed, and says no word of it.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_gateway_that_fails_is_left_for_another() {
    inside("v6::a_gateway_that_fails_is_left_for_another", |far| async move {
        give_addresses(&far).await;
        sh(&format!("ip -6 route add default via {HERE_6} metric 2000"));
        let mut follower = Follower::open().await.unwrap();
        let routes = discover([BEHIND_6.into()], None).await;
        let (mut watch, _) = watch(&routes).await;
        watch.resolve().await.unwrap();
        let task = tokio::spawn(watch.run());
        assert!(is_resolved(&routes.hops[0]) && routes.hops[0].address == GATEWAY_6);
        let mut gateways = FailedGateways::default();
        let mut until_told = async |expected: bool| {
            let heard = async {
                while !follower.heard().await.unwrap().iter().any(|changed| match changed {
                    Changed::Neighbour { interface, address, failed } => {
                        *interface == routes.interface.index
                            && gateways.tell(&routes.hops, *address, *failed)
                            && *failed == expected
                    }
                    _ => false,
                }) {}
            };
            tokio::time::timeout(Duration::from_secs(30), heard).await.unwrap();
            let handle = route::connect().unwrap();
            Found::ask(&handle, [BEHIND_6], routes.interface.index, false, &Sources::default()).await.unwrap()
        };
        sh(&format!("ip -n {far} addr del {GATEWAY_6}/64 dev far0"));
        routes.hops[0].life.doubt(now() + Nanos(1));
        assert_eq!(until_told(true).await.hops[0].address, HERE_6);
        // The watcher goes on asking, for the hop is still in use.
        sh(&format!("ip -n {far} addr add {GATEWAY_6}/64 dev far0 nodad"));
        assert_eq!(until_told(false).await.hops[0].address, GATEWAY_6);
        task.abort();
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn changes_of_ipv6_are_heard() {
    inside("v6::changes_of_ipv6_are_heard", |far| async move {
        give_addresses(&far).await;
        let mut follower = Follower::open().await.unwrap();
        let everything = Changed::To(Ipv6Addr::UNSPECIFIED.into()..=Ipv6Addr::from_bits(u128::MAX).into());
        let last: Ipv6Addr = "2001:db8:7:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        let route = Changed::To(v6(7, 0).into()..=last.into());
        for (command, expected) in [
            (format!("ip -6 route add 2001:db8:7::/48 via {GATEWAY_6}"), &route),
            ("ip -6 route del 2001:db8:7::/48".to_owned(), &route),
            ("ip -6 rule add to 2001:db8:8::/48 lookup 100".to_owned(), &everything),
            ("ip -6 addr add 2001:db8:99::8/64 dev near0 nodad".to_owned(), &everything),
            ("ip -6 addr change 2001:db8:99::8/64 dev near0 preferred_lft 0".to_owned(), &everything),
            ("ip -6 addr del 2001:db8:99::8/64 dev near0".to_owned(), &everything),
        ] {
            sh(&command);
            let heard = async { while !follower.heard().await.unwrap().contains(expected) {} };
            tokio::time::timeout(Duration::from_secs(30), heard).await.unwrap_or_else(|_| panic!("{command}"));
        }
    });
}
