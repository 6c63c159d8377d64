//! What the documents tell people to copy: rules that Prometheus takes, over metrics that there are; configurations that
//! load; a unit with the privileges that the doctor asks for.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use echolot::{alert::Name, config};
use std::{collections::BTreeSet, env, fs, path::PathBuf, process::Command};

fn document(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(document(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names of our metrics in a text, without what a histogram's series have behind them.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with("echolot_"));
    names.map(|name| name.strip_suffix("_bucket").or_else(|| name.strip_suffix("_count")).unwrap_or(name)).collect()
}

/// Runs promtool in the examples' folder; what it says where it isn't content.
fn promtool(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("promtool").args(arguments).current_dir(document("docs/examples")).output();
    let output = output.expect("promtool: `cargo xtask setup --test` installs it");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(said.into_owned()) }
}

#[test]
fn the_alert_rules_are_rules() {
    promtool(&["check", "rules", "alerts.yml", "vantages.yml"]).unwrap();
}

/// Outages played: of a target, of the network near a place, of a place.
#[test]
fn rules_tell_a_target_from_the_network_near_a_place() {
    promtool(&["test", "rules", "vantages_test.yml"]).unwrap();
    // They would notice: by rules that take one place's word for it.
    let folder = env::temp_dir().join(format!("echolot-vantages-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let wrong = text("docs/examples/vantages.yml")
        .replace("target:echolot_vantages_down:count >= 2", "target:echolot_vantages_down:count >= 1");
    fs::write(folder.join("vantages.yml"), wrong).unwrap();
    fs::copy(document("docs/examples/vantages_test.yml"), folder.join("test.yml")).unwrap();
    let refused = promtool(&["test", "rules", folder.join("test.yml").to_str().unwrap()]);
    fs::remove_dir_all(&folder).unwrap();
    assert!(refused.is_err_and(|said| said.contains("EcholotTargetDownFromVantages")));
}

/// Runs amtool in the examples' folder; what it says.
fn amtool(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("amtool").args(arguments).current_dir(document("docs/examples")).output();
    let output = output.expect("amtool: `cargo xtask setup --test` installs it");
    let said = (String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr)).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// What Alertmanager is told of pushed alerts is taken by it, leads each where it belongs, and speaks of alerts that there are.
#[test]
fn pushed_alerts_are_routed() {
    const FILE: &str = "alertmanager.yml";
    let said = amtool(&["check-config", FILE]).unwrap();
    assert!(said.contains("SUCCESS"), "{said}");
    for name in Name::ALL.map(Name::text) {
        let expected = if name == "EcholotAlive" { "dead-mans-switch" } else { "people" };
        let labels = format!("alertname={name}");
        let test = ["config", "routes", "test", "--config.file", FILE, "--verify.receivers", expected, &labels];
        amtool(&test).unwrap_or_else(|said| panic!("{name}: {said}"));
    }
    let config = text("docs/examples/alertmanager.yml");
    let named: BTreeSet<&str> = config.split('"').filter(|word| word.starts_with("Echolot")).collect();
    let there: BTreeSet<&str> = Name::ALL.map(Name::text).into();
    assert!(named.len() == 3 && named.is_subset(&there), "{named:?}");
    let documented = text("docs/operating.md");
    there.iter().for_each(|name| assert!(documented.contains(&format!("| `{name}` |")), "{name}"));
}

#[test]
fn alert_rules_ask_for_metrics_that_there_are() {
    let documented = text("docs/metrics.md");
    for (rules, least) in [("docs/examples/alerts.yml", 8), ("docs/examples/vantages.yml", 3)] {
        let rules = text(rules);
        // What rules record has colons in its name.
        let plain: String =
            rules.split_whitespace().filter(|word| !word.contains(":echolot_")).collect::<Vec<_>>().join(" ");
        let (asked, there) = (metrics(&plain), metrics(&documented));
        assert!(asked.len() >= least, "{asked:?}");
        assert_eq!(asked.difference(&there).collect::<Vec<_>>(), Vec::<&&str>::new());
    }
}

#[test]
fn configurations_in_the_documents_load() {
    let mut tried = 0;
    for name in ["README.md", "docs/configuration.md"] {
        let text = text(name);
        for block in text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
            if !block.contains("groups:") {
                continue;
            }
            let file = env::temp_dir().join(format!("echolot-example-{}-{tried}.yml", std::process::id()));
            fs::write(&file, block).unwrap();
            let loaded = config::load(&file);
            fs::remove_file(&file).unwrap();
            loaded.unwrap_or_else(|error| panic!("{name}: {error}\n{block}"));
            tried += 1;
        }
    }
    assert_eq!(tried, 2);
    config::load(&document("docs/examples/echolot.yml")).unwrap().plan().unwrap();
}

#[test]
fn the_unit_has_the_capabilities_that_are_needed_and_no_more() {
    let unit = text("docs/examples/echolot.service");
    let needed = BTreeSet::from(["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "CAP_PERFMON"]);
    for setting in ["AmbientCapabilities=", "CapabilityBoundingSet="] {
        let line = unit.lines().find_map(|line| line.strip_prefix(setting)).unwrap();
        assert_eq!(line.split_whitespace().collect::<BTreeSet<_>>(), needed, "{setting}");
    }
    assert!(unit.lines().any(|line| line == "LimitMEMLOCK=infinity"));
}

/// As hardened as it can be and still run: what systemd reckons, and the addresses that sockets of ours have.
#[test]
fn the_unit_is_hardened() {
    let unit = document("docs/examples/echolot.service");
    let mut analyze = Command::new("systemd-analyze");
    let analyze = analyze.args(["security", "--offline=yes", "--threshold=30", "--no-pager"]).arg(&unit).output();
    let analyze = analyze.expect("systemd-analyze: `cargo xtask setup --test` installs it");
    assert!(analyze.status.success(), "{}", String::from_utf8_lossy(&analyze.stdout));
    let unit = text("docs/examples/echolot.service");
    let families = unit.lines().find_map(|line| line.strip_prefix("RestrictAddressFamilies=")).unwrap();
    let expected = ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_UNIX", "AF_XDP"];
    assert_eq!(
        families.split_whitespace().collect::<Vec<_>>(),
        expected,
        "neighbours are asked through packet sockets"
    );
}

#[test]
fn links_lead_somewhere() {
    let mut followed = 0;
    let tasks =
        fs::read_dir(document("docs/tasks")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let tasks = tasks.map(|name| format!("docs/tasks/{name}"));
    let pages = ["README.md", "docs/operating.md", "docs/configuration.md", "docs/metrics.md", "docs/design.md"];
    for name in pages.map(String::from).into_iter().chain(tasks) {
        let name = name.as_str();
        let text = text(name);
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let (file, _) = link.split_once('#').unwrap_or((link, ""));
            let from = document(name).parent().unwrap().to_owned();
            assert!(link.starts_with("http") || from.join(file).exists(), "{name}: {link}");
            followed += 1;
        }
    }
    assert!(followed > 10);
}
