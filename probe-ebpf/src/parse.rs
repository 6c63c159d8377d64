//! From a frame to its ICMP message, checked in the way that the kernel's verifier can follow: each piece is a pointer to
//! an array of constant size, compared once with the end of the frame; after that no access can fail.

use aya_ebpf::{helpers::bpf_xdp_get_buff_len, programs::XdpContext};
use core::ops::Range;
use probe_ebpf::{
    layout::Verdict,
    wire::{ethernet, icmp, ipv4},
};

/// Bytes of a frame that lie inside it.
#[derive(Clone, Copy)]
pub(crate) struct Piece<const LENGTH: usize>(*mut [u8; LENGTH]);

impl<const LENGTH: usize> Piece<LENGTH> {
    /// The `LENGTH` bytes at `offset` of the frame's first piece, if it reaches so far.
    #[inline(always)]
    pub(crate) fn at(ctx: &XdpContext, offset: usize) -> Option<Self> {
        let start = ctx.data() + offset;
        // SAFETY: the context is the kernel's. Volatile, so that the compiler can't drop a comparison that follows from
        // earlier ones: the verifier doesn't do that arithmetic, it wants to see every piece compared.
        let end = unsafe { (&raw const (*ctx.ctx).data_end).read_volatile() } as usize;
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

impl Piece<60> {
    /// Writes all of it: little-endian words, and half a word. Only for frames that lie at a multiple of 8, as those of a test run
    /// do: the compiler splits other stores into bytes.
    #[inline(always)]
    pub(crate) fn words(self, words: [u64; 7], last: u32) {
        let start = self.0.cast::<u64>();
        let [a, b, c, d, e, f, g] = words;
        // SAFETY: as in `write`; 7 words and a half are the 60 bytes. They are aligned: the kernel lays a test run's frames behind
        // structures of its own, with a headroom of 256 bytes (`struct xdp_page_head`, net/bpf/test_run.c).
        unsafe {
            start.write(a);
            start.add(1).write(b);
            start.add(2).write(c);
            start.add(3).write(d);
            start.add(4).write(e);
            start.add(5).write(f);
            start.add(6).write(g);
            start.add(7).cast::<u32>().write(last);
        }
    }
}

impl Piece<64> {
    /// As of 60 bytes, in whole words.
    #[inline(always)]
    pub(crate) fn words(self, words: [u64; 8]) {
        let start = self.0.cast::<u64>();
        let [a, b, c, d, e, f, g, h] = words;
        // SAFETY: as above; 8 words are the 64 bytes.
        unsafe {
            start.write(a);
            start.add(1).write(b);
            start.add(2).write(c);
            start.add(3).write(d);
            start.add(4).write(e);
            start.add(5).write(f);
            start.add(6).write(g);
            start.add(7).write(h);
        }
    }
}

/// An ICMP message over IPv4 that is no fragment.
pub(crate) struct Message {
    pub(crate) ethernet: Piece<{ ethernet::HEADER }>,
    pub(crate) ip: Piece<{ ipv4::HEADER }>,
    pub(crate) icmp: Piece<{ icmp::HEADER }>,
    /// Where the ICMP message begins in the frame.
    pub(crate) offset: usize,
    /// Bytes of the ICMP message as the IPv4 header has it, at least [`icmp::HEADER`].
    pub(crate) length: usize,
}

/// Reads a frame up to its ICMP header.
#[inline(always)]
pub(crate) fn message(ctx: &XdpContext) -> Result<Message, Verdict> {
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
    match ethertype {
        ethernet::IPV4 => {}
        ethernet::IPV6 | ethernet::ARP => return Err(Verdict::NotIp),
        _ => return Err(Verdict::UnknownProtocol),
    }
    let ip = Piece::at(ctx, offset).ok_or(Verdict::Malformed)?;
    let header = ipv4::header_length(ip.byte(ipv4::VERSION)).ok_or(Verdict::Malformed)?;
    if ip.byte(ipv4::PROTOCOL) != ipv4::ICMP {
        return Err(Verdict::NotReply);
    }
    if ip.number(ipv4::FRAGMENT) & ipv4::IS_FRAGMENT != 0 {
        return Err(Verdict::Fragment);
    }
    // Ethernet pads short frames: what the IPv4 header doesn't cover is no message.
    let total = usize::from(ip.number(ipv4::TOTAL_LENGTH));
    if total < header + icmp::HEADER {
        return Err(Verdict::Malformed);
    }
    offset += header;
    let icmp = Piece::at(ctx, offset).ok_or(Verdict::Malformed)?;
    Ok(Message { ethernet, ip, icmp, offset, length: total - header })
}

/// Bytes of the whole frame, with the pieces behind its first.
#[inline(always)]
pub(crate) fn frame_length(ctx: &XdpContext) -> usize {
    // SAFETY: the helper only reads the context that the kernel gave us.
    unsafe { bpf_xdp_get_buff_len(ctx.ctx) as usize }
}
