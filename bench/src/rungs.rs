//! The rungs of the ladder: how people write a prober, each an honest best in little code. They run in the near namespace.

use netring::Capture;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{io::unix::AsyncFd, sync::oneshot};
use xtask::lab::NEAR_INTERFACE;

/// First of the addresses.
pub(crate) const FIRST: u32 = 0x0a40_0000;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(1);
const IDENTIFIER: u16 = 0x4c44;
/// Asked for; the kernel gives what `net.core.rmem_max` allows.
const BUFFER: usize = 8 << 20;
/// The listener's ring: a million answers a second fill 150 bytes each, so a block within two milliseconds and all of them within
/// 200. The library's own choice is 256 MiB, which the kernel must find, clear and lock page by page before the first probe.
const BLOCK: usize = 256 << 10;
const BLOCKS: usize = 128;

/// How to probe.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Rung {
    /// A blocking loop: send, wait for the answer, next.
    SendAndWait,
    /// A task for each address, which sleeps, sends and awaits.
    Tasks,
    /// A thread that sends on schedule, and one that listens through packet-mmap.
    PacketMmap,
}

/// What came of it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Heard {
    /// At least one: who heard nothing has measured nothing.
    pub(crate) answered: u64,
    /// Round-trip time, microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Probes so many addresses once a second for so long.
///
/// # Errors
/// What the kernel refused, or that nothing was answered: then there is nothing to measure.
pub(crate) fn run(rung: Rung, addresses: u32, seconds: u32) -> Result<Heard, String> {
    let plan = Plan { addresses, seconds };
    let done = match rung {
        Rung::SendAndWait => send_and_wait(plan),
        Rung::Tasks => tasks(plan),
        Rung::PacketMmap => packet_mmap(plan),
    };
    let Done { sent, mut times, seen } = done.map_err(|error| error.to_string())?;
    if times.is_empty() {
        return Err(format!(
            "the rung heard nothing: {sent} probes were sent to {addresses} addresses within {seconds} s, {seen} packets were \
             received, and none of them was an answer to one of those. Is there something at the far end that answers?"
        ));
    }
    times.sort_unstable();
    let quantile = |share: f64| {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index within the list"
        )]
        let index = ((times.len() as f64 * share) as usize).min(times.len() - 1);
        times[index].as_secs_f64() * 1e6
    };
    Ok(Heard { answered: times.len() as u64, p50: quantile(0.5), p99: quantile(0.99) })
}

/// What a rung has done.
struct Done {
    /// Probes that the kernel took.
    sent: u64,
    /// Round-trip times of the answers.
    times: Vec<Duration>,
    /// Packets of whatever kind that the rung has read.
    seen: u64,
}

/// Whom to probe and for how long.
#[derive(Clone, Copy)]
struct Plan {
    addresses: u32,
    seconds: u32,
}

impl Plan {
    /// From now on. For when sockets and rings are there: what they take is no part of the time in which probes are due. (Of a second that
    /// began before a ring of 256 MiB was made nothing was left on a machine whose memory came slowly: no probe was sent.)
    fn begin(self) -> Pace {
        Pace { start: Instant::now(), addresses: self.addresses, seconds: self.seconds }
    }
}

/// When which address is due: evenly over each second.
#[derive(Clone, Copy)]
struct Pace {
    start: Instant,
    addresses: u32,
    seconds: u32,
}

impl Pace {
    fn due(self, address: u32, round: u32) -> Instant {
        let part = u64::from(address) * 1_000_000_000 / u64::from(self.addresses);
        self.start + Duration::from_secs(u64::from(round)) + Duration::from_nanos(part)
    }

    fn end(self) -> Instant {
        self.start + Duration::from_secs(u64::from(self.seconds))
    }

