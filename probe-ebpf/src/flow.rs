//! Which probes to ports are ours: the ports that they are sent from, and their addresses in the words of `probe_ebpf::sequence`.

use probe_ebpf::layout::Settings;

/// Whether one of our ports.
#[inline(always)]
pub(crate) fn is_port(settings: &Settings, port: u16) -> bool {
    place(settings, port) < settings.port_count
}

/// Whether one of our ports to which answers come that need prove nothing: they are the last.
#[inline(always)]
pub(crate) fn is_unproven(settings: &Settings, port: u16) -> bool {
    place(settings, port) + settings.unproven_ports >= settings.port_count
}

/// Counted from our first one; at most `u16::MAX`.
#[inline(always)]
fn place(settings: &Settings, port: u16) -> u32 {
    u32::from(port.wrapping_sub(settings.first_port))
}

/// Both addresses, ours first.
#[inline(always)]
pub(crate) fn v4(ours: [u8; 4], theirs: [u8; 4]) -> [u64; 1] {
    [u64::from(u32::from_le_bytes(ours)) | u64::from(u32::from_le_bytes(theirs)) << 32]
}

/// The same of IPv6 addresses in words.
#[inline(always)]
pub(crate) fn v6([a, b]: [u64; 2], [c, d]: [u64; 2]) -> [u64; 4] {
    [a, b, c, d]
}
