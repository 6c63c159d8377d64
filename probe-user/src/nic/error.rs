//! What can be in the way of a card, and what to do about it.

use crate::{
    route::StackError,
    wire::{Shape, ShapeError},
};
use std::io;

/// Why an interface could not be opened or used. Each says what was tried, on what, why it failed and what to do.
#[derive(Debug, thiserror::Error)]
pub enum NicError {
    /// No interface of that name.
    #[error("{interface}: no such interface. `ip link` lists those there are")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// The interface is down.
    #[error("{interface}: the interface is down. Bring it up with `ip link set {interface} up`")]
    Down {
        /// Its name.
        interface: String,
    },
    /// Programs and sockets can't go beneath it.
    #[error(transparent)]
    Stack(StackError),
    /// Not root and not enough capabilities.
    #[error(
        "not permitted: loading XDP programs and AF_XDP need the capabilities CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and \
         CAP_PERFMON. Run as root, or grant them (systemd: AmbientCapabilities=; else `setcap \
         cap_net_admin,cap_net_raw,cap_bpf,cap_perfmon+ep` on the program)"
    )]
    Privileges,
    /// The frames' memory stays locked, and so much is not allowed.
    #[error(
        "{interface}: the frames of queue {queue} need {mebibytes} MiB of locked memory, more than this process may have \
         (`ulimit -l`; a user's processes share it). Raise it (systemd: LimitMEMLOCK=infinity), or grant CAP_IPC_LOCK, \
         which lifts the limit"
    )]
    LockedMemory {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// What this queue's frames take, MiB, rounded up.
        mebibytes: u32,
    },
    /// Another XDP program is there.
    #[error(
        "{interface}: an XDP program is attached already: `{name}` (id {id}). Stop what attached it{}, or name another \
         interface", if name == "steer" { " (another echolot)" } else { "" }
    )]
    AlreadyAttached {
        /// The interface.
        interface: String,
        /// The program's id, as in `bpftool prog show id`.
        id: u32,
        /// The program's name.
        name: String,
    },
    /// Live frames can't be had.
    #[error("the engine live-frames can't be had: {what}: {reason}. `--engine afxdp` does without")]
    Live {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// The driver has no native XDP.
    #[error(
        "{interface}: the driver ({driver}) can't run XDP programs itself. `--mode generic` runs them behind it, slowly"
    )]
    NoNative {
        /// The interface.
        interface: String,
        /// Its driver.
        driver: String,
    },
    /// ERANGE to the attach.
    #[error(
        "{interface}: the driver refuses XDP with its present settings (MTU {mtu}): most limit the MTU to a page. Lower it \
         with `ip link set {interface} mtu 1500`, or the number of channels with `ethtool -L`"
    )]
    Range {
        /// The interface.
        interface: String,
        /// Its MTU, bytes.
        mtu: u32,
    },
    /// EINVAL to the attach. Whatever is too old for a bpf_link (before 5.9) does not load the program either, so it is the driver's.
    #[error(
        "{interface}: its driver ({driver}) refuses XDP as the interface is set up (MTU {mtu}). Most refuse a large MTU, many \
         received frames that the card has put together: try `ip link set {interface} mtu 1500`, `ethtool -K {interface} \
         lro off`, `ethtool -K {interface} rx-gro-hw off`; `dmesg` may have the driver's own words. `--mode generic` works \
         with every driver, slowly"
    )]
    Unsuitable {
        /// The interface.
        interface: String,
        /// Its driver.
        driver: String,
        /// Its MTU, bytes.
        mtu: u32,
    },
    /// The program is not loaded by a kernel that lacks what it asks for.
    #[error(
        "this kernel ({release}) is too old: the XDP programs ask for what came with Linux 5.18. The oldest on which echolot \
         was booted and run is 6.1"
    )]
    Kernel {
        /// The kernel's release.
        release: String,
    },
    /// Any other refusal of the attach.
    #[error("{interface}: can't attach the XDP program: {error}")]
    Attach {
        /// The interface.
        interface: String,
        /// As the kernel said.
        #[source]
        error: io::Error,
    },
    /// A program or map of the object.
    #[error("can't {what} {name}: {error}")]
    Program {
        /// What was tried.
        what: &'static str,
        /// With which program or map.
        name: &'static str,
        /// Why not.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another socket holds the queue.
    #[error(
        "{interface}: queue {queue} is busy: another AF_XDP socket holds it. `ss --xdp -p` names the process; stop it, or \
         name another interface"
    )]
    QueueBusy {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// No zero-copy.
    #[error("{interface}: queue {queue} can't do zero-copy: {error}. `--mode copy` works with every driver")]
    ZeroCopy {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// As the kernel said.
        #[source]
        error: io::Error,
    },
    /// Zero-copy where queues go with the program.
    #[error(
        "{interface}: {spare} of its receive queues are there only while an XDP program is attached, and the driver can't end \
         zero-copy on a queue that is gone. Leave it none to spare (`ethtool -L {interface} combined {most}`), or take `--mode copy`"
    )]
    SpareQueues {
        /// The interface.
        interface: String,
        /// How many.
        spare: u32,
        /// As many channels as it can have.
        most: u64,
    },
    /// A socket could not be made or bound.
    #[error("{interface}: can't open an AF_XDP socket on queue {queue}: {error}")]
    Socket {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// As the kernel said.
        #[source]
        error: io::Error,
    },
    /// More queues than steer's maps have room for.
    #[error("{interface}: {queues} receive queues; at most {most} are supported. Lower it with `ethtool -L`")]
    Queues {
        /// The interface.
        interface: String,
        /// Its receive queues.
        queues: u32,
        /// The limit.
        most: u32,
    },
    /// More senders than queues.
    #[error("{interface}: {senders} sender threads need as many queues, and there are {most}")]
    Senders {
        /// The interface.
        interface: String,
        /// Senders asked for.
        senders: u32,
        /// Queues that can transmit and receive.
        most: u32,
    },
    /// More source addresses than steer can look for.
    #[error("{sources} source addresses; at most {most} are supported. Choose one with --source")]
    Sources {
        /// How many.
        sources: usize,
        /// The limit.
        most: usize,
    },
    /// A probe longer than the interface carries.
    #[error("{interface}: a payload of {} bytes does not fit the MTU of {mtu}: at most {}", shape.payload, mtu.saturating_sub(shape.headers().into()))]
    Mtu {
        /// The interface.
        interface: String,
        /// Its MTU, bytes.
        mtu: u32,
        /// Of the probe that does not fit.
        shape: Shape,
    },
    /// There can be no such probe.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The kernel could not be asked about the interface.
    #[error("{interface}: can't ask the kernel about it: {error}")]
    Query {
        /// The interface.
        interface: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// A loop thread can't be pinned.
    #[error("can't pin a thread to CPU {cpu}: there is no such CPU, or this process may not use it")]
    Pin {
        /// Its number.
        cpu: usize,
    },
    /// A loop thread can't be prepared.
    #[error("can't {what} of a loop thread: {error}")]
    Thread {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        error: io::Error,
    },
}
