//! The far end that answers TCP and UDP, and this machine's own at the near end as the one who asks.

use super::place::{ECHOLOT, LONG, Place, Running};
use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
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
    let of = |ports: &str| Answer::PortReflector(ECHOLOT.into(), ports.into());
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

/// What the kernel of the near end is told of a datagram. Its checksum is not filled in: a veth pair does without.
fn ask(place: &Place, address: &str, port: u16, datagram: &[u8]) -> Result<Vec<u8>, ErrorKind> {
    let to = SocketAddr::new(address.parse().unwrap(), port);
    place.inside(|| {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket.send(datagram).unwrap();
        let mut answer = vec![0; 2_000];
        let length = socket.recv(&mut answer).map_err(|error| error.kind())?;
        answer.truncate(length);
        Ok(answer)
    })
}

#[test]
#[ignore = "needs root: make test runs it"]
fn datagrams_come_back_and_are_refused_and_questions_are_answered() {
    let Some(place) = Place::new("udp", &Answer::Silent) else { return };
    let _passage = place.inside(|| Passage::attach(NEAR_INTERFACE)).unwrap();
    let reflector = reflect(&place, &["--udp", "7,53,8000-8009"]);
    assert!(reflector.stderr().contains("answering echo requests and UDP on far0"), "{}", reflector.stderr());
    let addresses = ["10.64.0.1", "10.79.255.255", "10.63.0.2", "fd00:64::1", "fd00:63::2"];
    let long = vec![0x5a; 1_452];
    let datagrams = [&b""[..], b"x", b"echolot\n", &long];
    for address in addresses {
        for port in [7, 8_000, 8_009] {
            for datagram in datagrams {
                assert_eq!(ask(&place, address, port, datagram).as_deref(), Ok(datagram), "{address} port {port}");
            }
        }
        for port in [1, 8, 7_999, 8_010, 65_535] {
            for datagram in datagrams {
                let refused = ask(&place, address, port, datagram);
                assert_eq!(refused, Err(ErrorKind::ConnectionRefused), "{address} port {port}");
            }
        }
        let question = b"\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x1c\0\x01";
        let answer = ask(&place, address, 53, &[&b"\xa1\xb2\x01\0"[..], question].concat());
        assert_eq!(answer, Ok([&b"\xa1\xb2\x81\x80"[..], question].concat()), "{address}");
    }
    let ended = reflector.stop();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let asked = addresses.len() * (8 * datagrams.len() + 1);
    // Echo requests are nobody's here; what else this host's kernel says over UDP is its own affair.
    let told = ended.stderr.lines().last().unwrap();
    let answered: usize = told.split(' ').next().unwrap().parse().unwrap();
    assert!(answered >= asked && told.contains("requests answered on far0, "), "{told}: {asked} were sent");
    assert!(told.ends_with("UDP datagrams swallowed") || told.ends_with("UDP datagram swallowed"), "{told}");
}

/// Without the option UDP is none of its business, whatever it does with TCP.
#[test]
#[ignore = "needs root: make test runs it"]
fn udp_is_left_to_the_kernel_unless_it_is_asked_for() {
    let Some(place) = Place::new("no-udp", &Answer::Silent) else { return };
    let _passage = place.inside(|| Passage::attach(NEAR_INTERFACE)).unwrap();
    let socket = place.far(|| UdpSocket::bind("10.64.0.1:7")).unwrap();
    let reflector = reflect(&place, &["--tcp", "7"]);
    let answering = std::thread::spawn(move || {
        let mut datagram = [0; 64];
        let (length, from) = socket.recv_from(&mut datagram).unwrap();
        socket.send_to(&datagram[..length], from).unwrap();
    });
    assert_eq!(ask(&place, "10.64.0.1", 7, b"to the kernel").as_deref(), Ok(&b"to the kernel"[..]));
    answering.join().unwrap();
    assert_eq!(ask(&place, "10.64.0.1", 8, b"x"), Err(ErrorKind::ConnectionRefused));
    let ended = reflector.stop();
    assert!(ended.stderr.ends_with("0 requests answered on far0, 0 other TCP segments swallowed\n"), "{ended:?}");
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
