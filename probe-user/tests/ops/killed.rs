//! SIGKILL, at any moment.

use super::place::{LISTEN, Place, reflector};
use std::{fs, time::Duration};
use xtask::lab::TARGETS;

/// Killed 20 times between 0 and 400 ms after its start (start-up takes about a tenth of that), by turns as `run` and
/// as `sweep` at full speed. Each time another echolot works at once, without waiting for anything.
#[test]
fn leaves_nothing_behind() {
    let Some(place) = Place::new("killed", &reflector()) else { return };
    let config = place.config("10.64.0.0/20", "");
    let (mut attached, mut probing) = (0, 0);
    for round in 0..20 {
        let out = place.folder.join("out");
        let mut command = if round % 2 == 0 {
            place.echolot(["run", "-c", config.to_str().unwrap(), "-f", "csv", "-o", out.to_str().unwrap()])
        } else {
            place.echolot(["sweep", TARGETS, "-r", "100k", "-f", "csv", "-o", out.to_str().unwrap()])
        };
        let victim = place.start(&mut command);
        // Not a synchronisation: the moment is what varies.
        std::thread::sleep(Duration::from_millis(20) * round);
        attached += usize::from(place.attached().is_some());
        probing += usize::from(fs::metadata(&out).is_ok_and(|meta| meta.len() > 0));
        // SIGKILL, and the wait for it.
        drop(victim);
        let ended = place.ended(&mut place.echolot(["ping", "-c", "1", "10.64.0.1"]));
        assert_eq!(ended.status.code(), Some(0), "after {} ms: {ended:?}", 20 * round);
        assert_eq!(place.attached(), None, "after {} ms", 20 * round);
        place.inside(|| drop(std::net::TcpListener::bind(LISTEN).unwrap()));
    }
    println!("killed 20 times: {attached} times with steer attached, {probing} times with results written");
    assert!(attached > 5, "most were killed before they had begun: {attached}");
}
