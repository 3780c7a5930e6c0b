//! Every text in the source that can reach a user is in a transcript, or in a test that names it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::pages::{is_update, page, rewrite, root};
use crate::transcripts;

/// Where texts are looked for.
const SOURCES: &[&str] = &[
    "src",
    "providers/aws/src",
    "providers/azure/src",
    "providers/core/src",
    "providers/file/src",
    "providers/http/src",
    "providers/mock/src",
    "providers/vault/src",
];

/// Where tests and transcripts are. Those of a provider's texts that need its store stand beside the provider.
const TESTS: &[&str] = &[
    "tests",
    "providers/aws/tests",
    "providers/azure/tests",
    "providers/core/tests",
    "providers/file/tests",
    "providers/http/tests",
    "providers/vault/tests",
];

/// Texts that no test provokes: see there.
const UNPROVOKED: &str = "tests/messages/unprovoked.list";

#[test]
fn each_text_of_the_source_is_tested() {
    transcripts::update();
    let unprovoked = page(UNPROVOKED).text;
    let (header, listed) = unprovoked.split_once("\n\n").expect("a header, then the texts");
    let mut said: Vec<String> =
        vec![help(), text(handfast::config::schema::schema()).replace("\\\"", "\""), text(handfast::cli::manual())];
    let mut tests = Vec::new();
    for file in TESTS.iter().flat_map(|directory| sources(&root().join(directory))) {
        let text = fs::read_to_string(&file).expect("it is ours");
        match file.extension().is_some_and(|end| end == "rs") {
            true if !file.ends_with("documentation/coverage.rs") => tests.push(text),
            true => {}
            false => said.push(text),
        }
    }
    let mut texts = Vec::new();
    for file in SOURCES.iter().flat_map(|directory| sources(&root().join(directory))) {
        let source = fs::read_to_string(&file).expect("it is ours");
        let name = file.strip_prefix(root()).expect("it is below").display().to_string();
        let (code, unit_tests) = match name.contains("/tests/") || name.ends_with("/tests.rs") {
            true => ("", &*source),
            false => source.split_once("#[cfg(test)]\nmod tests").unwrap_or((&source, "")),
        };
        tests.push(unit_tests.to_owned());
        texts.extend(literals(code).into_iter().map(|literal| (name.clone(), literal)));
    }
    let tests = join_lines(&tests.concat()).replace("\\\"", "\"");
    let mut missing = Vec::new();
    for (file, literal) in &texts {
        let is_text = literal.contains(' ') && literal.contains(|c: char| c.is_ascii_lowercase());
        if !is_text || listed.lines().any(|known| known == literal.trim()) {
            continue;
        }
        let is_tested = |line: &str| {
            let pieces = pieces(line);
            let longest = pieces.iter().max_by_key(|piece| piece.len()).cloned().unwrap_or_default();
            said.iter().any(|said| said.lines().any(|line| in_order(line, &pieces))) || tests.contains(&longest)
        };
        if !literal.lines().all(is_tested) {
            missing.push((file, literal.trim()));
        }
    }
    // The list is a snapshot: a text that is reworded or gone is reworded or gone there too.
    let is_text = |line: &&str| texts.iter().any(|(_, literal)| literal.trim() == *line);
    let (known, stale): (Vec<&str>, Vec<&str>) = listed.lines().partition(is_text);
    // A new text belongs into a transcript: what is written anew never grows.
    if is_update() && missing.len() <= stale.len() {
        let mut now: Vec<&str> = known.into_iter().chain(missing.into_iter().map(|(_, text)| text)).collect();
        now.sort_unstable();
        now.dedup();
        rewrite(UNPROVOKED, |_| format!("{header}\n\n{}\n", now.join("\n")));
        return;
    }
    let missing: Vec<String> = missing.iter().map(|(file, text)| format!("{file}: {text}")).collect();
    assert!(missing.is_empty(), "in no test:\n{}", missing.join("\n"));
    assert!(stale.is_empty(), "listed, and not in the source:\n{}", stale.join("\n"));
}

fn help() -> String {
    let help = |arguments: &[&str]| match handfast::cli::parse(arguments.iter().map(Into::into)) {
        Ok(handfast::cli::Invocation::Print(text)) => text,
        other => panic!("no help: {other:?}"),
    };
    let commands = ["run", "init", "watch", "ready", "check", "policy", "install", "schema", "completions", "man"];
    commands.map(|command| help(&["handfast", command, "--help"])).concat() + &help(&["handfast", "--help"])
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("it is text")
}

/// Every file below a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("it is ours") {
        let path = entry.expect("it is ours").path();
        match path.is_dir() {
            true => files.extend(sources(&path)),
            false => files.push(path),
        }
    }
    files.retain(|path| path.extension().is_some_and(|end| end == "rs" || end == "txt"));
    files
}

/// The string literals of a piece of Rust, without comments.
fn literals(code: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (before, from) = rest.split_at(at);
        rest = &from[1..];
        if from.starts_with("//") {
            rest = from.split_once('\n').map_or("", |(_, next)| next);
        } else if let Some(after) = from.strip_prefix('"') {
            let hashes = before.len() - before.trim_end_matches('#').len();
            if before.trim_end_matches('#').ends_with('r') {
                let (literal, after) = after.split_once(&format!("\"{}", "#".repeat(hashes))).expect("it ends");
                literals.push(literal.to_owned());
                rest = after;
            } else {
                let (literal, after) = literal(after);
                literals.push(literal);
                rest = after;
            }
        } else if from.starts_with("'\\") {
            rest = from[3..].split_once('\'').map_or("", |(_, next)| next);
        } else if from.starts_with('\'') && from.chars().nth(2) == Some('\'') {
            rest = &from[from.char_indices().nth(3).map_or(from.len(), |(at, _)| at)..];
        }
    }
    literals
}

/// A text without the breaks of its literals.
fn join_lines(code: &str) -> String {
    let mut parts = code.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |joined, part| joined + part.trim_start())
}

/// One literal, up to its closing quote, and what follows.
fn literal(from: &str) -> (String, &str) {
    let mut text = String::new();
    let mut characters = from.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (text, &from[at + 1..]),
            '\\' => match characters.next() {
                // A line that goes on below.
                Some((at, '\n')) => {
                    let next = from[at + 1..].trim_start();
                    let (more, rest) = literal(next);
                    return (text + &more, rest);
                }
                Some((_, 'n')) => text.push('\n'),
                Some((_, character)) => text.push(character),
                None => break,
            },
            character => text.push(character),
        }
    }
    panic!("a string without end: {text}")
}

/// What of a text is the same each time: the parts between `{…}`.
fn pieces(literal: &str) -> Vec<String> {
    let text = literal.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut pieces = Vec::new();
    for (at, part) in text.split('{').enumerate() {
        let part = if at == 0 { part } else { part.split_once('}').map_or(part, |(_, after)| after) };
        pieces.push(part.replace('\u{1}', "{").replace('\u{2}', "}"));
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn in_order(mut line: &str, pieces: &[String]) -> bool {
    pieces.iter().all(|piece| match line.split_once(piece.as_str()) {
        Some((_, after)) => {
            line = after;
            true
        }
        None => false,
    })
}
