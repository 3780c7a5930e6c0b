//! The scanners find existing values. Without these tests, a clean scan would prove nothing.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const SCAN: &str = env!("CARGO_BIN_EXE_scan");
const AT_EXEC: &str = env!("CARGO_BIN_EXE_at-exec");
const PROBE: &str = env!("CARGO_BIN_EXE_probe");

/// 32 random characters, and the same value as an argument for `--needle`.
fn canary() -> (String, String) {
    let mut bytes = [0u8; 16];
    let mut random = fs::File::open("/dev/urandom").expect("/dev/urandom exists");
    std::io::Read::read_exact(&mut random, &mut bytes).expect("it never ends");
    let text = hex(&bytes);
    let needle = hex(text.as_bytes());
    (text, needle)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn places(hits: &Value) -> Vec<String> {
    let place =
        |hit: &Value| format!("{} {}", hit["where"].as_str().expect("text"), hit["encoding"].as_str().expect("text"));
    let mut places: Vec<String> = hits.as_array().expect("a list").iter().map(place).collect();
    places.sort();
    places.dedup();
    places
}

/// A shell that reads `line` from its input into a variable, and then waits.
fn shell_holding(line: &str, variable: Option<&str>) -> std::process::Child {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "read kept; echo ready; read end"]).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    shell.envs(variable.map(|value| ("PLANTED", value)));
    let mut shell = shell.spawn().expect("/bin/sh starts");
    writeln!(shell.stdin.as_mut().expect("piped"), "{line}").expect("it reads");
    let mut ready = String::new();
    BufReader::new(shell.stdout.as_mut().expect("piped")).read_line(&mut ready).expect("it answers");
    shell
}

fn scan(process: u32, needle: &str) -> Output {
    Command::new(SCAN).args([&process.to_string(), "--needle", needle]).output().expect("scan starts")
}

#[test]
fn scan_finds_a_value_in_memory_and_only_where_it_is() {
    let (text, needle) = canary();
    let mut shell = shell_holding(&text, None);
    let found = scan(shell.id(), &needle);
    let other = scan(shell.id(), &canary().1);
    drop(shell.stdin.take());
    shell.wait().expect("it ends with its input");

    assert_eq!(found.status.code(), Some(1), "{found:?}");
    assert_eq!(places(&report(&found)["hits"]), ["memory raw"]);
    assert_eq!(other.status.code(), Some(0), "{other:?}");
    assert!(report(&other)["bytes_scanned"].as_u64() > Some(100_000));
}

#[test]
fn scan_finds_an_encoded_value_in_the_environment() {
    let (text, needle) = canary();
    let mut shell = shell_holding("nothing", Some(&hex(text.as_bytes())));
    let found = scan(shell.id(), &needle);
    drop(shell.stdin.take());
    shell.wait().expect("it ends with its input");
    // The initial environment is on the stack, so it is also part of the memory.
    assert_eq!(places(&report(&found)["hits"]), ["environ hex", "memory hex"]);
}

#[test]
fn scan_says_in_one_line_that_a_process_is_gone() {
    let output = scan(u32::MAX >> 1, &canary().1);
    assert_eq!(output.status.code(), Some(99));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
}

#[test]
fn the_probe_finds_a_value_in_itself_but_not_its_own_argument() {
    let (text, _) = canary();
    let inverted = hex(&text.bytes().map(|byte| !byte).collect::<Vec<_>>());
    let run = |variable: &str| {
        let mut probe = Command::new(PROBE);
        report(&probe.args(["--canary-scan", &inverted]).env("PLANTED", variable).output().expect("probe starts"))
    };
    assert_eq!(run("nothing")["canaries"]["hits"], Value::Array(Vec::new()));
    assert_eq!(places(&run(&text)["canaries"]["hits"]), ["environ raw", "memory raw"]);
}

fn at_exec(script: &str, input: &str, needle: &str) -> (Option<i32>, Value) {
    let mut tracer = Command::new(AT_EXEC);
    tracer.args(["--needle", needle, "--", "/bin/sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tracer = tracer.spawn().expect("at-exec starts");
    writeln!(tracer.stdin.as_mut().expect("piped"), "{input}").expect("the shell reads");
    let output = tracer.wait_with_output().expect("it ends");
    (output.status.code(), report(&output))
}

/// Process, moment, and whether the scan found anything there.
fn summary(report: &Value) -> Vec<(String, String, bool)> {
    let entries = report.as_array().expect("a list").iter();
    let found = |entry: &Value| entry["hits"].as_array().is_some_and(|hits| !hits.is_empty());
    let text = |value: &'static str, entry: &Value| entry[value].as_str().expect("text").to_owned();
    entries.map(|entry| (text("process", entry), text("at", entry), found(entry))).collect()
}

fn expected(entries: &[(&str, &str, bool)]) -> Vec<(String, String, bool)> {
    entries.iter().map(|(process, at, found)| ((*process).to_owned(), (*at).to_owned(), *found)).collect()
}

#[test]
fn at_exec_finds_what_a_launcher_and_its_child_still_hold() {
    let (text, needle) = canary();
    let (code, report) = at_exec("read kept; (exit 0); exec /bin/sh -c 'exit 3'", &text, &needle);
    assert_eq!(code, Some(3));
    assert_eq!(
        summary(&report),
        expected(&[("worker", "exit", true), ("privileged", "execve", true), ("app", "execve", false)])
    );
}

#[test]
fn at_exec_tells_the_peak_of_memory() {
    let (_, report) = at_exec("(exit 0); exec /bin/true", "nothing", &canary().1);
    let entries = report.as_array().expect("a list");
    assert_eq!(entries.len(), 3);
    for entry in entries {
        assert!(entry["peak_kib"].as_u64().is_some_and(|peak| (1..100_000).contains(&peak)), "{entry}");
    }
}

#[test]
fn at_exec_finds_nothing_in_clean_processes() {
    let (code, report) = at_exec("(exit 0); exec /bin/true", "nothing", &canary().1);
    assert_eq!(code, Some(0));
    assert_eq!(
        summary(&report),
        expected(&[("worker", "exit", false), ("privileged", "execve", false), ("app", "execve", false)])
    );
}

#[test]
fn at_exec_finds_what_a_launcher_passes_on() {
    let (text, needle) = canary();
    let (_, report) = at_exec("read kept; PLANTED=$kept exec /bin/true", &text, &needle);
    assert_eq!(summary(&report), expected(&[("privileged", "execve", true), ("app", "execve", true)]));
}

#[test]
fn at_exec_looks_at_a_launcher_that_never_gets_there() {
    let (text, needle) = canary();
    let (code, report) = at_exec("read kept; exit 69", &text, &needle);
    assert_eq!((code, summary(&report)), (Some(69), expected(&[("privileged", "exit", true)])));
    let (code, _) = at_exec("kill -TERM $$", "", &needle);
    assert_eq!(code, Some(143));
}
