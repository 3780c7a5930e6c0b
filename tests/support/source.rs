//! handfast's own source, for rules that the compiler does not know.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of Rust.
pub struct Source {
    /// Its path in the checkout, with `/` between names.
    pub path: String,
    /// What ships: without comments and without the tests at its end.
    pub code: String,
    /// All of it.
    pub text: String,
}

/// The sources below these directories of the checkout, but for tests, examples and benches.
pub fn sources(directories: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    directories.iter().for_each(|directory| collect(&root.join(directory), &mut paths));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.strip_prefix(root).expect("it is below").to_str().expect("made of ASCII").to_owned();
        Source { path, code: shipped(&text), text }
    };
    paths.into_iter().map(read).collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())).flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let skipped = ["tests", "examples", "benches", "target"].iter().any(|skipped| name == *skipped);
        if path.is_dir() && !skipped {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
            paths.push(path);
        }
    }
}

/// The code before the tests, its comments left out line by line.
fn shipped(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

impl Source {
    /// Whether the code has this as a whole word.
    pub fn names(&self, word: &str) -> bool {
        has_word(&self.code, word)
    }
}

/// Whether the text has this between other characters than those of a name.
pub fn has_word(text: &str, word: &str) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = text.as_bytes();
    text.match_indices(word).any(|(at, _)| {
        !part(at.checked_sub(1).and_then(|before| bytes.get(before))) && !part(bytes.get(at + word.len()))
    })
}
