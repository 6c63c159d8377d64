#![expect(clippy::unwrap_used, reason = "a test may panic")]
use super::*;
use crate::alert::{Annotations, Labels, Name};
use std::collections::BTreeMap;

const LONG: Duration = Duration::from_secs(60);

fn folder(test: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("echolot-alerts-{test}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn alerts(many: u64) -> Vec<Alert> {
    let alert = |n: u64| Alert {
        labels: Labels::new(Name::TargetDown, &BTreeMap::new(), [("target", &*n.to_string())]),
        annotations: Annotations::default().with("summary", "it is \"down\"\n".to_owned()),
        starts_unix_ns: n,
        ends_unix_ns: n.is_multiple_of(2).then_some(n + 7),
    };
    (0..many).map(alert).collect()
}

fn now() -> Nanos {
    Nanos::from_secs(1)
}

#[test]
fn what_was_written_last_is_found_again() {
    let folder = folder("again");
    // It is made, whatever is missing on the way.
    let deep = folder.join("a/b");
    let (file, left) = StateFile::open(&deep, now).unwrap();
    assert!(left.is_empty());
    (1..20).for_each(|many| file.write(alerts(many)));
    assert!(matches!(StateFile::open(&deep, now), Err(StateError::Taken(taken)) if taken == deep));
    assert!(file.close(LONG));
    let (file, left) = StateFile::open(&deep, now).unwrap();
    assert_eq!(left, alerts(19));
    assert!(file.close(LONG), "nothing to write is soon written");
    clear(&deep).unwrap();
    clear(&deep).unwrap();
    assert!(StateFile::open(&deep, now).unwrap().1.is_empty());
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_file_that_is_none_is_replaced() {
    let folder = folder("torn");
    fs::create_dir_all(&folder).unwrap();
    for torn in ["", "{\"version\":1,\"alerts\":[{\"lab", "{\"version\":2,\"alerts\":[]}", "[]"] {
        fs::write(folder.join(FILE), torn).unwrap();
        let (file, left) = StateFile::open(&folder, now).unwrap();
        assert!(left.is_empty(), "{torn}");
        file.write(alerts(3));
        assert!(file.close(LONG));
        assert_eq!(read(&folder.join(FILE)).unwrap(), alerts(3));
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// As on a full disk: the file beside can't be made, and what was there stays whole.
#[test]
fn what_can_not_be_written_leaves_what_was_there() {
    let folder = folder("full");
    let (file, _) = StateFile::open(&folder, now).unwrap();
    file.write(alerts(2));
    assert!(file.close(LONG));
    fs::create_dir(folder.join("alerts.json.new")).unwrap();
    let (file, _) = StateFile::open(&folder, now).unwrap();
    file.write(alerts(5));
    assert!(file.close(LONG));
    assert_eq!(read(&folder.join(FILE)).unwrap(), alerts(2));
    fs::remove_dir_all(&folder).unwrap();
    // A folder that can't be made is named.
    let error = StateFile::open(Path::new("/dev/null/state"), now).unwrap_err().to_string();
    assert!(error.contains("/dev/null/state"), "{error}");
}