    /// Calls for each probe in turn when it is due, or as soon as may be, until the time is over.
    fn walk(self, mut probe: impl FnMut(u32, u32) -> io::Result<()>) -> io::Result<()> {
        for round in 0..self.seconds {
            for address in 0..self.addresses {
                let now = Instant::now();
                if now >= self.end() {
                    return Ok(());
                }
                let wait = self.due(address, round).saturating_duration_since(now);
                if !wait.is_zero() {
                    std::thread::sleep(wait);
                }
                probe(address, round)?;
            }
        }
        Ok(())
    }
}

fn socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    Ok(socket)
}

/// An echo request with 18 bytes of payload, as echolot's: address and round say whose it is.
fn request(address: u32, round: u32) -> [u8; 26] {
    let mut message = [0; 26];
    message[0] = 8;
    message[4..6].copy_from_slice(&IDENTIFIER.to_be_bytes());
    message[6..8].copy_from_slice(&(round as u16).to_be_bytes());
    message[8..12].copy_from_slice(&address.to_be_bytes());
    let sum: u32 = message.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    message[2..4].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    message
}

fn destination(address: u32) -> socket2::SockAddr {
    SocketAddr::from((Ipv4Addr::from_bits(FIRST + address), 0)).into()
}

/// Address and round of an answer, from its IPv4 header on.
fn answer(packet: &[u8]) -> Option<(u32, u16)> {
    let message = packet.get(usize::from(packet.first()? & 15) * 4..)?;
    let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    if packet.get(9) != Some(&1) || message.first() != Some(&0) || word(4)? != IDENTIFIER {
        return None;
    }
    Some(((u32::from(word(8)?) << 16) | u32::from(word(10)?), word(6)?))
}

fn send_and_wait(plan: Plan) -> io::Result<Done> {
    let mut socket = socket()?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let mut done = Done { sent: 0, times: Vec::new(), seen: 0 };
    let mut packet = [0; 256];
    plan.begin().walk(|address, round| {
        let sent = Instant::now();
        socket.send_to(&request(address, round), &destination(address))?;
        done.sent += 1;
        while sent.elapsed() < TIMEOUT {
            match socket.read(&mut packet) {
                Ok(length) => {
                    done.seen += 1;
                    if answer(&packet[..length]) == Some((address, round as u16)) {
                        done.times.push(sent.elapsed());
                        break;
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })?;
    Ok(done)
}

/// Where each address' task waits for its answer.
type Waiting = Vec<Mutex<Option<(u16, oneshot::Sender<()>)>>>;

fn tasks(plan: Plan) -> io::Result<Done> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let socket = socket()?;
        socket.set_nonblocking(true)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; a socket2 socket keeps its descriptor as long as it lives"
        )]
        let socket = Arc::new(AsyncFd::new(socket)?);
        let waiting: Arc<Waiting> = Arc::new((0..plan.addresses).map(|_| Mutex::new(None)).collect());
        let counts = Arc::new(Counts::default());
        let (listening, answers, counted) = (socket.clone(), waiting.clone(), counts.clone());
        let listener = tokio::spawn(async move {
            let mut packet = [0; 256];
            while let Ok(length) =
                listening.async_io(tokio::io::Interest::READABLE, |mut socket| socket.read(&mut packet)).await
            {
                counted.seen.fetch_add(1, Relaxed);
                let Some((address, round)) = answer(&packet[..length]) else { continue };
                let slot = answers.get(address as usize).and_then(|slot| slot.lock().ok());
                if let Some(mut slot) = slot
                    && slot.as_ref().is_some_and(|(waited, _)| *waited == round)
                    && let Some((_, waker)) = slot.take()
                {
                    let _ = waker.send(());
                }
            }
        });
        let pace = plan.begin();
        let begun: Vec<_> = (0..plan.addresses)
            .map(|address| tokio::spawn(task(address, pace, socket.clone(), waiting.clone(), counts.clone())))
            .collect();
        tokio::time::sleep_until((pace.end() + TIMEOUT / 2).into()).await;
        begun.iter().for_each(tokio::task::JoinHandle::abort);
        listener.abort();
        let times = counts.times.lock().map(|mut times| std::mem::take(&mut *times)).unwrap_or_default();
        Ok(Done { sent: counts.sent.load(Relaxed), times, seen: counts.seen.load(Relaxed) })
    });
    runtime.shutdown_background();
    done
}

