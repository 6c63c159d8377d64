//! Some drivers start their card anew when an XDP program is attached or a queue is bound, and the link is gone until the other end
//! has agreed to it again. Probes sent into that would be *unsent* or *unheard*, so sending waits for it. They start it anew as well when
//! a program is taken off: whoever comes next, as after a restart of echolot, finds no carrier at first and waits for it too.

use super::{Signals, Starting};
use crate::worker::Link;
use std::{
    fs,
    time::{Duration, Instant},
};

/// What a link may take to come back: agreeing on a speed takes two to four seconds on copper.
const CARRIER_TAKES: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until there is carrier, and the watcher of the link thinks so too. False if a signal asks for the end meanwhile.
/// After ten seconds it is as it is: probes are *unsent* for as long as the link is down.
pub(super) async fn wait(interface: &str, link: &dyn Link, signals: &mut Signals) -> bool {
    let up = || has_carrier(interface) && link.is_up();
    tokio::select! {
        () = until(up, CARRIER_TAKES) => true,
        () = signals.next() => false,
    }
}

/// Waiting for a carrier before there is anything to do.
#[derive(Default)]
pub(super) struct Waiting {
    since: Option<Instant>,
}

impl Waiting {
    /// Waits a little. False once that has taken ten seconds in all.
    pub(super) async fn goes_on(&mut self, interface: &str, starting: &Starting) -> bool {
        let since = *self.since.get_or_insert_with(|| {
            starting.step(format!("waiting for the carrier of {interface}"));
            Instant::now()
        });
        tokio::time::sleep(10 * LOOK).await;
        since.elapsed() < CARRIER_TAKES
    }
}

async fn until(mut condition: impl FnMut() -> bool, within: Duration) {
    let begun = Instant::now();
    // Others (the watcher) get a turn even if all is well.
    tokio::task::yield_now().await;
    while !condition() && begun.elapsed() < within {
        tokio::time::sleep(LOOK).await;
    }
}

/// What the kernel says of the carrier. No answer (an interface that is down or gone) is for others to deal with.
fn has_carrier(interface: &str) -> bool {
    fs::read_to_string(format!("/sys/class/net/{interface}/carrier")).map_or(true, |text| text.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_for_as_long_as_it_takes() {
        let mut looks = 0;
        until(
            || {
                looks += 1;
                looks == 5
            },
            Duration::from_secs(60),
        )
        .await;
        assert_eq!(looks, 5);
    }

    #[tokio::test]
    async fn it_does_not_wait_for_ever() {
        let begun = Instant::now();
        until(|| false, Duration::from_millis(30)).await;
        assert!(begun.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn loopback_has_carrier_and_what_is_not_there_holds_nothing_up() {
        assert!(has_carrier("lo"));
        assert!(has_carrier("no-such-interface"));
    }
}
