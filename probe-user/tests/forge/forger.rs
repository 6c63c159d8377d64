//! What can be wrong with a reply.

use super::world::{Received, World};
use echolot::{
    base::{Generation, Nanos, Sequence, TargetIndex},
    wire::RejectedReason,
};
use fastrand::Rng;
use probe_ebpf::wire::{STAMP, ethernet, icmp, ipv4, payload};
use std::ops::Range;

/// What is wrong with a forgery. Checksums are right but for [`Mutation::Damage`]. A bit is always one bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutation {
    /// A bit of the ICMP message, the checksum left as it was.
    Damage,
    /// A bit of EtherType, IP version and header length, or protocol; or a total length beyond the frame or too short.
    HeaderBit,
    /// A bit of the source address.
    SourceBit,
    /// A bit of ICMP type or code.
    KindBit,
    /// A bit of the sequence number.
    SequenceBit,
    /// A bit of the send time.
    SentBit,
    /// A bit of the target.
    TargetBit,
    /// A bit of the cookie.
    CookieBit,
    /// Another target, with or without the same address, or one that there isn't.
    Target,
    /// Another sequence number.
    Sequence,
    /// Real, for another tenant of the slot.
    Generation,
    /// Cut short: the frame alone, or the message with it.
    Truncated,
    /// The cookie of another reply.
    Cookie,
    /// The whole payload of another host's reply.
    Payload,
    /// Real, of a process before this one.
    Restart,
    /// An error that quotes a probe, with a bit of the quoted one flipped.
    ErrorBit,
    /// Right headers, random message.
    Message,
    /// Random bytes.
    Noise,
}

impl Mutation {
    pub(crate) const ALL: [Self; 18] = [
        Self::Damage,
        Self::HeaderBit,
        Self::SourceBit,
        Self::KindBit,
        Self::SequenceBit,
        Self::SentBit,
        Self::TargetBit,
        Self::CookieBit,
        Self::Target,
        Self::Sequence,
        Self::Generation,
        Self::Truncated,
        Self::Cookie,
        Self::Payload,
        Self::Restart,
        Self::ErrorBit,
        Self::Message,
        Self::Noise,
    ];

    /// Of a thousand forgeries so many are of this kind.
    pub(crate) const fn weight(self) -> u64 {
        match self {
            Self::Damage | Self::SentBit | Self::Generation | Self::CookieBit => 100,
            Self::SourceBit | Self::TargetBit | Self::Target | Self::Sequence => 80,
            Self::SequenceBit | Self::Truncated => 70,
            Self::KindBit | Self::HeaderBit => 45,
            Self::ErrorBit => 20,
            Self::Cookie | Self::Restart => 10,
            Self::Payload | Self::Message => 3,
            Self::Noise => 4,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Damage => "damaged bit",
            Self::HeaderBit => "header bit",
            Self::SourceBit => "source bit",
            Self::KindBit => "type or code bit",
            Self::SequenceBit => "sequence bit",
            Self::SentBit => "send time bit",
            Self::TargetBit => "target bit",
            Self::CookieBit => "cookie bit",
            Self::Target => "target swapped",
            Self::Sequence => "sequence swapped",
            Self::Generation => "other generation",
            Self::Truncated => "truncated",
            Self::Cookie => "cookie swapped",
            Self::Payload => "payload swapped",
            Self::Restart => "other key",
            Self::ErrorBit => "quoted bit",
            Self::Message => "random message",
            Self::Noise => "random bytes",
        }
    }

    /// Whether it is a real reply with a verified bit flipped, target or sequence swapped, of another generation, or truncated.
    pub(crate) const fn is_minted(self) -> bool {
        (self as usize) < Self::Cookie as usize
    }

    /// What may refuse it, and nothing else.
    pub(crate) const fn refused_by(self) -> &'static [RejectedReason] {
        use RejectedReason::{Cookie, Corrupt, Target, Truncated};
        match self {
            Self::Damage | Self::KindBit => &[Corrupt],
            // Another header length makes another message of the same bytes.
            Self::HeaderBit => &[Corrupt, Truncated, Target, Cookie],
            Self::SourceBit | Self::SequenceBit | Self::SentBit | Self::CookieBit => &[Cookie],
            Self::Sequence | Self::Generation | Self::Cookie | Self::Payload | Self::Restart => &[Cookie],
            Self::TargetBit | Self::Target | Self::Message => &[Cookie, Target],
            Self::Truncated => &[Truncated],
            // Of the quoted header, too.
            Self::ErrorBit => &[Corrupt, Truncated, Cookie, Target],
            Self::Noise => &[Corrupt, Truncated],
        }
    }
}

