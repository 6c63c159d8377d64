//! What the documents tell people to copy: rules that Prometheus takes, over metrics that there are; configurations that
//! load; a unit with the privileges that the doctor asks for.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use echolot::config;
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

#[test]
fn the_alert_rules_are_rules() {
    let rules = document("docs/examples/alerts.yml");
    let promtool = Command::new("promtool").args(["check", "rules"]).arg(&rules).output();
    let checked = promtool.expect("promtool: `cargo xtask setup --test` installs it");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn alert_rules_ask_for_metrics_that_there_are() {
    let (rules, documented) = (text("docs/examples/alerts.yml"), text("docs/metrics.md"));
    let (asked, there) = (metrics(&rules), metrics(&documented));
    assert!(asked.len() >= 8, "{asked:?}");
    assert_eq!(asked.difference(&there).collect::<Vec<_>>(), Vec::<&&str>::new());
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

#[test]
fn links_lead_somewhere() {
    let mut followed = 0;
    for name in ["README.md", "docs/operating.md", "docs/configuration.md", "docs/metrics.md", "docs/design.md"] {
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
