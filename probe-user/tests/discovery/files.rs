//! Target files, exclusions, and folders that can't be watched.

use super::support::{AtWork, Folder, bounds, file, group, lines, targets, until};
use echolot::{
    discovery::{Bounds, Discovery, ExcludeFile, GroupSources, Settings},
    targets::TargetList,
};
use std::{fs, os::unix::fs::symlink, path::Path, process::Command, time::Duration};

fn of(path: &Path) -> GroupSources {
    GroupSources { files: vec![file(path, Bounds::default())], ..group() }
}

fn list(targets: &[&str]) -> String {
    format!("[{{\"targets\": {targets:?}}}]")
}

#[test]
fn what_becomes_of_a_file_becomes_of_its_targets() {
    let folder = Folder::new();
    folder.write("a.json", list(&["10.0.0.1"]));
    folder.write("b.yml", "- targets: [10.0.1.0/30]\n  labels: {site: fra}\n");
    let at_work = AtWork::of(of(&folder.join("*.*")));
    assert_eq!(at_work.targets().len(), 2);
    assert_eq!(at_work.lines().len(), 1, "{:?}", at_work.lines());
    let state = at_work.state();
    assert_eq!((state.source.as_str(), state.up, state.targets, state.failures), ("*.*", Some(true), 5, 0));
    assert!(state.last_success.unwrap() > 1_600_000_000.0);

    // Renamed into its place.
    folder.replace("a.json", list(&["10.0.0.2"]));
    let took = at_work.until_targets(&["10.0.0.2", "10.0.1.0/30 site=fra"]);
    assert!(took < Duration::from_secs(20), "watched, it does not take until the next reading: {took:?}");
    // Written in its place, a half first.
    folder.write("a.json", "[{\"targets\": [\"10.0.0.3\"");
    let state = at_work.until_up(false);
    assert_eq!((state.failures > 0, state.targets), (true, 5));
    let changes = at_work.changes();
    folder.write("a.json", list(&["10.0.0.3"]));
    at_work.until_targets(&["10.0.0.3", "10.0.1.0/30 site=fra"]);
    assert_eq!(at_work.changes(), changes + 1, "the half was none");
    // `[]` and a deleted file take their targets along.
    folder.write("a.json", "[]");
    at_work.until_targets(&["10.0.1.0/30 site=fra"]);
    fs::remove_file(folder.join("b.yml")).unwrap();
    at_work.until_targets(&[]);
    assert_eq!(at_work.until_up(true).targets, 0);
    // A new one.
    folder.write("c.json", list(&["10.0.0.4"]));
    at_work.until_targets(&["10.0.0.4"]);
    let said = at_work.lines();
    assert!(said.iter().any(|line| line.contains("a.json: ") || line.contains("a.json:1:")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("can be read again: 5 targets")), "{said:?}");
}

/// The configuration is read again, and has another target of its own; nobody waits for lists that were there before.
#[test]
fn by_another_configuration_sources_that_stay_have_what_they_had() {
    let folder = Folder::new();
    folder.write("a.json", list(&["10.0.0.1"]));
    folder.write("b.json", list(&["10.0.0.2"]));
    let before = GroupSources {
        files: ["a.json", "b.json"].map(|name| file(&folder.join(name), Bounds::default())).into(),
        ..group()
    };
    let at_work = AtWork::of(before.clone());
    assert_eq!(at_work.targets().len(), 2);
    // One can't be read by now.
    folder.write("a.json", "[{\"targets\": [\"10.0.0.3\"");
    at_work.until_up(false);
    let own = TargetList::from_arguments(&["10.9.0.1"]).unwrap();
    folder.write("c.json", "{");
    let files = ["c.json", "a.json"].map(|name| file(&folder.join(name), Bounds::default())).into();
    let settings = Settings { groups: vec![GroupSources { targets: own, files, ..before }], ..Settings::default() };
    let after = Discovery::start_after(&at_work.discovery, &settings).unwrap();
    let lists = after.first(Duration::from_secs(60));
    let unknown = after.unknown().map(|state| state.source);
    assert_eq!(unknown.as_deref(), Some("c.json"), "of a new one that can't be read nothing is known");
    let kept = ["10.0.0.1", "10.9.0.1"].map(str::to_owned).into();
    assert_eq!(targets(&lists.of_group(0, &settings.groups[0])), kept);
    // Nor does it lose them when it is found that it can't be read.
    until("a.json was read", || after.states()[1].failures > at_work.state().failures);
    assert_eq!(targets(&after.lists().of_group(0, &settings.groups[0])), kept);
}

