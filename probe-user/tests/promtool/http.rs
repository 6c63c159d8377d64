//! The server, as clients of every kind see it.

use super::{
    fake::{Fake, NASTY},
    parse::parse,
    server::{Answer, Server},
};
use echolot::http::{HttpError, bind};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

#[test]
fn metrics_are_served_whole() {
    let server = Server::start(Arc::new(Fake::large()));
    let answer = server.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", answer.head);
    let scrape = parse(&answer.body);
    assert_eq!(scrape.types.len(), echolot::metrics::families().count());
    let head = server.request("HEAD", "/metrics");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn health_and_readiness_are_told_apart() {
    let source = Arc::new(Fake::small());
    source.ready.store(false, Relaxed);
    let server = Server::start(source.clone());
    assert_eq!(server.get("/-/healthy").status, 200);
    assert_eq!(server.get("/-/ready").status, 503);
    source.ready.store(true, Relaxed);
    assert_eq!(server.get("/-/ready").status, 200);
    assert_eq!(server.request("HEAD", "/-/ready").body, "");
}

#[test]
fn an_unknown_path_gets_a_hint_and_a_wrong_method_a_refusal() {
    let server = Server::start(Arc::new(Fake::small()));
    let answer = server.get("/metric");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("/metrics"), "{}", answer.body);
    assert_eq!(server.request("POST", "/metrics").status, 405);
    assert_eq!(server.request("POST", "/-/reload").status, 404);
}

#[test]
fn the_page_shows_groups_and_escapes_their_names() {
    let server = Server::start(Arc::new(Fake::large()));
    let answer = server.get("/");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/html; charset=utf-8"), "{}", answer.head);
    assert!(!answer.body.contains("<i>") && answer.body.contains("&lt;i&gt;é"), "{NASTY:?} is not escaped");
    for shown in ["edge", "site=fra", "8.081 %", "eth0", "engine afxdp", "mode copy", "href=\"/metrics\""] {
        assert!(answer.body.contains(shown), "no {shown:?} in\n{}", answer.body);
    }
}

#[test]
fn a_port_in_use_is_told_with_its_holder_and_what_to_do() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let error = bind(address).unwrap_err();
    assert!(matches!(error, HttpError::InUse { .. }), "{error}");
    let error = error.to_string();
    for part in [&address.to_string(), &format!("(pid {})", std::process::id()), "listen"] {
        assert!(error.contains(part), "no {part} in: {error}");
    }
    let elsewhere: SocketAddr = "192.0.2.1:10816".parse().unwrap();
    assert!(matches!(bind(elsewhere), Err(HttpError::NoSuchAddress { .. })));
}

/// Asks for the metrics and never reads.
fn stuck(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    stream
}

#[test]
fn stuck_and_silent_clients_hold_up_nobody() {
    // 100,000 targets: 60 MB, more than sockets buffer.
    let server = Server::start(Arc::new(Fake::many(100_000)));
    let _stuck: Vec<_> = (0..30).map(|_| stuck(&server)).collect();
    let _silent: Vec<_> = (0..30).map(|_| server.connect()).collect();
    let begun = Instant::now();
    assert_eq!(server.get("/-/healthy").status, 200);
    let scrape = server.get("/metrics");
    assert!(scrape.body.ends_with('\n') && scrape.body.lines().count() > 900_000);
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let server = Server::start(Arc::new(Fake::small()));
    let mut first: Vec<_> = (0..64).map(|_| server.connect()).collect();
    // Each of them has been accepted once it has been answered.
    for stream in &mut first {
        write!(stream, "GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    let mut next = server.connect();
    write!(next, "GET /-/healthy HTTP/1.0\r\n\r\n").unwrap();
    next.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(next.read(&mut [0]).is_err(), "a 65th connection was answered");
    first.pop();
    next.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    next.read_to_string(&mut answer).unwrap();
    assert_eq!(Answer::read(&answer).status, 200);
}

#[test]
fn a_reload_in_the_middle_of_a_scrape_breaks_it_off() {
    let source = Arc::new(Fake::many(100_000));
    let server = Server::start(source.clone());
    let mut stream = stuck(&server);
    stream.read_exact(&mut [0; 100_000]).unwrap();
    source.reload();
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    assert!(end.is_err() || !rest.ends_with(b"\r\n0\r\n\r\n"), "a scrape of two plans ended well");
    assert!(rest.len() < 20_000_000, "the scrape went on for {} bytes", rest.len());
}

#[test]
fn shutdown_ends_idle_connections_and_waits_for_stuck_ones_only_a_moment() {
    let server = Server::start(Arc::new(Fake::many(100_000)));
    let address = server.address;
    let _stuck = stuck(&server);
    let _silent = server.connect();
    assert_eq!(server.get("/-/healthy").status, 200);
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    assert!(TcpStream::connect(address).is_err());
}
