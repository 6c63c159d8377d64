//! Loading the XDP programs, telling them what they have to know, attaching one.
//!
//! aya loads and owns programs and maps. The link is made here: aya's attach falls back to netlink when the kernel says
//! EINVAL, without telling, and an attachment made that way outlives the process. A bpf_link goes with its descriptor.

use super::{Mode, NicError, choice, interface};
use crate::{
    route::{AttachedProgram, Interface},
    wire::{Live, Tags},
};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, DevMap, MapData, PerCpuArray, XskMap},
    programs::{BtfTracePoint, ProgramError, Xdp},
};
use probe_ebpf::layout::{LIVE_TABLE, SETTINGS_SIZE, Settings, Verdict};
use std::{
    error::Error as StdError,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/echolot-xdp"));

/// `linux/if_link.h`.
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// `linux/bpf.h`: the command, and the attach type.
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_XDP: u32 = 37;

/// An XDP program on an interface. Dropping it detaches, as does the end of the process, however it comes.
pub struct Program {
    // First, so that the program is detached before its maps go. None while it is off its interface.
    link: Option<OwnedFd>,
    /// The attached program itself.
    program: OwnedFd,
    ebpf: Ebpf,
    /// Whether it runs in the driver or, slowly, behind it.
    pub(super) generic: bool,
}

/// What to attach.
pub struct Source<'a> {
    /// The object that it is in, as the compiler has made it; lies at a multiple of 8 (`aya::include_bytes_aligned`).
    pub object: &'a [u8],
    /// Its name there.
    pub name: &'static str,
    /// What its map `SETTINGS` holds before it sees its first frame; None: zeros.
    pub settings: Option<&'a Settings>,
    /// Maps that have more entries than they say themselves.
    pub sizes: &'a [(&'static str, u32)],
    /// Whether its live frames carry a VLAN tag.
    pub tagged: bool,
}

/// What is built in the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    /// How many senders have a table each.
    pub(super) senders: u32,
    /// Whether there are IPv6 probes among it.
    pub(super) v6: bool,
    /// Whether there are probes that are only copied.
    pub(super) whole: bool,
}

impl Default for Source<'_> {
    /// `steer`, from the product's object.
    fn default() -> Self {
        Self { object: OBJECT, name: "steer", settings: None, sizes: &[], tagged: false }
    }
}

impl Program {
    /// `steer`, with these tables of live frames. They carry these tags.
    pub(super) fn steer(
        interface: &Interface,
        mode: Mode,
        settings: &Settings,
        tables: Tables,
        tags: Tags,
    ) -> Result<Self, NicError> {
        let entries = (tables.senders * LIVE_TABLE).max(1);
        let of = |wanted| if wanted { entries } else { 1 };
        let sizes = [("LIVE_DUE", entries), ("LIVE_DESTINATIONS", of(tables.v6)), ("LIVE_FRAMES", of(tables.whole))];
        let tagged = tags != Tags::NONE;
        Self::attach(interface, mode, &Source { settings: Some(settings), sizes: &sizes, tagged, ..Source::default() })
    }