#[test]
fn a_file_that_went_takes_its_targets_along_and_its_source_is_down() {
    let folder = Folder::new();
    folder.write("a.json", list(&["10.0.0.1"]));
    let at_work = AtWork::of(of(&folder.join("a.json")));
    at_work.until_targets(&["10.0.0.1"]);
    fs::remove_file(folder.join("a.json")).unwrap();
    at_work.until_targets(&[]);
    let state = at_work.until_up(false);
    assert_eq!(state.targets, 0);
    assert!(at_work.lines()[1].contains("a.json: there is no such file; it has none"), "{:?}", at_work.lines());
    folder.write("a.json", list(&["10.0.0.2"]));
    at_work.until_targets(&["10.0.0.2"]);
}

#[test]
fn what_cannot_be_read_keeps_its_last_good_targets() {
    let too_deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let not_utf8 = b"[{\"targets\": [\"10.0.0.9\"], \"labels\": {\"site\": \"\xff\xfe\"}}]".as_slice();
    for (what, content, expected) in [
        ("half written", b"[{\"targets\": [\"10.0.0.9\"".as_slice(), "EOF while parsing"),
        ("empty", b"", "it is empty; write [] where there are no targets"),
        ("a label that is not UTF-8", not_utf8, "it is not UTF-8 text"),
        ("deep", too_deep.as_bytes(), "a.json:1:"),
        ("a port", b"[{\"targets\": [\"10.0.0.9:80\"]}]", "it has a port"),
        (
            "where nobody is",
            b"[{\"targets\": [\"10.0.0.9\", \"224.0.0.1\"]}]",
            "224.0.0.1 is in 224.0.0.0/4, multicast",
        ),
        (
            "a label of our own",
            b"[{\"targets\": [], \"labels\": {\"group\": \"x\"}}]",
            "`group` is set by echolot itself",
        ),
    ] {
        let folder = Folder::new();
        folder.write("a.json", list(&["10.0.0.1"]));
        let at_work = AtWork::of(of(&folder.join("a.json")));
        folder.replace("a.json", content);
        let state = at_work.until_up(false);
        assert_eq!((state.targets, at_work.changes()), (1, 0), "{what}");
        let said = at_work.lines();
        assert!(
            said.len() == 2 && said[1].contains(expected) && said[1].ends_with("1 target kept"),
            "{what}: {said:?}"
        );
        assert!(said[1].len() < 500, "{what}: {said:?}");
        folder.replace("a.json", list(&["10.0.0.2"]));
        at_work.until_targets(&["10.0.0.2"]);
        assert_eq!(at_work.lines().len(), 3, "{what}: {:?}", at_work.lines());
    }
    // One that can't even be opened as a file.
    let folder = Folder::new();
    folder.write("a.json", list(&["10.0.0.1"]));
    let at_work = AtWork::of(of(&folder.join("a.json")));
    fs::create_dir(folder.join("dir")).unwrap();
    fs::remove_file(folder.join("a.json")).unwrap();
    fs::rename(folder.join("dir"), folder.join("a.json")).unwrap();
    until("a directory is told of", || at_work.lines().iter().any(|line| line.contains("Is a directory")));
}

