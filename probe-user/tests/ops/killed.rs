//! SIGKILL, at any moment.

use super::place::{LISTEN, LONG, Place, reflector};
use std::{fs, time::Duration};
use xtask::{command::wait_until, lab::TARGETS};

/// So many are killed some time after their start, the rest some time after they have attached.
const BY_TIME: u32 = 14;

/// Killed 20 times, by turns as `run` and as `sweep` at full speed: 14 times between 0 and 390 ms after its start (on a
/// quiet machine start-up takes a tenth of that), 6 times between 0 and 300 ms after it has attached. Each time another
/// echolot works at once, without waiting for anything.
#[test]
#[ignore = "needs root: make test runs it"]
fn leaves_nothing_behind() {
    let Some(place) = Place::new("killed", &reflector()) else { return };
    let config = place.config("10.64.0.0/20", "");
    let (mut attached, mut probing) = (0_u32, 0_u32);
    for round in 0..20 {
        let out = place.folder.join("out");
        let mut command = if round % 2 == 0 {
            place.echolot(["run", "-c", config.to_str().unwrap(), "-f", "csv", "-o", out.to_str().unwrap()])
        } else {
            place.echolot(["sweep", TARGETS, "-r", "100k", "-f", "csv", "-o", out.to_str().unwrap()])
        };
        let victim = place.start(&mut command);
        let delay = if round < BY_TIME {
            Duration::from_millis(30) * round
        } else {
            assert!(wait_until(LONG, || place.attached()).is_some(), "{}", victim.stderr());
            Duration::from_millis(60) * (round - BY_TIME)
        };
        // Not a synchronisation: the moment is what varies.
        std::thread::sleep(delay);
        attached += u32::from(place.attached().is_some());
        probing += u32::from(fs::metadata(&out).is_ok_and(|meta| meta.len() > 0));
        // SIGKILL, and the wait for it.
        drop(victim);
        let ended = place.ended(&mut place.echolot(["ping", "-c", "1", "10.64.0.1"]));
        assert_eq!(ended.status.code(), Some(0), "round {round}, {delay:?}: {ended:?}");
        assert_eq!(place.attached(), None, "round {round}, {delay:?}");
        place.inside(|| drop(std::net::TcpListener::bind(LISTEN).unwrap()));
    }
    println!("killed 20 times: {attached} times with steer attached, {probing} times with results written");
    assert!(attached >= 20 - BY_TIME, "{attached}");
}
