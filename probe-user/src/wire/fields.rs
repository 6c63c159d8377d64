//! Fields of what has been received.

use super::RejectedReason;
use std::ops::Range;

/// A field of `N` bytes; a frame that ends before is truncated.
#[inline]
pub(super) fn field<const N: usize>(bytes: &[u8], at: Range<usize>) -> Result<[u8; N], RejectedReason> {
    bytes.get(at).and_then(|field| field.try_into().ok()).ok_or(RejectedReason::Truncated)
}

#[inline]
pub(super) fn number(bytes: &[u8], at: Range<usize>) -> Result<u16, RejectedReason> {
    field(bytes, at).map(u16::from_be_bytes)
}
