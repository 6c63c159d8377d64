//! A name server for addresses, reverse names and AS numbers that can be told to be quick, slow, dead or wrong. Over UDP and TCP.
//!
//! It serves in the network namespace of the thread that binds it, at any address and port of that: 127.0.0.1:0 for a test on loopback,
//! port 53 of a far end for one in a lab.

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, PTR, SOA, TXT},
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Of what does not exist, seconds.
const NEGATIVE_TTL: u32 = 60;
/// Between two looks whether to end, and whether somebody connects.
const LOOK: Duration = Duration::from_millis(20);
/// The longest datagram.
const DATAGRAM: usize = 1 << 16;

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// At once.
    #[default]
    Quick,
    /// So much later.
    Slow(Duration),
    /// Not at all.
    Dead,
    /// Over UDP with nothing but the word that there is more, over TCP rightly.
    Truncated,
    /// With an identifier that was not asked with.
    WrongIdentifier,
    /// That it can't (SERVFAIL).
    Failing,
    /// With bytes that are no message.
    Garbled,
}

/// What it knows. Names are as they are written in zone files; the dot at the end may be left out.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    records: HashMap<(Name, RecordType), Vec<Record>>,
}

impl Zone {
    /// A name's address, with a time to live in seconds. Of several a name has all.
    ///
    /// # Panics
    /// If it is no name.
    #[must_use]
    pub fn address(self, name: &str, address: IpAddr, ttl: u32) -> Self {
        let data = match address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        self.record(&absolute(name), ttl, data)
    }

    /// An address' name, with a time to live in seconds. Of several an address has all.
    ///
    /// # Panics
    /// If it is no name.
    #[must_use]
    pub fn name(self, address: IpAddr, name: &str, ttl: u32) -> Self {
        self.record(&Name::from(address), ttl, RData::PTR(PTR(absolute(name))))
    }

    /// The same of any bytes in its labels.
    ///
    /// # Panics
    /// If a label is empty or longer than 63 bytes.
    #[must_use]
    pub fn labels(self, address: IpAddr, labels: &[&[u8]], ttl: u32) -> Self {
        let name = Name::from_labels(labels.iter().copied()).expect("labels of 1 to 63 bytes");
        self.record(&Name::from(address), ttl, RData::PTR(PTR(name)))
    }

    /// An address whose name stands at another (RFC 2317).
    ///
    /// # Panics
    /// If that is no name.
    #[must_use]
    pub fn delegated(self, address: IpAddr, to: &str, name: &str, ttl: u32) -> Self {
        let at = absolute(to);
        let aliased = self.record(&Name::from(address), ttl, RData::CNAME(CNAME(at.clone())));
        aliased.record(&at, ttl, RData::PTR(PTR(absolute(name))))
    }

    /// A text.
    ///
    /// # Panics
    /// If that is no name.
    #[must_use]
    pub fn text(self, name: &str, text: &[u8], ttl: u32) -> Self {
        let strings = text.chunks(255).collect();
        self.record(&absolute(name), ttl, RData::TXT(TXT::from_bytes(strings)))
    }

    fn record(mut self, name: &Name, ttl: u32, data: RData) -> Self {
        let record = Record::from_rdata(name.clone(), ttl, data);
        self.records.entry((name.to_lowercase(), record.record_type())).or_default().push(record);
        self
    }

    /// What there is of a name and type, aliases first.
    fn find(&self, name: &Name, kind: RecordType) -> Vec<Record> {
        let mut name = name.to_lowercase();
        let mut found = Vec::new();
        // An alias of itself ends too.
        for _ in 0..8 {
            if let Some(records) = self.records.get(&(name.clone(), kind)) {
                found.extend(records.iter().cloned());
                return found;
            }
            let Some([alias, ..]) = self.records.get(&(name, RecordType::CNAME)).map(Vec::as_slice) else { break };
            found.push(alias.clone());
            let RData::CNAME(to) = &alias.data else { break };
            name = to.0.to_lowercase();
        }
        found
    }
}

fn absolute(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    name
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    zone: Mutex<Zone>,
    manner: Mutex<Manner>,
    asked: Mutex<Vec<String>>,
    later: Later,
    stop: AtomicBool,
}

/// What is sent, and where to.
type Datagram = (Vec<u8>, SocketAddr);

