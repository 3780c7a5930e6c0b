//! Each message that a page quotes is one that a test pins: a transcript, a test's own text, or the list of the unprovoked.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use crate::pages::{docs, page, rewrite, root};
use crate::transcripts;

#[test]
fn each_quoted_message_is_pinned() {
    transcripts::update();
    let (mut quoted, mut wrong) = (0, Vec::new());
    for page in docs() {
        for block in page.blocks().iter().filter(|block| block.language == "text") {
            for (at, line) in block.lines.iter().enumerate().filter(|(_, line)| line.starts_with("handfast: ")) {
                quoted += 1;
                if !is_pinned(line) {
                    wrong.push(format!("{}:{}: {line}", page.name, block.line + 1 + at));
                }
            }
        }
    }
    assert!(quoted > 40, "only {quoted} messages were seen");
    assert!(wrong.is_empty(), "no test knows these messages:\n{}", wrong.join("\n"));
}

#[test]
fn a_message_stands_in_the_section_of_its_code() {
    let page = page("docs/troubleshooting.md");
    for block in page.blocks().iter().filter(|block| block.language == "text") {
        let (code, _) = block.section.split_once(": ").expect("a code and a title");
        for line in block.lines.iter().filter(|line| line.starts_with("handfast: error: ")) {
            let (_, exit) = ending(line).unwrap_or_else(|| panic!("no exit code at the end of: {line}"));
            let is_its = exit == code || code == "128+n" && exit.parse::<u8>().is_ok_and(|exit| exit > 128);
            assert!(is_its, "line {}: {exit} under {code}", block.line);
        }
    }
}

#[test]
fn a_message_that_is_not_handfasts_is_seen() {
    assert!(is_pinned("handfast: error: cannot deliver files into `…`: it is a link (deliver, exit 73)"));
    assert!(is_pinned("handfast: hint: name the directory itself"));
    assert!(!is_pinned("handfast: error: cannot deliver files into `…`: it is a linc (deliver, exit 73)"));
    assert!(!is_pinned("handfast: error: cannot deliver files into `…`: it is a link, or not (deliver, exit 73)"));
    assert!(!is_pinned("handfast: error: … (deliver, exit 73)"));
    assert!(!is_pinned("handfast: error: cannot fetch `…` from `…`: nobody says so (denied, exit 77)"));
}

#[test]
fn a_quote_follows_its_message() {
    let (old, new) = ("error: cannot read `/a/b`: no such file (x, exit 1)", "error: `/a/b` is not there (x, exit 1)");
    assert_eq!(
        requoted("error: cannot read `…`: no such file (x, exit 1)", old, new).as_deref(),
        Some("error: `…` is not there (x, exit 1)")
    );
    assert_eq!(requoted("error: cannot write `…`: no such file (x, exit 1)", old, new), None);
    assert_eq!(requoted("error: cannot read `…`: no such", old, new), None);
}

/// Puts the new wording of a message where a page quotes the old one.
pub fn follow(old: &str, new: &str) {
    for quoting in docs() {
        let follow = |line: &str| requoted(line, old, new).unwrap_or_else(|| line.to_owned()) + "\n";
        if quoting.text.lines().any(|line| requoted(line, old, new).is_some()) {
            rewrite(&quoting.name, |text| text.lines().map(follow).collect());
        }
    }
}

/// A quote of the old message, with the new wording: each `…` of it stays where its value stands now.
fn requoted(quote: &str, old: &str, new: &str) -> Option<String> {
    let mut pieces = quote.split('…');
    let (mut old, mut new, mut text) = (old.strip_prefix(pieces.next()?)?, new, String::new());
    for piece in pieces {
        let end = if piece.is_empty() { old.len() } else { old.find(piece)? };
        let (before, after) = new.split_once(&old[..end])?;
        text += &format!("{before}…");
        (old, new) = (&old[end + piece.len()..], after);
    }
    old.is_empty().then(|| text + new)
}

/// ` (class, exit N)` at the end of a start's last line: what stands before it, and N.
fn ending(line: &str) -> Option<(&str, &str)> {
    let (message, ending) = line.strip_suffix(')')?.rsplit_once(" (")?;
    Some((message, ending.split_once(", exit ")?.1))
}

/// Whether a line occurs word for word, where `…` stands for what differs from start to start.
fn is_pinned(line: &str) -> bool {
    let (_, said) = line.split_once(": ").expect("handfast");
    let (_, said) = said.split_once(": ").expect("a level or `hint`");
    let said = ending(said).map_or(said, |(message, _)| message);
    is_text(said)
}

/// What a provider says is pinned in its own tests, without what was attempted before the last colons.
fn is_text(said: &str) -> bool {
    let of_two = |(at, _)| is_in_a_line(&format!("{}: …", &said[..at])) && is_text(&said[at + 2..]);
    is_in_a_line(said) || said.match_indices(": ").any(of_two)
}

fn is_in_a_line(text: &str) -> bool {
    let pieces: Vec<&str> = text.split('…').collect();
    // Too little of a text could be any text's.
    let letters = pieces.iter().flat_map(|piece| piece.chars()).filter(|c| c.is_alphabetic()).count();
    letters >= 9 && pinned().iter().any(|line| holds(line, &pieces))
}

/// Whether the pieces come in this order, the last one up to the end of a message.
fn holds(mut line: &str, pieces: &[&str]) -> bool {
    let (last, before) = pieces.split_last().expect("a text has one piece at least");
    for piece in before {
        match line.split_once(piece) {
            Some((_, after)) => line = after,
            None => return false,
        }
    }
    // Behind it comes nothing, or what ends a transcript's line or a test's literal.
    let is_end = |rest: &str| rest.is_empty() || rest.starts_with(['"', '\\']) || rest.starts_with(" (");
    last.is_empty() || line.match_indices(last).any(|(at, _)| is_end(&line[at + last.len()..]))
}

/// What pins messages.
fn pinned() -> &'static [String] {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    LINES.get_or_init(|| {
        let mut lines = Vec::new();
        for directory in ["tests", "providers", "src"] {
            read(&root().join(directory), &mut lines);
        }
        lines
    })
}

fn read(directory: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("it is ours") {
        let path = entry.expect("it is ours").path();
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() && !path.ends_with("tests/documentation") && !path.ends_with("tests/servers") {
            read(&path, lines);
        } else if ["rs", "txt", "list"].contains(&end.as_str()) {
            let text = fs::read_to_string(&path).expect("it is text");
            let is_code = end == "rs" && !path.components().any(|part| part.as_os_str() == "tests");
            let text = match is_code {
                true => text.split_once("#[cfg(test)]\nmod tests").map_or("", |(_, tests)| tests),
                false => &text,
            };
            lines.extend(join(text).lines().map(|line| line.replace("\\\"", "\"")));
        }
    }
}

/// A test's text without the breaks of its literals.
fn join(code: &str) -> String {
    let mut parts = code.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |joined, part| joined + part.trim_start())
}
