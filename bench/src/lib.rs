//! Measurements of echolot, and the proof that what it says is true.

pub mod truth;
