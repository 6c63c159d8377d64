//! Rule files: what happens to the probes of which addresses. The simulated network and the impairing far end of the
//! bench go by the same file and the same decisions.

use crate::{
    Treatment,
    dice::Dice,
    prefix::Prefix,
    read::{self, Span},
};
use echolot::base::{Family, Nanos};
use probe_ebpf::routers::RouterRules;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

mod check;

/// Replies to one request at most.
pub const MOST_REPLIES: usize = 8;
/// No reply may be meant to arrive so near the timeout: what it counts as would be up to chance.
pub const CLEARANCE: Nanos = Nanos::from_millis(5);

/// A rule file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// All chances follow from it.
    pub seed: u64,
    /// What else they follow from, besides the address.
    #[serde(default)]
    pub by: By,
    /// How long the probes may be answered; several where it changes on the way. No reply is meant to come within
    /// [`CLEARANCE`] of any.
    pub timeouts: Vec<Span>,
    /// Who says that a host with an IPv4 address can't be reached.
    #[serde(default = "router")]
    pub router: Ipv4Addr,
    /// The same of an IPv6 address.
    #[serde(default = "router_v6")]
    pub router_v6: Ipv6Addr,
    /// Routers on the way there, of which those answer at which the time to live of a probe ends. What happens to probes happens to their
    /// errors too.
    #[serde(default)]
    pub routers: Option<Routers>,
    /// Of the ranges that an address is in, the one with the longest prefix counts.
    pub ranges: Vec<Range>,
}

/// The routers on the way: see [`RouterRules`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routers {
    /// Hops to the nearest destinations, at least 1.
    pub nearest: u32,
    /// Hops to the furthest, at most [`MAX_DISTANCE`].
    pub furthest: u32,
    /// So many leading bits all IPv4 destinations share.
    #[serde(default)]
    pub common: u32,
    /// The same of IPv6 destinations.
    #[serde(default)]
    pub common_v6: u32,
    /// The share of routers that never answer.
    #[serde(default)]
    pub silent: f64,
}

/// What of a probe, besides its address, decides what happens to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Its sequence number: the same in every run, and again after 65,536 probes.
    #[default]
    Sequence,
    /// Its send stamp: another thing each time, except in a simulation.
    Sent,
}

/// Addresses, and what happens to their probes. All shares are from 0 to 1; each probe meets each with a chance of its
/// own. What is left out does not happen.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Range {
    /// Prefixes such as 10.64.0.0/16 and fd00:64::/112, or single addresses.
    pub addresses: Vec<Prefix>,
    /// The far end's program answers and leaves no record: what nothing happens to, in numbers that nobody can write down.
    pub unrecorded: bool,
    /// No reply.
    pub loss: f64,
    /// The reply leaves after this time.
    pub delay: Span,
    /// Or up to so much later, evenly.
    pub jitter: Span,
    /// The reply leaves after this time instead, past the timeout.
    pub late: Option<Late>,
    /// The reply is followed by others like it.
    pub duplicate: Option<Duplicate>,
    /// The reply is held back, so that later ones overtake it.
    pub reorder: Option<Reorder>,
    /// A bit of the reply's payload is flipped, as a broken memory would, or of what an error that comes instead quotes: the checksum
    /// stays.
    pub corrupt_payload: f64,
    /// A bit of the reply's cookie is flipped and the checksum made right.
    pub corrupt_cookie: f64,
    /// Beside the reply come others, that claim to be of other targets.
    pub forged: Option<Forged>,
    /// The reply comes from another address.
    pub stranger: f64,
    /// An ICMP error comes instead of the reply: host unreachable.
    pub unreachable: Option<Unreachable>,
    /// An ICMP error comes, and so much later the reply.
    pub error_then_reply: Option<ErrorThenReply>,
    /// Nothing comes back in these stretches, counted from the first request of all.
    pub silences: Vec<Stretch>,
}

/// See [`Range::late`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Late {
    pub share: f64,
    pub delay: Span,
}

/// See [`Range::duplicate`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Duplicate {
    pub share: f64,
    #[serde(default = "one")]
    pub copies: u8,
    /// Between one and the next.
    #[serde(default)]
    pub after: Span,
}

/// See [`Range::reorder`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Reorder {
    pub share: f64,
    pub by: Span,
}

/// See [`Range::forged`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Forged {
    pub share: f64,
    #[serde(default = "one")]
    pub copies: u8,
}

/// See [`Range::unreachable`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Unreachable {
    pub share: f64,
    #[serde(default)]
    pub quote: Quote,
}

/// See [`Range::error_then_reply`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ErrorThenReply {
    pub share: f64,
    pub after: Span,
    #[serde(default)]
    pub quote: Quote,
}

/// How much of the request an ICMP error quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quote {
    /// All of it.
    #[default]
    Full,
    /// The IPv4 header and 8 bytes (RFC 792). Over IPv6 nobody quotes so little (RFC 4443, section 2.4): all of it there too.
    Short,
    /// The one or the other, by chance.
    Either,
}

