//! UDP ports that are open, closed and taken, and name servers, as people and programs are told of them.

use super::place::Place;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};
use xtask::lab::{Answer, FAR_ADDRESS, FAR_ADDRESS_V6, dns};

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

/// What came, and from where.
type Heard = Vec<(SocketAddr, Vec<u8>)>;

/// Who answers datagrams at the far end, until it is dropped.
struct Service {
    stop: Arc<AtomicBool>,
    heard: Arc<Mutex<Heard>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// At an address of the far end's; what `answer` makes of a datagram goes back.
    fn at(place: &Place, address: IpAddr, port: u16, answer: fn(&[u8]) -> Option<Vec<u8>>) -> Self {
        let socket = place.far(|| UdpSocket::bind((address, port))).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (stop, heard) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Heard>>::default());
        let (stopped, hears) = (Arc::clone(&stop), Arc::clone(&heard));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while !stopped.load(Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                hears.lock().unwrap().push((from, buffer[..length].to_vec()));
                if let Some(answer) = answer(&buffer[..length]) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Self { stop, heard, thread: Some(thread) }
    }

    fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

const OPEN: [u8; 4] = [10, 64, 0, 1];

#[test]
#[ignore = "needs root: make test runs it"]
fn name_servers_are_told_with_their_answer_and_closed_ports_as_closed() {
    let Some(place) = Place::new("dns", &Answer::Kernel) else { return };
    let _servers =
        [IpAddr::from(OPEN), FAR_ADDRESS_V6.into()].map(|address| Service::at(&place, address, 53, dns::answer));
    // By live frames too: tests/lab/udp.rs, where the far end takes them.
    let line = format!("ping -c 2 -i 0.2 -p udp:53 --dns=nobody.lab\tA 10.64.0.1 10.64.0.2 {FAR_ADDRESS_V6}");
    let ended = place.ended(&mut place.echolot(line.split(' ')));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    for of in ["open (NXDOMAIN) at 10.64.0.1", "closed at 10.64.0.2", &format!("open (NXDOMAIN) at {FAR_ADDRESS_V6}")] {
        let lines = ended.stdout.matches(&format!("port 53 {of}: seq=")).count();
        assert_eq!(lines, 2, "{of}: {ended:?}");
    }
    ended.says(&["PING 3 targets, UDP port 53, by near0", "6 received, 4 open (4 NXDOMAIN), 2 closed, 0% packet loss"]);

    // Over four flows: each in turn, and results say which.
    let jsonl = place.folder.join("out.jsonl");
    let line =
        format!("ping -c 8 -i 0.1 -p udp:53 --dns=both.lab\tAAAA --flows 4 10.64.0.1 -f jsonl -o {}", jsonl.display());
    let ended = place.ended(&mut place.echolot(line.split(' ')));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let text = fs::read_to_string(jsonl).unwrap();
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&record["rcode"], &record["port"]), (&"NOERROR".into(), &"open".into()), "{line}");
        assert_eq!(record["flow"].as_u64().unwrap(), record["seq"].as_u64().unwrap() % 4, "{line}");
    }
    assert_eq!(text.lines().count(), 8, "{text}");
}

/// Answered or not, each datagram is what was asked for, and leaves from a port of its own.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_payload_arrives_as_it_was_given_and_its_probes_walk_their_ports() {
    let Some(place) = Place::new("payload", &Answer::Kernel) else { return };
    let echo = Service::at(&place, OPEN.into(), 7, |payload| Some(payload.to_vec()));
    let silent = Service::at(&place, OPEN.into(), 9, |_| None);
    let ended = place.ended(&mut place.echolot(words("ping -c 20 -i 0.1 -p udp:7 --payload hello -s 9 10.64.0.1")));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    ended.says(&["20 packets transmitted, 20 received, 20 open, 0% packet loss"]);
    let heard = echo.heard();
    assert!(heard.iter().all(|(_, payload)| payload == b"hello\0\0\0\0"), "{heard:?}");
    let mut ports: BTreeMap<u16, usize> = BTreeMap::new();
    heard.iter().for_each(|(from, _)| *ports.entry(from.port()).or_default() += 1);
    // There are more ports than probes here: none has been used twice.
    assert_eq!(heard.len(), 20);
    assert_eq!(ports.len(), 20, "{ports:?}");

    let ended = place.ended(&mut place.echolot(words("ping -c 2 -i 0.1 -p udp:9 --hex 00ff17 10.64.0.1")));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    ended.says(&["2 packets transmitted, 0 received, 100% packet loss"]);
    assert_eq!(
        silent.heard().into_iter().map(|(_, payload)| payload).collect::<BTreeSet<_>>(),
        [vec![0, 255, 23]].into()
    );
}

