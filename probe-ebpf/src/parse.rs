//! From a frame to its ICMP message, TCP segment or UDP datagram, checked in the way that the kernel's verifier can follow: each piece is a pointer to
//! an array of constant size, compared once with the end of the frame; after that no access can fail.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_csum_diff, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use core::{arch::asm, mem::offset_of, ops::Range};
use probe_ebpf::{
    layout::Verdict,
    wire::{ethernet, icmp, ipv4, ipv6, tcp, udp},
};

/// Bytes of a frame that lie inside it.
#[derive(Clone, Copy)]
pub(crate) struct Piece<const LENGTH: usize>(*mut [u8; LENGTH]);

impl<const LENGTH: usize> Piece<LENGTH> {
    /// The `LENGTH` bytes at `offset` of the frame's first piece, if it reaches so far.
    #[inline(always)]
    pub(crate) fn at(ctx: &XdpContext, offset: usize) -> Option<Self> {
        let start = ctx.data() + offset;
        let end: usize;
        // SAFETY: the context is the kernel's. Read anew each time, so that the compiler can't drop a comparison that follows from
        // earlier ones: the verifier doesn't do that arithmetic, it wants to see every piece compared. Spelled out, as the compiler may
        // else keep the field's address, by which the verifier lets nobody read the context.
        unsafe {
            asm!("{end} = *(u32 *)({ctx} + {at})", end = out(reg) end, ctx = in(reg) ctx.ctx, at = const offset_of!(xdp_md, data_end));
        }
        (start + LENGTH <= end).then_some(Self(start as *mut [u8; LENGTH]))
    }

    #[inline(always)]
    pub(crate) fn byte(self, offset: usize) -> u8 {
        self.bytes::<1>(offset..offset + 1)[0]
    }

    /// A big-endian number.
    #[inline(always)]
    pub(crate) fn number(self, field: Range<usize>) -> u16 {
        u16::from_be_bytes(self.bytes(field))
    }

    /// A field whose size is `N`.
    #[inline(always)]
    pub(crate) fn bytes<const N: usize>(self, field: Range<usize>) -> [u8; N] {
        const { assert!(N <= LENGTH) };
        // SAFETY: `at` saw that all of the piece lies inside the frame, which is ours while the program runs. Callers
        // name fields of the header that the piece is; the verifier would refuse any access outside the frame.
        unsafe { self.0.cast::<u8>().add(field.start).cast::<[u8; N]>().read_unaligned() }
    }

    #[inline(always)]
    pub(crate) fn write<const N: usize>(self, field: Range<usize>, value: [u8; N]) {
        const { assert!(N <= LENGTH) };
        // SAFETY: as in `bytes`, and XDP programs may write to the frame.
        unsafe { self.0.cast::<u8>().add(field.start).cast::<[u8; N]>().write_unaligned(value) }
    }
}

impl<const LENGTH: usize> Piece<LENGTH> {
    /// Writes as many whole words as it has, little-endian. Only for frames that lie at a multiple of 8, as those of a test run do: the
    /// compiler splits other stores into bytes.
    #[inline(always)]
    pub(crate) fn words<const WORDS: usize>(self, words: [u64; WORDS]) {
        const { assert!(LENGTH / 8 == WORDS) };
        let start = self.0.cast::<u64>();
        let mut i = 0;
        while i < WORDS {
            // SAFETY: as in `write`; so many words lie inside. They are aligned: the kernel lays a test run's frames behind structures
            // of its own, with a headroom of 256 bytes (`struct xdp_page_head`, net/bpf/test_run.c).
            unsafe { start.add(i).write(words[i]) };
            i += 1;
        }
    }

    /// Writes the half word behind them.
    #[inline(always)]
    pub(crate) fn half_word(self, half: u32) {
        const { assert!(LENGTH % 8 == 4) };
        // SAFETY: as above.
        unsafe { self.0.cast::<u64>().add(LENGTH / 8).cast::<u32>().write(half) };
    }
}

impl<const LENGTH: usize> Piece<LENGTH> {
    /// The sum over it and over what has been summed before, in this machine's byte order.
    #[inline(always)]
    pub(crate) fn add_to(self, before: u32) -> u32 {
        const { assert!(LENGTH.is_multiple_of(4)) };
        // SAFETY: the helper reads as many bytes as the piece has, of which `at` saw that they lie inside the frame.
        unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, self.0.cast(), LENGTH as u32, before) as u32 }
    }
}

impl Piece<{ ipv6::HEADER }> {
    /// An address as it lies in memory, in little-endian words.
    #[inline(always)]
    pub(crate) fn address(self, field: Range<usize>) -> [u64; 2] {
        // SAFETY: as in `bytes`. Frames begin at even addresses and so do IP headers, tags and extension headers being multiples of 4
        // bytes: halves are read instead of bytes, and no machine that these programs run on minds should it be otherwise.
        let [a, b, c, d, e, f, g, h] = unsafe { self.0.cast::<u8>().add(field.start).cast::<[u16; 8]>().read() };
        [word([a, b, c, d]), word([e, f, g, h])]
    }
}

