//! What the far end offers beside echo replies: open and dropped ports, UDP that answers, a few names. All from its kernel's own stack
//! and sockets, so that a prober is held against what it will meet.
//!
//! | what | where |
//! |---|---|
//! | [`OPEN_PORTS`] of TCP | open at every address: accepted, and closed at once |
//! | [`DROPPED_PORT`] of TCP and UDP | dropped at every address, which the lab's routing rules do |
//! | [`ECHO_PORT`] of UDP | at [`Services::hosts`]: a datagram comes back as it was |
//! | [`DNS_PORT`] of UDP | there too: [`super::dns`] |
//! | any other port | closed at every address: a RST, or an ICMP error |

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;

use super::{FAR_ADDRESS, FAR_ADDRESS_V6, dns};

/// TCP ports that are open.
pub const OPEN_PORTS: [u16; 2] = [80, 443];
/// Neither TCP nor UDP is answered on it, nor refused.
pub const DROPPED_PORT: u16 = 81;
/// UDP comes back.
pub const ECHO_PORT: u16 = 7;
/// DNS over UDP.
pub const DNS_PORT: u16 = 53;

/// UDP is served at so many of the first target addresses of each family. A socket for each: one for all would answer from the address
/// that the route back prefers, and not from the one that was asked.
const HOSTS: u8 = 8;
/// The longest datagram.
const DATAGRAM: usize = 1 << 16;
/// A thread does next to nothing.
const STACK: usize = 1 << 17;

/// The answer to a datagram, if there is one.
type Answer = fn(&[u8]) -> Option<Vec<u8>>;

/// The sockets, bound.
pub struct Services {
    tcp: Vec<TcpListener>,
    udp: Vec<(UdpSocket, Answer)>,
}

impl Services {
    /// The addresses at which UDP is served.
    pub fn hosts() -> impl Iterator<Item = IpAddr> {
        let targets = (1..=HOSTS).flat_map(|host| {
            let v6 = Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, host.into());
            [IpAddr::from([10, 64, 0, host]), v6.into()]
        });
        [FAR_ADDRESS.into(), FAR_ADDRESS_V6.into()].into_iter().chain(targets)
    }

    /// Binds them all in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The address that can't be bound, and why: it is anywhere but at a lab's far end.
    pub fn bind() -> Result<Self, String> {
        let said = |address: SocketAddr| move |error: io::Error| format!("{address}: {error}");
        let mut udp = Vec::new();
        // First: a host that is no far end has not these addresses, and opens nothing.
        for host in Self::hosts() {
            let services: [(u16, Answer); 2] =
                [(ECHO_PORT, |datagram| Some(datagram.to_vec())), (DNS_PORT, dns::answer)];
            for (port, answer) in services {
                let address = SocketAddr::new(host, port);
                udp.push((UdpSocket::bind(address).map_err(said(address))?, answer));
            }
        }
        let mut tcp = Vec::new();
        for port in OPEN_PORTS {
            // Of both families.
            let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
            tcp.push(TcpListener::bind(address).map_err(said(address))?);
        }
        Ok(Self { tcp, udp })
    }

    /// Serves, for as long as the process lives.
    ///
    /// # Errors
    /// If a thread can't be had.
    pub fn run(self) -> Result<(), String> {
        let mut threads = Vec::new();
        let mut start = |serve: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().stack_size(STACK).spawn(serve);
            thread.map(|thread| threads.push(thread)).map_err(|error| format!("a thread: {error}"))
        };
        for listener in self.tcp {
            start(Box::new(move || listener.incoming().for_each(drop)))?;
        }
        for (socket, answer) in self.udp {
            start(Box::new(move || serve(&socket, answer)))?;
        }
        for thread in threads {
            thread.join().map_err(|_| "a service panicked: its own words are above".to_owned())?;
        }
        Ok(())
    }
}

/// Answers datagram by datagram.
fn serve(socket: &UdpSocket, answer: Answer) {
    let mut datagram = vec![0; DATAGRAM];
    loop {
        // What goes wrong with one is of no account to the next.
        if let Ok((length, from)) = socket.recv_from(&mut datagram)
            && let Some(answer) = answer(&datagram[..length])
        {
            let _ = socket.send_to(&answer, from);
        }
    }
}
