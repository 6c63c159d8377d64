//! Which engine sends, and why.

use super::{NicError, Options, templates::is_whole};
use crate::{
    route::{Interface, XdpFeatures},
    wire::{Shape, Tags, Template},
};
use probe_ebpf::layout::LIVE_FRAME;

/// Copy-mode AF_XDP carries this many probes a second with ease, their replies included.
pub const EASY: u64 = 250_000;

/// What sends: `--engine`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Zero-copy AF_XDP where the driver has it; else AF_XDP at rates that it carries easily, and live frames above.
    #[default]
    Auto,
    /// AF_XDP sockets.
    Afxdp,
    /// The kernel builds probes on frames of its own.
    LiveFrames,
}

impl Engine {
    /// All, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Afxdp, Self::LiveFrames];

    /// As in options, the configuration, metrics and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Afxdp => "afxdp",
            Self::LiveFrames => "live-frames",
        }
    }

    /// What it is, in a line for people.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Auto => "The best that this machine has",
            Self::Afxdp => "AF_XDP sockets",
            Self::LiveFrames => "Probes built in the kernel: fast without zero-copy",
        }
    }
}

/// By which engine probes leave, and why, for people.
pub(super) fn choose(
    options: &Options,
    generic: bool,
    interface: u32,
    zero_copy: bool,
    tags: Tags,
) -> Result<(Engine, String), NicError> {
    let obstacle = || {
        options
            .shapes
            .iter()
            .find_map(|shape| obstacle_of(*shape, tags))
            .or_else(|| obstacle(generic, interface, options.senders.iter().all(Option::is_some)))
    };
    match options.engine {
        Engine::Afxdp => Ok((Engine::Afxdp, "asked for".into())),
        Engine::LiveFrames => match obstacle() {
            None => Ok((Engine::LiveFrames, "asked for".into())),
            Some(reason) => Err(NicError::Live { what: "asked for", reason }),
        },
        Engine::Auto => Ok(decide(options.rate, zero_copy, obstacle)),
    }
}

/// If the engine redirects frames, and the driver takes those from some CPUs alone: those whose numbers are below this. Others get ENXIO
/// (`mlx5e_xdp_xmit`, `i40e_xdp_xmit`: the CPU's number is that of the channel).
pub fn cpus_below(engine: Engine, interface: &Interface) -> Option<usize> {
    let few = engine != Engine::Afxdp && matches!(interface.driver.as_deref(), Some("mlx5_core" | "i40e"));
    few.then_some(interface.rx_queues)
}

/// Probes a second that one sender is given to carry, where there are CPUs and queues for more of them.
const ONE_SENDER: u64 = 1_000_000;
/// The same where each probe is copied into a socket buffer: on a veth pair, whose far end costs the sender CPU too, it carries 400,000 to
/// 470,000.
const ONE_COPYING: u64 = 300_000;

/// Probes a second that one sender is given to carry by an engine through these ports, of so many in all.
pub fn one_sender(engine: Engine, rate: u64, ports: &[Interface]) -> u64 {
    let copying = match engine {
        Engine::Afxdp => true,
        Engine::LiveFrames => false,
        // Without zero-copy, as it would be: only then one of the two is chosen for its speed.
        Engine::Auto => rate > EASY && ports.iter().any(|port| auto(port.index, rate, false, false).0 == Engine::Afxdp),
    };
    if copying { ONE_COPYING } else { ONE_SENDER }
}

/// What `auto` would choose for an interface as it is now, without opening it: the engine, and why. Senders are taken to be
/// pinned.
///
/// `rate` in probes a second; `zero_copy`, `generic`: what the driver offers.
pub fn auto(interface: u32, rate: u64, zero_copy: bool, generic: bool) -> (Engine, String) {
    decide(rate, zero_copy, || obstacle(generic, interface, true))
}

fn decide(rate: u64, zero_copy: bool, obstacle: impl FnOnce() -> Option<String>) -> (Engine, String) {
    if zero_copy {
        return (Engine::Afxdp, "the driver has zero-copy".into());
    }
    if rate <= EASY {
        return (Engine::Afxdp, format!("up to {EASY} probes a second are easy for it"));
    }
    match obstacle() {
        None => (Engine::LiveFrames, format!("more than {EASY} probes a second, and the driver has no zero-copy")),
        Some(reason) => (Engine::Afxdp, format!("live frames would be faster, but {reason}")),
    }
}