/// Makes forgeries, one after the other, in one buffer.
pub(crate) struct Forger<'a> {
    world: &'a World,
    rng: Rng,
    received: Received,
}

/// Target, sequence and send time of a real reply.
type Said = (TargetIndex, Sequence, Nanos);

impl<'a> Forger<'a> {
    pub(crate) fn new(world: &'a World, seed: u64) -> Self {
        Self { world, rng: Rng::with_seed(seed), received: Received::default() }
    }

    /// The last one made.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.received.frame
    }

    pub(crate) fn real_reply(&mut self) -> Said {
        let fields = self.world.fields(&mut self.rng);
        self.world.probe(&fields, &self.world.key, &mut self.rng, &mut self.received.frame);
        self.received.echo(fields.sent, &mut self.rng);
        (fields.target, fields.sequence, fields.sent)
    }

    pub(crate) fn real_error(&mut self) -> Said {
        let fields = self.world.fields(&mut self.rng);
        self.world.probe(&fields, &self.world.key, &mut self.rng, &mut self.received.frame);
        self.received.refuse(fields.sent, &mut self.rng);
        (fields.target, fields.sequence, fields.sent)
    }

    /// Makes one, of a kind that the weights choose.
    pub(crate) fn forge(&mut self) -> Mutation {
        let mut draw = self.rng.u64(..1_000);
        let drawn = Mutation::ALL.into_iter().find(|mutation| match draw.checked_sub(mutation.weight()) {
            Some(rest) => {
                draw = rest;
                false
            }
            None => true,
        });
        let mutation = drawn.expect("the weights are thousandths");
        self.make(mutation);
        mutation
    }

    fn make(&mut self, mutation: Mutation) {
        match mutation {
            Mutation::Generation | Mutation::Restart => return self.tenant(mutation == Mutation::Restart),
            Mutation::ErrorBit => return self.error_bit(),
            Mutation::Noise => return self.noise(),
            _ => self.real_reply(),
        };
        let message = self.received.icmp;
        let proof = message + icmp::HEADER;
        let within = |field: Range<usize>| proof + field.start..proof + field.end;
        match mutation {
            Mutation::Damage => return self.flip(message..self.received.end()),
            Mutation::HeaderBit => return self.header_bit(),
            Mutation::Truncated => return self.truncate(),
            Mutation::SourceBit => {
                let ip = self.received.ip;
                self.flip(ip + ipv4::SOURCE.start..ip + ipv4::SOURCE.end);
            }
            Mutation::KindBit => self.flip(message + icmp::TYPE..message + icmp::CODE + 1),
            Mutation::SequenceBit => self.flip(message + icmp::SEQUENCE.start..message + icmp::SEQUENCE.end),
            Mutation::SentBit => self.flip(within(payload::SENT)),
            Mutation::TargetBit => self.flip(within(payload::TARGET)),
            Mutation::CookieBit => self.flip(within(payload::COOKIE)),
            Mutation::Target => {
                let to = if self.rng.u8(..8) == 0 {
                    self.rng.u32(self.world.targets..)
                } else {
                    self.rng.u32(..self.world.targets)
                };
                self.replace(within(payload::TARGET), &to.to_be_bytes());
            }
            Mutation::Sequence => {
                let to = self.rng.u16(..);
                self.replace(message + icmp::SEQUENCE.start..message + icmp::SEQUENCE.end, &to.to_be_bytes());
            }
            Mutation::Cookie => self.graft(within(payload::COOKIE)),
            Mutation::Payload => self.graft(proof..proof + payload::LENGTH),
            _ => {
                let end = self.received.end();
                self.rng.fill(&mut self.received.frame[message + icmp::CHECKSUM.start..end]);
            }
        }
        self.received.mend();
    }

    /// A reply that is real for another tenant of the slot, or was for another process.
    fn tenant(&mut self, restart: bool) {
        let mut fields = self.world.fields(&mut self.rng);
        let key = if restart {
            &self.world.old_key
        } else {
            // Often a neighbour: the tenant before, or the one after.
            let by = if self.rng.bool() { self.rng.u16(1..) } else { [1, u16::MAX][self.rng.usize(..2)] };
            fields.generation = Generation(fields.generation.0.wrapping_add(by));
            &self.world.key
        };
        self.world.probe(&fields, key, &mut self.rng, &mut self.received.frame);
        self.received.echo(fields.sent, &mut self.rng);
    }

    fn error_bit(&mut self) {
        self.real_error();
        let quote = self.received.icmp + icmp::HEADER;
        let probe = quote + ipv4::HEADER;
        let fields = [
            quote + ipv4::VERSION..quote + ipv4::VERSION + 1,
            // The identification is no proof where a cookie is: networks rewrite it.
            quote + ipv4::FRAGMENT.end - 1..quote + ipv4::FRAGMENT.end,
            quote + ipv4::PROTOCOL..quote + ipv4::PROTOCOL + 1,
            quote + ipv4::DESTINATION.start..quote + ipv4::DESTINATION.end,
            probe + icmp::TYPE..probe + icmp::CODE + 1,
            probe + icmp::SEQUENCE.start..probe + icmp::SEQUENCE.end,
            probe + icmp::HEADER + payload::SENT.start..probe + icmp::HEADER + payload::LENGTH,
        ];
        self.flip_one_of(&fields);
        self.received.mend();
    }

    fn noise(&mut self) {
        let length = self.rng.usize(..120);
        self.received.frame.resize(length, 0);
        self.rng.fill(&mut self.received.frame);
        // From below every stamp to above: noise is not refused for its age.
        if length >= STAMP.end {
            self.received.frame[STAMP].fill(0x7f);
        }
    }

    fn header_bit(&mut self) {
        let ip = self.received.ip;
        if self.rng.u8(..4) == 0 {
            // Any length but those that there are bytes for and that leave the proof whole.
            let least = self.received.icmp - ip + icmp::HEADER + payload::LENGTH;
            let most = self.received.frame.len() - ip;
            let total = if self.rng.bool() { self.rng.usize(..least) } else { self.rng.usize(most + 1..1 << 16) };
            let total = u16::try_from(total).unwrap();
            return self.put(ip + ipv4::TOTAL_LENGTH.start, &total.to_be_bytes());
        }
        let mut fields = vec![
            ethernet::ETHERTYPE,
            ip + ipv4::VERSION..ip + ipv4::VERSION + 1,
            ip + ipv4::PROTOCOL..ip + ipv4::PROTOCOL + 1,
        ];
        // Behind tags, the last EtherType; a tag's id is the network's affair.
        fields.push(ip - 2..ip);
        self.flip_one_of(&fields);
    }

    /// The frame cut anywhere before the message's end; or a shorter message, with headers that say so, that ends in the proof.
    fn truncate(&mut self) {
        if self.rng.bool() {
            let length = self.rng.usize(..self.received.end());
            return self.received.frame.truncate(length);
        }
        let kept = self.rng.usize(..icmp::HEADER + payload::LENGTH);
        let (ip, icmp) = (self.received.ip, self.received.icmp);
        let total = u16::try_from(icmp + kept - ip).unwrap();
        self.put(ip + ipv4::TOTAL_LENGTH.start, &total.to_be_bytes());
        // Ethernet pads it.
        self.received.frame.truncate((icmp + kept).max(60));
        self.received.mend();
    }

    /// Writes something else into a field, whatever chance says.
    fn replace(&mut self, field: Range<usize>, bytes: &[u8]) {
        if self.received.frame[field.clone()] == *bytes {
            return self.flip(field);
        }
        self.put(field.start, bytes);
    }

    /// Takes a field from another real reply.
    fn graft(&mut self, field: Range<usize>) {
        let mut other = Received::default();
        let host = |received: &Received| received.frame[received.ip..][ipv4::SOURCE].to_vec();
        let mine = host(&self.received);
        loop {
            let fields = self.world.fields(&mut self.rng);
            self.world.probe(&fields, &self.world.key, &mut self.rng, &mut other.frame);
            other.echo(fields.sent, &mut self.rng);
            if host(&other) != mine {
                break;
            }
        }
        let from = other.icmp + (field.start - self.received.icmp);
        self.received.frame[field.clone()].copy_from_slice(&other.frame[from..from + field.len()]);
    }

    fn flip_one_of(&mut self, fields: &[Range<usize>]) {
        let field = fields[self.rng.usize(..fields.len())].clone();
        self.flip(field);
    }

    fn flip(&mut self, field: Range<usize>) {
        let byte = self.rng.usize(field);
        self.received.frame[byte] ^= 1 << self.rng.u8(..8);
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.received.frame[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
