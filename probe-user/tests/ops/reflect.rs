//! The far end that answers TCP, and this machine's own TCP at the near end as the one who asks.

use super::place::{ECHOLOT, LONG, Place, Running};
use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpStream},
};
use testbed::bare::Passage;
use xtask::{
    command::wait_until,
    lab::{Answer, FAR_INTERFACE, NEAR_INTERFACE},
};

/// `echolot reflect` at the far end.
fn reflect(place: &Place, more: &[&str]) -> Running {
    let mut command = place.lab.far(ECHOLOT);
    let mut running = place.start(command.args(["reflect", "-I", FAR_INTERFACE]).args(more));
    let ready = wait_until(LONG, || {
        let ended = running.child.try_wait().unwrap();
        assert!(ended.is_none(), "reflect ended: {ended:?}: {}", running.stderr());
        running.stderr().contains("ready").then_some(())
    });
    assert!(ready.is_some(), "reflect is not ready: {}", running.stderr());
    running
}

#[test]
#[ignore = "needs root: make test runs it"]
fn connections_are_opened_and_refused() {
    let Some(place) = Place::new("tcp", &Answer::Silent) else { return };
    // Frames that a program sends out by a veth arrive only where there is a program, too.
    let _passage = place.inside(|| Passage::attach(NEAR_INTERFACE)).unwrap();
    let reflector = reflect(&place, &["--tcp", "80,443,8000-8009"]);
    assert!(reflector.stderr().contains("answering echo requests and TCP on far0"), "{}", reflector.stderr());
    let connect = |address: &str, port: u16| {
        let to = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
        place.inside(|| TcpStream::connect_timeout(&to, LONG))
    };
    let addresses = ["10.64.0.1", "10.79.255.255", "10.63.0.2", "fd00:64::1", "fd00:63::2"];
    let (open, closed) = ([80, 443, 8_000, 8_009], [79, 81, 7_999, 8_010, 65_535]);
    // Kept: what is closed would have the kernel send one FIN after the other.
    let mut held = Vec::new();
    for address in addresses {
        for port in open {
            let stream = connect(address, port);
            held.push(stream.unwrap_or_else(|error| panic!("{address} port {port}: {error}")));
        }
        for port in closed {
            let error = connect(address, port).expect_err(address);
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address} port {port}: {error}");
        }
    }
    let ended = reflector.stop();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    // No SYN is sent twice where the first is answered, which a busy machine may be late with.
    let (asked, opened) = (addresses.len() * (open.len() + closed.len()), addresses.len() * open.len());
    let told = ended.stderr.lines().last().unwrap();
    let figures: Vec<usize> = told.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [answered, swallowed] = figures[..] else { panic!("{told}") };
    assert!(answered >= asked && swallowed >= opened, "{told}: {asked} SYNs, {opened} of them followed by an ACK");
    assert!(told.contains("requests answered on far0, ") && told.ends_with("other TCP segments swallowed"), "{told}");
}

/// As a lab starts it: every port is open, and then none.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_lab_has_a_far_end_that_answers_tcp() {
    let of = |ports: &str| Answer::TcpReflector(ECHOLOT.into(), ports.into());
    let Some(mut place) = Place::new("tcp-lab", &of("1-65535")) else { return };
    let _passage = place.inside(|| Passage::attach(NEAR_INTERFACE)).unwrap();
    let connect = |place: &Place, port: u16| {
        let to = SocketAddr::new("fd00:64::1:1".parse().unwrap(), port);
        place.inside(|| TcpStream::connect_timeout(&to, LONG)).map_err(|error| error.kind())
    };
    let held: Vec<_> = [1, 443, 65_535].map(|port| connect(&place, port).unwrap()).into();
    place.lab.answer(&of("0")).unwrap();
    for port in [1, 443, 65_535] {
        assert_eq!(connect(&place, port).err(), Some(ErrorKind::ConnectionRefused));
    }
    drop(held);
}

/// Without the option TCP is none of its business.
#[test]
#[ignore = "needs root: make test runs it"]
fn tcp_is_left_to_the_kernel_unless_it_is_asked_for() {
    let Some(place) = Place::new("no-tcp", &Answer::Silent) else { return };
    let _passage = place.inside(|| Passage::attach(NEAR_INTERFACE)).unwrap();
    let listener = place.far(|| std::net::TcpListener::bind("[::]:80")).unwrap();
    let reflector = reflect(&place, &[]);
    let to = |port: u16| SocketAddr::new("10.64.0.1".parse().unwrap(), port);
    let _near = place.inside(|| TcpStream::connect_timeout(&to(80), LONG)).unwrap();
    let (_far, from) = listener.accept().unwrap();
    assert_eq!(from.ip().to_canonical(), "10.63.0.1".parse::<IpAddr>().unwrap());
    let error = place.inside(|| TcpStream::connect_timeout(&to(81), LONG)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    let ended = reflector.stop();
    assert!(ended.stderr.ends_with("0 echo requests answered on far0\n"), "{ended:?}");
}
