//! Facts about an interface, from rtnetlink and sysfs.

use super::{
    RouteError,
    bond::{Bond, Member},
    netlink::{all, to_io},
};
use crate::wire::Tag;
use futures_util::TryStreamExt;
use probe_ebpf::wire::ethernet;
use rtnetlink::{
    Handle, LinkGetRequest,
    packet_route::{
        AddressFamily,
        link::{
            InfoData, InfoPortData, InfoVlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType,
            LinkMessage, LinkXdp, XdpAttached,
        },
    },
};
use std::{fs, path::PathBuf};

/// An interface, as it was when the kernel was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it, in this network namespace.
    pub index: u32,
    /// As in `ip link`.
    pub name: String,
    /// Its MAC address; zeros where it has none of six bytes.
    pub mac: [u8; 6],
    /// Bytes of the largest IP packet.
    pub mtu: u32,
    /// Its driver's name, as in `ethtool -i`. Virtual devices, which have none in sysfs, go by their kind (veth, bond, …).
    pub driver: Option<String>,
    /// The kind of a virtual device (veth, vlan, bond, …), as in `ip -d link`.
    pub kind: Option<String>,
    /// Receive queues in use.
    pub rx_queues: usize,
    /// Transmit queues in use.
    pub tx_queues: usize,
    /// Administratively up.
    pub up: bool,
    /// Running, with carrier: frames can pass.
    pub carrier: bool,
    /// The loopback device.
    pub loopback: bool,
    /// The link type, where it isn't Ethernet.
    pub foreign: Option<String>,
    /// The index of the bond, bridge or VRF that it belongs to.
    pub master: Option<u32>,
    /// The index of the device beneath (VLAN, macvlan), or of a veth's other end if that is in this namespace.
    pub parent: Option<u32>,
    /// The device beneath is in another network namespace.
    pub parent_elsewhere: bool,
    /// Of a VLAN device: the tag that its frames carry at its parent.
    pub tag: Option<Tag>,
    /// Of a bond: how it is.
    pub bond: Option<Bond>,
    /// Of a bond's member: how the bond has it.
    pub member: Option<Member>,
    /// The XDP program that is attached to it.
    pub xdp: Option<AttachedProgram>,
}

/// An XDP program that someone attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedProgram {
    /// The kernel's number for it, as in `bpftool prog`.
    pub id: u32,
    /// Its name, where the kernel tells it to us.
    pub name: Option<String>,
    /// Where it runs.
    pub mode: XdpMode,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the stack, after the driver made an skb.
    Generic,
    /// On the NIC.
    Offloaded,
    /// In several of these at once.
    Several,
}

impl std::fmt::Display for AttachedProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mode = match self.mode {
            XdpMode::Native => "native",
            XdpMode::Generic => "generic",
            XdpMode::Offloaded => "offloaded",
            XdpMode::Several => "several modes",
        };
        let name = self.name.as_deref().unwrap_or("of unknown name");
        write!(f, "{name} (program {}, {mode})", self.id)
    }
}