/// From one moment to another.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Stretch {
    pub from: Span,
    pub to: Span,
}

fn one() -> u8 {
    1
}

fn router() -> Ipv4Addr {
    Ipv4Addr::new(10, 63, 0, 2)
}

fn router_v6() -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x63, 0, 0, 0, 0, 0, 2)
}

/// What was decided about a request: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided(u16);

impl Decided {
    const NAMES: [&str; 12] = [
        "answered_in_xdp",
        "silence",
        "loss",
        "late",
        "duplicate",
        "reorder",
        "corrupt_payload",
        "corrupt_cookie",
        "forged",
        "stranger",
        "unreachable",
        "error_then_reply",
    ];
    /// Nothing happens to it, and the XDP program answers.
    pub const IN_XDP: Self = Self(1);
    const SILENCE: Self = Self(1 << 1);
    const LOSS: Self = Self(1 << 2);
    const LATE: Self = Self(1 << 3);
    const DUPLICATE: Self = Self(1 << 4);
    const REORDER: Self = Self(1 << 5);
    const PAYLOAD: Self = Self(1 << 6);
    const COOKIE: Self = Self(1 << 7);
    const FORGED: Self = Self(1 << 8);
    const STRANGER: Self = Self(1 << 9);
    const UNREACHABLE: Self = Self(1 << 10);
    const ERROR_THEN_REPLY: Self = Self(1 << 11);

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// As in rule files.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| name)
    }
}

/// What a reply looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// As it should be.
    #[default]
    Good,
    /// A bit of the payload is flipped; the checksum is that of before.
    Payload,
    /// A bit of the cookie is flipped; the checksum is right.
    Cookie,
    /// It claims to be of another target.
    Forged,
    /// It comes from another address.
    Stranger,
    /// An ICMP error that quotes the whole request.
    Error,
    /// One that quotes 28 bytes of it.
    ShortError,
    /// One that quotes the whole request, with a bit of that flipped; the checksum is that of before.
    CorruptError,
}

impl Form {
    /// As in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Payload => "corrupt_payload",
            Self::Cookie => "corrupt_cookie",
            Self::Forged => "forged",
            Self::Stranger => "stranger",
            Self::Error => "error",
            Self::ShortError => "short_error",
            Self::CorruptError => "corrupt_error",
        }
    }

    fn error(quote: Quote, family: Family, dice: &mut Dice) -> Self {
        match (family, quote) {
            (Family::V4, Quote::Short) => Self::ShortError,
            (Family::V4, Quote::Either) if dice.falls(0.5) => Self::ShortError,
            _ => Self::Error,
        }
    }
}

/// A reply to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// So long after the request arrived.
    pub after: Nanos,
    /// Looking like this.
    pub form: Form,
    /// Which bit, which address: any number.
    pub twist: u64,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decision {
    /// What was decided.
    pub decided: Decided,
    replies: [Planned; MOST_REPLIES],
    count: usize,
}

impl Decision {
    /// The replies that will come.
    pub fn replies(&self) -> &[Planned] {
        &self.replies[..self.count]
    }

    /// The same, the first to leave first.
    pub(crate) fn in_order(&mut self) -> &[Planned] {
        let replies = &mut self.replies[..self.count];
        // Stable, and without memory of its own for so few.
        replies.sort_by_key(|reply| reply.after);
        replies
    }

    fn reply(&mut self, after: Nanos, form: Form, dice: &mut Dice) {
        if let Some(place) = self.replies.get_mut(self.count) {
            *place = Planned { after, form, twist: dice.next() };
            self.count += 1;
        }
    }
}

/// What a decision goes by.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Whom it was sent to.
    pub address: IpAddr,
    /// Its sequence number.
    pub sequence: u16,
    /// Its send stamp.
    pub sent: Nanos,
    /// When it arrived, counted from the first request of all.
    pub since: Nanos,
}

impl RuleFile {
    /// The same for all addresses, and another thing each time. For tests that write no file.
    pub fn of(seed: u64, range: Range) -> Self {
        let ranges = vec![Range { addresses: Prefix::EVERYTHING.into(), ..range }];
        let (router, router_v6) = (router(), router_v6());
        Self { seed, by: By::Sent, timeouts: Vec::new(), router, router_v6, routers: None, ranges }
    }

    /// Reads a rule file in YAML and checks it.
    ///
    /// # Errors
    /// What is wrong, where, and why.
    pub fn read(text: &str) -> Result<Self, String> {
        let file: Self = read::yaml(text)?;
        file.check()?;
        Ok(file)
    }

    /// The routers on the way, as whoever plays them goes by.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share in 65,536ths")]
    pub fn router_rules(&self) -> Option<RouterRules> {
        self.routers.map(|Routers { nearest, furthest, common, common_v6, silent }| {
            let silent = (silent * 65_536.0) as u32;
            RouterRules { nearest, furthest, common, common_v6, silent, ..RouterRules::new(self.seed) }
        })
    }

