//! What the kernel says of an interface: index, address, driver, queues, and what is attached to it.

use super::NicError;
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkXdp};
use std::{fs, io};

/// An interface as it was found.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) up: bool,
    pub(super) mac: [u8; 6],
    pub(super) mtu: u32,
    /// The driver's name, or the kind of a virtual device.
    pub(super) driver: String,
    /// The id of an XDP program that is attached to it.
    pub(super) program: Option<u32>,
}

impl Interface {
    /// Asks the kernel, on a thread of its own so that callers need no runtime and may have one.
    pub(super) fn find(name: &str) -> Result<Self, NicError> {
        // The kernel would call a name that is too long out of range: there is no such interface either.
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Err(NicError::NoInterface { interface: name.into() });
        }
        let wanted = name.to_owned();
        let answer = std::thread::spawn(move || -> io::Result<Option<Self>> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(query(&wanted))
        })
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that asked died")));
        match answer {
            Ok(Some(interface)) => Ok(interface),
            Ok(None) => Err(NicError::NoInterface { interface: name.into() }),
            Err(error) => Err(NicError::Query { interface: name.into(), error }),
        }
    }

    /// How many receive and how many transmit queues it has.
    pub(super) fn queues(&self) -> Result<(u32, u32), NicError> {
        let error = |error| NicError::Query { interface: self.name.clone(), error };
        let (mut receive, mut transmit) = (0, 0);
        for entry in fs::read_dir(format!("/sys/class/net/{}/queues", self.name)).map_err(error)? {
            let entry = entry.map_err(error)?.file_name();
            match entry.to_string_lossy().split('-').next() {
                Some("rx") => receive += 1,
                Some("tx") => transmit += 1,
                _ => {}
            }
        }
        Ok((receive, transmit))
    }
}

/// What would keep a zero-copy socket on that interface from receiving, if it is known of its driver.
///
/// igb with an interrupt of its own for each receive queue raises the transmit queue's for every wake-up (igb_xsk_wakeup, seen
/// on Linux 6.18): the receive ring is never filled, and nothing says so.
pub fn zero_copy_obstacle(interface: &str, driver: &str) -> Option<&'static str> {
    let interrupts = fs::read_to_string("/proc/interrupts").unwrap_or_default();
    (driver == "igb" && has_receive_interrupt(&interrupts, interface)).then_some(
        "igb never begins to receive in zero-copy mode while receive queues have interrupts of their own (more channels, \
         by `ethtool -L`, make it share them)",
    )
}

/// Whether the interface's first receive queue has an interrupt of its own. One that is shared is called `eth0-TxRx-0`.
fn has_receive_interrupt(interrupts: &str, interface: &str) -> bool {
    let name = format!("{interface}-rx-0");
    interrupts.lines().any(|line| line.split_whitespace().next_back() == Some(name.as_str()))
}

async fn query(name: &str) -> io::Result<Option<Interface>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let answer = handle.link().get().match_name(name.to_owned()).execute().try_next().await;
    connection.abort();
    let link = match answer {
        Ok(Some(link)) => link,
        Ok(None) => return Ok(None),
        Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -libc::ENODEV => return Ok(None),
        Err(error) => return Err(io::Error::other(error)),
    };
    let mut interface = Interface {
        name: name.into(),
        index: link.header.index,
        up: link.header.flags.contains(LinkFlags::Up),
        mac: [0; 6],
        mtu: 0,
        driver: String::new(),
        program: None,
    };
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => {
                if let Ok(mac) = bytes.try_into() {
                    interface.mac = mac;
                }
            }
            LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        interface.driver = kind.to_string();
                    }
                }
            }
            LinkAttribute::Xdp(attached) => {
                interface.program = attached.into_iter().find_map(|entry| match entry {
                    LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
                        Some(id)
                    }
                    _ => None,
                });
            }
            _ => {}
        }
    }
    if let Some(driver) = fs::read_link(format!("/sys/class/net/{name}/device/driver"))
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
    {
        interface.driver = driver;
    }
    if interface.driver.is_empty() {
        interface.driver = "unknown".into();
    }
    Ok(Some(interface))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_of_receive_queues_are_told_from_shared_ones() {
        let split = " 26: 0 2 PCI-MSIX-0000:01:00.0 0-edge eth0\n 27: 0 0 PCI-MSIX-0000:01:00.0 1-edge eth0-rx-0\n";
        let shared = " 27: 0 0 PCI-MSIX-0000:01:00.0 1-edge eth0-TxRx-0\n";
        assert!(has_receive_interrupt(split, "eth0"));
        assert!(!has_receive_interrupt(split, "eth1") && !has_receive_interrupt(split, "h0"));
        assert!(!has_receive_interrupt(shared, "eth0") && !has_receive_interrupt("", "eth0"));
    }
}