/// What all tasks write into.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    seen: AtomicU64,
    times: Mutex<Vec<Duration>>,
}

async fn task(address: u32, pace: Pace, socket: Arc<AsyncFd<Socket>>, waiting: Arc<Waiting>, counts: Arc<Counts>) {
    for round in 0..pace.seconds {
        tokio::time::sleep_until(pace.due(address, round).into()).await;
        if Instant::now() >= pace.end() {
            return;
        }
        let (waker, woken) = oneshot::channel();
        if let Ok(mut slot) = waiting[address as usize].lock() {
            *slot = Some((round as u16, waker));
        }
        let sent = Instant::now();
        let message = request(address, round);
        let send =
            socket.async_io(tokio::io::Interest::WRITABLE, |socket| socket.send_to(&message, &destination(address)));
        if send.await.is_err() {
            continue;
        }
        counts.sent.fetch_add(1, Relaxed);
        if matches!(tokio::time::timeout(TIMEOUT, woken).await, Ok(Ok(())))
            && let Ok(mut times) = counts.times.lock()
        {
            times.push(sent.elapsed());
        }
    }
}

fn packet_mmap(plan: Plan) -> io::Result<Done> {
    let mut capture = Capture::builder()
        .interface(NEAR_INTERFACE)
        .block_size(BLOCK)
        .block_count(BLOCKS)
        // The shortest that there is: a block that isn't full is handed over after a millisecond.
        .block_timeout_ms(1)
        .ignore_outgoing(true)
        .build()
        .map_err(io::Error::other)?;
    let socket = socket()?;
    // It only sends: nothing piles up that nobody reads.
    socket.set_recv_buffer_size(1)?;
    let done = AtomicBool::new(false);
    let pace = plan.begin();
    let start = pace.start;
    std::thread::scope(|scope| {
        let listener = scope.spawn(|| -> io::Result<(Vec<Duration>, u64)> {
            let (mut times, mut seen) = (Vec::new(), 0);
            while !done.load(Relaxed) {
                let batch = capture.next_batch_blocking(Duration::from_millis(100)).map_err(io::Error::other)?;
                let Some(batch) = batch else { continue };
                for packet in &batch {
                    seen += 1;
                    let data = packet.data();
                    // Behind Ethernet and IPv4: the payload's 8 bytes after address say when it was sent.
                    let Some(ip) = data.get(14..) else { continue };
                    let stamp = ip.get(32..40).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
                    if let (Some(_), Some(sent)) = (answer(ip), stamp) {
                        times.push(start.elapsed().saturating_sub(Duration::from_nanos(sent)));
                    }
                }
            }
            Ok((times, seen))
        });
        let mut sent = 0;
        let walked = pace.walk(|address, round| {
            let mut message = request(address, round);
            let now = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX).to_be_bytes();
            message[12..20].copy_from_slice(&now);
            let words = now.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
            let sum = u32::from(!u16::from_be_bytes([message[2], message[3]])) + words.sum::<u32>();
            let sum = (sum & 0xffff) + (sum >> 16);
            message[2..4].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
            match socket.send_to(&message, &destination(address)) {
                Err(error) if error.raw_os_error() != Some(105) => return Err(error),
                // ENOBUFS: this one is not sent.
                Err(_) => {}
                Ok(_) => sent += 1,
            }
            Ok(())
        });
        std::thread::sleep(TIMEOUT / 2);
        done.store(true, Relaxed);
        let (times, seen) = listener.join().map_err(|_| io::Error::other("the listener panicked"))??;
        walked.map(|()| Done { sent, times, seen })
    })
}
