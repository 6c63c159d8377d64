//! The configuration is read again while echolot runs: by SIGHUP, and by HTTP where that was allowed.

use super::place::{LISTEN, LONG, Place, sum_of};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};
use xtask::{
    command::{send_signal, wait_until},
    lab::Answer,
};

/// `POST`: status and body.
fn post(place: &Place, path: &str) -> (u16, String) {
    place.inside(|| {
        let mut stream = TcpStream::connect(LISTEN).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        write!(stream, "POST {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    })
}

fn file(place: &Place, groups: &str) -> std::path::PathBuf {
    place.file("echolot.yml", &format!("listen: {LISTEN}\ngroups:\n{groups}"))
}

/// Waits until a scrape is as it should be.
fn until(place: &Place, what: &str, is_so: impl Fn(&str) -> bool) -> String {
    let scrape = wait_until(LONG, || Some(place.get("/metrics")?.1).filter(|scrape| is_so(scrape)));
    scrape.unwrap_or_else(|| panic!("waited in vain until {what}:\n{}", place.get("/metrics").unwrap().1))
}

/// What came due has been settled, is in flight, or the scrape is wrong; and nothing was lost or unsent.
fn all_is_explained(scrape: &str) {
    let sums = |name: &str| sum_of(scrape, name);
    let settled = sums("echolot_probes_settled_total") + sums("echolot_probes_in_flight");
    assert_eq!(sums("echolot_probes_total"), settled, "{scrape}");
    for outcome in ["lost", "unheard", "unreachable", "unsent"] {
        assert_eq!(sums(&format!("echolot_probes_settled_total{{outcome=\"{outcome}\"")), 0.0, "{outcome}:\n{scrape}");
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn targets_come_and_go_by_sighup() {
    let Some(place) = Place::new("sighup", &Answer::Kernel) else { return };
    let edge = "- {name: edge, targets: [10.64.0.0/25], interval: 100ms, per_target: all}\n";
    let running = place.run(&file(&place, edge), &[]);
    let program = place.attached();
    let before = until(&place, "all are up", |scrape| sum_of(scrape, "echolot_targets{state=\"up\"") == 128.0);
    all_is_explained(&before);
    let hash = sum_of(&before, "echolot_config_hash");

    // Half of them go, as many come, and a group besides.
    let others = "- {name: edge, targets: [10.64.0.64-10.64.0.191], interval: 100ms, per_target: all}\n\
                  - {name: more, targets: [10.64.0.200], interval: 50ms, timeout: 500ms}\n";
    file(&place, others);
    send_signal("HUP", running.child.id());
    let after = until(&place, "the others are up", |scrape| {
        scrape.contains("echolot_targets{group=\"more\",state=\"up\"} 1")
            && scrape.contains("echolot_targets{group=\"edge\",state=\"up\"} 128")
            && scrape.contains("target=\"10.64.0.191\"")
    });
    all_is_explained(&after);
    assert!(!after.contains("target=\"10.64.0.0\""), "who has gone has no series:\n{after}");
    let answered = |scrape: &str, target: &str| {
        sum_of(scrape, &format!("echolot_target_probes_settled_total{{target=\"{target}\",outcome=\"answered\""))
    };
    assert!(answered(&after, "10.64.0.100") > answered(&before, "10.64.0.100"), "who stays goes on");
    assert_ne!(sum_of(&after, "echolot_config_hash"), hash);
    assert_eq!(sum_of(&after, "echolot_config_last_reload_successful"), 1.0);
    assert_eq!(place.attached(), program, "the same program is attached");

    // What is wrong, or takes a restart, changes nothing and is told.
    until(&place, "who came is up", |scrape| scrape.contains("echolot_targets{group=\"edge\",state=\"up\"} 128"));
    for (wrong, told) in [
        ("- {name: edge, targets: [10.64.0.1], interval: 1}\n", "has no unit"),
        ("- {name: edge, targets: [10.64.0.1], probe: tcp:443}\n", "restart"),
    ] {
        file(&place, wrong);
        send_signal("HUP", running.child.id());
        let scrape =
            until(&place, "it is refused", |scrape| sum_of(scrape, "echolot_config_last_reload_successful") == 0.0);
        assert!(scrape.contains("echolot_targets{group=\"edge\",state=\"up\"} 128"), "{scrape}");
        let logged = wait_until(LONG, || running.stderr().contains(told).then_some(()));
        assert!(logged.is_some(), "{told}: {}", running.stderr());
        file(&place, others);
        send_signal("HUP", running.child.id());
        until(&place, "it is right again", |scrape| sum_of(scrape, "echolot_config_last_reload_successful") == 1.0);
    }
    assert_eq!(post(&place, "/-/reload").0, 403, "nobody has allowed it");
    all_is_explained(&place.get("/metrics").unwrap().1);
    assert_eq!(running.stop().status.code(), Some(0));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn whoever_may_reloads_by_http() {
    let Some(place) = Place::new("lifecycle", &Answer::Kernel) else { return };
    let group = |targets: &str| format!("- {{name: edge, targets: [{targets}], interval: 100ms}}\n");
    let running = place.run(&file(&place, &group("10.64.0.0/28")), &["--web.enable-lifecycle"]);
    file(&place, &group("10.64.0.0/27"));
    let (status, body) = post(&place, "/-/reload");
    assert_eq!((status, &body[..]), (200, "reloaded: 16 targets as before, 16 new, 0 given up, 0 begun anew\n"));
    until(&place, "all are up", |scrape| sum_of(scrape, "echolot_targets{state=\"up\"") == 32.0);
    place.file("echolot.yml", &format!("listen: 127.0.0.1:1\ngroups:\n{}", group("10.64.0.0/27")));
    let (status, body) = post(&place, "/-/reload");
    assert_eq!(status, 500, "{body}");
    assert!(body.contains("`listen`") && body.contains("127.0.0.1:1") && body.contains("restart"), "{body}");
    assert_eq!(place.get("/-/reload").unwrap().0, 405);
    all_is_explained(&place.get("/metrics").unwrap().1);
    assert_eq!(running.stop().status.code(), Some(0));
}
