//! What both sides of the kernel boundary share: the probe's bytes, its cookie, the layout of the maps. One definition.
//!
//! The XDP programs themselves are the binaries of this package, behind the feature `kernel`: the product's in `main.rs`, those of far ends
//! and measurements in `far/main.rs`.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cookie;
pub mod far;
pub mod layout;
pub mod routers;
pub mod sequence;
mod siphash;
pub mod wire;
