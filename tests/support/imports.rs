//! Which file imports which: the paths in the source, followed to the files that define what they name.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;

/// The files of one tree of modules, and what each imports.
pub struct Imports {
    files: BTreeMap<Module, File>,
}

/// A module's path below the tree's root; empty for the root.
type Module = Vec<String>;

struct File {
    path: String,
    /// Every path that the file names, from the root.
    paths: BTreeSet<Module>,
    /// What its `use` makes known, by name: others may import that from here.
    names: BTreeMap<String, Module>,
}

impl Imports {
    /// Those of the sources below `directory`, which is the module `root` of its crate (empty for a whole crate).
    pub fn new(directory: &str, root: &[&str], sources: &[Source]) -> Self {
        let root: Module = root.iter().map(|name| (*name).to_owned()).collect();
        let module = |path: &str| -> Module {
            let below = path.strip_prefix(directory).expect("it is below").trim_start_matches('/');
            let names = below.trim_end_matches(".rs").split('/');
            let own = names.filter(|name| !["lib", "main", "mod"].contains(name)).map(str::to_owned);
            root.iter().cloned().chain(own).collect()
        };
        let modules: BTreeSet<Module> = sources.iter().map(|source| module(&source.path)).collect();
        let file = |source: &Source| {
            let own = module(&source.path);
            let (paths, names) = named(&source.code, &own, &modules);
            (own, File { path: source.path.clone(), paths, names })
        };
        Self { files: sources.iter().map(file).collect() }
    }

    /// A circle of files that import each other, if there is one.
    pub fn circle(&self) -> Option<Vec<&str>> {
        let (mut done, mut way) = (BTreeSet::new(), Vec::new());
        self.files.keys().find_map(|module| self.follow(module, &mut way, &mut done))
    }

    fn follow<'a>(
        &'a self,
        module: &'a Module,
        way: &mut Vec<&'a Module>,
        done: &mut BTreeSet<&'a Module>,
    ) -> Option<Vec<&'a str>> {
        if let Some(start) = way.iter().position(|passed| *passed == module) {
            let circle = way[start..].iter().chain([&module]);
            return Some(circle.map(|module| self.files[*module].path.as_str()).collect());
        }
        if done.contains(module) {
            return None;
        }
        way.push(module);
        let found = self.of(module).into_iter().find_map(|next| self.follow(next, way, done));
        way.pop();
        done.insert(module);
        found
    }

    /// The modules whose files a module's file imports from.
    fn of(&self, module: &Module) -> BTreeSet<&Module> {
        let targets = self.files[module].paths.iter().filter_map(|path| self.target(path, 0));
        targets.filter(|target| *target != module).collect()
    }

    /// The module whose file defines what a path names: a re-export is followed to where it leads.
    fn target(&self, path: &[String], depth: usize) -> Option<&Module> {
        let at = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, file) = self.files.get_key_value(&path[..at])?;
        match path.get(at).and_then(|name| file.names.get(name)) {
            Some(onward) if depth < 8 => self.target(onward, depth + 1),
            _ => Some(module),
        }
    }
}

/// The paths into this crate that a file's code names, and the names that its `use` makes known.
fn named(code: &str, own: &Module, modules: &BTreeSet<Module>) -> (BTreeSet<Module>, BTreeMap<String, Module>) {
    let (mut paths, mut names) = (BTreeSet::new(), BTreeMap::new());
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        let used = statement.rfind("use ").filter(|at| {
            let before = statement[..*at].trim_end_matches(' ');
            before.is_empty() || before.ends_with(['\n', '}', '{']) || before.ends_with("pub") || before.ends_with(')')
        });
        let Some(at) = used else {
            rest.push_str(statement);
            continue;
        };
        rest.push_str(&statement[..at]);
        for (path, name) in leaves(statement[at + "use ".len()..].trim_end_matches(';')) {
            if let Some(path) = absolute(&path, own, modules) {
                names.insert(name, path.clone());
                paths.insert(path);
            }
        }
    }
    // `$crate` stands in macros, which name no file's own imports.
    let part = |c: char| c.is_alphanumeric() || "_:$".contains(c);
    for word in rest.split(|c| !part(c)).filter(|word| word.contains("::")) {
        let path: Vec<String> = word.split("::").map(str::to_owned).collect();
        paths.extend(absolute(&path, own, modules));
    }
    (paths, names)
}

/// The paths of a `use`, each with the name that it makes known.
fn leaves(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    if let Some((before, group)) = tree.split_once('{') {
        let before: Vec<String> =
            before.split("::").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let below = split(group.trim_end().trim_end_matches('}')).into_iter().flat_map(leaves);
        return below
            .map(|(path, name)| ([before.clone(), path].concat(), name))
            .map(|(mut path, name)| {
                if path.last().is_some_and(|last| last == "self") {
                    path.pop();
                }
                (path, name)
            })
            .collect();
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let path: Vec<String> =
        path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    let name = alias.or(path.last().map(String::as_str)).unwrap_or_default().to_owned();
    if path.is_empty() { Vec::new() } else { vec![(path, name)] }
}

/// The items of a group, at its commas outside of groups in it.
fn split(group: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&group[start..]);
    items
}

/// A path from the crate's root; nothing for one that leads out of the crate.
fn absolute(path: &[String], own: &Module, modules: &BTreeSet<Module>) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let mut absolute = match first.as_str() {
        "crate" => Vec::new(),
        "self" => own.clone(),
        "super" => own[..own.len().checked_sub(1)?].to_vec(),
        _ => {
            let child = [own.as_slice(), std::slice::from_ref(first)].concat();
            return modules.contains(&child).then(|| [own.as_slice(), path].concat());
        }
    };
    for name in rest {
        match name.as_str() {
            "super" => drop(absolute.pop()?),
            name => absolute.push(name.to_owned()),
        }
    }
    Some(absolute)
}
