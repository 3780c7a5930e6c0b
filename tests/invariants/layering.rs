//! The import rules of ARCHITECTURE.md, and how the source is laid out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::{Imports, Source, has_word, sources};
use handfast::registry;
use handfast_core::keys::{Key, Kind};

/// The stages, and those of the others that each may name, with the reason.
const STAGES: &[(&str, &[(&str, &str)])] = &[
    (
        "config",
        &[("registry", "which providers there are, and their keys"), ("cli", "the command line is one of its sources")],
    ),
    (
        "plan",
        &[
            ("config", "it is made of what was written"),
            ("identity", "who the app is"),
            ("registry", "which provider a reference names"),
        ],
    ),
    ("identity", &[]),
    (
        "fetch",
        &[
            ("plan", "what to fetch"),
            ("config", "the environment, which providers see in their context"),
            ("registry", "the identities that one provider proves to another's store"),
        ],
    ),
    (
        "worker",
        &[
            ("plan", "what to fetch, and what may come back"),
            ("fetch", "what the child does"),
            ("deliver", "`Arrived`: what a received value becomes"),
            ("cage", "where the child is locked up"),
            ("config", "the environment, which goes to the child and is given up"),
        ],
    ),
    ("cage", &[("lockdown", "closes every descriptor that a caged process must not have")]),
    ("deliver", &[("plan", "where the secrets go")]),
    ("lockdown", &[("plan", "`Isolation`: what the app shall be")]),
    ("launch", &[("plan", "`Isolation`: whose rights to look at"), ("lockdown", "`Locked`, which it spends")]),
    (
        "keep",
        &[
            ("plan", "`Isolation`: of which app; what is kept fresh"),
            ("launch", "`Child`: the app before its start"),
            ("lockdown", "drops the supervisor's own privileges"),
            ("cage", "restricts it to a few system calls"),
            ("deliver", "where a later set goes"),
            ("worker", "who tells what has changed"),
        ],
    ),
];

/// Named everywhere: the error, the log, and the system's calls (but see below).
const SHARED: [&str; 4] = ["error", "report", "sys", "plan"];

fn ours() -> Vec<Source> {
    sources(&["src"])
}

/// `config` of `src/config/mod.rs`, `src/config.rs`.
fn module(path: &str) -> &str {
    let rest = path.strip_prefix("src/").unwrap_or(path);
    rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs")
}

/// The modules of the crate that a file names, whether by `crate::a`, `crate::{a, b}` or `super::` from the top.
fn named(source: &Source) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (at, _) in source.code.match_indices("crate::") {
        let rest = &source.code[at + "crate::".len()..];
        let list = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default(),
            None => rest,
        };
        let first = |item: &str| {
            item.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
        };
        if rest.starts_with('{') {
            named.extend(list.split(',').map(first));
        } else {
            named.insert(first(list));
        }
    }
    named
}

#[test]
fn the_import_rules_hold() {
    let mut used = BTreeSet::new();
    for source in ours() {
        let own = module(&source.path);
        let Some((_, allowed)) = STAGES.iter().find(|(stage, _)| *stage == own) else { continue };
        for other in named(&source) {
            let is_stage = STAGES.iter().any(|(stage, _)| *stage == other)
                || ["cli", "registry", "commands"].contains(&other.as_str());
            if !is_stage || other == own {
                continue;
            }
            assert!(allowed.iter().any(|(name, _)| *name == other), "{} names `{other}`", source.path);
            used.insert((own.to_owned(), other));
        }
    }
    for (stage, allowed) in STAGES {
        for (other, reason) in *allowed {
            assert!(
                used.contains(&((*stage).to_owned(), (*other).to_owned())),
                "{stage} no longer needs {other}: {reason}"
            );
        }
    }
    // Only the pipeline and the shell of the program call it.
    for source in ours().iter().filter(|source| source.path != "src/lib.rs") {
        assert!(!source.code.contains("crate::commands") && !source.code.contains("commands::"), "{}", source.path);
    }
    assert!(SHARED.contains(&"sys"), "what follows is about it");
}

/// The directories whose files import in one direction, each with its module in the crate.
const ONE_WAY: &[(&str, &[&str])] = &[
    ("providers/aws/src", &[]),
    ("providers/azure/src", &[]),
    ("providers/core/src", &[]),
    ("providers/file/src", &[]),
    ("providers/http/src", &[]),
    ("providers/mock/src", &[]),
    ("providers/vault/src", &[]),
    ("src/cage", &["cage"]),
    ("src/commands", &["commands"]),
    ("src/config", &["config"]),
    ("src/deliver", &["deliver"]),
    ("src/fetch", &["fetch"]),
    ("src/keep", &["keep"]),
    ("src/launch", &["launch"]),
    ("src/lockdown", &["lockdown"]),
    ("src/plan", &["plan"]),
    ("src/sys", &["sys"]),
    ("src/worker", &["worker"]),
];

