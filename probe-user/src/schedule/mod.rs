//! When: pacing and order. Pure.
