//! What `--engine auto` would choose for an interface.

use super::{Check, Status};
use crate::{
    nic::{self, Engine},
    route::{Interface, XdpFeatures},
};

pub(super) fn check(interface: &Interface) -> Check {
    let title = format!("{} engine", interface.name);
    let Ok(features) = XdpFeatures::of(interface.index) else {
        return Check::new(title, Status::Skipped, "unknown until a socket is bound: the kernel does not tell");
    };
    let (zero_copy, native) = (features.has(XdpFeatures::ZERO_COPY), features.has(XdpFeatures::REDIRECT));
    Check::new(title, Status::Ok, told(|rate| nic::auto(interface.index, rate, zero_copy, !native)))
}

/// `choice`: the engine at a rate, and why.
fn told(choice: impl Fn(u64) -> (Engine, String)) -> String {
    let ((slow, why), (fast, reason)) = (choice(nic::EASY), choice(nic::EASY + 1));
    if (slow, &why) == (fast, &reason) {
        return format!("auto is {} at any rate: {why}", slow.name());
    }
    format!("auto is {} up to {} probes a second, above {}: {reason}", slow.name(), nic::EASY, fast.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_told_with_its_reason() {
        let one = told(|_| (Engine::Afxdp, "the driver has zero-copy".into()));
        assert_eq!(one, "auto is afxdp at any rate: the driver has zero-copy");
        let two =
            told(
                |rate| {
                    if rate > nic::EASY { (Engine::LiveFrames, "fast".into()) } else { (Engine::Afxdp, "easy".into()) }
                },
            );
        assert_eq!(two, "auto is afxdp up to 250000 probes a second, above live-frames: fast");
    }
}
