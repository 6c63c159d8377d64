//! The files that a path stands for, read: each file's last good lists stay while it can't be read.

use super::{settings::Bounds, source::Reading};
use crate::targets::{self, Exclusions, TargetList, TargetSpec, file_sd};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// How a path's files are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// Target files.
    Targets(Bounds),
    /// Exclusions: what went missing stays excluded until somebody says that it is not.
    Exclude,
}

/// Checks lists against what their group takes.
pub(super) type Check<'a> = &'a dyn Fn(&[TargetList]) -> Result<(), String>;

/// A path's files, and what they said last.
pub(super) struct Files {
    path: PathBuf,
    form: Form,
    known: BTreeMap<PathBuf, Known>,
}

#[derive(Default)]
struct Known {
    /// Of the content that was read last, good or not.
    hash: Option<u64>,
    lists: Vec<TargetList>,
    fault: Option<String>,
}

/// Why a file or folder can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be {what}: {error}", path.display())]
pub struct FileError {
    path: PathBuf,
    what: &'static str,
    /// What the system says.
    pub error: io::Error,
}

impl Files {
    pub(super) fn new(path: PathBuf, form: Form) -> Self {
        Self { path, form, known: BTreeMap::new() }
    }

    /// The files that there were at the last reading.
    pub(super) fn known(&self) -> impl Iterator<Item = &Path> {
        self.known.keys().map(PathBuf::as_path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads them.
    pub(super) fn read(&mut self, check: Check<'_>) -> Reading {
        let found = match matching(&self.path) {
            Ok(found) => found,
            // Nothing is said of the files in there.
            Err(error) if error.error.kind() != ErrorKind::NotFound => return Reading::failed(error.to_string()),
            Err(_) => Vec::new(),
        };
        let keeps = matches!(self.form, Form::Exclude);
        if !keeps {
            self.known.retain(|path, _| found.contains(path));
        }
        for path in found {
            self.read_one(&path, check);
        }
        let gone: Vec<PathBuf> = self.known.iter().filter(|_| keeps).map(|(path, _)| path.clone()).collect();
        for path in gone.into_iter().filter(|path| !path.exists()) {
            let fault = format!(
                "{}: it is gone, and what it excluded stays so: an empty file excludes nothing",
                path.display()
            );
            if let Some(known) = self.known.get_mut(&path) {
                (known.hash, known.fault) = (None, Some(fault));
            }
        }
        let mut faults: Vec<&str> = self.known.values().filter_map(|known| known.fault.as_deref()).collect();
        let missing = format!("{}: there is no such file", self.path.display());
        if self.known.is_empty() && !has_pattern(&self.path) {
            faults.push(&missing);
        }
        let fault = match &faults[..] {
            [] => None,
            [fault] => Some((*fault).to_owned()),
            [fault, rest @ ..] => Some(format!("{fault} (and {} more of its files)", rest.len())),
        };
        Reading::partly(self.known.values().flat_map(|known| known.lists.iter().cloned()).collect(), fault)
    }

    fn read_one(&mut self, path: &Path, check: Check<'_>) {
        let content = match fs::read(path) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Deleted, its targets go with it; exclusions stay.
                if matches!(self.form, Form::Targets(_)) {
                    self.known.remove(path);
                }
                return;
            }
            Err(error) => {
                let known = self.known.entry(path.to_owned()).or_default();
                let error = FileError { path: path.to_owned(), what: "read", error };
                (known.hash, known.fault) = (None, Some(error.to_string()));
                return;
            }
        };
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        let hash = hasher.finish();
        let known = match self.known.entry(path.to_owned()) {
            Entry::Occupied(known) if known.get().hash == Some(hash) => return,
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Known::default()),
        };
        known.hash = Some(hash);
        match parse(path, content, self.form, check) {
            Ok(lists) => (known.lists, known.fault) = (lists, None),
            Err(fault) => known.fault = Some(fault),
        }
    }
}

fn parse(path: &Path, content: Vec<u8>, form: Form, check: Check<'_>) -> Result<Vec<TargetList>, String> {
    let shown = path.display();
    match form {
        Form::Targets(_) if content.trim_ascii().is_empty() => {
            // Whoever writes it may just have begun.
            Err(format!("{shown}: it is empty; write [] where there are no targets"))
        }
        Form::Targets(bounds) => {
            let lists = file_sd::parse(path, content, bounds.ports).map_err(|error| error.to_string())?;
            check(&lists).map_err(|reason| format!("{shown}: {reason}"))?;
            Ok(lists)
        }
        Form::Exclude => {
            let exclude = Exclusions::read(&content[..], &shown.to_string()).map_err(|error| error.to_string())?;
            let mut list = TargetList::default();
            exclude.ranges().for_each(|range| list.push(TargetSpec::Addresses(range)));
            Ok(if list.is_empty() { Vec::new() } else { vec![list] })
        }
    }
}

/// All exclusions that some files have just now.
///
/// # Errors
/// One can't be read, or a path without `*` has none.
pub fn read_exclusions(path: &Path) -> Result<Exclusions, targets::Error> {
    let files = matching(path)
        .map_err(|FileError { path, error, .. }| targets::Error::Read { file: path.display().to_string(), error })?;
    Exclusions::read_files(&files)
}

/// The files that a path with `*` in its last part stands for, by name; a path without `*` stands for itself.
///
/// # Errors
/// Its folder can't be searched.
pub fn matching(pattern: &Path) -> Result<Vec<PathBuf>, FileError> {
    if !has_pattern(pattern) {
        return Ok(vec![pattern.to_owned()]);
    }
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error| FileError { path: pattern.to_owned(), what: "searched", error };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?.file_name();
        // As in a shell, `*` does not stand for the dot of a hidden file.
        if let Some(found) = entry.to_str()
            && (name.starts_with('.') || !found.starts_with('.'))
            && matches(name, found)
        {
            files.push(folder.join(found));
        }
    }
    files.sort_unstable();
    Ok(files)
}

pub(super) fn has_pattern(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.contains('*'))
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let (Some(head), Some(tail)) = (parts.next(), parts.next_back()) else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail)) else { return false };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        let table = [
            ("*.json", "a.json", true),
            ("*.json", "a.jsonx", false),
            ("a*b*c.yml", "a-b-bc.yml", true),
            ("a*b*c.yml", "abc.yml", true),
            ("a*b*c.yml", "ac.yml", false),
            ("a*a.yml", "a.yml", false),
            ("**.yml", "x.yml", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
