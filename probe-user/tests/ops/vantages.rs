//! Three places that watch the same targets, and one Prometheus that scrapes them all, by a network of its own.
//!
//! ```text
//!   fra ── fra-router ──┐
//!   ams ── ams-router ──┼── core: the targets, 10.93.1.0/24 to 10.93.3.0/24
//!   nyc ── nyc-router ──┘
//!   each ── watch: Prometheus
//! ```

use super::{
    network::Network,
    place::{ECHOLOT, LONG},
    tools::Prometheus,
};
use std::{
    collections::BTreeSet,
    fs,
    os::fd::AsFd as _,
    path::Path,
    process::{Child, Command, Stdio},
};
use xtask::command::wait_until;

const PLACES: [&str; 3] = ["fra", "ams", "nyc"];
/// Of each site eight targets.
const TARGETS: usize = 24;

struct World {
    network: Network,
    echolots: Vec<Child>,
}

impl World {
    /// None, and a word about it, without root. Every place probes all targets.
    fn new(what: &str) -> Option<Self> {
        let places = PLACES.iter().flat_map(|place| [(*place).to_owned(), format!("{place}-router")]);
        let network = Network::new(what, places.chain(["core".to_owned(), "watch".to_owned()]))?;
        let mut world = Self { network, echolots: Vec::new() };
        for space in ["core", "watch"].into_iter().chain(PLACES) {
            world.sh(&format!(
                "for space in ${space} ${space}_router; do ip netns exec $space sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'; done"
            ));
        }
        world.sh("ip -n $core route add local 10.93.0.0/16 dev lo");
        world
            .sh("ip netns exec $core sh -c 'for f in ratelimit ratemask; do echo 0 >/proc/sys/net/ipv4/icmp_$f; done'");
        for (i, place) in PLACES.iter().enumerate() {
            let router = format!("{place}-router");
            world
                .network
                .cable((place, "probe", &format!("10.91.{i}.1/30")), (&router, "near", &format!("10.91.{i}.2/30")));
            world
                .network
                .cable((&router, "far", &format!("10.92.{i}.1/30")), ("core", place, &format!("10.92.{i}.2/30")));
            world
                .network
                .cable((place, "manage", &format!("10.94.{i}.1/30")), ("watch", place, &format!("10.94.{i}.2/30")));
            world.sh(&format!(
                "ip -n ${place} route add default via 10.91.{i}.2\n\
                 ip -n ${place}_router route add 10.93.0.0/16 via 10.92.{i}.2\n\
                 ip -n $core route add 10.91.{i}.0/30 via 10.92.{i}.1"
            ));
        }
        for i in 0..PLACES.len() {
            let echolot = world.echolot(i);
            world.echolots.push(echolot);
        }
        Some(world)
    }

    /// A script in which `$fra`, `$fra_router`, `$core`, `$watch` … are network namespaces.
    #[track_caller]
    fn sh(&self, script: &str) {
        self.network.sh(script);
    }

    /// Starts the echolot of a place.
    fn echolot(&self, place: usize) -> Child {
        let name = PLACES[place];
        let groups: String = PLACES
            .iter()
            .zip([(50.1, 8.7), (52.4, 4.9), (40.7, -74.0)])
            .enumerate()
            .map(|(i, (site, (lat, lon)))| {
                let i = i + 1;
                format!(
                    "  - name: {site}\n    targets: [10.93.{i}.1-10.93.{i}.8]\n    labels: {{site: {site}, lat: \"{lat}\", lon: \"{lon}\"}}\n    \
                     sum_by: [site]\n    per_target: all\n    path: {{interval: 1s}}\n"
                )
            })
            .collect();
        let config = self.network.folder.join(format!("{name}.yml"));
        let text = format!(
            "interface: probe\nlisten: 10.94.{place}.1:10816\nglobal: {{interval: 200ms, timeout: 200ms}}\ngroups:\n{groups}"
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(self.network.folder.join(format!("{name}.log"))).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.network.space(name), ECHOLOT, "run", "-c"]).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Does something on a thread in the namespace of Prometheus.
    fn watching<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let space = fs::File::open(Path::new("/run/netns").join(self.network.space("watch"))).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let network = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(space.as_fd(), network).unwrap();
                body()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A Prometheus that scrapes all three as docs/examples/vantages.yml says, with its rules, which wait a tenth as long here.
    fn prometheus(&self) -> Prometheus {
        let rules = include_str!("../../../docs/examples/vantages.yml");
        assert_eq!(rules.matches("for: 30s").count(), 3);
        let rules = rules.replace("for: 30s", "for: 3s");
        let scraped: String = PLACES
            .iter()
            .enumerate()
            .map(|(i, place)| format!("    - {{targets: ['10.94.{i}.1:10816'], labels: {{vantage: {place}}}}}\n"))
            .collect();
        let config = format!(
            "global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}}\nrule_files: [vantages.yml]\n\
             scrape_configs:\n- job_name: echolot\n  static_configs:\n{scraped}"
        );
        let prometheus =
            Prometheus::configured(&self.network.name, &[("prometheus.yml", &config), ("vantages.yml", &rules)]);
        let up = format!("count(echolot_target_up == 1) == {}", PLACES.len() * TARGETS);
        self.until(&prometheus, "all is well from everywhere", &up);
        prometheus
    }

