use std::{
    io,
    thread::{Builder, JoinHandle},
};

/// How far a thread of the background stands back.
const NICENESS: i32 = 10;

/// Does something slow on a thread of its own that gives way to packet loops on its CPU: one that is due comes first, and this takes as long
/// as it takes.
///
/// # Errors
/// There is no thread to be had.
pub fn in_background<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).spawn(|| {
        // Of this thread alone, as Linux has it, and of those that it makes. Where it may not be, it is as quick as all else.
        let _ = rustix::process::nice(NICENESS);
        body()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_back_and_whoever_asks_does_not() {
        let niceness = || rustix::process::nice(0).unwrap_or(i32::MIN);
        let before = niceness();
        let (within, name) =
            in_background("slow", move || (niceness(), std::thread::current().name().map(str::to_owned)))
                .expect("a thread")
                .join()
                .expect("no panic");
        assert_eq!((within, name.as_deref()), ((before + NICENESS).min(19), Some("slow")));
        assert_eq!(niceness(), before);
    }
}
