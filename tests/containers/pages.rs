//! The commands of the documentation's pages, run in order on an engine, and what they print, compared with what the page says.
//!
//! A fenced block with a file's name after its language is that file. In a `console` block, a line that begins with `$ ` is a
//! command, with `> ` its continuation; the lines after it are what it prints, in which `…` stands for any text and a line `...`
//! for any lines. What handfast says is on standard error, all else on standard output; what other programs say on standard error
//! is nobody's promise.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use handfast_testservers::{Directory, Docker};

use crate::images::{busybox, static_program};
use crate::machine;
use crate::support::{find_program, needs_program, require};

#[test]
fn docker() {
    follow("docker.md", &[], &[]);
}

/// With Compose itself.
#[test]
fn compose() {
    needs_program!("docker-compose");
    follow("compose.md", &["examples/compose/compose.yaml"], &[]);
}

#[test]
fn container_images() {
    needs_program!("openssl");
    if machine::is_complete(&["go", "initdb", "gosu"]) {
        follow("container-images.md", &[], &[machine::build_postgres]);
    }
}

/// What to do, and the line of the page that says so.
enum Step {
    File { name: String, content: String },
    Command { line: usize, words: String, prints: Vec<String> },
}

/// In a directory that begins with copies of files of the repository, on an engine that has these images too.
fn follow(page: &str, files: &[&str], images: &[fn(&Docker)]) {
    let Some(docker) = Docker::start() else { return };
    let busybox = busybox();
    if !require(busybox.is_some(), "busybox (Debian: busybox-static)") {
        return;
    }
    build_images(&docker, &busybox.expect("it was found"));
    images.iter().for_each(|build| build(&docker));
    let (place, bin) = (Directory::new(), Directory::new());
    client(&docker, &bin);
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in files {
        let from = repository.join(file);
        fs::copy(&from, place.path().join(from.file_name().expect("it has one"))).expect("it is there");
    }
    let path = repository.join("docs").join(page);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for step in steps(&text) {
        match step {
            Step::File { name, content } => drop(place.write(&name, content)),
            Step::Command { line, words, prints } => {
                let mut shell = Command::new("bash");
                shell.arg("-c").arg(&words).current_dir(place.path());
                let go =
                    find_program("go").and_then(|go| Some(format!(":{}", go.parent()?.display()))).unwrap_or_default();
                let output = shell.env("PATH", bin.path().display().to_string() + ":/usr/bin:/bin" + &go).output();
                let output = output.expect("bash starts");
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

/// `handfast`, and `busybox` as its authors publish it.
fn build_images(docker: &Docker, busybox: &Path) {
    let context = Directory::new();
    fs::copy(static_program("handfast"), context.path().join("handfast")).expect("it was built");
    fs::copy(busybox, context.path().join("busybox")).expect("it was found");
    let build = |name: &str, dockerfile: &str| {
        context.write("Dockerfile", dockerfile);
        docker.build(name, context.path(), &[]);
    };
    build("handfast", "FROM scratch\nCOPY handfast /handfast\nENTRYPOINT [\"/handfast\"]\n");
    let install = "RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]";
    build("busybox", &format!("FROM scratch\nCOPY busybox /bin/busybox\n{install}\nCMD [\"sh\"]\n"));
}

/// `docker`, that asks this engine, which has no network but `none`. Debian has Compose as a program of its own.
const CLIENT: &str = r#"#!/bin/sh
verb=$1; shift
case $verb in
    compose) exec docker-compose --host unix://@SOCKET@ --file compose.yaml --file "${0%/*}/network.yaml" "$@" ;;
    run|build)
        case " $* " in *" --network "*) ;; *) set -- --network none "$@" ;; esac
        exec /usr/bin/docker --host unix://@SOCKET@ "$verb" "$@" ;;
    *) exec /usr/bin/docker --host unix://@SOCKET@ "$verb" "$@" ;;
esac
"#;

/// What the services of examples/compose have here besides.
const NETWORK: &str = "services:\n  web: { network_mode: none }\n  keep: { network_mode: none }\n  \
    secrets: { network_mode: none }\n  jobs: { network_mode: none }\n";

fn client(docker: &Docker, bin: &Directory) {
    let socket = docker.directory().join("socket");
    let path = bin.write("docker", CLIENT.replace("@SOCKET@", &socket.display().to_string()));
    bin.write("network.yaml", NETWORK);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = page.lines().zip(1..);
    while let Some((line, _)) = lines.next() {
        let Some(block) = line.strip_prefix("```") else { continue };
        let inside: Vec<(&str, usize)> = lines.by_ref().take_while(|(line, _)| *line != "```").collect();
        match block.split_once(' ') {
            Some((_, name)) => steps.push(Step::File {
                name: name.to_owned(),
                content: inside.iter().flat_map(|(line, _)| [line, "\n"]).collect(),
            }),
            None if block == "console" => commands(&inside, &mut steps),
            None => {}
        }
    }
    assert!(!steps.is_empty(), "the page has no command");
    steps
}

fn commands(block: &[(&str, usize)], steps: &mut Vec<Step>) {
    for &(line, number) in block {
        if let Some(words) = line.strip_prefix("$ ") {
            steps.push(Step::Command { line: number, words: words.to_owned(), prints: Vec::new() });
            continue;
        }
        let Some(Step::Command { words, prints, .. }) = steps.last_mut() else {
            panic!("line {number}: a console block begins with a command");
        };
        match line.strip_prefix("> ") {
            Some(more) => *words += &format!("\n{more}"),
            None => prints.push(line.to_owned()),
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
