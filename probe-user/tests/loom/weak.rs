//! The same files on atomics of which those of 32 bits, the word of the hop among them, order nothing: models that go by their order must
//! fail here.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};

    /// Every order is *relaxed*.
    #[derive(Debug)]
    pub(super) struct AtomicU32(loom::sync::atomic::AtomicU32);

    impl AtomicU32 {
        pub(super) fn new(value: u32) -> Self {
            Self(loom::sync::atomic::AtomicU32::new(value))
        }

        pub(super) fn load(&self, _: Ordering) -> u32 {
            self.0.load(Ordering::Relaxed)
        }

        pub(super) fn store(&self, value: u32, _: Ordering) {
            self.0.store(value, Ordering::Relaxed);
        }

        pub(super) fn swap(&self, value: u32, _: Ordering) -> u32 {
            self.0.swap(value, Ordering::Relaxed)
        }

        pub(super) fn fetch_add(&self, value: u32, _: Ordering) -> u32 {
            self.0.fetch_add(value, Ordering::Relaxed)
        }

        pub(super) fn fetch_update(
            &self,
            _: Ordering,
            _: Ordering,
            change: impl FnMut(u32) -> Option<u32>,
        ) -> Result<u32, u32> {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change)
        }
    }
}

#[path = "../../src/ledger/slot.rs"]
#[expect(dead_code, reason = "the model needs only a part of it")]
mod slot;

#[path = "../../src/ledger/window.rs"]
#[expect(dead_code, unreachable_pub, reason = "the model needs only a part of it")]
mod window;

#[path = "tenancy.rs"]
#[expect(dead_code, reason = "some models need only be played once")]
pub(crate) mod tenancy;