    /// Waits until a query finds something.
    #[track_caller]
    fn until(&self, prometheus: &Prometheus, what: &str, query: &str) -> Vec<serde_json::Value> {
        let found = wait_until(LONG, || prometheus.found(query).ok().filter(|found| !found.is_empty()));
        found.unwrap_or_else(|| {
            let logs = PLACES
                .map(|place| fs::read_to_string(self.network.folder.join(format!("{place}.log"))).unwrap_or_default());
            panic!("{what}: not seen in {LONG:?}: {query}\n{}", logs.join("\n"))
        })
    }

    /// Waits until exactly these alerts fire: each by its name, and its target or its place.
    #[track_caller]
    fn until_firing(&self, prometheus: &Prometheus, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
        let firing = || -> Option<BTreeSet<String>> {
            let found = prometheus.found("ALERTS{alertstate=\"firing\"}").ok()?;
            let name = |alert: &serde_json::Value| {
                let label = |name: &str| alert["metric"][name].as_str().unwrap_or_default().to_owned();
                format!("{} {}{}", label("alertname"), label("target"), label("vantage"))
            };
            Some(found.iter().map(name).collect())
        };
        let seen = wait_until(LONG, || firing().filter(|firing| *firing == expected));
        assert!(seen.is_some(), "firing: {:?}, and not {expected:?}", firing());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for echolot in &mut self.echolots {
            let _ = echolot.kill();
            let _ = echolot.wait();
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn rules_say_whether_it_is_the_network_near_a_place_or_a_target_or_a_place() {
    let Some(mut world) = World::new("vantages") else { return };
    let mut echolots = std::mem::take(&mut world.echolots);
    world.watching(|| {
        let prometheus = world.prometheus();
        world.until_firing(&prometheus, &[]);
        // What is beyond its router is gone for fra, and the router goes on answering.
        world.sh("ip -n $fra_router route replace blackhole 10.93.0.0/16");
        world.until_firing(&prometheus, &["EcholotNetworkNearVantage fra"]);
        world.sh("ip -n $fra_router route replace 10.93.0.0/16 via 10.92.0.2");
        world.until_firing(&prometheus, &[]);

        // A target is gone for everybody.
        world.sh("ip -n $core route add blackhole 10.93.2.7 table local");
        world.until_firing(&prometheus, &["EcholotTargetDownFromVantages 10.93.2.7"]);
        world.sh("ip -n $core route del blackhole 10.93.2.7 table local");
        world.until_firing(&prometheus, &[]);

        // A place has no link, and knows it: nobody is down for that. Then it is gone as a whole, and a target that it can't judge is
        // down from the two others.
        world.sh("ip -n $nyc link set probe down");
        world.until_firing(&prometheus, &["EcholotVantageCannotMeasure nyc"]);
        echolots[2].kill().unwrap();
        echolots[2].wait().unwrap();
        world.sh("ip -n $core route add blackhole 10.93.3.1 table local");
        world
            .until_firing(&prometheus, &["EcholotTargetDownFromVantages 10.93.3.1", "EcholotVantageCannotMeasure nyc"]);
    });
    world.echolots = echolots;
}

/// Whoever opens the dashboard: its variables filled in as Grafana does.
struct Dashboard(serde_json::Value);

impl Dashboard {
    fn read() -> Self {
        Self(serde_json::from_str(include_str!("../../../docs/examples/dashboard.json")).unwrap())
    }

    fn panels(&self) -> &Vec<serde_json::Value> {
        self.0["panels"].as_array().unwrap()
    }

    /// The query of each variable.
    fn variables(&self) -> Vec<(String, String)> {
        let list = self.0["templating"]["list"].as_array().unwrap().iter();
        let queries = list.filter(|variable| variable["type"] == "query");
        queries
            .map(|v| (v["name"].as_str().unwrap().to_owned(), v["query"]["query"].as_str().unwrap().to_owned()))
            .collect()
    }
}

fn filled(query: &str, vantage: &str, group: &str) -> String {
    let query = query.replace("$__rate_interval", "20s").replace("$vantage", vantage).replace("$group", group);
    let query = query.replace("$job", "echolot").replace("$target", "10.93.2.7");
    assert!(!query.contains('$'), "a variable that nobody fills in: {query}");
    query
}

#[test]
#[ignore = "needs root: make test runs it"]
fn every_query_of_the_dashboard_has_data() {
    let dashboard = Dashboard::read();
    let Some(world) = World::new("dashboard") else { return };
    world.watching(|| {
        let prometheus = world.prometheus();
        // A target is down, a path has changed its end with that, and rates have something to be made of.
        world.sh("ip -n $core route add blackhole 10.93.3.8 table local");
        world.until(&prometheus, "one is down from everywhere", "count(echolot_target_up == 0) == 3");
        world.until(&prometheus, "paths are known", "count(echolot_path_hops > 0) > 60");
        world.until(
            &prometheus,
            "there is loss",
            "count(rate(echolot_probes_settled_total{outcome=\"lost\"}[20s]) > 0) == 3",
        );
        for (name, query) in dashboard.variables() {
            // label_values(METRIC{…}, LABEL)
            let (series, label) =
                query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
            let found = prometheus.found(&format!("count by ({label}) ({})", filled(series, ".*", ".*"))).unwrap();
            let expected = match name.as_str() {
                "job" => 1,
                "vantage" | "group" => 3,
                "target" => TARGETS,
                _ => panic!("{name}: a variable that this test knows nothing of"),
            };
            assert_eq!(found.len(), expected, "{name}: {query}");
        }
        let mut executed = 0;
        for panel in dashboard.panels() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let (title, query) = (&panel["title"], target["expr"].as_str().unwrap());
                // All that there is, some of it, and a host that has no vantage in its scrape's labels.
                for (vantage, group) in [(".*", ".*"), ("fra|nyc", "ams|nyc")] {
                    let mut query = filled(query, vantage, group);
                    // What is shown only when something goes wrong has data where nothing does, but for that.
                    if let Some(all) = query.strip_suffix(" > 0") {
                        query = all.to_owned();
                    }
                    let found = prometheus.found(&query).unwrap_or_else(|told| panic!("{title}: {query}\n{told}"));
                    assert!(!found.is_empty(), "{title}: nothing for {query}");
                    let numbers =
                        found.iter().filter(|one| one["value"][1].as_str().is_some_and(|v| v != "NaN")).count();
                    assert!(numbers > 0, "{title}: no number for {query}");
                    executed += 1;
                }
            }
        }
        println!("{executed} queries, each with data");
        assert!(executed > 50);
        // And right ones: of each site the places that see it, on the map by where it is, and who is down.
        let value = |query: &str| prometheus.query(query).and_then(|value| value.parse::<f64>().ok());
        let of = |title: &str| {
            let panel =
                dashboard.panels().iter().find(|panel| panel["title"] == title).unwrap_or_else(|| panic!("{title}"));
            filled(panel["targets"][0]["expr"].as_str().unwrap(), ".*", ".*")
        };
        let map = prometheus.found(&of("Targets that are up, by site")).unwrap();
        let nyc = map.iter().find(|one| one["metric"]["lat"] == "40.7" && one["metric"]["lon"] == "-74").unwrap();
        assert_eq!((map.len(), &nyc["metric"]["site"]), (3, &"nyc".into()));
        let up: f64 = nyc["value"][1].as_str().unwrap().parse().unwrap();
        assert!((up - 0.875).abs() < 1e-9, "seven of eight: {up}");
        let down = prometheus.found(&of("Who is down")).unwrap();
        assert_eq!(
            (down.len(), &down[0]["metric"]["target"], &down[0]["value"][1]),
            (1, &"10.93.3.8".into(), &"3".into())
        );
        assert_eq!(prometheus.found(&of("Loss from each place to each site")).unwrap().len(), 9);
        assert_eq!(value(&of("Places that cannot measure")), Some(0.0));
        world.sh("ip -n $ams link set probe down");
        world.until(&prometheus, "a place can't measure", &format!("{} == 1", of("Places that cannot measure")));
    });
}

/// What Grafana wants of a dashboard, as far as its documents say; it is in no package here.
#[test]
fn the_dashboard_is_one() {
    let dashboard = Dashboard::read();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    let kinds = ["row", "stat", "timeseries", "table", "heatmap", "geomap", "state-timeline"];
    for panel in dashboard.panels() {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is there twice");
        assert!(kinds.contains(&panel["type"].as_str().unwrap()), "{title}");
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{title}: it lies upon another");
            }
        }
        let is_row = panel["type"] == "row";
        assert_eq!(panel["targets"].as_array().is_none_or(Vec::is_empty), is_row, "{title}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    let names: BTreeSet<_> = dashboard.variables().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, BTreeSet::from(["job", "vantage", "group", "target"].map(String::from)));
    // What it asks for is documented.
    let documented = include_str!("../../../docs/metrics.md");
    let text = dashboard.0.to_string();
    let words =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| word.starts_with("echolot_"));
    for word in words {
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        assert!(documented.contains(&format!("`{family}`")) || documented.contains(&format!("`{word}`")), "{word}");
    }
}
