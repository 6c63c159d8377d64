//! A server of a measurement's own in the near namespace.

use crate::lab::Bench;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    net::TcpListener,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};
use xtask::lab::End;

/// Serves until this goes.
pub(crate) struct Serving {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Serving {
    /// `serve` is given a listener that doesn't block, and ends soon after what it is given beside is true.
    pub(crate) fn begin(
        bench: &Bench,
        address: &str,
        serve: impl FnOnce(&TcpListener, &AtomicBool) + Send + 'static,
    ) -> Result<Self, String> {
        let space = format!("/run/netns/{}", bench.lab().name().namespace(End::Near));
        let space = File::open(&space).map_err(|error| format!("{space}: {error}"))?;
        let bind = || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(listener)
        };
        let listener = thread::scope(|scope| scope.spawn(bind).join()).map_err(|_| "the server panicked")?;
        let listener = listener.map_err(|error| format!("{address}: {error}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&stop);
        let thread = thread::spawn(move || serve(&listener, &of_thread));
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