/// What this host's own stack is told of comes to a socket that drops it: it refuses nobody.
#[test]
#[ignore = "needs root: make test runs it"]
fn source_ports_are_held_and_refuse_nobody() {
    let Some(place) = Place::new("held", &Answer::Kernel) else { return };
    let groups = "groups:\n  - {name: dns, targets: [10.64.0.1], probe: udp:53, flows: 2}\n  - {name: web, targets: [10.64.0.1], probe: tcp:80}\n  \
                  - {name: echo, targets: [10.64.0.1], probe: udp:7}\n";
    let text = format!("listen: {}\nsource_port: 61000\n{groups}", super::place::LISTEN);
    let running = place.run(&place.file("echolot.yml", &text), &[]);
    let (_, scrape) = place.get("/metrics").unwrap();
    for (group, probe) in [("dns", "udp:53"), ("web", "tcp:80"), ("echo", "udp:7")] {
        let info = format!("echolot_group_info{{family=\"any\",group=\"{group}\",probe=\"{probe}\"}} 1");
        let other = format!("echolot_group_info{{group=\"{group}\",probe=\"{probe}\",family=\"any\"}} 1");
        assert!(scrape.contains(&info) || scrape.contains(&other), "{info}\n{scrape}");
    }
    let taken = |udp: bool, port: u16| {
        place.inside(|| match udp {
            true => UdpSocket::bind(("0.0.0.0", port)).is_err() && UdpSocket::bind(("::1", port)).is_err(),
            false => std::net::TcpListener::bind(("0.0.0.0", port)).is_err(),
        })
    };
    // Two flows, a port, and sixteen whose answers prove nothing.
    for port in 61_000..61_019 {
        assert_eq!((taken(true, port), taken(false, port)), (port != 61_002, port == 61_002), "{port}");
    }
    assert!(!taken(true, 61_019));
    // Somebody at the far end sends to them from a port that nobody has asked.
    place.far(|| {
        let stranger = UdpSocket::bind((FAR_ADDRESS, 4_711)).unwrap();
        for port in (61_000..61_019).filter(|port| *port != 61_002) {
            stranger.connect((xtask::lab::NEAR_ADDRESS, port)).unwrap();
            stranger.send(b"?").unwrap();
            stranger.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let kind = stranger.recv(&mut [0]).unwrap_err().kind();
            assert!([std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut].contains(&kind), "{port}: {kind}");
        }
    });
    assert_eq!(running.stop().status.code(), Some(0));
    assert!(!taken(true, 61_000) && !taken(false, 61_002));

    let holder = place.inside(|| UdpSocket::bind(("0.0.0.0", 61_001)).unwrap());
    let line = "ping -c 1 -p udp:53 --flows 2 --source-port 61000 10.64.0.1";
    place
        .ended(&mut place.echolot(words(line)))
        .refused(&["UDP source port 61001 is in use", "ss -uanp sport = :61001"]);
    // TCP is another matter.
    let line = "ping -c 1 -p tcp:80 --flows 2 --source-port 61000 10.64.0.1";
    assert_eq!(place.ended(&mut place.echolot(words(line))).status.code(), Some(0));
    drop(holder);
}
