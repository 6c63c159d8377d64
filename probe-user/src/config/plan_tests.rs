//! Configurations with their target files.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::{
    super::{load, report},
    *,
};
use crate::{
    nic,
    targets::testing::{TempDir, tempdir},
};
use std::{fs, path::Path};

/// A folder with `echolot.yml` and other files.
fn folder(config: &str, files: &[(&str, &str)]) -> TempDir {
    let dir = tempdir();
    fs::write(dir.join("echolot.yml"), config).unwrap();
    for (name, content) in files {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        fs::write(dir.join(name), content).unwrap();
    }
    dir
}

fn plan(dir: &Path) -> Result<Plan, String> {
    load(&dir.join("echolot.yml")).and_then(|config| config.plan()).map_err(|error| error.to_string())
}

fn error(config: &str, files: &[(&str, &str)]) -> String {
    plan(&folder(config, files)).unwrap_err()
}

#[test]
fn target_files_beside_the_configuration_are_read() {
    let config = "
groups:
  - name: edge
    targets: [10.0.0.1]
    target_files: [targets/*.json, more.yml]
    labels: {site: none}
    sum_by: [site]
exclude: [10.0.1.255]
";
    let files = [
        ("targets/a.json", r#"[{"targets": ["10.0.1.0/24"], "labels": {"site": "fra"}}]"#),
        ("targets/b.json", r#"[{"targets": ["10.0.2.1", "10.0.0.1"], "labels": {"site": "muc"}}]"#),
        ("targets/.hidden.json", "not read"),
        ("targets/other.txt", "not read"),
        ("more.yml", "- targets: [host.example]\n"),
    ];
    let plan = plan(&folder(config, &files)).unwrap();
    assert_eq!((plan.targets.len(), plan.names.len()), (1 + 255 + 1 + 1, 1));
    let values: Vec<&str> = plan.sums.iter().map(|sum| sum.values[0].as_str()).collect();
    assert_eq!(values, ["none", "fra", "muc"]);
}

#[test]
fn errors_of_target_files_name_both_places() {
    let config = "groups:\n  - name: a\n    target_files: [x.json]\n";
    let text = error(config, &[("x.json", "[{\"targets\": [\"10.0.0.1:80\"]}]")]);
    assert!(text.contains("echolot.yml:3:20: groups[0].target_files[0]: "), "{text}");
    assert!(text.contains("x.json:1:27: `10.0.0.1:80` is not a target: it has a port"), "{text}");
    let text = error(config, &[]);
    assert!(text.contains("x.json: cannot be read: No such file"), "{text}");
    let text = error("groups: [{name: a, target_files: [no/*.json]}]", &[]);
    assert!(text.contains("no/*.json: cannot be searched: No such file"), "{text}");
}

#[test]
fn what_files_exclude_is_not_probed_and_one_that_is_missing_is_an_error() {
    let config = "groups: [{name: a, targets: [10.0.0.0/24]}]\nexclude: [10.0.0.1]\nexclude_files: ['*.txt', never]\n";
    let plan = plan(&folder(config, &[("a.txt", "10.0.0.128/25\n"), ("b.txt", "10.0.0.2-3 # two\n"), ("never", "")]));
    assert_eq!(plan.unwrap().targets.len(), 128 - 3);
    let text = error(config, &[("never", "10.0.0.1\nx.example\n")]);
    assert!(
        text.contains("echolot.yml:3:26: exclude_files[1]: ") && text.contains("never:2: `x.example` is a name"),
        "{text}"
    );
    let text = error(config, &[]);
    assert!(text.contains("exclude_files[1]: ") && text.contains("never: cannot be read: No such file"), "{text}");
}

#[test]
fn nobody_probes_where_nobody_is_unless_that_is_allowed() {
    let config = "groups:\n  - name: a\n    targets: [10.0.0.1, 224.0.0.0/30]\n";
    let text = error(config, &[]);
    let expected = "echolot.yml:3:25: groups[0].targets[1]: group `a`: 224.0.0.0/30 is in 224.0.0.0/4, multicast (RFC 5771): leave it out, \
                    or give --allow-reserved";
    assert!(text.contains(expected), "{text}");
    let dir = folder(config, &[]);
    let mut config = load(&dir.join("echolot.yml")).unwrap();
    config.allow_reserved = true;
    assert_eq!(config.plan().unwrap().targets.len(), 5);
    assert!(!config.never(&config.exclude).contains("224.0.0.1".parse().unwrap()));
    config.allow_reserved = false;
    assert!(config.never(&config.exclude).contains("224.0.0.1".parse().unwrap()));
}

#[test]
fn blocks_of_addresses_get_no_more_than_their_limit() {
    let config = |limit| {
        format!(
            "groups: [{{name: a, targets: [10.0.0.0/24], interval: 10s}}]\nlimits: {{per_prefix: {{24: {limit}}}}}\n"
        )
    };
    assert!(plan(&folder(&config(26), &[])).is_ok());
    let text = error(&config(25), &[]);
    let expected = "echolot.yml:2:22: limits.per_prefix: 10.0.0.0/24 would get 26 probes within a second, and limits.per_prefix allows 25";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_group_may_have_its_targets_from_elsewhere_alone() {
    let config = "groups: [{name: a, http_sd: [{url: 'http://127.0.0.1:9/'}], sum_by: [site]}]";
    assert_eq!(plan(&folder(config, &[])).unwrap().targets.len(), 0);
}

#[test]
fn a_label_to_sum_by_may_come_from_a_file() {
    let config = "groups: [{name: a, targets: [10.0.0.1], target_files: ['*.json'], sum_by: [site]}]";
    let text = error(config, &[("x.json", r#"[{"targets": ["10.0.0.2"], "labels": {"sites": "fra"}}]"#)]);
    assert!(
        text.contains(":1:75: groups[0].sum_by: no target of the group has the label `site`; did you mean `sites`?"),
        "{text}"
    );
    // While no file has a target, the label may come with one.
    assert_eq!(plan(&folder(config, &[])).unwrap().targets.len(), 1);
    assert_eq!(plan(&folder(config, &[("x.json", "[]")])).unwrap().targets.len(), 1);
}

#[test]
fn the_rate_is_held_against_its_limit() {
    let config = |interval, limits| {
        format!(
            "groups:\n  - {{name: big, targets: [10.0.0.0/17], interval: {interval}}}\n  - {{name: small, targets: [10.1.0.0/16]}}\n{limits}\n"
        )
    };
    let text = error(&config("1s", "limits: {rate: 98000}"), &[]);
    let expected = ":4:16: limits.rate: the groups need 98304 probes a second, limits.rate allows 98000: raise limits.rate, \
                    lengthen intervals or drop targets; most is needed by `small` 65536, `big` 32768";
    assert!(text.contains(expected), "{text}");
    assert!(plan(&folder(&config("1s", "limits: {rate: 98304}"), &[])).is_ok());
    let text = error(&config("500ms", ""), &[]);
    assert!(
        text.contains(":2:3: groups: the groups need 131072 probes a second, without limits.rate the limit is 100000"),
        "{text}"
    );
}

#[test]
fn a_cidr_too_large_is_found_in_the_file() {
    let text = error("groups:\n  - {name: a, targets: [10.0.0.1, 2001:db8::/95]}\n", &[]);
    assert!(text.contains("echolot.yml:2:35: groups[0].targets[1]: group `a`: 8589934593 targets"), "{text}");
    let text = error("groups: [{name: a, target_files: [x.yml]}]\n", &[("x.yml", "- targets: [2001:db8::/95]")]);
    assert!(text.contains("echolot.yml:1:17: groups[0]: group `a`:") && text.contains("2001:db8::/95"), "{text}");
}

#[test]
fn no_targets_at_all_is_an_error_and_an_empty_group_a_warning() {
    // `run` waits for files.
    let dir = folder("groups: [{name: a, target_files: ['*.yml.yml']}]\n", &[]);
    let config = load(&dir.join("echolot.yml")).unwrap();
    let warnings = report(&config, &config.plan().unwrap()).warnings;
    assert_eq!(warnings, ["group `a` has no targets: its files hold none, or all are excluded"]);
    let text = error("groups: [{name: a, targets: [10.0.0.1]}]\nexclude: [10.0.0.0/8]\n", &[]);
    assert!(text.contains("all that were named are excluded"), "{text}");
    let dir = folder("groups: [{name: a, targets: [10.0.0.1]}, {name: b, target_files: ['*.json']}]\n", &[]);
    let config = load(&dir.join("echolot.yml")).unwrap();
    let report = report(&config, &config.plan().unwrap());
    assert_eq!(report.warnings, ["group `b` has no targets: its files hold none, or all are excluded"]);
}

#[test]
fn a_seed_in_the_file_sets_the_order() {
    let order = |seed| {
        let dir = folder(&format!("seed: {seed}\ngroups: [{{name: a, targets: [10.0.0.0/24]}}]\n"), &[]);
        plan(&dir).unwrap().targets.iter().map(|t| t.destination).collect::<Vec<_>>()
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}

#[test]
fn unreadable_configurations_are_named() {
    let dir = tempdir();
    let file = dir.join("echolot.yml");
    assert!(load(&file).unwrap_err().to_string().contains("echolot.yml: cannot be read: No such file"));
    assert!(load(&dir).unwrap_err().to_string().contains("cannot be read: Is a directory"));
    fs::write(&file, b"a: b\n\xff\xfe").unwrap();
    assert!(load(&file).unwrap_err().to_string().contains("line 2 is not UTF-8"));
}

#[test]
fn paths_are_found_from_one_source_and_their_probes_are_reckoned_with() {
    let with = |sources: &str, path: &str| {
        let text =
            format!("{sources}limits: {{rate: 100}}\ngroups: [{{name: a, targets: [10.0.0.1, 10.0.0.2]{path}}}]\n");
        let dir = folder(&text, &[]);
        load(&dir.join("echolot.yml")).unwrap().plan().map(|plan| plan.needed_rate())
    };
    assert_eq!(with("", "").unwrap(), 2.0);
    assert_eq!(with("", ", path: {interval: 1s}").unwrap(), 64.0, "and 31 probes each");
    let error = with("", ", path: {interval: 1s, flows: 2}").unwrap_err().to_string();
    assert!(error.contains("need 184 probes a second"), "{error}");
    let turns = "source: [10.63.0.1, 10.63.0.2]\n";
    assert!(with(turns, "").is_ok());
    let error = with(turns, ", path: {}").unwrap_err().to_string();
    assert!(error.contains("groups[0].path: paths are found from one source"), "{error}");
}

#[test]
fn each_group_with_tcp_probes_has_a_source_port_of_its_own() {
    let config = |source_port| {
        format!(
            "source_port: {source_port}\ngroups:\n  - {{name: a, targets: [10.0.0.1], probe: tcp:80}}\n  - {{name: b, targets: [10.0.0.1]}}\n  \
             - {{name: c, targets: [10.0.0.1], probe: tcp:80}}\n"
        )
    };
    let plan = plan(&folder(&config(61_000), &[])).unwrap();
    let flows: Vec<_> = plan.groups.iter().map(|group| group.shape.flow).collect();
    assert_eq!((plan.ports(), flows), (2, vec![0, 0, 1]));
    assert_eq!(plan.probe(), "tcp:80,icmp");
    let text = error(&config(65_534), &[]);
    let expected =
        ":1:14: source_port: source ports: 2 needed for TCP and UDP probes, and 65534 is too late to begin with";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_report_says_what_tcp_probes_take() {
    let report_of = |groups: &str| {
        let dir = folder(&format!("source_port: 61000\ngroups: [{groups}]\n"), &[]);
        let config = load(&dir.join("echolot.yml")).unwrap();
        report(&config, &config.plan().unwrap())
    };
    let tcp = report_of(
        "{name: web, targets: [10.0.0.0/24], probe: tcp:443, interval: 100ms}, {name: b, targets: [10.0.0.1]}",
    );
    let text = tcp.to_string();
    let expected = "group web: 256 targets, a tcp:443 probe every 100ms, timeout 3s, window 64, 2560/s, 1 row of sums, 123.8 KiB, \
                    up to 49 series\n";
    assert!(text.contains(expected) && text.contains("\nsource ports for TCP and UDP probes: 1\n"), "{text}");
    assert_eq!(tcp.groups[0].memory_bytes, 256 * (100 + 6 * 64 + 11));
    assert_eq!((&*tcp.groups[0].probe, &*tcp.groups[1].probe, tcp.source_ports), ("tcp:443", "icmp", 1));
    assert!(tcp.warnings.is_empty());
    let echo = report_of("{name: b, targets: [10.0.0.1]}");
    assert_eq!(echo.warnings, ["source_port is for TCP and UDP probes, and no group has such"]);
}

#[test]
fn a_report_says_what_it_comes_to() {
    let config = "
groups:
  - {name: edge, targets: [10.0.0.0/24, host.example], interval: 10s, timeout: 2s, labels: {s: x}, sum_by: [s], per_target: all}
  - {name: core, targets: [10.1.0.1], interval: 10ms, timeout: 60s, size: 56}
exclude: [10.0.0.255]
";
    let dir = folder(config, &[]);
    let config = load(&dir.join("echolot.yml")).unwrap();
    let mut report = report(&config, &config.plan().unwrap());
    report.file = "echolot.yml".into();
    report.memory_available_bytes = Some(1 << 30);
    assert_eq!(
        report.to_string(),
        "group edge: 256 targets (1 by name), a probe of 18 bytes every 10s, timeout 2s, window 4, 26/s, 1 row of sums, \
         25.0 KiB, series per target: all, up to 2609 series\n\
         group core: 1 target, a probe of 56 bytes every 10ms, timeout 1m, window 8192, 100/s, 1 row of sums, 2.1 KiB, up to 49 series\n\
         excluded addresses: 1\n\
         echolot.yml: fine: 257 targets, 126 probes a second of at most 100000, about 19.0 MiB of memory (1.0 GiB available)"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["groups"][1]["window"], 8192);
    assert_eq!(json["groups"][0]["interval_seconds"], 10.0);
    assert_eq!(json["memory_bytes"], 256 * 100 + 100 + 8192 / 4 + (16 << 20) + nic::buffers(126, 1));
    assert_eq!(json["rate"], 125.6);
}

/// The examples that people copy work as they stand, and what the docs say is what is read.
#[test]
fn the_documented_examples_are_right() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let text = fs::read_to_string(docs.join("configuration.md")).unwrap();
    let blocks: Vec<&str> = text.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    let files = [("targets/a.json", r#"[{"targets": ["10.0.0.1"], "labels": {"site": "fra"}}]"#)];
    for block in blocks.iter().filter(|block| block.contains("groups:")) {
        plan(&folder(block, &files)).unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
    for file in fs::read_dir(docs.join("examples")).unwrap() {
        let file = file.unwrap().path();
        // The other YAML files there are Prometheus' and Alertmanager's.
        let of_prometheus = ["alerts.yml", "alertmanager.yml", "vantages.yml", "vantages_test.yml"]
            .iter()
            .any(|name| file.ends_with(name));
        if file.extension().is_some_and(|extension| extension == "yml") && !of_prometheus {
            load(&file).and_then(|config| config.plan()).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    let keys: BTreeSet<&str> = super::super::keys::HOMES.iter().flat_map(|(keys, _)| *keys).copied().collect();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(key, _)| key);
    let documented: BTreeSet<&str> =
        rows.filter(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')).collect();
    let only_there: Vec<_> = documented.difference(&keys).collect();
    assert!(only_there.is_empty(), "documented, and not read: {only_there:?}");
    let not_there: Vec<_> = keys.difference(&documented).collect();
    assert!(not_there.is_empty(), "not documented: {not_there:?}");
}
