//! The server, as clients of every kind see it.

use super::{
    fake::{Fake, NASTY},
    parse::parse,
    server::{Answer, Server},
};
use echolot::{
    http::{HttpError, bind},
    metrics::Readiness,
    targets::Plan,
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
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
    let set = |readiness| *source.readiness.lock().unwrap() = readiness;
    set(Readiness::Starting);
    let server = Server::start(source.clone());
    assert_eq!(server.get("/-/healthy").status, 200);
    assert_eq!(server.get("/-/ready").status, 503);
    set(Readiness::Sending);
    assert_eq!(server.get("/-/ready").status, 200);
    assert_eq!(server.request("HEAD", "/-/ready").body, "");
    // It ends: nobody is to be sent here, and all of its metrics are still there.
    set(Readiness::Ending);
    assert_eq!(server.get("/-/ready").status, 503);
    assert_eq!((server.get("/-/healthy").status, server.get("/metrics").status), (200, 200));
}

#[test]
fn an_unknown_path_gets_a_hint_and_a_wrong_method_a_refusal() {
    let server = Server::start(Arc::new(Fake::small()));
    let answer = server.get("/metric");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("/metrics"), "{}", answer.body);
    assert_eq!(server.request("POST", "/metrics").status, 405);
    // Nobody said that it may be asked for from here.
    let answer = server.request("POST", "/-/reload");
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("--web.enable-lifecycle"), "{}", answer.body);
}