    /// Who says that this address can't be reached.
    pub const fn router_to(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(_) => IpAddr::V4(self.router),
            IpAddr::V6(_) => IpAddr::V6(self.router_v6),
        }
    }

    /// The range that an address is in.
    pub fn range(&self, address: IpAddr) -> Option<&Range> {
        let longest = |range: &&Range| range.addresses.iter().filter(|p| p.contains(address)).map(|p| p.length).max();
        self.ranges.iter().filter(|range| longest(range).is_some()).max_by_key(longest)
    }

    /// Every prefix, and how a far end treats it: where nothing happens to probes, an XDP program can answer.
    pub fn prefixes(&self) -> Vec<(Prefix, Treatment)> {
        let of = |range: &Range| {
            let treatment = match (range.unrecorded, range.is_harmless()) {
                (true, _) => Treatment::NotRecorded,
                (false, true) => Treatment::Recorded,
                (false, false) => Treatment::Userspace,
            };
            range.addresses.iter().map(move |prefix| (*prefix, treatment)).collect::<Vec<_>>()
        };
        self.ranges.iter().flat_map(of).collect()
    }

    /// What happens to a request. The same request meets the same each time.
    pub fn decide(&self, request: &Request) -> Decision {
        let mut decision = Decision::default();
        let variable = match self.by {
            By::Sequence => u64::from(request.sequence),
            By::Sent => request.sent.0,
        };
        let mut dice = match request.address {
            IpAddr::V4(address) => Dice::of(&[self.seed, u64::from(address.to_bits()), variable]),
            IpAddr::V6(address) => {
                let (high, low) = (address.to_bits() >> 64, address.to_bits() & u128::from(u64::MAX));
                Dice::of(&[self.seed, high as u64, low as u64, variable])
            }
        };
        match self.range(request.address) {
            Some(range) => range.decide(request, &mut decision, &mut dice),
            None => decision.reply(Nanos::ZERO, Form::Good, &mut dice),
        }
        decision
    }
}

impl Range {
    fn is_harmless(&self) -> bool {
        let shares = [self.loss, self.corrupt_payload, self.corrupt_cookie, self.stranger];
        shares.iter().all(|share| *share <= 0.0)
            && (self.delay.0, self.jitter.0) == (Nanos::ZERO, Nanos::ZERO)
            && self.late.is_none()
            && self.duplicate.is_none()
            && self.reorder.is_none()
            && self.forged.is_none()
            && self.unreachable.is_none()
            && self.error_then_reply.is_none()
            && self.silences.is_empty()
    }

    fn decide(&self, request: &Request, decision: &mut Decision, dice: &mut Dice) {
        let (since, family) = (request.since, Family::of(request.address));
        if self.silences.iter().any(|silence| silence.from.0 <= since && since < silence.to.0) {
            return decision.decided.add(Decided::SILENCE);
        }
        if dice.falls(self.loss) {
            return decision.decided.add(Decided::LOSS);
        }
        let mut after = self.delay.0 + Nanos(dice.up_to(self.jitter.0.0));
        if let Some(reorder) = self.reorder
            && dice.falls(reorder.share)
        {
            decision.decided.add(Decided::REORDER);
            after += reorder.by.0;
        }
        if let Some(late) = self.late
            && dice.falls(late.share)
        {
            decision.decided.add(Decided::LATE);
            after = late.delay.0;
        }
        let mut form = Form::Good;
        for (share, decided, other) in [
            (self.stranger, Decided::STRANGER, Form::Stranger),
            (self.corrupt_cookie, Decided::COOKIE, Form::Cookie),
            (self.corrupt_payload, Decided::PAYLOAD, Form::Payload),
        ] {
            if form == Form::Good && dice.falls(share) {
                decision.decided.add(decided);
                form = other;
            }
        }
        if let Some(error) = self.unreachable
            && dice.falls(error.share)
        {
            decision.decided.add(Decided::UNREACHABLE);
            form = if form == Form::Payload { Form::CorruptError } else { Form::error(error.quote, family, dice) };
        } else if let Some(error) = self.error_then_reply
            && dice.falls(error.share)
        {
            decision.decided.add(Decided::ERROR_THEN_REPLY);
            let form = Form::error(error.quote, family, dice);
            decision.reply(after, form, dice);
            after += error.after.0;
        }
        decision.reply(after, form, dice);
        if let Some(duplicate) = self.duplicate
            && dice.falls(duplicate.share)
        {
            decision.decided.add(Decided::DUPLICATE);
            for copy in 1..=u64::from(duplicate.copies) {
                decision.reply(after + Nanos(duplicate.after.0.0 * copy), form, dice);
            }
        }
        if let Some(forged) = self.forged
            && dice.falls(forged.share)
        {
            decision.decided.add(Decided::FORGED);
            for _ in 0..forged.copies {
                let when = Nanos(dice.up_to(after.0));
                decision.reply(when, Form::Forged, dice);
            }
        }
    }
}
