//! The commands of the documentation's pages, run in order on an engine, and what they print, compared with what the page says.
//!
//! A fenced block with a file's name after its language is that file. In a `console` block, a line that begins with `$ ` is a
//! command, with `> ` its continuation; the lines after it are what it prints, in which `…` stands for any text and a line `...`
//! for any lines. What handfast says is on standard error, all else on standard output; what other programs say on standard error
//! is nobody's promise.

use std::fs;

use handfast_testservers::{Directory, Docker};

use crate::shell::{NO_NETWORK, Shell};
use crate::support::needs_program;
use crate::{machine, markdown};

#[test]
fn docker() {
    follow("docs/docker.md", &[], &[]);
}

/// With Compose itself.
#[test]
fn compose() {
    needs_program!("docker-compose");
    follow("docs/compose.md", &["examples/compose/compose.yaml"], &[]);
}

#[test]
fn container_images() {
    needs_program!("openssl");
    if machine::is_complete(&["go", "initdb", "gosu"]) {
        follow("docs/container-images.md", &[], &[machine::build_postgres]);
    }
}

/// What to do, and the line of the page that says so.
enum Step {
    File { name: String, content: String },
    Command { line: usize, words: String, prints: Vec<String> },
}

/// In a directory that begins with copies of files of the repository, on an engine that has these images too.
fn follow(page: &str, files: &[&str], images: &[fn(&Docker)]) {
    if !machine::is_complete(&["busybox"]) {
        return;
    }
    let Some(docker) = Docker::start() else { return };
    machine::build_own(&docker);
    images.iter().for_each(|build| build(&docker));
    let (place, shell) = (Directory::new(), Shell::new(&docker, NO_NETWORK, Vec::new()));
    for file in files {
        let from = markdown::root().join(file);
        fs::copy(&from, place.path().join(from.file_name().expect("it has one"))).expect("it is there");
    }
    for step in steps(&markdown::page(page)) {
        match step {
            Step::File { name, content } => drop(place.write(&name, content)),
            Step::Command { line, words, prints } => {
                let output = shell.output(place.path(), &words);
                let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                let found: Vec<&str> = err.lines().filter(|line| is_ours(line)).chain(out.lines()).collect();
                // On a terminal they come as they come; here, what is ours is first.
                let (mut expected, others): (Vec<_>, Vec<_>) = prints.into_iter().partition(|line| is_ours(line));
                expected.extend(others);
                assert!(
                    matches(&expected, &found),
                    "{page}:{line}: {words}\nexpected:\n{}\nstdout:\n{out}\nstderr:\n{err}",
                    expected.join("\n")
                );
            }
        }
    }
}

fn is_ours(line: &str) -> bool {
    line.starts_with("handfast: ")
}

fn steps(page: &markdown::Page) -> Vec<Step> {
    let mut steps = Vec::new();
    for block in page.blocks() {
        match block.file() {
            Some(name) => steps.push(Step::File { name: name.to_owned(), content: block.text() }),
            None if block.language == "console" => commands(&block, &mut steps),
            None => {}
        }
    }
    assert!(!steps.is_empty(), "the page has no command");
    steps
}

fn commands(block: &markdown::Block, steps: &mut Vec<Step>) {
    for (line, number) in block.lines.iter().zip(block.line + 1..) {
        if let Some(words) = line.strip_prefix("$ ") {
            steps.push(Step::Command { line: number, words: words.to_owned(), prints: Vec::new() });
            continue;
        }
        let Some(Step::Command { words, prints, .. }) = steps.last_mut() else {
            panic!("line {number}: a console block begins with a command");
        };
        match line.strip_prefix("> ") {
            Some(more) => *words += &format!("\n{more}"),
            None => prints.push(line.clone()),
        }
    }
}

/// Whether lines are as a page says.
fn matches(expected: &[String], found: &[&str]) -> bool {
    match (expected.split_first(), found.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "..." => (0..=found.len()).any(|skipped| matches(rest, &found[skipped..])),
        (Some((first, rest)), Some((line, others))) => line_matches(first, line) && matches(rest, others),
        _ => false,
    }
}

/// `…` in it stands for any text.
fn line_matches(expected: &str, found: &str) -> bool {
    match expected.split_once('…') {
        None => expected.trim_end() == found.trim_end(),
        Some((before, rest)) => found.strip_prefix(before).is_some_and(|after| {
            let ends = after.char_indices().map(|(at, _)| at).chain([after.len()]);
            ends.into_iter().any(|at| line_matches(rest, &after[at..]))
        }),
    }
}

#[test]
fn what_differs_from_a_page_is_seen() {
    let expected = |text: &[&str]| text.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    for (page, printed) in [(&["a…c", "...", "d"][..], &["abc", "x", "y", "d"][..]), (&["…"], &[""]), (&["..."], &[])]
    {
        assert!(matches(&expected(page), printed), "{page:?} {printed:?}");
    }
    for (page, printed) in
        [(&["a…c"][..], &["abd"][..]), (&["a"], &["a", "b"]), (&["a", "b"], &["a"]), (&["...", "d"], &["e"])]
    {
        assert!(!matches(&expected(page), printed), "{page:?} {printed:?}");
    }
}