#[test]
fn as_kubernetes_swaps_a_config_map() {
    let folder = Folder::new();
    for (version, target) in [("..1", "10.0.0.1"), ("..2", "10.0.0.2")] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("a.json"), list(&[target])).unwrap();
    }
    symlink("..1", folder.join("..data")).unwrap();
    symlink("..data/a.json", folder.join("a.json")).unwrap();
    for path in ["*.json", "a.json"] {
        let at_work = AtWork::of(of(&folder.join(path)));
        at_work.until_targets(&["10.0.0.1"]);
        symlink("..2", folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        at_work.until_targets(&["10.0.0.2"]);
        assert_eq!((at_work.changes(), at_work.state().failures), (1, 0), "{path}");
        // The next version is written where nobody looked before.
        fs::create_dir(folder.join("..3")).unwrap();
        fs::write(folder.join("..3/a.json"), list(&["10.0.0.3"])).unwrap();
        symlink("..3", folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        at_work.until_targets(&["10.0.0.3"]);
        // And what a link leads to may be written in its place.
        fs::write(folder.join("..3/a.json"), list(&["10.0.0.4"])).unwrap();
        at_work.until_targets(&["10.0.0.4"]);
        fs::remove_dir_all(folder.join("..3")).unwrap();
        symlink("..1", folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        at_work.until_targets(&["10.0.0.1"]);
    }
}

#[test]
fn folders_come_later_go_and_are_replaced() {
    let folder = Folder::new();
    let at_work = AtWork::of(of(&folder.join("later/on/*.json")));
    let state = at_work.state();
    assert_eq!((state.up, state.targets), (Some(true), 0), "a pattern that fits nothing is right");
    fs::create_dir_all(folder.join("later/on")).unwrap();
    fs::write(folder.join("later/on/a.json"), list(&["10.0.0.1"])).unwrap();
    at_work.until_targets(&["10.0.0.1"]);
    // Another folder of the same name, by two renames.
    fs::create_dir_all(folder.join("next")).unwrap();
    fs::write(folder.join("next/b.json"), list(&["10.0.0.2"])).unwrap();
    fs::rename(folder.join("later/on"), folder.join("before")).unwrap();
    fs::rename(folder.join("next"), folder.join("later/on")).unwrap();
    at_work.until_targets(&["10.0.0.2"]);
    // What changes in the new one is seen, too.
    fs::write(folder.join("later/on/b.json"), list(&["10.0.0.3"])).unwrap();
    at_work.until_targets(&["10.0.0.3"]);
    fs::remove_dir_all(folder.join("later")).unwrap();
    at_work.until_targets(&[]);
    fs::create_dir_all(folder.join("later/on")).unwrap();
    fs::write(folder.join("later/on/c.json"), list(&["10.0.0.4"])).unwrap();
    at_work.until_targets(&["10.0.0.4"]);
}

#[test]
fn duplicates_count_once_and_a_mark_of_byte_order_is_none() {
    let folder = Folder::new();
    let many: Vec<String> = (0..10_000).map(|i| format!("\"10.0.0.{}\"", i % 4)).collect();
    folder.write("a.json", format!("\u{feff}[{{\"targets\": [{}]}}]", many.join(",")));
    folder.write("b.yml", "\u{feff}- targets: [10.0.0.0/30, 10.0.0.7, host.example]\n- targets: [host.example]\n");
    let at_work = AtWork::of(of(&folder.join("*.*")));
    let state = at_work.state();
    assert_eq!((state.up, state.targets, state.failures), (Some(true), 6, 0), "{:?}", at_work.lines());
}

#[test]
fn ports_are_stripped_and_a_shrink_is_refused_where_that_is_said() {
    let folder = Folder::new();
    folder.write("a.json", list(&["10.0.0.1:9100", "10.0.0.9:9100", "[2001:db8::1]:9100"]));
    let sources = GroupSources { files: vec![file(&folder.join("a.json"), bounds(true, 3))], ..group() };
    let at_work = AtWork::of(sources);
    at_work.until_targets(&["10.0.0.1", "10.0.0.9", "2001:db8::1"]);
    folder.replace("a.json", list(&["10.0.0.1", "10.0.0.2"]));
    let state = at_work.until_up(false);
    assert_eq!((state.targets, at_work.changes()), (3, 0));
    assert!(at_work.lines()[1].contains("it names 2 targets, and min_targets is 3; 3 targets kept"));
    folder.replace("a.json", list(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    at_work.until_targets(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
}

#[test]
fn many_changes_are_handed_on_together_and_a_refused_one_comes_again() {
    let folder = Folder::new();
    folder.write("a.json", "[]");
    let own = TargetList::from_arguments(&["10.9.0.1"]).unwrap();
    let at_work = AtWork::of(GroupSources { targets: own, ..of(&folder.join("*.json")) });
    for i in 0..100 {
        folder.replace(&format!("{i}.json"), list(&[&format!("10.0.0.{i}")]));
    }
    until("all hundred", || at_work.targets().len() == 101);
    assert!(at_work.changes() < 50, "{} changes for 100 files", at_work.changes());
    *at_work.refuse.lock().unwrap() = Some("limits.rate allows no more".into());
    folder.write("a.json", list(&["10.1.0.1"]));
    until("a refusal is told", || {
        lines("a change of targets was refused").iter().any(|line| line.contains("limits.rate allows no more"))
    });
    let (refused, version) = (at_work.changes(), at_work.lists().version);
    *at_work.refuse.lock().unwrap() = None;
    folder.write("b.json", list(&["10.1.0.2"]));
    until("both", || at_work.targets().len() == 103);
    assert!(at_work.changes() > refused && at_work.lists().version > version);
}

#[test]
fn exclusions_follow_their_files_and_stay_when_those_go() {
    let folder = Folder::new();
    folder.write("never.txt", "10.0.0.0/30 # the uplink\n");
    let exclude = vec![ExcludeFile { path: folder.join("*.txt"), name: format!("{}/*.txt", folder.display()) }];
    let own = TargetList::from_arguments(&["10.0.0.0/24"]).unwrap();
    let groups = vec![GroupSources { targets: own, ..group() }];
    let at_work = AtWork::with(Settings { groups, exclude, ..Settings::default() });
    let shown = || at_work.lists().exclude.ranges().map(|range| range.to_string()).collect::<Vec<_>>().join(" ");
    let said = || lines(&format!("exclusions of {}/", folder.display()));
    assert_eq!(shown(), "10.0.0.0/30");
    let state = at_work.state();
    assert_eq!((state.group.as_str(), state.targets, state.up), ("", 4, Some(true)));
    folder.replace("never.txt", "10.0.0.0/29\n");
    until("excluded at once", || shown() == "10.0.0.0/29");
    // Broken, or gone: nobody said that these may be probed.
    folder.replace("never.txt", "host.example\n");
    at_work.until_up(false);
    fs::remove_file(folder.join("never.txt")).unwrap();
    until("it is told of", || at_work.state().failures >= 2);
    assert_eq!(shown(), "10.0.0.0/29");
    assert!(
        said()
            .iter()
            .any(|line| line.contains("`host.example` is a name") && line.contains("8 excluded addresses kept"))
    );
    folder.replace("never.txt", "# nothing\n");
    until("an empty one excludes nothing", || shown().is_empty());
    assert!(said().last().unwrap().contains("can be read again: 0 excluded addresses"), "{:?}", said());
}

/// Runs itself in a user namespace that may not watch anything.
#[test]
fn where_folders_cannot_be_watched_files_are_read_again() {
    const INSIDE: &str = "ECHOLOT_TEST_UNWATCHED";
    if std::env::var_os(INSIDE).is_none() {
        let test = "files::where_folders_cannot_be_watched_files_are_read_again";
        let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" --exact \"$1\" --nocapture";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script]);
        let output = command.arg(std::env::current_exe().unwrap()).arg(test).env(INSIDE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let folder = Folder::new();
    folder.write("a.json", list(&["10.0.0.1"]));
    let settings = Settings {
        groups: vec![of(&folder.join("*.json"))],
        unwatched: Duration::from_millis(200),
        ..Settings::default()
    };
    let at_work = AtWork::with(settings);
    at_work.until_targets(&["10.0.0.1"]);
    until("it is said", || lines("are not watched").len() == 1);
    folder.replace("a.json", list(&["10.0.0.2"]));
    at_work.until_targets(&["10.0.0.2"]);
    assert_eq!(lines("are not watched").len(), 1, "once");
    // As soon as there are some to be had, they are.
    fs::write("/proc/sys/user/max_inotify_instances", "100").unwrap();
    until("it is said", || lines("are watched again").len() == 1);
    folder.replace("a.json", list(&["10.0.0.3"]));
    at_work.until_targets(&["10.0.0.3"]);
}