#[inline(always)]
fn word([a, b, c, d]: [u16; 4]) -> u64 {
    u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(d) << 48
}

/// A frame up to what it carries.
pub(crate) struct Link {
    pub(crate) ethernet: Piece<{ ethernet::HEADER }>,
    /// Of what it carries, behind its tags.
    pub(crate) ethertype: u16,
    /// Where that begins.
    pub(crate) offset: usize,
}

/// An IP datagram up to what it carries; its header has so many bytes without what may lie in between. It is whole, or the first
/// fragment of an ICMP message.
pub(crate) struct Datagram<const HEADER: usize> {
    pub(crate) ip: Piece<HEADER>,
    /// What it carries, behind extension headers.
    pub(crate) protocol: u8,
    /// Not 0: it is the first fragment of more.
    pub(crate) more: u16,
    /// Where what it carries begins in the frame.
    pub(crate) offset: usize,
    /// Where it ends, as the IP header has it.
    pub(crate) end: usize,
}

impl<const HEADER: usize> Datagram<HEADER> {
    /// What it carries begins with a header of so many bytes.
    #[inline(always)]
    fn head<const LENGTH: usize>(&self, ctx: &XdpContext) -> Result<Piece<LENGTH>, Verdict> {
        // Ethernet pads short frames: what the IP header doesn't cover is no message.
        if self.end < self.offset + LENGTH {
            return Err(Verdict::Malformed);
        }
        Piece::at(ctx, self.offset).ok_or(Verdict::Malformed)
    }

    /// The ICMP message that it carries.
    #[inline(always)]
    pub(crate) fn message(&self, ctx: &XdpContext) -> Result<Message<HEADER>, Verdict> {
        let icmp = self.head(ctx)?;
        Ok(Message { ip: self.ip, icmp, offset: self.offset, length: self.end - self.offset })
    }

    /// The header, without options, of the TCP segment that it carries.
    #[inline(always)]
    pub(crate) fn segment(&self, ctx: &XdpContext) -> Result<Piece<{ tcp::HEADER }>, Verdict> {
        let tcp = self.head::<{ tcp::HEADER }>(ctx)?;
        let header = tcp::header_length(tcp.byte(tcp::OFFSET)).ok_or(Verdict::Malformed)?;
        if self.offset + header > self.end { Err(Verdict::Malformed) } else { Ok(tcp) }
    }

    /// The header of the UDP datagram that it carries, and how long that is with its header.
    #[inline(always)]
    pub(crate) fn udp(&self, ctx: &XdpContext) -> Result<(Piece<{ udp::HEADER }>, usize), Verdict> {
        let udp = self.head::<{ udp::HEADER }>(ctx)?;
        let length = usize::from(udp.number(udp::LENGTH));
        if length < udp::HEADER || self.offset + length > self.end {
            return Err(Verdict::Malformed);
        }
        Ok((udp, length))
    }
}

/// An ICMP message, behind an IP header of so many bytes without what may lie in between.
pub(crate) struct Message<const HEADER: usize> {
    pub(crate) ip: Piece<HEADER>,
    pub(crate) icmp: Piece<{ icmp::HEADER }>,
    /// Where the ICMP message begins in the frame.
    pub(crate) offset: usize,
    /// Bytes of the ICMP message as the IP header has it, at least [`icmp::HEADER`].
    pub(crate) length: usize,
}

/// Reads a frame up to its IP header.
#[inline(always)]
pub(crate) fn link(ctx: &XdpContext) -> Result<Link, Verdict> {
    let ethernet = Piece::at(ctx, 0).ok_or(Verdict::Malformed)?;
    let mut ethertype = ethernet.number(ethernet::ETHERTYPE);
    let mut offset = ethernet::HEADER;
    let mut tags = 0;
    while tags < ethernet::MAX_TAGS && ethernet::is_tag(ethertype) {
        let tag = Piece::<{ ethernet::TAG }>::at(ctx, offset).ok_or(Verdict::Malformed)?;
        ethertype = tag.number(2..4);
        offset += ethernet::TAG;
        tags += 1;
    }
    Ok(Link { ethernet, ethertype, offset })
}

/// Reads an IPv4 datagram that is no fragment up to its ICMP header.
#[inline(always)]
pub(crate) fn ipv4(ctx: &XdpContext, link: &Link) -> Result<Message<{ ipv4::HEADER }>, Verdict> {
    let datagram = datagram_v4(ctx, link)?;
    if datagram.protocol == ipv4::ICMP && datagram.more == 0 { datagram.message(ctx) } else { Err(Verdict::NotReply) }
}