#[test]
fn files_import_in_one_direction() {
    for (directory, module) in ONE_WAY {
        let circle = Imports::new(directory, module, &sources(&[directory])).circle().map(|files| files.join(" -> "));
        assert_eq!(circle, None);
    }
    // The test would see a circle: these two, and one through a re-export.
    let source = |path: &str, code: &str| Source { path: path.into(), code: code.into(), text: String::new() };
    for (one, other, root) in [
        ("use crate::b::{self, B};", "fn f() { super::a::g() }", "mod a; mod b;"),
        ("use super::B;", "use crate::a::A;", "mod a; mod b;\n\npub use b::B;"),
    ] {
        let files = [source("x/lib.rs", root), source("x/a.rs", one), source("x/b.rs", other)];
        let circle = Imports::new("x", &[], &files).circle().map(|files| files.len());
        assert_eq!(circle, Some(3), "{one}");
    }
    let files =
        [source("x/lib.rs", "mod a; mod b; use a::A;"), source("x/a.rs", "use super::b::B;"), source("x/b.rs", "")];
    assert_eq!(Imports::new("x", &[], &files).circle(), None);
}

#[test]
fn the_registry_alone_names_provider_crates() {
    let providers =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("providers")).expect("it is there").flatten();
    let shared = ["core", "http", "testkit"];
    let names: Vec<String> = providers
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().into_string().expect("made of ASCII"))
        .filter(|name| !shared.contains(&name.as_str()))
        .collect();
    assert!(names.len() >= 2, "{names:?}");
    for source in ours().iter().filter(|source| source.path != "src/registry.rs") {
        for name in &names {
            assert!(!source.names(&format!("handfast_{name}")), "{} names the provider {name}", source.path);
        }
        assert!(!source.code.contains("feature ="), "{} asks what is compiled in", source.path);
        // Only the worker speaks HTTP.
        let is_worker = source.path.starts_with("src/worker/inside/");
        assert!(is_worker || !source.names("hyper") && !source.names("hyper_util"), "{}", source.path);
        // The HTTP client is the providers'.
        assert!(!source.names("handfast_http") && !source.names("reqwest"), "{}", source.path);
    }
    // Providers see the core and the HTTP client, neither each other nor the program.
    for name in &names {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("providers").join(name).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("it is there");
        let dependencies =
            manifest.split("[dependencies]").nth(1).expect("a section").split("\n[").next().unwrap_or_default();
        for line in dependencies.lines().filter(|line| line.starts_with("handfast")) {
            assert!(
                ["handfast-core", "handfast-http"].iter().any(|allowed| line.starts_with(allowed)),
                "{name}: {line}"
            );
        }
        for source in sources(&[&format!("providers/{name}")]) {
            for forbidden in ["std::env", "std::fs", "File::open", "SystemTime::now", "Instant::now"] {
                assert!(!source.code.contains(forbidden), "{}: {forbidden} comes from the context", source.path);
            }
        }
    }
    for source in sources(&["providers/core"]) {
        assert!(
            !source.names("handfast_http") && !source.names("tokio") && !source.names("reqwest"),
            "{}",
            source.path
        );
    }
}

