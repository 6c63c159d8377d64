//! What is known of the card while it runs, for whoever shows it.

/// Frames that this machine dropped, by where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDrops {
    /// The interface's name.
    pub interface: String,
    /// "receive" or "transmit".
    pub direction: &'static str,
    /// One of a closed list, see docs/metrics.md.
    pub cause: &'static str,
    /// Frames so far.
    pub frames: u64,
}

/// What is known of the interface in use.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct InterfaceInfo {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// "zero-copy", "copy" or "generic".
    pub mode: &'static str,
    /// "afxdp" or "live-frames".
    pub engine: &'static str,
    /// Why this engine, for people.
    pub reason: String,
    /// Receive queues that have a socket.
    pub queues: usize,
    /// Up, with carrier.
    pub up: bool,
}