/// What is in the way of live frames of a shape.
fn obstacle_of(shape: Shape, tags: Tags) -> Option<String> {
    let length = Template::length_of(shape, tags);
    match is_whole(shape) {
        false => (tags.as_slice().len() > 1).then(|| "they carry one VLAN tag at most".into()),
        true => (length > LIVE_FRAME).then(|| {
            let (kind, less) = (shape.kind, length - LIVE_FRAME);
            let bytes = if less == 1 { "byte" } else { "bytes" };
            format!(
                "frames of probe {kind} are {length} bytes long, and they are copied up to {LIVE_FRAME}: let it carry {less} {bytes} less"
            )
        }),
    }
}

/// What is in the way of live frames, if anything is.
fn obstacle(generic: bool, interface: u32, pinned: bool) -> Option<String> {
    if generic {
        return Some("the XDP program runs in generic mode".into());
    }
    if !pinned {
        return Some("the sender is not pinned to a CPU".into());
    }
    match kernel() {
        Some(version) if version < (5, 18) => {
            return Some(format!("kernel {}.{} lacks them (5.18 has)", version.0, version.1));
        }
        _ => {}
    }
    // A kernel that does not tell (before 6.3) is tried.
    match XdpFeatures::of(interface) {
        Ok(features) if !features.has(XdpFeatures::NDO_XMIT) => Some(
            "the interface takes no redirected frames now (a veth does once its peer has an XDP program, igb once \
                  echolot is attached)"
                .into(),
        ),
        _ => None,
    }
}

/// The running kernel's major and minor number.
fn kernel() -> Option<(u32, u32)> {
    version(&release())
}

/// The running kernel's release; empty where it can't be read.
pub(super) fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// A release's major and minor number.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::{
        base::Family,
        wire::{Content, Kind, Tag},
    };

    #[test]
    fn auto_says_what_and_why() {
        let none = || None;
        assert_eq!(decide(9_000_000, true, none).0, Engine::Afxdp, "zero-copy carries every rate");
        assert_eq!(decide(EASY, false, none).0, Engine::Afxdp);
        assert_eq!(decide(EASY + 1, false, none).0, Engine::LiveFrames);
        let (engine, why) = decide(EASY + 1, false, || Some("the moon is full".into()));
        assert!(engine == Engine::Afxdp && why.ends_with("but the moon is full"), "{why}");
    }

    #[test]
    fn two_tags_are_in_the_way_of_what_the_program_builds_and_of_nothing_that_it_copies() {
        let tag = |id| Tag { protocol: 0x8100, id };
        let one = Tags::NONE.inside(tag(7)).unwrap();
        let two = one.inside(tag(8)).unwrap();
        assert_eq!(two.as_slice().len(), 2);
        let syn = Shape::of(Kind::Tcp { port: 443 });
        for tags in [Tags::NONE, one, two] {
            for shape in [syn, Shape { reset: true, ..syn }] {
                assert_eq!(obstacle_of(shape, tags), None);
                assert_eq!(obstacle_of(shape.over(Family::V6), tags), None);
            }
            assert_eq!(obstacle_of(Shape::echo(1472), tags).is_some(), tags == two);
        }
        let long = Shape { payload: 80, ..syn };
        assert!(obstacle_of(long, one).is_some_and(|why| why.contains("tcp:443") && why.contains("158 bytes")));
        let udp = Shape::of(Kind::Udp { port: 7, content: Content::Bytes(b"hello") });
        let udp = |payload| Shape { payload, ..udp };
        assert_eq!((obstacle_of(udp(86), Tags::NONE), obstacle_of(udp(78), two)), (None, None));
        assert!(obstacle_of(udp(87), Tags::NONE).is_some_and(|why| why.ends_with("let it carry 1 byte less")));
        assert!(
            obstacle_of(udp(86).over(Family::V6), one).is_some_and(|why| why.ends_with("let it carry 24 bytes less"))
        );
    }

    #[test]
    fn obstacles_are_named() {
        assert!(obstacle(true, 1, true).is_some_and(|why| why.contains("generic")));
        assert!(obstacle(false, 1, false).is_some_and(|why| why.contains("pinned")));
    }
}
