//! The interface as it is found, before anything is attached to it.

use super::{Mode, NicError};
use crate::route::{self, Interface, RouteError, Stack};
use rtnetlink::Handle;
use std::{fs, io};

/// The interface of that name, as it is now.
pub(super) fn find(name: &str) -> Result<Interface, NicError> {
    let wanted = name.to_owned();
    ask(name, async move |handle: Handle| Interface::by_name(&handle, &wanted).await)
}

/// What is beneath the interface of that name. In generic mode one that nothing can be put beneath stands for itself: the kernel has
/// dealt with tags and ports by the time that a program sees a frame.
pub(super) fn stack(name: &str, mode: Mode) -> Result<Stack, NicError> {
    let wanted = name.to_owned();
    ask(name, async move |handle: Handle| {
        let upper = Interface::by_name(&handle, &wanted).await?;
        let all = Interface::all(&handle).await?;
        match Stack::resolve(&upper, &all) {
            Err(_) if mode == Mode::Generic => Ok(Stack::alone(&upper)),
            resolved => resolved.map_err(RouteError::Stack),
        }
    })
}

/// Asks the kernel, on a thread of its own so that callers need no runtime and may have one.
fn ask<T: Send + 'static, F: AsyncFnOnce(Handle) -> Result<T, RouteError> + Send + 'static>(
    name: &str,
    question: F,
) -> Result<T, NicError> {
    let failed = |error| NicError::Query { interface: name.into(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let asking = move || runtime.block_on(async { question(route::connect()?).await });
    match std::thread::spawn(asking).join() {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(RouteError::NoSuchInterface { .. })) => Err(NicError::NoInterface { interface: name.into() }),
        Ok(Err(RouteError::Stack(error))) => Err(NicError::Stack(error)),
        Ok(Err(error)) => Err(failed(io::Error::other(error))),
        Err(_) => Err(failed(io::Error::other("the thread that asked died"))),
    }
}

/// Its driver's name, for people.
pub(super) fn driver(interface: &Interface) -> &str {
    interface.driver.as_deref().unwrap_or("unknown")
}

/// What would keep a zero-copy socket on that interface from receiving, if it is known of its driver.
///
/// igb with an interrupt of its own for each receive queue raises the transmit queue's for every wake-up (igb_xsk_wakeup, seen
/// on Linux 6.18): the receive ring is never filled, and nothing says so.
pub fn zero_copy_obstacle(interface: &str, driver: &str) -> Option<&'static str> {
    let interrupts = fs::read_to_string("/proc/interrupts").unwrap_or_default();
    (driver == "igb" && has_receive_interrupt(&interrupts, interface)).then_some(
        "igb never begins to receive in zero-copy mode while receive queues have interrupts of their own (more channels, \
         by `ethtool -L`, make it share them)",
    )
}

/// Whether the interface's first receive queue has an interrupt of its own. One that is shared is called `eth0-TxRx-0`.
fn has_receive_interrupt(interrupts: &str, interface: &str) -> bool {
    let name = format!("{interface}-rx-0");
    interrupts.lines().any(|line| line.split_whitespace().next_back() == Some(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_of_receive_queues_are_told_from_shared_ones() {
        let split = " 26: 0 2 PCI-MSIX-0000:01:00.0 0-edge eth0\n 27: 0 0 PCI-MSIX-0000:01:00.0 1-edge eth0-rx-0\n";
        let shared = " 27: 0 0 PCI-MSIX-0000:01:00.0 1-edge eth0-TxRx-0\n";
        assert!(has_receive_interrupt(split, "eth0"));
        assert!(!has_receive_interrupt(split, "eth1") && !has_receive_interrupt(split, "h0"));
        assert!(!has_receive_interrupt(shared, "eth0") && !has_receive_interrupt("", "eth0"));
    }
}
