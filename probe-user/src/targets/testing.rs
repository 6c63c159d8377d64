//! What the tests of targets and configuration share.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// A new folder that goes when the value does.
pub(crate) struct TempDir(PathBuf);

impl std::ops::Deref for TempDir {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed is left behind: a test that panics already must not panic again.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A new, empty folder.
pub(crate) fn tempdir() -> TempDir {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("echolot-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).unwrap();
    TempDir(path)
}
