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
