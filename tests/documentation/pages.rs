//! Markdown, as far as these pages go: fenced blocks, headings, links.

// The tests of containers read pages with a part of this, and those of the pages with another.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// One page.
pub struct Page {
    /// Its path below the repository's root.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A fenced block.
pub struct Block {
    /// What stands behind the fence: `toml`, `console`, `sh run`.
    pub language: String,
    /// The line of its fence, from 1.
    pub line: usize,
    /// Its lines.
    pub lines: Vec<String>,
    /// The second-level heading that it stands under.
    pub section: String,
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One page of the repository.
pub fn page(name: &str) -> Page {
    let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    Page { name: name.to_owned(), text }
}

/// Whether the files that are made of the program shall be written, and not compared with it.
pub fn is_update() -> bool {
    std::env::var_os("HANDFAST_UPDATE").is_some()
}

/// Writes a page anew; one after the other, since several tests may.
pub fn rewrite(name: &str, change: impl FnOnce(&str) -> String) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().expect("nobody panics with it");
    let now = change(&page(name).text);
    fs::write(root().join(name), now).expect("it is ours");
}

/// The pages of `docs/`.
pub fn docs() -> Vec<Page> {
    let pages: Vec<Page> = all().into_iter().filter(|page| page.name.starts_with("docs/")).collect();
    assert!(pages.len() >= 7, "docs/ has only {} pages", pages.len());
    pages
}

/// Every page of the repository.
pub fn all() -> Vec<Page> {
    let mut files = Vec::new();
    for directory in ["docs", "examples", "providers", "src", "tests", "benches"] {
        below(&root().join(directory), &mut files);
    }
    files.extend(["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name)));
    files.sort();
    let name = |file: &PathBuf| file.strip_prefix(root()).expect("it is below").display().to_string();
    files.iter().map(|file| page(&name(file))).collect()
}

fn below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("it is ours") {
        let path = entry.expect("it is ours").path();
        match path.is_dir() {
            true => below(&path, files),
            false if path.extension().is_some_and(|end| end == "md") => files.push(path),
            false => {}
        }
    }
}

impl Block {
    /// The file that it is, where a path stands behind its language.
    pub fn file(&self) -> Option<&str> {
        self.language.split_once(' ').map(|(_, path)| path)
    }

    /// Its lines, each with its end.
    pub fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }
}

impl Page {
    /// Its fenced blocks.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let (mut section, mut open) = (String::new(), false);
        for (at, line) in self.text.lines().enumerate() {
            match line.trim_start().strip_prefix("```") {
                Some(_) if open => open = false,
                Some(language) => {
                    open = true;
                    let language = language.trim().to_owned();
                    blocks.push(Block { language, line: at + 1, lines: Vec::new(), section: section.clone() });
                }
                None if open => blocks.last_mut().expect("one is open").lines.push(line.to_owned()),
                None => {
                    if let Some(heading) = line.strip_prefix("## ") {
                        section = heading.to_owned();
                    }
                }
            }
        }
        assert!(!open, "{}: a block has no end", self.name);
        blocks
    }

    /// Its lines with their numbers, without those of fenced blocks.
    pub fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut inside = false;
        self.text.lines().enumerate().filter_map(move |(at, line)| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            (!inside && !fence).then_some((at + 1, line))
        })
    }

    /// The anchors of its headings, as GitHub makes them.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter_map(|(_, line)| line.strip_prefix('#'));
        let mut anchors: Vec<String> = Vec::new();
        for heading in headings {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let before = anchors.iter().filter(|known| **known == anchor).count();
            anchors.push(if before == 0 { anchor } else { format!("{anchor}-{before}") });
        }
        anchors
    }

    /// The rows of its tables below a heading: the cells of each.
    pub fn rows(&self, heading: &str) -> Vec<Vec<String>> {
        let from = self.prose().skip_while(|(_, line)| *line != heading).skip(1);
        let lines = from.take_while(|(_, line)| !line.starts_with('#')).filter_map(|(_, line)| line.strip_prefix("| "));
        let cells = |line: &str| line.trim_end_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        // Behind the titles and the line below them.
        lines.skip(1).filter(|line| !line.starts_with("---")).map(cells).collect()
    }
}
