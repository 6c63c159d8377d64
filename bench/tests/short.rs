//! Each command in its short form: it runs to its end, every row has its figures, and nothing stays behind. What the
//! figures are is not judged: a short round measures nothing.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

const BENCH: &str = env!("CARGO_BIN_EXE_bench");

/// The program that is measured, beside this one; built if nobody has.
fn echolot() -> PathBuf {
    let path = Path::new(BENCH).with_file_name("echolot");
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "-p", "echolot", "--bin", "echolot", "--manifest-path"]);
        let built = build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).status().unwrap();
        assert!(built.success() && path.exists(), "{} can't be built", path.display());
    }
    path
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(BENCH).args(arguments).output().unwrap()
}

/// Runs a command in its short form. None: no root, skipped.
fn short(command: &str, rows: usize, columns: &[&str]) -> Option<serde_json::Value> {
    if !xtask::command::is_root() {
        println!("skipped: bench {command} makes network namespaces, which needs root");
        return None;
    }
    let mut words: Vec<&str> = command.split(' ').collect();
    let echolot = echolot();
    words.extend(["--short", "--json", "--binary", echolot.to_str().unwrap()]);
    let output = bench(&words);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bench {command}: {}: {told}", output.status);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["bench"].as_str(), command.split(' ').next_back());
    assert!(report["machine"].as_str().unwrap().contains("Linux"), "{report}");
    let all = report["rows"].as_array().unwrap();
    assert_eq!(all.len(), rows, "{report:#}");
    for row in all {
        for column in columns {
            let median = row["figures"][column]["median"].as_f64();
            assert!(median.is_some_and(|median| median > 0.0), "{column} of {row:#}");
        }
    }
    Some(report)
}

#[test]
fn peers() {
    let Some(report) = short("peers", 18, &["rate", "found", "busy", "seconds"]) else { return };
    // A reflector that loses nothing: what a sweep finds short of everything is echolot's own doing.
    let found = &report["rows"][0]["figures"]["found"]["median"];
    assert!(found.as_f64().unwrap() > 50.0, "{report:#}");
}

#[test]
fn transmit() {
    short("transmit", 18, &["rate", "ns", "busy"]);
}

#[test]
fn kinds() {
    let Some(report) = short("kinds", 36, &["rate", "answered", "busy"]) else { return };
    // The reflector loses nothing, whatever is asked; it was half of all SYNs once.
    for row in report["rows"].as_array().unwrap() {
        assert!(row["figures"]["answered"]["median"].as_f64().unwrap() > 0.9, "{row:#}");
    }
}

/// A busy machine may take longer than the timeout of a probe, so how many runs are whole is not judged.
#[test]
fn paths() {
    let Some(report) = short("paths", 11, &[]) else { return };
    for row in report["rows"].as_array().unwrap() {
        assert!(row["figures"]["whole"]["median"].is_f64(), "{row:#}");
    }
}

#[test]
fn scaling() {
    short("scaling", 2, &["ns", "sent", "answered", "resident"]);
}

#[test]
fn pending() {
    let Some(report) = short("pending", 10, &["sent", "live", "p50", "p99", "busy"]) else { return };
    let figure = |row: usize, column: &str| report["rows"][row]["figures"][column]["median"].as_f64();
    // The silent ones are pending, and nobody else (all of them, unless a machine that stood still sends late: the last SYN has
    // ended then before the next is sent); and the live ones are all heard.
    for (row, most) in [(0, 0.0), (1, 100.0), (2, 1_000.0), (4, 100.0)] {
        let pending = figure(row, "pending").unwrap();
        assert!(pending <= 1.1 * most && (pending > 0.0 || most == 0.0), "{pending} pending of {most}: {report:#}");
    }
    for row in 0..3 {
        assert_eq!(figure(row, "missed"), Some(0.0), "{report:#}");
    }
    // No probe is lost before its time, which is an error there; how long after it depends on the machine.
    assert!(figure(5, "witnesses").unwrap() > 300.0 && figure(5, "late").unwrap() > 0.0, "{report:#}");
    // Of the programs that connect a loop that waits may take less than a tick.
    for row in 0..6 {
        assert!(figure(row, "ns").unwrap() > 0.0, "{report:#}");
    }
    for row in 6..10 {
        assert!(figure(row, "gap").unwrap() > 0.0, "{report:#}");
    }
    // The loop waits for the silent ones, and everybody with it; tasks don't.
    assert!(figure(7, "gap").unwrap() >= 3_000.0, "{report:#}");
    assert!(figure(9, "pending").unwrap() >= 90.0, "{report:#}");
}