/// Datagrams that leave later, by when.
#[derive(Debug, Default)]
struct Later {
    waiting: Mutex<BTreeMap<(Instant, u64), Datagram>>,
    more: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NameServer {
    /// Serves at an address; port 0 is any free one.
    ///
    /// # Errors
    /// Its sockets or threads can't be had.
    pub fn bind(address: SocketAddr, zone: Zone) -> io::Result<Self> {
        let (udp, tcp) = both(address)?;
        let address = udp.local_addr()?;
        let shared = Arc::new(Shared {
            zone: Mutex::new(zone),
            manner: Mutex::default(),
            asked: Mutex::default(),
            later: Later::default(),
            stop: AtomicBool::new(false),
        });
        let mut server = Self { address, shared, threads: Vec::new() };
        // Its end may be dropped in another network namespace, from where nothing could be sent here: threads look for themselves.
        udp.set_read_timeout(Some(LOOK))?;
        tcp.set_nonblocking(true)?;
        let answers = udp.try_clone()?;
        server.thread(move |shared| shared.serve_udp(&udp))?;
        server.thread(move |shared| shared.send_later(&answers))?;
        server.thread(move |shared| shared.serve_tcp(&tcp))?;
        Ok(server)
    }

    /// Where it serves.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it answers so.
    pub fn behave(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    /// From now on it knows this.
    pub fn know(&self, zone: Zone) {
        *lock(&self.shared.zone) = zone;
    }

    /// What it has been asked so far, a line such as `udp PTR 7.2.0.192.in-addr.arpa.` for each question.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.shared.asked).clone()
    }

    fn thread(&mut self, work: impl FnOnce(&Arc<Shared>) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.threads.push(std::thread::Builder::new().name("dns".into()).spawn(move || work(&shared))?);
        Ok(())
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.shared.later.more.notify_all();
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

/// Sockets of one port.
fn both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let tcp = TcpListener::bind(address)?;
        match UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => return Ok((udp, tcp)),
            // The free port of the one need not be one of the other.
            Err(_) if address.port() == 0 && tries < 16 => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut datagram = vec![0; DATAGRAM];
        let mut number = 0;
        while !self.stopped() {
            let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
            let manner = *lock(&self.manner);
            let Some(answer) = self.answer(&datagram[..length], "udp", manner) else { continue };
            if let Manner::Slow(by) = manner {
                number += 1;
                lock(&self.later.waiting).insert((Instant::now() + by, number), (answer, from));
                self.later.more.notify_all();
            } else {
                let _refused = socket.send_to(&answer, from);
            }
        }
    }

    fn send_later(&self, socket: &UdpSocket) {
        let mut waiting = lock(&self.later.waiting);
        while !self.stopped() {
            let now = Instant::now();
            let due = waiting.first_key_value().map(|((due, _), _)| *due);
            waiting = match due {
                Some(due) if due <= now => {
                    if let Some((_, (answer, to))) = waiting.pop_first() {
                        let _refused = socket.send_to(&answer, to);
                    }
                    waiting
                }
                _ => {
                    let wait = due.map_or(Duration::from_millis(100), |due| due - now);
                    let waited = self.later.more.wait_timeout(waiting, wait.min(Duration::from_millis(100)));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn serve_tcp(self: &Arc<Self>, listener: &TcpListener) {
        while !self.stopped() {
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(LOOK);
                continue;
            };
            let shared = Arc::clone(self);
            // It ends with its connection, which ends with the asker or by its timeout.
            let _detached = std::thread::Builder::new().name("dns".into()).spawn(move || shared.serve_stream(stream));
        }
    }

    fn serve_stream(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        while !self.stopped() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            let mut query = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut query).ok()?;
            let manner = match *lock(&self.manner) {
                Manner::Truncated => Manner::Quick,
                other => other,
            };
            let Some(answer) = self.answer(&query, "tcp", manner) else { continue };
            if let Manner::Slow(by) = manner {
                std::thread::sleep(by);
            }
            let length = u16::try_from(answer.len()).ok()?;
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).ok()?;
        }
        None
    }

    /// The answer to a query, if there is one.
    fn answer(&self, query: &[u8], over: &str, manner: Manner) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok().filter(|query| query.message_type == MessageType::Query)?;
        let question = query.queries.first()?.clone();
        lock(&self.asked).push(format!("{over} {} {}", question.query_type(), question.name()));
        let id = if manner == Manner::WrongIdentifier { query.id ^ 0x5555 } else { query.id };
        let mut answer = Message::response(id, query.op_code);
        answer.metadata.recursion_desired = query.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_query(question.clone());
        match manner {
            Manner::Dead => return None,
            Manner::Garbled => return Some([&query.id.to_be_bytes()[..], &[0xff; 40]].concat()),
            Manner::Failing => answer.metadata.response_code = ResponseCode::ServFail,
            Manner::Truncated => answer.metadata.truncation = true,
            Manner::Quick | Manner::Slow(_) | Manner::WrongIdentifier => {
                let found = lock(&self.zone).find(question.name(), question.query_type());
                if found.is_empty() {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    let zone = absolute("lab");
                    let soa = SOA::new(zone.clone(), zone.clone(), 1, 3_600, 600, 86_400, NEGATIVE_TTL);
                    answer.add_authority(Record::from_rdata(zone, NEGATIVE_TTL, RData::SOA(soa)));
                }
                answer.add_answers(found);
            }
        }
        answer.to_vec().ok()
    }
}
