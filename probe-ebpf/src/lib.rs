//! What both sides of the kernel boundary share: the probe's bytes, its cookie, the layout of the maps. One definition.
//!
//! The XDP programs themselves are the binary of this package (`main.rs`), behind the feature `kernel`.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cookie;
pub mod layout;
pub mod wire;