#[test]
fn memory() {
    let Some(report) = short("memory", 2, &["seconds", "resident", "peak", "estimate"]) else { return };
    // Bytes are the same on a busy machine: what a target takes (and, of so few, its room in the queue of changes), and that
    // `check` says so beforehand.
    let figure = |row: usize, column: &str| report["rows"][row]["figures"][column]["median"].as_f64().unwrap();
    let bytes = figure(1, "bytes");
    assert!((50.0..160.0).contains(&bytes), "{bytes} bytes a target: {report:#}");
    for row in 0..2 {
        let (resident, estimate) = (figure(row, "resident"), figure(row, "estimate"));
        assert!((0.6..1.6).contains(&(estimate / resident)), "{estimate} MiB said, {resident} MiB taken");
    }
}

/// Every change that happened has its event, or the command fails. On a busy machine an answer comes too late now and then, which is a
/// change too: those are told apart.
#[test]
fn changes() {
    let Some(report) = short("changes", 2, &["rate", "p50", "lag", "busy"]) else { return };
    let figure = |row: usize, column: &str| report["rows"][row]["figures"][column]["median"].as_f64();
    for column in ["happened", "alerts", "requests", "scrape"] {
        assert!(figure(1, column).is_some_and(|figure| figure > 0.0), "{column}: {report:#}");
        assert_eq!(figure(0, column), None, "{column}: {report:#}");
    }
    // 500 a second for 8 s.
    assert!((3_000.0..6_000.0).contains(&figure(1, "happened").unwrap()), "{report:#}");
    assert!(
        figure(1, "untold").unwrap().max(figure(1, "torn").unwrap()) <= figure(1, "dropped").unwrap(),
        "{report:#}"
    );
}

#[test]
fn reload() {
    let Some(report) = short("reload", 2, &["rate", "p50", "lag", "resident", "after", "busy"]) else { return };
    let figure = |column: &str| report["rows"][1]["figures"][column]["median"].as_f64().unwrap();
    // Every 2 s for 6 s; that nobody is missed on a busy machine is not asked for.
    assert!(figure("reloads") >= 2.0 && figure("took") > 0.0 && figure("most") >= figure("took"), "{report:#}");
    assert!(figure("scrape") > 0.0, "{report:#}");
}

#[test]
fn ladder() {
    short("ladder", 6, &["kept", "answered", "p50", "p99"]);
}

#[test]
fn truth_beside() {
    let Some(report) = short("truth beside", 6, &[]) else { return };
    for (row, columns) in [
        (0..3, &["path50", "path99", "rtt50", "rtt99", "hold50", "probes"][..]),
        (3..5, &["rtt50", "rtt99", "hold50", "probes"]),
        (5..6, &["path50", "path99"]),
    ] {
        for row in row {
            for column in columns {
                let median = report["rows"][row]["figures"][column]["median"].as_f64();
                assert!(median.is_some_and(|median| median > 0.0), "{column} of row {row}: {report:#}");
            }
        }
    }
    for row in 0..3 {
        assert_eq!(report["rows"][row]["figures"]["mismatches"]["median"], 0.0, "{report:#}");
    }
    assert!(report["rows"][2]["figures"]["other"]["median"].as_f64().unwrap() > 0.0, "{report:#}");
}

#[test]
fn micro_and_its_plot() {
    let output = bench(&["micro", "--short", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = std::env::temp_dir().join(format!("echolot-bench-plot-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let json = folder.join("micro.json");
    std::fs::write(&json, &output.stdout).unwrap();
    let plotted = bench(&["plot", json.to_str().unwrap()]);
    assert!(plotted.status.success(), "{}", String::from_utf8_lossy(&plotted.stderr));
    let svg = std::fs::read_to_string(folder.join("micro.svg")).unwrap();
    let table = std::fs::read_to_string(folder.join("micro.md")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    for operation in ["wire: write a probe", "ledger: enter, answer, take out", "schedule: a due time"] {
        assert!(svg.contains(operation) && table.contains(operation), "{operation}");
    }
    assert!(svg.trim_end().ends_with("</svg>"));
}

#[test]
fn what_is_no_table_is_refused_by_name() {
    let output = bench(&["plot", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Cargo.toml: no table"));
}
