//! Which folders tell of changes to a path: its own, those that have a link on the way there, and the one in which something is missing.
//!
//! A list that is replaced by a rename, a link that is swapped (as Kubernetes does with a ConfigMap's `..data`), a folder that comes
//! later: each changes an entry of one of these folders. A folder that goes, or is replaced by another, changes an entry of the one above it. Folders further
//! up are left alone: whoever watches `/etc` is told whenever somebody opens a file there.

use super::files::has_pattern;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::{OsStr, OsString},
    fs, io,
    path::{Component, Path, PathBuf},
};

/// Links that are followed, as the kernel does (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// What matters in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entries {
    /// Any: a pattern's own folder.
    All,
    /// These.
    Some(BTreeSet<OsString>),
}

impl Entries {
    pub(super) fn has(&self, name: &OsStr) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(name),
        }
    }
}

/// Folders, and what matters in each.
pub(super) type Places = BTreeMap<PathBuf, Entries>;

/// Adds the folders for a path, in the last part of which `*` may stand, and for the files that it stands for now.
///
/// # Errors
/// There is no current folder that a relative path would begin at.
pub(super) fn add<'a>(places: &mut Places, path: &Path, files: impl Iterator<Item = &'a Path>) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    match path.parent() {
        Some(folder) if has_pattern(&path) => {
            if let Some(folder) = walk(places, folder, true) {
                places.insert(folder, Entries::All);
            }
        }
        _ => drop(walk(places, &path, true)),
    }
    for file in files {
        walk(places, &std::path::absolute(file)?, true);
    }
    Ok(())
}

/// Goes along a path, links followed, and adds the folders with a link or with something missing, and with `last` that of the last part.
/// Returns where it led; None where something is missing.
fn walk(places: &mut Places, path: &Path, last: bool) -> Option<PathBuf> {
    let mut left: VecDeque<OsString> = path.components().map(|part| part.as_os_str().to_owned()).collect();
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    while let Some(part) = left.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::Normal(name)) => {
                let next = at.join(name);
                let is_link = fs::symlink_metadata(&next).ok().map(|found| found.is_symlink());
                if is_link != Some(false) || last && left.is_empty() {
                    let entries = places.entry(at.clone()).or_insert_with(|| Entries::Some(BTreeSet::new()));
                    if let Entries::Some(names) = entries {
                        names.insert(name.to_owned());
                    }
                }
                if is_link? {
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    for part in fs::read_link(&next).ok()?.components().rev() {
                        left.push_front(part.as_os_str().to_owned());
                    }
                } else {
                    at = next;
                }
            }
            Some(Component::ParentDir) => drop(at.pop()),
            Some(Component::RootDir) => at = PathBuf::from("/"),
            _ => {}
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::targets::testing::tempdir;
    use std::os::unix::fs::symlink;

    /// The folders beneath one, by what they are called there.
    fn beneath(root: &Path, pattern: &Path, files: &[PathBuf]) -> BTreeMap<String, String> {
        let mut places = Places::new();
        add(&mut places, pattern, files.iter().map(PathBuf::as_path)).unwrap();
        let text = |entries: &Entries| match entries {
            Entries::All => "*".to_owned(),
            Entries::Some(names) => {
                names.iter().map(|name| name.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
            }
        };
        let here = |(path, entries): (&PathBuf, &Entries)| {
            let path = path.strip_prefix(root).ok()?.to_str()?.to_owned();
            Some((path, text(entries)))
        };
        places.iter().filter_map(here).collect()
    }

    #[test]
    fn folders_with_links_or_nothing_tell() {
        let root = tempdir();
        let root = fs::canonicalize(&*root).unwrap();
        // As Kubernetes lays a ConfigMap out.
        fs::create_dir_all(root.join("map/..one")).unwrap();
        fs::write(root.join("map/..one/a.json"), "[]").unwrap();
        symlink("..one", root.join("map/..data")).unwrap();
        symlink("..data/a.json", root.join("map/a.json")).unwrap();
        let of = |all: &[(&str, &str)]| all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let found: BTreeMap<String, String> = beneath(&root, &root.join("map/*.json"), &[root.join("map/a.json")]);
        assert_eq!(found, of(&[("", "map"), ("map", "*"), ("map/..one", "a.json")]));
        let found = beneath(&root, &root.join("map/a.json"), &[]);
        assert_eq!(found, of(&[("map", "..data a.json"), ("map/..one", "a.json")]));
        // A link to a folder, and one beyond that.
        symlink(root.join("map"), root.join("link")).unwrap();
        let found = beneath(&root, &root.join("link/../link/*.json"), &[]);
        assert_eq!(found, of(&[("", "link map"), ("map", "*")]));
        // What is not there yet.
        assert_eq!(beneath(&root, &root.join("later/on/*.json"), &[]), of(&[("", "later")]));
        // In a circle.
        symlink("round", root.join("round")).unwrap();
        assert_eq!(beneath(&root, &root.join("round/x.json"), &[]), of(&[("", "round")]));
    }
}
