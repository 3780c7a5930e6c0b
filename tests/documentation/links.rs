//! Each relative link leads to a file, and to a heading in it; each command that runs tests, to tests.

use std::path::{Component, Path, PathBuf};

use crate::pages::{all, page, root};

#[test]
fn each_relative_link_leads_somewhere() {
    let (mut seen, mut dead) = (0, Vec::new());
    for page_with_links in all() {
        for (line, text) in page_with_links.prose() {
            for target in targets(text) {
                seen += 1;
                if let Err(why) = follow(&page_with_links.name, target) {
                    dead.push(format!("{}:{line}: {target}: {why}", page_with_links.name));
                }
            }
        }
    }
    assert!(seen > 80, "only {seen} links were seen");
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn dead_links_are_seen() {
    assert_eq!(targets("a [b](c.md#d) and `[e](f)` and [g](https://h) [i](j)"), ["c.md#d", "j"]);
    assert!(follow("README.md", "CHANGELOG.md#unreleased").is_ok());
    assert!(follow("README.md", "CHANGELOG.md#released").is_err());
    assert!(follow("README.md", "docs/no-such-page.md").is_err());
    assert!(follow("src/ARCHITECTURE.md", "../README.md").is_ok());
}

#[test]
fn each_command_that_runs_tests_names_tests_that_exist() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for page_with_commands in all() {
        for (line, text) in page_with_commands.prose() {
            for command in text.split('`').filter_map(|code| code.strip_prefix("cargo test --test ")) {
                seen += 1;
                let mut words = command.split([' ', ':']).filter(|word| !word.is_empty());
                let subject = root().join("tests").join(words.next().expect("a subject"));
                let exists = |name: &str| subject.join(name).exists() || subject.join(format!("{name}.rs")).exists();
                if !exists("main") || !words.next().is_none_or(exists) {
                    wrong.push(format!("{}:{line}: {command}", page_with_commands.name));
                }
            }
        }
    }
    assert!(seen > 10, "only {seen} commands were seen");
    assert!(wrong.is_empty(), "no such tests:\n{}", wrong.join("\n"));
}

/// The relative targets of a line's links; what stands in backticks is no link.
fn targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    for part in line.split('`').step_by(2) {
        let links = part.match_indices("](").filter_map(|(at, _)| part[at + 2..].split_once(')'));
        targets.extend(links.map(|(target, _)| target));
    }
    // A link whose text is code is cut in two by the backticks: `[` … `](target)`; the part behind has it.
    targets.retain(|target| !target.contains("://") && !target.starts_with("mailto:"));
    targets
}

fn follow(from: &str, target: &str) -> Result<(), &'static str> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match path {
        "" => PathBuf::from(from),
        path => normal(&Path::new(from).parent().expect("a page has a directory").join(path)),
    };
    if !root().join(&path).exists() {
        return Err("there is no such file");
    }
    let is_page = path.extension().is_some_and(|end| end == "md");
    if anchor.is_empty() || !is_page {
        return Ok(());
    }
    let name = path.display().to_string();
    let known = page(&name).anchors();
    known.iter().any(|one| one == anchor).then_some(()).ok_or("there is no such heading")
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}
