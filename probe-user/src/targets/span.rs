//! Addresses of one family as numbers, and sets of consecutive ones.

use std::{fmt::Debug, hash::Hash, net::IpAddr};

/// An address as a number: u32 for IPv4, u128 for IPv6.
pub trait Number: Copy + Ord + Hash + Debug {
    /// The one after it; None after the last.
    fn next(self) -> Option<Self>;
    /// The one before it. The first has none.
    fn before(self) -> Self;
    /// How many numbers lie between: 0 for a number and itself.
    fn distance(self, later: Self) -> u128;
    /// The address.
    fn address(self) -> IpAddr;
}

impl Number for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn before(self) -> Self {
        self - 1
    }

    fn distance(self, later: Self) -> u128 {
        u128::from(later - self)
    }

    fn address(self) -> IpAddr {
        std::net::Ipv4Addr::from_bits(self).into()
    }
}

impl Number for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn before(self) -> Self {
        self - 1
    }

    fn distance(self, later: Self) -> u128 {
        later - self
    }

    fn address(self) -> IpAddr {
        std::net::Ipv6Addr::from_bits(self).into()
    }
}

/// Consecutive addresses of one family, both ends included. Never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Span<A> {
    first: A,
    last: A,
}

impl<A: Number> Span<A> {
    /// From the first to the last; None when they are the wrong way round.
    pub fn new(first: A, last: A) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// First address.
    pub const fn first(&self) -> A {
        self.first
    }

    /// Last address, included.
    pub const fn last(&self) -> A {
        self.last
    }

    /// How many addresses, at least 1; those of all of IPv6 are one more than is said.
    pub fn count(&self) -> u128 {
        self.first.distance(self.last).saturating_add(1)
    }

    /// Whether the address is one of them.
    pub fn contains(&self, address: A) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// What both have; None for nothing.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = A> + use<A> {
        let last = self.last;
        std::iter::successors(Some(self.first), move |address| address.next().filter(|next| *next <= last))
    }
}

impl<A> From<A> for Span<A>
where
    A: Number,
{
    fn from(address: A) -> Self {
        Self { first: address, last: address }
    }
}

/// Sorts, and merges what overlaps or touches.
pub(super) fn merge<A: Number>(mut all: Vec<Span<A>>) -> Vec<Span<A>> {
    all.sort_unstable();
    let mut merged: Vec<Span<A>> = Vec::new();
    for span in all {
        match merged.last_mut() {
            Some(before) if before.last.next().is_none_or(|next| span.first <= next) => {
                before.last = before.last.max(span.last);
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// Whether an address lies in one of some merged spans.
pub(super) fn has<A: Number>(merged: &[Span<A>], address: A) -> bool {
    let after = merged.partition_point(|span| span.first <= address);
    after > 0 && merged[after - 1].contains(address)
}

/// Calls `keep` with each part of `span` that is in none of some merged spans, ascending.
pub(super) fn subtract<A: Number>(span: Span<A>, merged: &[Span<A>], mut keep: impl FnMut(Span<A>)) {
    let Span { mut first, last } = span;
    let from = merged.partition_point(|excluded| excluded.last < first);
    for excluded in &merged[from..] {
        if excluded.first > last {
            break;
        }
        if excluded.first > first {
            keep(Span { first, last: excluded.first.before() });
        }
        match excluded.last.next() {
            Some(next) if next <= last => first = next,
            _ => return,
        }
    }
    keep(Span { first, last });
}
