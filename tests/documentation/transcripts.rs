//! Every message, as transcripts: what is written, what handfast says to it on stderr, the exit code.
//!
//! `HANDFAST_UPDATE=1 cargo test --test documentation` writes what it says now into the files, for a look at the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use crate::pages::is_update;
use crate::quotes;
use crate::support::{Directory, PATH, is_root, needs_root, program};

/// One transcript. In the files: `|` starts a line of `handfast.toml`, `@` what root starts it with (options of `confine`; without
/// it, an ordinary user does), `$` the command. The output goes on to an empty line, what is printed to stdout behind `>`.
struct Transcript {
    /// Empty lines, comments and the configuration, as written.
    before: Vec<String>,
    command: String,
    output: Vec<String>,
}

#[test]
fn each_user_is_told_what_the_transcripts_say() {
    files().iter().filter(|path| !path.ends_with(FOR_ROOT)).for_each(|path| compare(path));
}

#[test]
fn root_is_told_what_the_transcripts_say() {
    needs_root!();
    files().iter().filter(|path| path.ends_with(FOR_ROOT)).for_each(|path| compare(path));
}

/// The transcripts of what only root can start.
const FOR_ROOT: &str = "root.txt";

fn compare(path: &Path) {
    update();
    let mut differences = String::new();
    for transcript in parse(&fs::read_to_string(path).expect("it is ours")).0 {
        let (expected, said) = expected_and_said(&transcript);
        if said != expected {
            let [expected, said] = [&expected, &said].map(|lines| lines.join("\n"));
            let (path, command) = (path.display(), transcript.command);
            differences += &format!("{path}:\n$ {command}\n--- expected\n{expected}\n--- said\n{said}\n\n");
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// Writes them all anew, once, where that is asked for; also what the pages quote of them.
pub fn update() {
    static ONCE: Once = Once::new();
    if is_update() {
        let possible = files().into_iter().filter(|path| is_root() || !path.ends_with(FOR_ROOT));
        ONCE.call_once(|| possible.for_each(|path| write(&path)));
    }
}

fn write(path: &Path) {
    let (transcripts, rest) = parse(&fs::read_to_string(path).expect("it is ours"));
    let mut now = String::new();
    for transcript in &transcripts {
        let (expected, said) = expected_and_said(transcript);
        for (old, new) in expected.iter().zip(&said).filter(|(old, new)| old != new && expected.len() == said.len()) {
            quotes::follow(old, new);
        }
        now += &[&transcript.before[..], &[format!("$ {}", transcript.command)], &said].concat().join("\n");
        now += "\n\n";
    }
    fs::write(path, now.trim_end().to_owned() + "\n" + &rest).expect("it is ours");
}

fn expected_and_said(transcript: &Transcript) -> (Vec<String>, Vec<String>) {
    (transcript.output.iter().map(|line| with_roots_ids(line)).collect(), run(transcript))
}

#[test]
fn each_line_has_the_form_of_a_message() {
    for path in files() {
        for line in parse(&fs::read_to_string(&path).expect("it is ours")).0.iter().flat_map(|one| &one.output) {
            let Some(said) = line.strip_prefix("handfast: ") else {
                assert!(line.starts_with(['{', '[', '>']), "no line of ours: {line}");
                continue;
            };
            let (kind, message) = said.split_once(": ").expect("a level or `hint`");
            assert!(["error", "warn", "info", "debug", "hint"].contains(&kind), "{line}");
            assert!(!message.ends_with(['.', '!', ' ']) && !message.is_empty(), "ends badly: {line}");
            // Behind the place, where there is one; names and settings may be upper case.
            let start = message.split(": ").last().and_then(|text| text.chars().next());
            let upper = message.split(' ').next().is_some_and(|word| word.chars().skip(1).any(char::is_lowercase))
                && message.starts_with(char::is_uppercase);
            assert!(start.is_some() && !upper, "not lower case: {line}");
        }
    }
}

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    let entries = fs::read_dir(directory).expect("it is ours").map(|entry| entry.expect("it is ours").path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    files
}

fn parse(text: &str) -> (Vec<Transcript>, String) {
    let mut transcripts: Vec<Transcript> = Vec::new();
    let mut before = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else {
            before.push(line.to_owned());
            continue;
        };
        let output = lines.by_ref().take_while(|line| !line.is_empty()).map(str::to_owned).collect();
        transcripts.push(Transcript { before: std::mem::take(&mut before), command: command.to_owned(), output });
    }
    (transcripts, before.join("\n"))
}

/// What it says, with the same names and times each run.
fn run(transcript: &Transcript) -> Vec<String> {
    let as_root = transcript.before.iter().find_map(|line| line.strip_prefix('@'));
    let directory = Directory::new();
    let here = |text: &str| text.replace("<directory>", directory.text());
    let lines = transcript.before.iter().filter_map(|line| line.strip_prefix('|'));
    let config: String = lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect();
    directory.write("handfast.toml", here(&config));
    let mut words = words(&here(&transcript.command));
    let at = words.iter().position(|word| word == "handfast").expect("the command is handfast");
    let arguments = words.split_off(at + 1);
    words.pop();
    let mut command = Command::new(program("confine"));
    command.arg("--clean").arg("--cwd").arg(directory.path());
    match as_root {
        Some(options) => drop(command.args(self::words(here(options).trim()).iter().filter(|word| !word.is_empty()))),
        None if is_root() => drop(command.args(["--uid", "4242", "--gid", "4242", "--groups", "none"])),
        None => {}
    }
    command.arg("--").arg(program("handfast")).args(arguments).env_clear().env("PATH", PATH);
    command.envs(words.iter().map(|word| word.split_once('=').expect("NAME=VALUE")));
    let output = command.stdin(Stdio::null()).output().expect("the tools can be started");
    let stderr = String::from_utf8(output.stderr).expect("handfast writes UTF-8");
    let steady = |line: &str| {
        let line = with_roots_ids(line).replace(directory.text(), "<directory>");
        match line.split_once("\"elapsed_ms\":") {
            Some((start, rest)) => {
                format!("{start}\"elapsed_ms\":0{}", rest.trim_start_matches(|digit: char| digit.is_ascii_digit()))
            }
            None => line,
        }
    };
    let code = output.status.code().expect("no signal");
    let stdout = String::from_utf8(output.stdout).expect("it is text");
    // What `check` says of the machine is the machine's, with the lines that go on below a title.
    let mut is_machines = false;
    let others = |line: &&str| {
        is_machines = ["files", "descriptors", "not here"].iter().any(|title| line.starts_with(title))
            || is_machines && line.starts_with("              ");
        !is_machines
    };
    let stdout = stdout.lines().filter(others).map(|line| steady(&format!("> {line}")));
    stdout.chain(stderr.lines().map(steady)).chain([format!("[{code}]")]).collect()
}

/// An ordinary user's run of the tests has that user's ids.
fn with_roots_ids(line: &str) -> String {
    if is_root() {
        return line.to_owned();
    }
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let both = line.replace(&format!("{uid}:{gid}"), "4242:4242");
    both.replace(&format!("uid {uid}"), "uid 4242").replace(&format!("gid {gid}"), "gid 4242")
}

/// The words of a command: separated by spaces, which quotes (`'…'`) keep; `\n` and `\x1b` are what they are in Rust.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in command.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().expect("never empty").push(other),
        }
    }
    words.iter().map(|word| word.replace("\\n", "\n").replace("\\x1b", "\x1b")).collect()
}
