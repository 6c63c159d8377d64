//! Keys that are pressed while a picture is shown.

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::{
    io::{self, IsTerminal as _, Read as _},
    sync::mpsc,
    thread,
};

/// The terminal that standard input is: keys come at once and are not shown. As it was when this is dropped.
pub(crate) struct Keys {
    before: Termios,
    pressed: mpsc::Receiver<u8>,
}

impl Keys {
    /// None where standard input is no terminal, or somebody else's at the moment.
    pub(crate) fn listen() -> Option<Self> {
        let stdin = io::stdin();
        let in_front = || {
            let group = rustix::termios::tcgetpgrp(&stdin).ok()?;
            (group == rustix::process::getpgrp()).then_some(())
        };
        if !stdin.is_terminal() {
            return None;
        }
        in_front()?;
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        // Ctrl-C is still a signal.
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        let (sender, pressed) = mpsc::channel();
        // It waits for keys for as long as the program runs: nobody waits for it.
        let body = move || {
            let mut key = [0];
            while io::stdin().read(&mut key).is_ok_and(|many| many > 0) && sender.send(key[0]).is_ok() {}
        };
        thread::Builder::new().name("keys".into()).spawn(body).ok()?;
        Some(Self { before, pressed })
    }

    /// The next key that has been pressed, if any.
    pub(crate) fn next(&self) -> Option<u8> {
        self.pressed.try_recv().ok()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs no modes.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
