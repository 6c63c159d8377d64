//! A live scrape, read by the tools that people use.

use super::{
    place::{LISTEN, LONG, Place},
    tools::{Prometheus, promtool_is_content, python_reads},
};
use echolot::metrics::Format;
use xtask::{
    command::{send_signal, wait_until},
    lab::Answer,
};

#[test]
#[ignore = "needs root: make test runs it"]
fn prometheus_finds_what_is_expected() {
    let Some(place) = Place::new("scraped", &Answer::Kernel) else { return };
    // Behind the next hop, and nobody's: the far kernel has no such address and no route to send an error by.
    let config = place.file(
        "echolot.yml",
        &format!(
            "listen: {LISTEN}\n\
             groups:\n\
             - {{name: edge, targets: [10.64.0.0/25], interval: 200ms, per_target: all}}\n\
             - {{name: gone, targets: [10.63.0.200, nobody.invalid], interval: 200ms, timeout: 200ms, per_target: unhealthy}}\n"
        ),
    );
    let running = place.run(&config, &[]);
    let settled = wait_until(LONG, || (place.metric("echolot_targets{state=\"down\"") == 1.0).then_some(()));
    assert!(settled.is_some(), "{}", running.stderr());
    promtool_is_content("live", &place.get("/metrics").unwrap().1);
    let open = place.get_as("/metrics", "accept: application/openmetrics-text;version=1.0.0\r\n").unwrap().1;
    assert!(open.ends_with("# EOF\n"), "{open}");
    let read = python_reads(&[(Format::OpenMetrics, open)]).remove(0);
    assert!(read.iter().any(|(name, ..)| name == "process_cpu_seconds_total"));
    // Of the group that shows unhealthy targets there is one series of the one that is down, and none of the name that is nobody's.
    let of_gone =
        read.iter().filter(|(name, labels, _)| name.starts_with("echolot_target_") && labels["group"] == "gone");
    let of_gone: Vec<_> = of_gone.map(|(name, labels, up)| (&**name, &*labels["target"], *up)).collect();
    assert_eq!(of_gone, [("echolot_target_up", "10.63.0.200", 0.0)]);

    place.inside(|| {
        let mut prometheus = Prometheus::scraping(LISTEN.parse().unwrap());
        prometheus.wait();
        for (query, expected) in [
            ("sum(echolot_targets{group=\"edge\",state=\"up\"})", "128"),
            ("echolot_targets{group=\"gone\",state=\"down\"}", "1"),
            ("echolot_targets{group=\"gone\",state=\"unresolved\"}", "1"),
            ("count(echolot_target_up == 1)", "128"),
            ("count(echolot_target_up == 0)", "1"),
            ("echolot_target_up{group=\"edge\",target=\"10.64.0.77\"}", "1"),
            ("echolot_probes_settled_total{group=\"edge\",outcome=\"lost\"}", "0"),
            ("echolot_probes_settled_total{group=\"gone\",outcome=\"answered\"}", "0"),
            ("sum(echolot_probes_total) - sum(echolot_probes_settled_total) - sum(echolot_probes_in_flight)", "0"),
            ("echolot_interface_info{interface=\"near0\",driver=\"veth\",engine=\"afxdp\"}", "1"),
            ("echolot_interface_up", "1"),
            ("echolot_config_last_reload_successful", "1"),
        ] {
            assert_eq!(prometheus.query(query).as_deref(), Some(expected), "{query}");
        }
        // Two scrapes on, a rate is there: 128 targets, five times a second.
        let rate = wait_until(LONG, || {
            let rate: f64 = prometheus.query("rate(echolot_probes_total{group=\"edge\"}[30s])")?.parse().ok()?;
            (rate > 320.0 && rate < 960.0).then_some(rate)
        });
        let p99 = prometheus
            .query("histogram_quantile(0.99, sum by (le) (rate(echolot_rtt_seconds_bucket{group=\"edge\"}[30s])))");
        println!("Prometheus says: {rate:?} probes a second, round trip p99 {p99:?} s");
        assert!(rate.is_some());
        assert!(p99.is_some_and(|p99| p99.parse::<f64>().is_ok_and(|p99| p99 > 0.0 && p99 < 1.0)));
    });
    assert_eq!(running.stop().status.code(), Some(0));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn from_the_first_signal_on_it_is_not_ready_and_still_scraped_and_its_log_is_json() {
    let Some(place) = Place::new("ending", &Answer::Silent) else { return };
    // Nobody answers: each probe is in flight for a minute.
    let config = place.file(
        "echolot.yml",
        &format!(
            "listen: {LISTEN}\ngroups: [{{name: gone, targets: [10.64.0.1, 10.64.0.2], interval: 1s, timeout: 1m}}]\n"
        ),
    );
    let running = place.run(&config, &["--log-format", "json", "--progress-interval", "100ms"]);
    let in_flight = || place.metric("echolot_probes_in_flight");
    assert!(wait_until(LONG, || (in_flight() > 2.0).then_some(())).is_some(), "{}", running.stderr());
    assert_eq!(place.get("/-/ready").unwrap().0, 200);
    send_signal("TERM", running.child.id());
    let not_ready = wait_until(LONG, || (place.get("/-/ready")?.0 == 503).then_some(()));
    assert!(not_ready.is_some(), "{}", running.stderr());
    assert_eq!(place.get("/-/healthy").unwrap().0, 200);
    assert!(in_flight() > 0.0);
    let ended = running.stop();
    let lines: Vec<serde_json::Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines
            .iter()
            .all(|line| line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string())
    );
    assert!(lines.len() > 3, "{lines:?}");
    let last = lines.last().unwrap();
    assert_eq!((last["message"].as_str(), last["targets"].as_u64()), (Some("ended"), Some(2)));
    assert!(last["probes"].as_u64().is_some_and(|probes| probes > 2), "{last}");
}