#[test]
fn each_provider_has_the_same_files_and_tells_its_users_every_key() {
    let providers = Path::new(env!("CARGO_MANIFEST_DIR")).join("providers");
    let index = fs::read_to_string(providers.join("README.md")).expect("it is there");
    for definition in registry::DEFINITIONS {
        let name = definition.name;
        let read = |file: &str| {
            let path = providers.join(name).join(file);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        assert!(read("Cargo.toml").contains(&format!("name = \"handfast-{name}\"\n")), "{name}");
        assert!(read("src/lib.rs").contains("pub const DEFINITION: Definition = "), "{name}");
        assert!(read("tests/conformance.rs").contains("conformance!("), "{name}");
        assert!(index.contains(&format!("[`{name}`]({name}/README.md)")), "{name} is in no list");
        let readme = read("README.md");
        assert!(readme.starts_with(&format!("# {name}\n")), "{name}");
        let mut keys: Vec<&Key> = definition.keys.iter().collect();
        let mut told = 0;
        while let Some(key) = keys.pop() {
            match key.kind {
                // Not in this version, so it is mentioned nowhere.
                Kind::NotInThisVersion => continue,
                Kind::Table(inner) => keys.extend(inner),
                _ => {}
            }
            assert!(readme.contains(&format!("`{}`", key.name)), "{name}: `{}` is not in its README", key.name);
            told += 1;
        }
        assert!(told > 0, "{name} has keys");
        for parameter in definition.parameters {
            assert!(readme.contains(&format!("?{parameter}=")), "{name}: `?{parameter}=` is not in its README");
        }
    }
}

#[test]
fn each_stage_sees_only_what_it_may() {
    for source in ours() {
        let see =
            |words: &[&str]| words.iter().find(|word| has_word(&source.code, word)).map(|word| (*word).to_owned());
        let found = match module(&source.path) {
            "fetch" => see(&["sys", "libc", "nix"]),
            "deliver" => see(&["net", "socket", "TcpStream", "UnixStream", "UdpSocket", "tokio"]),
            "lockdown" | "launch" | "keep" => see(&["SecretValue", "expose", "tokio", "net"]),
            // Addresses are data; nothing here opens a socket.
            "plan" => see(&["tokio", "TcpStream", "TcpListener", "UdpSocket", "UnixStream", "unshare", "setresuid"]),
            "config" | "identity" | "cli" | "error" | "report" => see(&["tokio", "net", "unshare", "setresuid"]),
            _ => None,
        };
        assert_eq!(found, None, "{}", source.path);
    }
}

#[test]
fn unsafe_code_stands_in_sys_alone() {
    let (mut blocks, mut files) = (0, 0);
    for source in sources(&["src", "providers"]) {
        if source.path.starts_with("src/sys/") {
            blocks += source.code.matches("unsafe {").count();
            continue;
        }
        files += 1;
        assert!(!has_word(&source.code.replace("unsafe_code", ""), "unsafe"), "{}", source.path);
        // The crates' roots say it for all of their modules; the library's says deny, since `sys` is one of them.
        let root = |path: &str| path.ends_with("/lib.rs") || path.ends_with("/main.rs");
        let head = source.text.lines().find(|line| line.starts_with("#![forbid(unsafe_code)]"));
        if source.path.starts_with("src/") && !root(&source.path)
            || source.path.starts_with("providers/") && root(&source.path)
        {
            assert!(head.is_some(), "{} lacks forbid(unsafe_code)", source.path);
        }
    }
    assert!(files > 60 && blocks > 10, "{files} {blocks}");
    for (root, level) in [("src/lib.rs", "deny"), ("src/main.rs", "forbid")] {
        let root = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(root)).expect("it is there");
        assert!(root.contains(&format!("#![{level}(unsafe_code)]")));
    }
}

#[test]
fn no_file_is_longer_than_can_be_read_at_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut directories =
        vec![root.join("src"), root.join("providers"), root.join("tests"), root.join("benches"), root.join("examples")];
    let mut count = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let lines = fs::read_to_string(&path).expect("text").lines().count();
                assert!(lines <= 400, "{} has {lines} lines", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 100, "{count}");
}

/// A file that no `mod` names would be left out of every run, unseen; one beside the subjects would be a crate of its own.
#[test]
fn each_file_of_tests_is_a_module_of_its_subject() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let is_subject = |path: &Path| path.join("main.rs").exists() && !path.join("Cargo.toml").exists();
    let mut count = 0;
    for entry in fs::read_dir(&tests).expect("it is there").flatten() {
        assert!(entry.path().extension().is_none_or(|end| end != "rs"), "{:?} is in no subject", entry.path());
        if is_subject(&entry.path()) {
            count += modules(&entry.path(), "main");
        }
    }
    assert!(count > 80, "{count}");
}

/// How many files are modules of this one, directly or not.
fn modules(directory: &Path, parent: &str) -> usize {
    let parent = directory.join(parent).with_extension("rs");
    let text = fs::read_to_string(&parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
    let (mut count, mut named) = (0, Vec::new());
    for path in fs::read_dir(directory).expect("it is there").flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            count += modules(&path, "mod");
        } else if path == parent || path.extension().is_none_or(|end| end != "rs") {
            continue;
        }
        named.push(path);
    }
    for path in &named {
        let name = path.file_stem().expect("a name").to_string_lossy();
        assert!(text.lines().any(|line| line == format!("mod {name};")), "{} is in no `mod`", path.display());
    }
    count + named.len()
}

#[test]
fn each_test_that_the_architecture_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("src/ARCHITECTURE.md")).expect("it is there");
    let table = text.split("## Import rules").next().unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with('|') && line.contains(".rs` | `"));
    let mut count = 0;
    for row in rows {
        let mut quoted = row.split('`').skip(1).step_by(2);
        let file = quoted.next().expect("a file");
        let source =
            fs::read_to_string(root.join("tests").join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        for name in quoted {
            assert!(source.contains(&format!("fn {name}()")), "{file} has no test {name}");
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}
