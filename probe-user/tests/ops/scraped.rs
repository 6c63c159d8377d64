//! A live scrape, read by the tools that people use.

use super::{
    place::{LISTEN, LONG, Place},
    tools::{Prometheus, promtool_is_content},
};
use xtask::{command::wait_until, lab::Answer};

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
             - {{name: gone, targets: [10.63.0.200, nobody.invalid], interval: 200ms, timeout: 200ms}}\n"
        ),
    );
    let running = place.run(&config, &[]);
    let settled = wait_until(LONG, || (place.metric("echolot_targets{state=\"down\"") == 1.0).then_some(()));
    assert!(settled.is_some(), "{}", running.stderr());
    promtool_is_content("live", &place.get("/metrics").unwrap().1);

    place.inside(|| {
        let mut prometheus = Prometheus::scraping(LISTEN.parse().unwrap());
        prometheus.wait();
        for (query, expected) in [
            ("sum(echolot_targets{group=\"edge\",state=\"up\"})", "128"),
            ("echolot_targets{group=\"gone\",state=\"down\"}", "1"),
            ("echolot_targets{group=\"gone\",state=\"unresolved\"}", "1"),
            ("count(echolot_target_up == 1)", "128"),
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
