//! Sources of targets that are down when `run` starts, and that change while it runs.

use super::place::{LONG, Place, reflector, sum_of};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener},
    thread,
};
use xtask::command::wait_until;

/// Answers every request in the near namespace with a list, until the process ends.
fn serve(place: &Place, body: &'static str) {
    let listener = place.inside(|| TcpListener::bind("127.0.0.1:8080").unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 1024];
            let _asked = stream.read(&mut head);
            let kind = "Content-Type: application/json";
            let _gone = write!(stream, "HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _gone = stream.shutdown(Shutdown::Write);
        }
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_sources_have_at_the_start_is_probed_and_the_rest_is_told() {
    let Some(place) = Place::new("sources", &reflector()) else { return };
    serve(&place, r#"[{"targets": ["10.64.0.1:9100", "10.64.0.2:9100"]}]"#);
    place.file("good.json", r#"[{"targets": ["10.64.0.3", "10.64.0.4"]}]"#);
    place.file("bad.json", "[{\"targets\": [\"10.64.0.9\"");
    place.file("never.txt", "10.64.0.4\n");
    let config = place.config(
        "10.64.0.5, 10.64.0.6",
        "    target_files: [good.json, bad.json, gone/*.json]
    http_sd:
      - {url: 'http://127.0.0.1:8080/targets?token=geheim', refresh_interval: 1s, strip_port: true}
      - {url: 'http://127.0.0.1:8081/', refresh_interval: 1s}
exclude: [10.64.0.6]
exclude_files: [never.txt]
",
    );
    let running = place.run(&config, &[]);
    let scrape = wait_until(LONG, || {
        let (_, text) = place.get("/metrics")?;
        (sum_of(&text, "echolot_targets{state=\"up\"") == 4.0).then_some(text)
    });
    let scrape = scrape.unwrap_or_else(|| panic!("four are not up: {}", running.stderr()));
    let of = |name: &str, group: &str, source: &str| {
        let line = format!("echolot_target_source_{name}{{group=\"{group}\",source=\"{source}\"}} ");
        let found = scrape.lines().find_map(|text| text.strip_prefix(&line));
        found.map(|value| value.parse::<f64>().unwrap())
    };
    let url = "http://127.0.0.1:8080/targets";
    for (group, source, up, targets) in [
        ("ops", "good.json", 1.0, 2.0),
        ("ops", "bad.json", 0.0, 0.0),
        ("ops", "gone/*.json", 1.0, 0.0),
        ("ops", url, 1.0, 2.0),
        ("ops", "http://127.0.0.1:8081/", 0.0, 0.0),
        ("", "never.txt", 1.0, 1.0),
    ] {
        assert_eq!(
            (of("up", group, source), of("targets", group, source)),
            (Some(up), Some(targets)),
            "{source}\n{scrape}"
        );
        let (failures, success) =
            (of("failures_total", group, source), of("last_success_timestamp_seconds", group, source));
        assert_eq!((failures > Some(0.0), success.is_some()), (up == 0.0, up == 1.0), "{source}\n{scrape}");
    }
    // What changes is seen, and whoever takes it over or does not says so.
    let dir = &place.folder;
    fs::write(dir.join("new"), r#"[{"targets": ["10.64.0.3"]}]"#).unwrap();
    fs::rename(dir.join("new"), dir.join("good.json")).unwrap();
    let seen = wait_until(LONG, || {
        let (_, text) = place.get("/metrics")?;
        (sum_of(&text, "echolot_target_source_targets{group=\"ops\",source=\"good.json\"") == 1.0).then_some(())
    });
    assert!(seen.is_some(), "{}", running.stderr());
    let ended = running.stop();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let said = |text: &str| ended.stderr.lines().filter(|line| line.contains(text)).count();
    assert_eq!(
        (said("bad.json:1:"), said("127.0.0.1:8081: Connection refused"), said("geheim")),
        (1, 1, 0),
        "{ended:?}"
    );
}

#[test]
#[ignore = "needs root: make test runs it"]
fn without_any_target_it_waits_for_one() {
    let Some(place) = Place::new("later", &reflector()) else { return };
    let text = format!(
        "listen: {}\ngroups:\n  - name: ops\n    target_files: [later.json]\n    http_sd: [{{url: 'http://127.0.0.1:8080/'}}]\n    interval: 1s\n",
        super::place::LISTEN
    );
    let config = place.file("echolot.yml", &text);
    let mut running = place.start(&mut place.echolot(["run", "-c", config.to_str().unwrap()]));
    let told = wait_until(LONG, || running.stderr().contains("waiting for a source of targets").then_some(()));
    assert!(told.is_some() && running.child.try_wait().unwrap().is_none(), "{}", running.stderr());
    place.file("later.json", r#"[{"targets": ["10.64.0.1"]}]"#);
    let up = wait_until(LONG, || {
        let (_, text) = place.get("/metrics").filter(|(status, _)| *status == 200)?;
        (sum_of(&text, "echolot_targets{state=\"up\"") == 1.0).then_some(())
    });
    assert!(up.is_some(), "{}", running.stderr());
    assert_eq!(running.stop().status.code(), Some(0));
}