#[test]
fn every_endpoint_is_documented_and_nothing_else_is() {
    let docs = include_str!("../../../docs/metrics.md");
    let rows =
        docs.lines().filter_map(|line| line.strip_prefix("| `/")?.split_once('`')).map(|(path, _)| format!("/{path}"));
    let documented: std::collections::BTreeSet<String> = rows.collect();
    let source = include_str!("../../src/http/mod.rs");
    let routes =
        source.split(".route(\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(path, _)| path.to_owned());
    assert_eq!(documented, routes.collect());
    let server = Server::start(Arc::new(Fake::small()));
    for path in &documented {
        // One is asked to do something.
        let expected = if path == "/-/reload" { 405 } else { 200 };
        assert_eq!(server.get(path).status, expected, "{path}");
    }
    assert!(documented.iter().all(|path| server.get("/nowhere").body.contains(path)));
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

/// Asks for the metrics and never reads. Little of them is on its way: what fills buffers has to be made first.
fn stuck(server: &Server) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    stream
}

#[test]
fn stuck_and_silent_clients_hold_up_nobody() {
    // 20,000 targets: 15 MB, more than sockets buffer.
    let server = Server::start(Arc::new(Fake::many(20_000)));
    let _stuck: Vec<_> = (0..30).map(|_| stuck(&server)).collect();
    let _silent: Vec<_> = (0..30).map(|_| server.connect()).collect();
    let begun = Instant::now();
    assert_eq!(server.get("/-/healthy").status, 200);
    let scrape = server.get("/metrics");
    assert!(scrape.body.ends_with('\n') && scrape.body.lines().count() > 175_000);
    // Less than it takes until those that are stuck are dropped.
    assert!(begun.elapsed() < Duration::from_secs(25), "it took {:?}", begun.elapsed());
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
fn a_reload_in_the_middle_of_a_scrape_lets_it_end_as_it_began() {
    let source = Arc::new(Fake::many(20_000));
    let server = Server::start(source.clone());
    let mut stream = server.connect();
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = vec![0; 100_000];
    stream.read_exact(&mut text).unwrap();
    source.reload(Plan::clone(&Fake::small().plan()));
    stream.read_to_end(&mut text).unwrap();
    let scrape = parse(&Answer::read(&String::from_utf8(text).unwrap()).body);
    assert_eq!(scrape.all("echolot_target_info", &[]).len(), 20_000);
    assert_eq!(parse(&server.get("/metrics").body).all("echolot_target_info", &[]).len(), 1);
}

#[test]
fn two_scrapes_at_once_while_targets_change_state_are_both_whole() {
    let source = Arc::new(Fake::many(5_000));
    source.change_states();
    let server = Server::start(source);
    let scrapes: Vec<_> = std::thread::scope(|scope| {
        let scrape = || parse(&server.get("/metrics").body);
        let both = [scope.spawn(scrape), scope.spawn(scrape)];
        both.map(|thread| thread.join().unwrap()).into()
    });
    for scrape in scrapes {
        assert_eq!(scrape.all("echolot_target_probes_settled_total", &[]).len(), 5 * 5_000);
        assert!(scrape.all("echolot_target_up", &[]).len() > 2_500);
    }
}

#[test]
fn a_client_gets_the_format_and_the_packing_that_it_asks_for() {
    let server = Server::start(Arc::new(Fake::large()));
    let plain = server.ask("GET", "/metrics", &[]);
    for (accept, encoding) in [
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", "gzip"),
        ("application/openmetrics-text", "gzip;q=0"),
        ("text/plain", "gzip, deflate, br"),
        ("application/json", "identity"),
    ] {
        let answer = server.ask("GET", "/metrics", &[("accept", accept), ("accept-encoding", encoding)]);
        let (is_open, is_packed) =
            (accept.contains("openmetrics"), encoding.starts_with("gzip") && !encoding.ends_with("=0"));
        let kind = if is_open { "application/openmetrics-text; version=1.0.0" } else { "text/plain; version=0.0.4" };
        assert!(answer.head.contains(&format!("content-type: {kind}; charset=utf-8")), "{accept}: {}", answer.head);
        assert!(answer.head.contains("vary: accept, accept-encoding"), "{}", answer.head);
        assert_eq!(answer.head.contains("content-encoding: gzip"), is_packed, "{encoding}: {}", answer.head);
        let mut text = String::new();
        match is_packed {
            true => flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap(),
            false => (&answer.body[..]).read_to_string(&mut text).unwrap(),
        };
        assert!(!is_packed || answer.body.len() < plain.body.len() / 4);
        assert_eq!(text.ends_with("# EOF\n"), is_open, "{accept}");
        let families = |text: &str| text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(families(&text), echolot::metrics::families().count());
        let head = server.ask("HEAD", "/metrics", &[("accept", accept), ("accept-encoding", encoding)]);
        assert!(head.body.is_empty() && head.head.contains(kind), "{}", head.head);
    }
}

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn clients_that_hang_in_a_million_targets_cost_little_and_others_are_served() {
    // In a process of its own: what other tests take at the same time is none of it.
    const ALONE: &str = "ECHOLOT_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "http::clients_that_hang_in_a_million_targets_cost_little_and_others_are_served";
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let output = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", output.status);
        return;
    }
    let server = Server::start(Arc::new(Fake::many(1_000_000)));
    assert_eq!(server.get("/-/ready").status, 200);
    let before = resident();
    let mut hanging: Vec<_> = (0..20)
        .map(|i| {
            let mut stream = server.connect();
            let packed = if i % 2 == 0 { "accept-encoding: gzip\r\n" } else { "" };
            write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\n{packed}\r\n").unwrap();
            stream
        })
        .collect();
    // Each is in the middle: some of it has come, and it takes no more.
    for stream in &mut hanging {
        stream.read_exact(&mut [0; 50_000]).unwrap();
    }
    let longest = (0..50).map(|_| {
        let begun = Instant::now();
        assert_eq!(server.get("/-/healthy").status, 200);
        begun.elapsed()
    });
    let longest = longest.max().unwrap();
    let cost = resident().saturating_sub(before);
    println!("20 scrapes that hang: {} KiB more, an answer beside them took {longest:?} at most", cost / 1024);
    assert!(cost < 60 << 20, "{cost} bytes");
    // The server gives way to all others; held up it would be for as long as they hang.
    assert!(longest < Duration::from_secs(30), "{longest:?}");
    // One that reads slowly gets all that it waits for.
    let mut slow = hanging.swap_remove(1);
    let mut buffer = [0; 7];
    for _ in 0..1_000 {
        slow.read_exact(&mut buffer).unwrap();
    }
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
