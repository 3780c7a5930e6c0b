//! What a page tells its reader to write is tried: configurations, commands with what they print, and manifests.
//!
//! ```` ```toml ```` is a configuration of handfast's. ```` ```console ```` is a command behind `$ ` and what it prints, where a line
//! of `…` stands for any number of lines; those that start with another program than handfast are the reader's alone.

use std::process::{Command, Output, Stdio};

use handfast::cli;

use crate::pages::{Block, Page, docs, page};
use crate::support::{Directory, PATH, Run, Yaml, needs_root, program, programs};
use crate::transcripts;

#[test]
fn each_configuration_passes_its_check() {
    needs_root!();
    let mut seen = 0;
    for (page, block) in blocks("toml") {
        seen += 1;
        let text = block.text();
        let directory = Directory::in_memory();
        let mut run = Run::command("check").config(&text);
        if text.contains("[files]") || text.contains("file = ") {
            run = run.args(["--dir", directory.text()]);
        }
        for name in variables(&text).into_iter().chain(["VAULT_ADDR".into(), "AWS_REGION".into()]) {
            run = run.env(&name, if name == "VAULT_ADDR" { "https://vault.internal:8200" } else { "eu-west-1" });
        }
        let outcome = run.start();
        // A user of an app's image is none of this machine's.
        let of_the_image = |line: &&str| line.contains(": no user `") || line.contains("; nothing was fetched (");
        let mut errors = outcome.stderr.lines().filter(|line| line.starts_with("handfast: error: "));
        let is_fine = outcome.code == 0 || outcome.code == 78 && errors.all(|line| of_the_image(&line));
        assert!(is_fine, "{}:{}: {outcome:?}", page.name, block.line);
    }
    assert!(seen >= 9, "only {seen} configurations were seen");
}

#[test]
fn each_command_prints_what_the_page_shows() {
    needs_root!();
    transcripts::update();
    let mut seen = 0;
    for (page, block) in blocks("console") {
        let transcripts = transcripts(&block);
        if !transcripts.iter().all(|(command, _)| is_ours(command)) {
            continue;
        }
        for (command, expected) in transcripts {
            seen += 1;
            let output = shell(&command);
            let said = String::from_utf8(output.stdout).expect("it is text");
            let said: Vec<&str> = said.lines().collect();
            assert!(
                fits(&said, &expected),
                "{}:{}: $ {command}\n--- page\n{}\n--- said\n{}",
                page.name,
                block.line,
                expected.join("\n"),
                said.join("\n")
            );
        }
    }
    assert!(seen >= 5, "only {seen} commands were seen");
}

#[test]
fn each_manifest_is_yaml() {
    let Some(yaml) = Yaml::find() else { return };
    assert!(yaml.parse("a: [").is_err(), "what is no YAML is refused");
    let blocks: Vec<_> = blocks("yaml");
    for (page, block) in &blocks {
        let parsed = yaml.parse(&block.text());
        assert!(parsed.is_ok(), "{}:{}: {parsed:?}", page.name, block.line);
    }
    assert!(blocks.len() >= 4, "only {} manifests were seen", blocks.len());
    for example in ["aws/eks.yaml", "azure/aks.yaml", "azure/container-app.yaml"] {
        let text = std::fs::read_to_string(crate::pages::root().join("examples").join(example)).expect("it is there");
        let parsed = yaml.parse(&text);
        assert!(parsed.is_ok(), "{example}: {parsed:?}");
    }
}

#[test]
fn what_a_manifest_starts_is_a_command_of_handfasts() {
    let mut seen = 0;
    for (page, block) in blocks("yaml") {
        let mut is_ours = false;
        for line in &block.lines {
            if let Some((_, image)) = line.split_once("image: ") {
                is_ours = image.starts_with("handfast:");
            }
            let Some((_, list)) = line.split_once("command: [").or_else(|| line.split_once("args: [")) else {
                continue;
            };
            let list = list.split(']').next().expect("there is a first");
            let mut words: Vec<&str> = list.split(", ").map(|word| word.trim_matches('"')).collect();
            if words[0].ends_with("/handfast") {
                words.remove(0);
            } else if !is_ours {
                continue;
            }
            seen += 1;
            // The app may be in `args`, below.
            let app = (words.last() == Some(&"--")).then_some("app");
            let parsed = cli::parse(["handfast"].into_iter().chain(words).chain(app).map(Into::into));
            assert!(parsed.is_ok(), "{}:{}: {line}: {parsed:?}", page.name, block.line);
        }
    }
    assert!(seen >= 5, "only {seen} commands were seen");
}

