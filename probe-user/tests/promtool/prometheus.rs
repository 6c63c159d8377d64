//! What the tools that people use make of an exposition.

use super::{
    fake::Fake,
    parse::parse,
    server::Server,
    text::{scrape, scrape_as},
    tools::{self, Prometheus},
};
use echolot::metrics::Format;
use std::{collections::BTreeSet, sync::Arc};

#[test]
fn promtool_is_content() {
    for (name, text) in [("fresh", scrape(Fake::fresh())), ("large", scrape(Fake::large()))] {
        tools::promtool_is_content(name, &text);
    }
}

#[test]
fn a_real_prometheus_scrapes_every_family() {
    let server = Server::start(Arc::new(Fake::large()));
    let mut prometheus = Prometheus::scraping(server.address);
    prometheus.wait();
    let scrape = parse(&scrape(Fake::large()));
    let own = scrape.samples.iter().map(|sample| &sample.name).filter(|name| name.starts_with("echolot_"));
    let names = own.collect::<BTreeSet<_>>().len();
    for (query, expected) in [
        ("echolot_probes_total{group=\"edge\",site=\"fra\"}", "1050"),
        (
            "sum(echolot_probes_total - on (group, site, rack, owner) \
             sum by (group, site, rack, owner) (echolot_probes_settled_total) \
             - on (group, site, rack, owner) echolot_probes_in_flight)",
            "0",
        ),
        ("echolot_target_up{target=\"10.64.0.1\"}", "1"),
        // The name with quotes, backslashes and a line feed.
        ("count(echolot_target_up{target=~\"(?s:a \\\"b\\\" .*)\"})", "1"),
        ("count(count by (__name__) ({__name__=~\"echolot_.+\"}))", &names.to_string()),
        (
            "sum by (group) (echolot_probes_settled_total{outcome=\"lost\",group=\"core\"}) / sum by (group) \
             (echolot_probes_settled_total{outcome=~\"answered|unreachable|lost\",group=\"core\"})",
            "0.08080808080808081",
        ),
    ] {
        assert_eq!(prometheus.query(query).as_deref(), Some(expected), "{query}");
    }
}

#[test]
fn a_real_prometheus_takes_a_hundred_thousand_series() {
    const TARGETS: u32 = 11_000;
    let source = Arc::new(Fake::many(TARGETS));
    let samples = parse(&scrape_as(&source, Format::Text)).samples.len();
    assert!((95_000..=100_000).contains(&samples), "{samples} series");
    let server = Server::start(source);
    let mut prometheus = Prometheus::scraping_every(server.address, 20);
    prometheus.wait();
    for (query, expected) in [
        ("scrape_samples_scraped", samples),
        ("count(echolot_target_info)", TARGETS as usize),
        ("count(echolot_target_up)", TARGETS as usize / 2),
        ("count(echolot_target_probes_settled_total)", 5 * TARGETS as usize),
        ("sum(echolot_target_up)", TARGETS as usize / 4),
    ] {
        assert_eq!(prometheus.query(query).as_deref(), Some(&*expected.to_string()), "{query}");
    }
    println!("{samples} series took {} s", prometheus.query("scrape_duration_seconds").unwrap());
}
