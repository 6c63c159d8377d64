//! Connections that can't hold anything up: at most [`MOST`] at once, and each must move.
//!
//! A connection is dropped once [`WITHOUT_PROGRESS`] has passed since its last *progress*. Progress is a new request's first
//! byte and every [`STRIDE`] bytes that the client has taken; an answer that ends counts with the next request. So
//! clients that say nothing, that say their request byte by byte, and that stop reading or take a big answer in sips
//! are all gone after a while, and Prometheus' connections between scrapes are kept for as long.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

/// Connections at once. Further ones wait in the kernel's queue.
pub(super) const MOST: usize = 64;
/// How long a connection may be without progress.
const WITHOUT_PROGRESS: Duration = Duration::from_secs(30);
/// How much of an answer a client must take within [`WITHOUT_PROGRESS`], bytes: 35 kB a second.
const STRIDE: usize = 1 << 20;

/// Accepts while there is room.
pub(super) struct Listener {
    socket: TcpListener,
    room: Arc<Semaphore>,
    without_progress: Duration,
}

impl Listener {
    pub(super) fn new(socket: TcpListener) -> Self {
        Self { socket, room: Arc::new(Semaphore::new(MOST)), without_progress: WITHOUT_PROGRESS }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // None would be a closed semaphore, which no one closes: then there would be no limit, and no panic.
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        let (stream, peer) = axum::serve::Listener::accept(&mut self.socket).await;
        (Connection::new(stream, permit, self.without_progress), peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.socket.local_addr()
    }
}

/// A connection with a deadline that progress puts off.
pub(super) struct Connection<S> {
    stream: S,
    deadline: Pin<Box<Sleep>>,
    without_progress: Duration,
    /// Whether the answer has begun, so that the next byte read is a new request's.
    answering: bool,
    /// Bytes taken since the last progress.
    taken: usize,
    /// Gives its place back when the connection ends.
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S> Connection<S> {
    fn new(stream: S, permit: Option<OwnedSemaphorePermit>, without_progress: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep(without_progress));
        Self { stream, deadline, without_progress, answering: true, taken: 0, _permit: permit }
    }

    fn progress(&mut self) {
        self.taken = 0;
        self.deadline.as_mut().reset(Instant::now() + self.without_progress);
    }

    /// What is not ready yet is an error once the deadline has passed.
    fn unless_overdue<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn wrote(&mut self, context: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Pending => self.unless_overdue(context),
            Poll::Ready(Ok(n)) => {
                self.answering = true;
                self.taken += n;
                if self.taken >= STRIDE {
                    self.progress();
                }
                Poll::Ready(Ok(n))
            }
            error => error,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.unless_overdue(context),
            ready => {
                if self.answering && buffer.filled().len() > before {
                    self.answering = false;
                    self.progress();
                }
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Pending => self.unless_overdue(context),
            ready => ready,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(context) {
            Poll::Pending => self.unless_overdue(context),
            ready => ready,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test panics where it fails")]
    use super::*;
    use axum::{Router, body::Body, routing::get};
    use std::{
        io::{Read, Write},
        net::TcpStream as Client,
        time::Instant as Clock,
    };

    /// A server whose without_progress is short: `/` is small, `/endless` never ends.
    fn start(without_progress: Duration) -> (SocketAddr, Arc<Semaphore>) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let room = Arc::new(Semaphore::new(MOST));
        let shared = Arc::clone(&room);
        std::thread::spawn(move || {
            let endless =
                async || Body::from_stream(futures_util::stream::repeat_with(|| Ok::<_, io::Error>("x".repeat(4096))));
            let router = Router::new().route("/", get(async || "small")).route("/endless", get(endless));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let socket = TcpListener::from_std(socket).unwrap();
                axum::serve(Listener { socket, room: shared, without_progress }, router).await
            })
        });
        (address, room)
    }

    /// Connections open, the one that waits in accept not counted.
    fn open(room: &Semaphore) -> usize {
        (MOST - room.available_permits()).saturating_sub(1)
    }

    fn wait_for(what: &str, condition: impl Fn() -> bool) {
        let end = Clock::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Clock::now() < end, "{what}: not within 30 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// True once the server has closed the connection.
    fn closed(client: &mut Client) -> bool {
        client.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        match client.read(&mut [0; 64]) {
            Ok(n) => n == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    #[test]
    fn a_client_that_says_nothing_is_dropped() {
        let (address, room) = start(Duration::from_millis(200));
        let mut client = Client::connect(address).unwrap();
        wait_for("accepted", || open(&room) == 1);
        wait_for("dropped", || open(&room) == 0);
        assert!(closed(&mut client));
    }

    #[test]
    fn a_request_that_comes_byte_by_byte_is_dropped() {
        let (address, room) = start(Duration::from_millis(400));
        let mut client = Client::connect(address).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nx: ").unwrap();
        wait_for("accepted", || open(&room) == 1);
        let begun = Clock::now();
        while open(&room) == 1 {
            assert!(begun.elapsed() < Duration::from_secs(30), "byte by byte held for 30 s");
            // The server may close between the check and the write.
            let _ = client.write_all(b"x");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_client_that_stops_reading_is_dropped() {
        let (address, room) = start(Duration::from_millis(300));
        let mut client = Client::connect(address).unwrap();
        client.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        wait_for("accepted", || open(&room) == 1);
        wait_for("dropped", || open(&room) == 0);
    }

    #[test]
    fn a_client_that_goes_on_asking_or_reading_is_kept() {
        let without_progress = Duration::from_secs(2);
        let (address, room) = start(without_progress);
        let mut asking = Client::connect(address).unwrap();
        let mut reading = Client::connect(address).unwrap();
        reading.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let begun = Clock::now();
        let mut buffer = vec![0; 4 << 20];
        while begun.elapsed() < 2 * without_progress {
            asking.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            let n = asking.read(&mut buffer).unwrap();
            assert!(buffer[..n].starts_with(b"HTTP/1.1 200"), "after {:?}", begun.elapsed());
            reading.read_exact(&mut buffer).unwrap();
        }
        assert_eq!(open(&room), 2);
    }
}
