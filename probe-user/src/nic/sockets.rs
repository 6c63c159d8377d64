//! Sockets for programs that are not `steer`: what far ends and measurements send and receive by.

use super::{
    Mode, NicError, Receiver,
    counts::QueueCounts,
    mapped::Mapped,
    program::Program,
    ring::Ring,
    socket::{self, Load},
};
use crate::{route::Interface, worker::Taken};
use probe_ebpf::layout::TAKEN_ENTRIES;
use std::sync::Arc;

/// A socket on each of an interface's first queues.
pub struct Sockets {
    /// Has what the program redirects to them.
    pub receiver: Receiver,
    /// Sends by queue 0.
    pub ring: Ring,
    /// How many frames the program has taken for them, and how many of these were received.
    pub taken: Arc<dyn Taken>,
}

impl Sockets {
    /// Binds a socket to each of the first `queues` receive queues. The program has to have `steer`'s maps `XSKS`, by which it redirects
    /// to them, and `TAKEN`, in which it counts before. `rate`: frames a second, all of which may come by one queue.
    ///
    /// # Errors
    /// Whatever keeps a socket from being had: see [`NicError`].
    pub fn open(
        interface: &Interface,
        program: &mut Program,
        queues: u32,
        mode: Mode,
        rate: u64,
    ) -> Result<Self, NicError> {
        let query = |error| NicError::Query { interface: interface.name.clone(), error };
        let words = Arc::new(Mapped::new(program.descriptor("TAKEN")?, TAKEN_ENTRIES as usize, true).map_err(query)?);
        let load = Load::new(rate, 1, 1);
        let counts = Arc::new(QueueCounts::new(socket::receive_ring(load)));
        let mut receiver = Receiver::new(counts.clone());
        let mut transmitter = None;
        for index in 0..queues {
            let load = if index == 0 { load } else { load.receiving() };
            let mut queue = socket::open(interface, index, mode, load)?;
            transmitter = transmitter.or(queue.tx.take());
            let socket = socket::share(&queue.rings).map_err(query)?;
            receiver.add(counts.add(&words, index), queue);
            program.steer_to(index, &socket)?;
        }
        let none = || NicError::Senders { interface: interface.name.clone(), senders: 1, most: queues };
        Ok(Self { receiver, ring: Ring::new(transmitter.ok_or_else(none)?), taken: counts })
    }
}