/// Reads an IPv4 datagram up to what it carries.
#[inline(always)]
pub(crate) fn datagram_v4(ctx: &XdpContext, link: &Link) -> Result<Datagram<{ ipv4::HEADER }>, Verdict> {
    let ip = Piece::<{ ipv4::HEADER }>::at(ctx, link.offset).ok_or(Verdict::Malformed)?;
    let header = ipv4::header_length(ip.byte(ipv4::VERSION)).ok_or(Verdict::Malformed)?;
    let protocol = ip.byte(ipv4::PROTOCOL);
    let fragment = ip.number(ipv4::FRAGMENT) & ipv4::IS_FRAGMENT;
    if fragment != 0 && (protocol != ipv4::ICMP || fragment != ipv4::MORE_FRAGMENTS) {
        return Err(if protocol == ipv4::ICMP { Verdict::Fragment } else { Verdict::NotReply });
    }
    let end = link.offset + usize::from(ip.number(ipv4::TOTAL_LENGTH));
    Ok(Datagram { ip, protocol, more: fragment, offset: link.offset + header, end })
}

/// Reads an IPv6 datagram up to what it carries. `zero`: see [`forget`].
#[inline(always)]
pub(crate) fn datagram_v6(ctx: &XdpContext, link: &Link, zero: u32) -> Result<Datagram<{ ipv6::HEADER }>, Verdict> {
    let start = forget(link.offset, zero)?;
    let ip = Piece::<{ ipv6::HEADER }>::at(ctx, start).ok_or(Verdict::Malformed)?;
    if !ipv6::is_version(ip.byte(0)) {
        return Err(Verdict::Malformed);
    }
    let first = start + ipv6::HEADER;
    let (protocol, offset) = walk(ctx, ip.byte(ipv6::NEXT_HEADER), first, zero)?;
    // A jumbogram says 0.
    let end = first + usize::from(ip.number(ipv6::PAYLOAD_LENGTH));
    if protocol != ipv6::FRAGMENT {
        return Ok(Datagram { ip, protocol, more: 0, offset, end });
    }
    let fragment = Piece::<{ ipv6::EXTENSION }>::at(ctx, offset).ok_or(Verdict::Malformed)?;
    if fragment.byte(ipv6::EXTENSION_NEXT) != ipv6::ICMP {
        return Err(Verdict::NotReply);
    }
    let more = fragment.number(ipv6::FRAGMENT_OFFSET) & ipv6::IS_FRAGMENT;
    if more != ipv6::MORE_FRAGMENTS {
        return Err(Verdict::Fragment);
    }
    Ok(Datagram { ip, protocol: ipv6::ICMP, more, offset: offset + ipv6::EXTENSION, end })
}

/// Walks over the extension headers that begin at `offset`, the first of them being `next`: as many as are looked behind. Returns what
/// follows them, and where.
#[inline(always)]
pub(crate) fn walk(ctx: &XdpContext, next: u8, offset: usize, zero: u32) -> Result<(u8, usize), Verdict> {
    let (mut next, mut offset) = (next, offset);
    let mut step = 0;
    while step < ipv6::MAX_EXTENSIONS && ipv6::is_extension(next) {
        let extension = Piece::<{ ipv6::EXTENSION }>::at(ctx, offset).ok_or(Verdict::Malformed)?;
        if next == ipv6::ROUTING && extension.byte(ipv6::SEGMENTS_LEFT) != 0 {
            // It has not arrived yet.
            return Err(Verdict::NotReply);
        }
        offset = forget(offset + ipv6::extension_length(next, extension.byte(ipv6::EXTENSION_LENGTH)), zero)?;
        next = extension.byte(ipv6::EXTENSION_NEXT);
        step += 1;
    }
    Ok((next, offset))
}

/// The same offset, of which the verifier knows no more than that it lies in a frame. It goes through a program path by path, and ends
/// one where it stands as an earlier one did: headers of all lengths, in all numbers and orders, would be some thousand paths. `zero` is a
/// zero that it doesn't know: of [`Settings`](probe_ebpf::layout::Settings).
#[inline(always)]
pub(crate) fn forget(offset: usize, zero: u32) -> Result<usize, Verdict> {
    let offset = offset ^ zero as usize;
    if offset > FURTHEST { Err(Verdict::Malformed) } else { Ok(offset) }
}

/// No header of ours begins behind this: more than twice the longest frame that `steer` takes.
const FURTHEST: usize = 4096;

/// Bytes of the whole frame, with the pieces behind its first.
#[inline(always)]
pub(crate) fn frame_length(ctx: &XdpContext) -> usize {
    // SAFETY: the helper only reads the context that the kernel gave us.
    unsafe { bpf_xdp_get_buff_len(ctx.ctx) as usize }
}
