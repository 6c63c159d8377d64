//! The interface as it is found, before anything is attached to it.

use super::{Mode, NicError};
use crate::route::{self, Interface, RouteError, Stack};
use rtnetlink::Handle;
use std::io;

/// The interface of that name, as it is now.
///
/// # Errors
/// If there is none, or the kernel does not tell.
pub fn find(name: &str) -> Result<Interface, NicError> {
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
