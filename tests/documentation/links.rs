//! Each relative link leads to a file, and to a heading in it.

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