    /// Loads a program and attaches it: natively, or generically if asked or if, in `auto`, the driver has no native mode.
    ///
    /// # Errors
    /// Whatever is in the way, by name: see [`NicError`]. Nothing stays behind.
    pub fn attach(interface: &Interface, mode: Mode, source: &Source<'_>) -> Result<Self, NicError> {
        let name = source.name;
        if let Some(there) = &interface.xdp {
            return Err(attached(interface, there));
        }
        // A limit on locked memory that can't be raised is no matter: from 5.11 on the kernel accounts maps elsewhere. aya
        // tries, and goes on.
        let mut loader = EbpfLoader::new();
        // Known to the verifier, which leaves out what the other kind of frame needs.
        if source.tagged {
            loader.override_global("TAGGED", &1u8, true);
        }
        for (map, entries) in source.sizes {
            loader.map_max_entries(map, *entries);
        }
        let old = |error: NicError| match too_old(&choice::release()) {
            Some(old) if !matches!(error, NicError::Privileges) => old,
            _ => error,
        };
        let mut ebpf = loader.load(source.object).map_err(|error| old(failed("load the XDP object", name, error)))?;
        if let Some(settings) = source.settings {
            configure(&mut ebpf, settings)?;
        }
        let program: &mut Xdp = ebpf
            .program_mut(name)
            .ok_or_else(|| failed("find the program", name, io::Error::from_raw_os_error(libc::ENOENT)))?
            .try_into()
            .map_err(|error| failed("use the program", name, error))?;
        program.load().map_err(|error| old(failed("load the program", name, error)))?;
        let fd = program.fd().map_err(|error| failed("use the program", name, error))?.as_fd();
        let (link, generic) = if mode == Mode::Generic {
            (link(fd, interface.index, XDP_FLAGS_SKB_MODE), true)
        } else {
            match link(fd, interface.index, XDP_FLAGS_DRV_MODE) {
                // Only this error means that there is no native mode. Others mean that something is in the way of it.
                Err(error) if mode == Mode::Auto && error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    (link(fd, interface.index, XDP_FLAGS_SKB_MODE), true)
                }
                done => (done, false),
            }
        };
        let link = link.map_err(|error| refused(interface, error))?;
        let program = fd.try_clone_to_owned().map_err(|error| failed("use the program", name, error))?;
        Ok(Self { link: Some(link), program, ebpf, generic })
    }

    /// Takes the program off its interface. Its maps stay as they are.
    pub(super) fn detach(&mut self) {
        self.link = None;
    }

    /// Puts it on again, in the mode that it was in.
    pub(super) fn attach_again(&mut self, interface: &Interface) -> Result<(), NicError> {
        let flags = if self.generic { XDP_FLAGS_SKB_MODE } else { XDP_FLAGS_DRV_MODE };
        let made = link(self.program.as_fd(), interface.index, flags).map_err(|error| refused(interface, error))?;
        self.link = Some(made);
        Ok(())
    }

    /// Whether it is on its interface.
    pub(super) fn is_attached(&self) -> bool {
        self.link.is_some()
    }

    /// Gives the frames of a queue to a socket.
    pub(super) fn steer_to(&mut self, queue: u32, socket: &OwnedFd) -> Result<(), NicError> {
        let map = self.ebpf.map_mut("XSKS").ok_or_else(|| missing("XSKS"))?;
        XskMap::try_from(map)
            .and_then(|mut map| map.set(queue, socket.as_raw_fd(), 0))
            .map_err(|error| failed("hand the socket to", "XSKS", error))
    }

    /// Makes the attached program build live frames: from these templates, out by this interface, for each sender that says in its
    /// CPU's cursor that it is there. Frames that the driver refuses are noted from now on.
    pub(super) fn prepare_live(
        &mut self,
        interface: u32,
        templates: impl Iterator<Item = (u32, Live)>,
    ) -> Result<(), NicError> {
        let map = self.ebpf.map_mut("LIVE_OUT").ok_or_else(|| missing("LIVE_OUT"))?;
        let mut map = DevMap::try_from(map).map_err(|error| live("open the map of interfaces", &error))?;
        map.set(0, interface, None, 0).map_err(|error| live("name the interface to the program", &error))?;
        for (index, template) in templates {
            match template {
                Live::V4(template) => self.lay("LIVE_TEMPLATES", index, template.to_bytes())?,
                Live::V6(template) => self.lay("LIVE_TEMPLATES_V6", index, template.to_bytes())?,
            }
        }
        let watching = |error: &dyn std::fmt::Display| live("watch the tracepoint xdp_devmap_xmit", error);
        let watcher: &mut BtfTracePoint = self
            .ebpf
            .program_mut("confirm")
            .ok_or_else(|| missing("confirm"))?
            .try_into()
            .map_err(|error: ProgramError| watching(&error))?;
        let types = Btf::from_sys_fs().map_err(|error| live("read the kernel's types", &error))?;
        watcher.load("xdp_devmap_xmit", &types).map_err(|error| watching(&error))?;
        watcher.attach().map_err(|error| watching(&error))?;
        Ok(())
    }

    /// Lays a template where live frames find it.
    fn lay<const SIZE: usize>(&mut self, name: &'static str, index: u32, value: [u8; SIZE]) -> Result<(), NicError> {
        let map = self.ebpf.map_mut(name).ok_or_else(|| missing(name))?;
        Array::<_, [u8; SIZE]>::try_from(map)
            .and_then(|mut map| map.set(index, value, 0))
            .map_err(|error| live("lay the templates", &error))
    }

    /// A descriptor of the attached program's.
    pub(super) fn share(&self) -> Result<OwnedFd, NicError> {
        self.program.try_clone().map_err(|error| failed("use the program", "steer", error))
    }

    /// A map that userspace may map into its memory.
    pub(super) fn descriptor(&self, map: &'static str) -> Result<BorrowedFd<'_>, NicError> {
        match self.ebpf.map(map) {
            Some(aya::maps::Map::Array(data)) => Ok(data.fd().as_fd()),
            _ => Err(missing(map)),
        }
    }

    /// Its object: the maps of programs that are not the product's, and what they are run by.
    pub fn object(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// An array that is written while the program runs, taken out of its hands so that this can be done from anywhere.
    pub(super) fn take_table<const SIZE: usize>(&mut self, map: &'static str) -> Result<Table<SIZE>, NicError> {
        let data = self.ebpf.take_map(map).ok_or_else(|| missing(map))?;
        Array::try_from(data).map(Table).map_err(|error| failed("open the map", map, error))
    }

    /// A per-CPU array, taken out of the program's hands so that it can be read from anywhere.
    pub(super) fn take_counters(&mut self, map: &'static str) -> Result<Counters, NicError> {
        let data = self.ebpf.take_map(map).ok_or_else(|| missing(map))?;
        PerCpuArray::try_from(data).map(Counters).map_err(|error| failed("open the map", map, error))
    }
}

/// An array of values of so many bytes.
pub(super) struct Table<const SIZE: usize>(Array<MapData, [u8; SIZE]>);

impl<const SIZE: usize> Table<SIZE> {
    /// Writes one of them.
    pub(super) fn set(&mut self, index: u32, value: [u8; SIZE]) -> Result<(), NicError> {
        self.0.set(index, value, 0).map_err(|error| failed("write", "a map", error))
    }
}

/// A per-CPU array of counters.
pub(super) struct Counters(PerCpuArray<MapData, u64>);

impl Counters {
    /// The sum over all CPUs.
    pub(super) fn sum(&self, index: u32) -> Result<u64, NicError> {
        let values = self.0.get(&index, 0).map_err(|error| failed("read", "counters", error))?;
        Ok(values.iter().sum())
    }

    /// How many frames ended so.
    pub(super) fn verdict(&self, verdict: Verdict) -> Result<u64, NicError> {
        self.sum(verdict as u32)
    }
}

fn configure(ebpf: &mut Ebpf, settings: &Settings) -> Result<(), NicError> {
    let map = ebpf.map_mut("SETTINGS").ok_or_else(|| missing("SETTINGS"))?;
    Array::<_, [u8; SETTINGS_SIZE]>::try_from(map)
        .and_then(|mut map| map.set(0, settings.to_bytes(), 0))
        .map_err(|error| failed("write", "SETTINGS", error))
}

/// Makes a bpf_link between a program and an interface (Linux 5.9).
fn link(program: BorrowedFd<'_>, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    /// The head of `union bpf_attr` for this command.
    #[repr(C)]
    struct LinkCreate {
        program: u32,
        interface: u32,
        attach_type: u32,
        flags: u32,
    }
    let attributes = LinkCreate { program: program.as_raw_fd().unsigned_abs(), interface, attach_type: BPF_XDP, flags };
    // SAFETY: the kernel reads as many bytes of the attributes as it is told there are, during the call only.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attributes, size_of::<LinkCreate>() as libc::c_ulong)
    };
    match libc::c_int::try_from(fd) {
        // SAFETY: a descriptor that the kernel has just made for us, and that nothing else knows.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What to say where a kernel of this release does not load a program, if it is for want of what came later: xdp.frags
/// (BPF_F_XDP_HAS_FRAGS) and the helper `bpf_xdp_get_buff_len` are of 5.18, live frames too.
fn too_old(release: &str) -> Option<NicError> {
    let version = choice::version(release)?;
    (version < (5, 18)).then(|| NicError::Kernel { release: release.into() })
}

/// What the kernel's refusal of a link means.
fn refused(interface: &Interface, error: io::Error) -> NicError {
    let name = || interface.name.clone();
    match error.raw_os_error() {
        // Somebody attached since we looked: EBUSY where it was in the same mode, EEXIST in another.
        Some(libc::EBUSY | libc::EEXIST) => match interface::find(&interface.name) {
            Ok(Interface { xdp: Some(there), .. }) => attached(interface, &there),
            _ => NicError::Attach { interface: name(), error },
        },
        Some(libc::EOPNOTSUPP) => NicError::NoNative { interface: name(), driver: interface::driver(interface).into() },
        Some(libc::ERANGE) => NicError::Range { interface: name(), mtu: interface.mtu },
        Some(libc::EPERM | libc::EACCES) => NicError::Privileges,
        // Not for want of a bpf_link: a kernel that has loaded the program is younger than that. Drivers say so of a large MTU
        // (i40e, virtio_net, …), of LRO, of headers apart from data.
        Some(libc::EINVAL) => {
            NicError::Unsuitable { interface: name(), driver: interface::driver(interface).into(), mtu: interface.mtu }
        }
        _ => NicError::Attach { interface: name(), error },
    }
}

fn attached(interface: &Interface, there: &AttachedProgram) -> NicError {
    let name = there.name.clone().unwrap_or_else(|| "unknown".into());
    NicError::AlreadyAttached { interface: interface.name.clone(), id: there.id, name }
}

fn live(what: &'static str, error: &dyn std::fmt::Display) -> NicError {
    NicError::Live { what, reason: error.to_string() }
}

fn missing(map: &'static str) -> NicError {
    failed("find the map", map, io::Error::from_raw_os_error(libc::ENOENT))
}

/// What the verifier has written of a program last, in front of its statistics: why it refuses it, be that with EACCES, which it shares
/// with missing privileges. None if it has written nothing, because the program didn't get that far.
fn verifier_reason(log: &str) -> Option<String> {
    let statistics =
        |line: &&str| ["processed ", "verification time ", "stack depth "].iter().any(|word| line.starts_with(word));
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty() && !statistics(line)).collect();
    // The instruction, and what is wrong with it.
    (!lines.is_empty()).then(|| lines[lines.len().saturating_sub(2)..].join("; "))
}

/// An error of aya's: missing privileges are told as such, whatever they prevented.
fn failed(what: &'static str, name: &'static str, error: impl StdError + Send + Sync + 'static) -> NicError {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(ProgramError::LoadError { io_error, verifier_log }) = error.downcast_ref::<ProgramError>()
            && let Some(reason) = verifier_reason(&verifier_log.to_string())
        {
            let reason = format!("{io_error}: this kernel's verifier does not accept it: {reason}");
            return NicError::Program { what, name, error: reason.into() };
        }
        if let Some(error) = error.downcast_ref::<io::Error>()
            && matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
        {
            return NicError::Privileges;
        }
        cause = error.source();
    }
    NicError::Program { what, name, error: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_the_verifier_refuses_is_no_lack_of_privileges() {
        let log = "0: (61) r1 = *(u32 *)(r1 +0)\n5: (69) r2 = *(u16 *)(r1 +12)\ninvalid access to packet, off=12 size=2\n\
                   processed 6 insns (limit 1000000) max_states_per_insn 0\n";
        let reason = verifier_reason(log);
        assert_eq!(reason.as_deref(), Some("5: (69) r2 = *(u16 *)(r1 +12); invalid access to packet, off=12 size=2"));
        assert_eq!(verifier_reason(""), None, "it didn't get as far as the verifier");
    }

    #[test]
    fn a_kernel_that_lacks_what_is_asked_for_is_named() {
        let said = too_old("5.17.15-generic").map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("5.17.15-generic") && said.contains("5.18") && said.contains("6.1"), "{said}");
        assert!(too_old("5.18.0").is_none() && too_old("6.1.0-28-amd64").is_none() && too_old("strange").is_none());
    }

    #[test]
    fn a_driver_that_refuses_is_not_taken_for_an_old_kernel() {
        let interface = Interface { mtu: 9_000, driver: Some("virtio_net".into()), ..Interface::example() };
        let said = refused(&interface, io::Error::from_raw_os_error(libc::EINVAL)).to_string();
        for word in ["virtio_net", "9000", "mtu 1500", "lro off", "rx-gro-hw off", "--mode generic"] {
            assert!(said.contains(word), "no {word:?} in {said}");
        }
        assert!(!said.contains("bpf_link"), "{said}");
    }
}
