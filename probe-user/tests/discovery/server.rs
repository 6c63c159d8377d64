//! An HTTP server that answers as it is told to, over TLS too.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// From the head of a request to an answer.
type Answering = dyn Fn(&str) -> Vec<u8> + Send + Sync;

/// What it does with a connection on which somebody asks.
#[derive(Clone)]
pub(crate) enum Manner {
    /// 200, `application/json`, and this.
    Json(String),
    /// These bytes as they are, then it closes.
    Raw(Vec<u8>),
    /// The same, then a byte of this again and again, so much apart.
    Trickle(Vec<u8>, u8, Duration),
    /// The same, then a great many bytes as fast as they go.
    Flood(Vec<u8>),
    /// Nothing, for ever.
    Silent,
    /// What comes of the request: its head.
    By(Arc<Answering>),
}

impl Manner {
    pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into()
    }

    pub(crate) fn json(body: &str) -> Vec<u8> {
        Self::answer("200 OK", "Content-Type: application/json; charset=utf-8\r\n", body)
    }
}

/// Serves on loopback until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    manner: Mutex<Manner>,
    tls: Mutex<Option<Arc<ServerConfig>>>,
    heads: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Server {
    pub(crate) fn start(manner: Manner) -> Self {
        Self::with(manner, None)
    }

    pub(crate) fn with(manner: Manner, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            manner: Mutex::new(manner),
            tls: Mutex::new(tls),
            heads: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.stop.load(Relaxed) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&of_thread)) else { continue };
                // It ends with its connection.
                thread::spawn(move || shared.connected(stream));
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    pub(crate) fn certified(&self, tls: Arc<ServerConfig>) {
        *self.shared.tls.lock().unwrap() = Some(tls);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        let _woken = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _panicked = accepting.join();
        }
    }
}

impl Shared {
    fn connected(&self, stream: TcpStream) {
        let tls = self.tls.lock().unwrap().clone();
        // Errors are the other side's: it leaves when it has enough.
        let _ended = match tls {
            None => self.serve(stream),
            Some(config) => {
                let connection = ServerConnection::new(config).unwrap();
                self.serve(StreamOwned::new(connection, stream))
            }
        };
    }

    fn serve(&self, mut stream: impl Read + Write) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        self.heads.lock().unwrap().push(head.clone());
        let manner = self.manner.lock().unwrap().clone();
        match manner {
            Manner::Json(body) => stream.write_all(&Manner::json(&body))?,
            Manner::Raw(bytes) => stream.write_all(&bytes)?,
            Manner::By(answer) => stream.write_all(&answer(&head))?,
            Manner::Trickle(bytes, byte, apart) => {
                stream.write_all(&bytes)?;
                while !self.stop.load(Relaxed) {
                    stream.write_all(&[byte])?;
                    stream.flush()?;
                    thread::sleep(apart);
                }
            }
            Manner::Flood(bytes) => {
                stream.write_all(&bytes)?;
                while !self.stop.load(Relaxed) {
                    stream.write_all(&[b' '; 1 << 14])?;
                }
            }
            Manner::Silent => {
                let mut byte = [0];
                // Until the other side has enough.
                let _nothing = stream.read(&mut byte)?;
            }
        }
        stream.flush()
    }
}