impl Interface {
    /// A card as good as can be, for tests.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            index: 2,
            name: "eth0".to_owned(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            driver: Some("ice".to_owned()),
            rx_queues: 4,
            tx_queues: 4,
            up: true,
            carrier: true,
            ..Self::default()
        }
    }

    /// All interfaces of this network namespace, in the kernel's order.
    pub async fn all(handle: &Handle) -> Result<Vec<Self>, RouteError> {
        let links = all("listing the interfaces", handle.link().get().execute()).await?;
        Ok(links.iter().map(Self::read).collect())
    }

    /// The interface of that name. The error names those that there are.
    pub async fn by_name(handle: &Handle, name: &str) -> Result<Self, RouteError> {
        // The kernel would call a name that is too long out of range: there is no such interface either.
        if !name.is_empty() && name.len() < libc::IFNAMSIZ {
            let request = handle.link().get().match_name(name.to_owned());
            if let Some(link) = link_message(request, || format!("asking for the interface {name}")).await? {
                return Ok(Self::read(&link));
            }
        }
        let known = Self::all(handle).await?.into_iter().map(|interface| interface.name).collect();
        Err(RouteError::NoSuchInterface { name: name.to_owned(), known })
    }

    /// The interface of that index, or None if there is none (any more).
    pub async fn by_index(handle: &Handle, index: u32) -> Result<Option<Self>, RouteError> {
        Ok(link_of(handle, index).await?.as_ref().map(Self::read))
    }

    /// Whether probes can leave through it, or why not.
    pub fn check(&self) -> Result<(), RouteError> {
        let interface = self.name.clone();
        if self.loopback {
            return Err(RouteError::Loopback { interface });
        }
        if let Some(link) = self.foreign.clone() {
            return Err(RouteError::NotEthernet { interface, link });
        }
        if !self.up {
            return Err(RouteError::Down { interface });
        }
        if !self.carrier {
            return Err(RouteError::NoCarrier { interface });
        }
        Ok(())
    }

    pub(super) fn read(link: &LinkMessage) -> Self {
        let mut interface = Self {
            index: link.header.index,
            rx_queues: 1,
            tx_queues: 1,
            up: link.header.flags.contains(LinkFlags::Up),
            carrier: has_carrier(link.header.flags),
            loopback: link.header.flags.contains(LinkFlags::Loopback),
            foreign: match link.header.link_layer_type {
                LinkLayerType::Ether => None,
                other => Some(other.to_string()),
            },
            ..Self::default()
        };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Address(mac) => interface.mac = mac.as_slice().try_into().unwrap_or_default(),
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::Controller(index) => interface.master = Some(*index),
                LinkAttribute::Link(index) if *index != 0 => interface.parent = Some(*index),
                LinkAttribute::NumRxQueues(count) => interface.rx_queues = *count as usize,
                LinkAttribute::NumTxQueues(count) => interface.tx_queues = *count as usize,
                LinkAttribute::LinkNetNsId(_) => interface.parent_elsewhere = true,
                LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| interface.read_info(info)),
                LinkAttribute::Xdp(attributes) => interface.xdp = attached(attributes),
                _ => {}
            }
        }
        interface.read_sysfs();
        interface.driver = interface.driver.take().or_else(|| interface.kind.clone());
        interface
    }

    /// What is said of one kind of device only.
    fn read_info(&mut self, info: &LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.kind = Some(kind.to_string()),
            LinkInfo::Data(InfoData::Bond(attributes)) => self.bond = Some(Bond::read(attributes)),
            LinkInfo::Data(InfoData::Vlan(attributes)) => self.tag = tag(attributes),
            LinkInfo::PortData(InfoPortData::BondPort(attributes)) => self.member = Some(Member::read(attributes)),
            _ => {}
        }
    }

    /// The driver, and the queues in use (rtnetlink tells only how many were allotted).
    fn read_sysfs(&mut self) {
        let folder = PathBuf::from("/sys/class/net").join(&self.name);
        // /sys shows the network namespace that it was mounted in, which need not be ours.
        let is_ours =
            fs::read_to_string(folder.join("ifindex")).is_ok_and(|text| text.trim() == self.index.to_string());
        if !is_ours {
            return;
        }
        self.driver = fs::read_link(folder.join("device/driver"))
            .ok()
            .and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
        let Ok(queues) = fs::read_dir(folder.join("queues")) else { return };
        let names: Vec<_> = queues.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let count = |kind: &str| names.iter().filter(|name| name.starts_with(kind)).count();
        (self.rx_queues, self.tx_queues) = (count("rx-").max(1), count("tx-").max(1));
    }
}

/// What the kernel says of an interface now, but its counters. None if there is none of that index (any more).
pub(super) async fn link_of(handle: &Handle, index: u32) -> Result<Option<LinkMessage>, RouteError> {
    link_message(handle.link().get().match_index(index), || format!("asking for interface {index}")).await
}

/// The one answer to a request for one interface, or None if there is no such interface.
async fn link_message(
    request: LinkGetRequest,
    doing: impl FnOnce() -> String,
) -> Result<Option<LinkMessage>, RouteError> {
    let request = request.set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats]);
    match std::pin::pin!(request.execute()).try_next().await.map_err(to_io) {
        Ok(link) => Ok(link),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(RouteError::netlink(doing(), error)),
    }
}

/// Whether frames can pass: up, a signal from the other end, and nothing that keeps the port shut (802.1X, say).
pub(super) fn has_carrier(flags: LinkFlags) -> bool {
    flags.contains(LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp)
}

/// The tag of a VLAN device.
fn tag(attributes: &[InfoVlan]) -> Option<Tag> {
    let mut tag = Tag { protocol: ethernet::VLAN, id: 0 };
    let mut is_known = false;
    for attribute in attributes {
        match attribute {
            InfoVlan::Id(id) => (tag.id, is_known) = (*id, true),
            InfoVlan::Protocol(protocol) => tag.protocol = u16::from(*protocol),
            _ => {}
        }
    }
    is_known.then_some(tag)
}

/// The attached program of IFLA_XDP.
fn attached(attributes: &[LinkXdp]) -> Option<AttachedProgram> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some(XdpMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(XdpMode::Offloaded),
        LinkXdp::Attached(XdpAttached::Multiple) => Some(XdpMode::Several),
        _ => None,
    })?;
    // With several programs the kernel gives no PROG_ID, but one attribute a mode.
    let id = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => Some(*id),
        _ => None,
    })?;
    Some(AttachedProgram { id, name: program_name(id), mode })
}

/// None without the privilege to list programs.
fn program_name(id: u32) -> Option<String> {
    let program = aya::programs::loaded_programs().flatten().find(|program| program.id() == id)?;
    program.name_as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}
