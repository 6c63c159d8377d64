//! What `lib.rs` says of imports is true: they point one way, downwards in its list. And no two modules of a folder need each other.
//! Tests in the sources are left out; they may look wherever they like.
#![expect(clippy::unwrap_used, reason = "a source that can't be read is a failed test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use syn::{
    Attribute, Item, ItemMod, ItemUse, UseTree,
    visit::{self, Visit},
};

/// From the crate's root: `nic`, `sender`.
type ModulePath = Vec<String>;

/// A module in a file, and whom it names.
#[derive(Default)]
struct Module {
    /// What its `use` declarations call what.
    uses: BTreeMap<String, ModulePath>,
    names: BTreeSet<ModulePath>,
}

/// All modules of the library but those that are compiled for tests only.
#[derive(Default)]
struct Modules(BTreeMap<ModulePath, Module>);

impl Modules {
    fn read() -> Self {
        let mut modules = Self::default();
        modules.file(&source("lib.rs"), &[]);
        modules
    }

    /// The module in a file, and those that it declares.
    fn file(&mut self, file: &Path, path: &[String]) {
        let parsed = syn::parse_file(&fs::read_to_string(file).unwrap()).unwrap();
        let mut reading = Reading { path: path.to_vec(), module: Module::default() };
        reading.visit_file(&parsed);
        self.0.insert(path.to_vec(), reading.module);
        let folder = match file.file_name().unwrap().to_str().unwrap() {
            "lib.rs" | "mod.rs" => file.parent().unwrap().to_owned(),
            _ => file.with_extension(""),
        };
        for item in &parsed.items {
            if let Item::Mod(ItemMod { attrs, ident, content: None, .. }) = item
                && !is_for_tests(attrs)
            {
                let name = ident.to_string();
                let files: [PathBuf; 2] = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
                let file = files.iter().find(|file| file.exists()).unwrap_or_else(|| panic!("{files:?}"));
                self.file(file, &[path, &[name]].concat());
            }
        }
    }

    /// The module in which it is written, whatever others re-export it.
    fn home(&self, named: &ModulePath) -> ModulePath {
        let mut path = named.clone();
        // A re-export leads on, of a re-export perhaps.
        for _ in 0..8 {
            let length = (0..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length])).unwrap_or(0);
            let (module, rest) = path.split_at(length);
            let Some(further) = rest.first().and_then(|name| self.0[module].uses.get(name)) else {
                return module.to_vec();
            };
            path = [further, &rest[1..]].concat();
        }
        path
    }

    /// In each folder, which module needs which: a file, or a folder as a whole.
    fn needs(&self) -> BTreeMap<ModulePath, BTreeMap<String, BTreeMap<String, ModulePath>>> {
        let mut needs: BTreeMap<ModulePath, BTreeMap<String, BTreeMap<String, ModulePath>>> = BTreeMap::new();
        for (path, module) in &self.0 {
            for named in &module.names {
                let home = self.home(named);
                let common = path.iter().zip(&home).take_while(|(a, b)| a == b).count();
                if let (Some(from), Some(to)) = (path.get(common), home.get(common)) {
                    let folder = needs.entry(path[..common].to_vec()).or_default();
                    folder.entry(from.clone()).or_default().entry(to.clone()).or_insert_with(|| path.clone());
                }
            }
        }
        needs
    }
}

struct Reading {
    path: ModulePath,
    module: Module,
}

impl Reading {
    /// From the crate's root; None for what is not the crate's.
    fn absolute(&self, written: &[String]) -> Option<ModulePath> {
        match written.first()?.as_str() {
            "crate" => Some(written[1..].to_vec()),
            "self" => Some([&self.path[..], &written[1..]].concat()),
            "super" => {
                let up = written.iter().take_while(|word| *word == "super").count();
                Some([&self.path[..self.path.len() - up], &written[up..]].concat())
            }
            _ => None,
        }
    }

    fn tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        let (path, called) = match tree {
            UseTree::Path(path) => return self.tree(&path.tree, &with(&path.ident)),
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.tree(tree, before)),
            UseTree::Glob(_) => return,
            UseTree::Name(name) if name.ident == "self" => (before.to_vec(), before.last().unwrap().clone()),
            UseTree::Name(name) => (with(&name.ident), name.ident.to_string()),
            UseTree::Rename(name) if name.ident == "self" => (before.to_vec(), name.rename.to_string()),
            UseTree::Rename(name) => (with(&name.ident), name.rename.to_string()),
        };
        // `use sender::Sender` beside `mod sender`: a path from here.
        let path = self.absolute(&path).unwrap_or_else(|| [&self.path[..], &path].concat());
        self.module.uses.insert(called, path.clone());
        self.module.names.insert(path);
    }
}

impl<'ast> Visit<'ast> for Reading {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.tree(&item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let written: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if written.len() > 1
            && let Some(named) = self.absolute(&written)
        {
            self.module.names.insert(named);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        self.path.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.path.pop();
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|cfg| cfg == "test")
    })
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)
}

/// The rows of the list in `lib.rs`, the uppermost first: the folders that each names.
fn rows() -> Vec<Vec<String>> {
    let text = fs::read_to_string(source("lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | ")?.split(" | ").next());
    let folders = |row: &str| row.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows.map(folders).filter(|row| !row.is_empty()).collect()
}

#[test]
fn imports_point_downwards() {
    let rows = rows();
    let row_of = |folder: &String| rows.iter().position(|row| row.contains(folder));
    let needs = Modules::read().needs();
    let folders = &needs[&Vec::new()];
    assert!(folders.len() > 10, "{folders:?}");
    let mut wrong = Vec::new();
    for (from, to, file) in folders.iter().flat_map(|(from, all)| all.iter().map(move |(to, file)| (from, to, file))) {
        let (above, below) = (row_of(from), row_of(to));
        assert!(above.is_some() && below.is_some(), "lib.rs does not list {from} or {to}");
        if above >= below {
            wrong.push(format!("{from} imports from {to} ({})", file.join("/")));
        }
    }
    assert!(wrong.is_empty(), "not downwards in lib.rs' list:\n{}", wrong.join("\n"));
}

/// Whoever needs nobody that is left, or is needed by nobody, is taken out, until those remain that need each other.
#[test]
fn no_modules_of_a_folder_need_each_other() {
    let mut wrong = Vec::new();
    for (folder, mut needs) in Modules::read().needs() {
        let mut left = usize::MAX;
        while needs.len() < left {
            left = needs.len();
            let needed: BTreeSet<String> = needs.values().flat_map(BTreeMap::keys).cloned().collect();
            needs.retain(|from, _| needed.contains(from));
            let here: BTreeSet<String> = needs.keys().cloned().collect();
            needs.values_mut().for_each(|all| all.retain(|to, _| here.contains(to)));
            needs.retain(|_, all| !all.is_empty());
        }
        for (from, all) in &needs {
            let to: Vec<_> = all.keys().collect();
            wrong.push(format!("{}: {from} needs {to:?}", folder.join("/")));
        }
    }
    assert!(wrong.is_empty(), "circles, and what lies between two of them:\n{}", wrong.join("\n"));
}
