//! What the tools that people use make of an exposition.

use super::{
    fake::Fake,
    parse::parse,
    server::Server,
    text::scrape,
    tools::{self, Prometheus},
};
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
