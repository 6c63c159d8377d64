//! Who holds a port: from the kernel's tables in /proc, for an error message and nothing else.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// "name (pid 812)" of the process that listens on the address; None where this process may not know.
pub(super) fn of(address: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inodes: Vec<u64> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| inode_in_the_way(line, address)).collect::<Vec<_>>())
        .collect();
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if sockets.is_empty() {
        return None;
    }
    fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let holds = |fd: fs::DirEntry| {
            fs::read_link(fd.path()).is_ok_and(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
        };
        let mut descriptors = fs::read_dir(process.path().join("fd")).ok()?.filter_map(Result::ok);
        if !descriptors.any(holds) {
            return None;
        }
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        Some(format!("{} (pid {pid})", name.trim_end()))
    })
}

/// The inode of a listening socket that keeps `address` from being bound, if this line of the table is one. Columns
/// (proc_net_tcp.rst): number, local address, remote address, state, ..., inode as the tenth.
fn inode_in_the_way(line: &str, address: SocketAddr) -> Option<u64> {
    const LISTEN: &str = "0A";
    let mut columns = line.split_whitespace();
    let (ip, port) = columns.nth(1)?.split_once(':')?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let ip = read_ip(ip)?;
    let overlaps = ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
    (state == LISTEN && port == address.port() && overlaps).then_some(inode)
}

/// Hexadecimal words in the machine's byte order: one for IPv4, four for IPv6.
fn read_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    if hex.len() == 8 {
        return Some(IpAddr::V4(Ipv4Addr::from(word(0)?)));
    }
    let mut bytes = [0; 16];
    for (i, part) in bytes.chunks_exact_mut(4).enumerate() {
        part.copy_from_slice(&word(8 * i)?);
    }
    Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test panics where it fails")]
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_holder_of_a_port_is_found_by_its_address_and_by_any() {
        let mine = std::process::id();
        for bound in ["127.0.0.1:0", "[::]:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(bound).unwrap();
            let port = listener.local_addr().unwrap().port();
            for wanted in [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0])] {
                let holder = of(SocketAddr::new(wanted, port));
                assert!(holder.as_ref().is_some_and(|h| h.ends_with(&format!("(pid {mine})"))), "{bound}: {holder:?}");
            }
            drop(listener);
            assert_eq!(of(SocketAddr::from(([127, 0, 0, 1], port))), None);
        }
    }
}