#[test]
fn the_references_of_a_manifest_pass_their_check() {
    let mut seen = 0;
    for (page, block) in blocks("yaml") {
        let pairs = block.lines.iter().filter_map(|line| {
            let (_, rest) = line.split_once("{ name: ")?;
            let (name, rest) = rest.split_once(", value: ")?;
            Some((name, rest.trim_end_matches(" }").trim_matches('"')))
        });
        let pairs: Vec<(&str, &str)> = pairs.collect();
        if !pairs.iter().any(|(_, value)| value.starts_with("handfast:")) {
            continue;
        }
        seen += 1;
        let run = pairs.iter().fold(Run::command("check"), |run, (name, value)| run.env(name, value));
        let outcome = run.start();
        assert_eq!(outcome.code, 0, "{}:{}: {outcome:?}", page.name, block.line);
    }
    assert!(seen >= 2, "only {seen} manifests have references");
}

#[test]
fn lines_are_compared_word_for_word() {
    let expected = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&["a", "b", "c"], &expected("a\n…\nc")) && fits(&["a", "c"], &expected("a\n…\nc")));
    assert!(fits(&["a"], &expected("a\n…")) && fits(&[], &[]));
    assert!(!fits(&["a", "b"], &expected("a")) && !fits(&["b", "c"], &expected("a\n…\nc")));
    assert!(is_ours("env -i A=b handfast check") && !is_ours("docker run handfast"));
}

fn blocks(language: &str) -> Vec<(Page, Block)> {
    let mut blocks = Vec::new();
    for page in docs().into_iter().chain([page("README.md")]) {
        for block in page.blocks().into_iter().filter(|block| block.language == language) {
            blocks.push((Page { name: page.name.clone(), text: String::new() }, block));
        }
    }
    blocks
}

/// The variables that a configuration wants and gives no default.
fn variables(text: &str) -> Vec<String> {
    let names = text.split("${").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    names.filter(|name| !name.contains(":-")).map(str::to_owned).collect()
}

/// Each command of a block, and what it prints.
fn transcripts(block: &Block) -> Vec<(String, Vec<String>)> {
    let mut transcripts: Vec<(String, Vec<String>)> = Vec::new();
    let mut goes_on = false;
    for line in &block.lines {
        match (line.strip_prefix("$ "), transcripts.last_mut()) {
            (Some(command), _) => transcripts.push((command.to_owned(), Vec::new())),
            (None, Some((command, _))) if goes_on => command.push_str(&format!("\n{line}")),
            (None, Some((_, output))) => output.push(line.clone()),
            (None, None) => panic!("line {}: no command", block.line),
        }
        goes_on = line.ends_with('\\');
    }
    transcripts
}

fn is_ours(command: &str) -> bool {
    let mut words = command.split_whitespace().skip_while(|word| ["env", "-i"].contains(word) || word.contains('='));
    words.next() == Some("handfast")
}

/// As a reader's shell starts it: as root, with a tmpfs at `/run/secrets`, both outputs in one.
fn shell(command: &str) -> Output {
    let directory = Directory::new();
    let mut confine = Command::new(program("confine"));
    confine.args(["--clean", "--tmpfs", "/run:mode=0755", "--tmpfs", "/run/secrets:mode=0755", "--cwd"]);
    confine.arg(directory.path()).args(["--", "/bin/sh", "-c", &format!("exec 2>&1\n{command}")]);
    confine.env_clear().env("PATH", format!("{}:{PATH}", programs().display())).stdin(Stdio::null());
    confine.output().expect("the tools can be started")
}

fn fits(said: &[&str], expected: &[String]) -> bool {
    match (said, expected) {
        ([], []) => true,
        (_, [any, rest @ ..]) if any == "…" => (0..=said.len()).any(|skipped| fits(&said[skipped..], rest)),
        ([said, more @ ..], [line, rest @ ..]) => said == line && fits(more, rest),
        _ => false,
    }
}
