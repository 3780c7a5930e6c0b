//! The commands that print or copy, and what none of them mentions.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Output, Stdio};

use crate::support::{Directory, PATH, Run, find_program, program};
use serde_json::Value;

fn handfast(arguments: &[&str]) -> Output {
    let output = Command::new(program("handfast")).args(arguments).env_clear().output().expect("it can be started");
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    output
}

fn text(arguments: &[&str]) -> String {
    String::from_utf8(handfast(arguments).stdout).expect("it is text")
}

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];
const COMMANDS: [&str; 10] =
    ["run", "init", "watch", "ready", "check", "policy", "install", "schema", "completions", "man"];
const OPTIONS: [&str; 7] = ["--config", "--secret", "--dir", "--user", "--deadline", "--log-format", "--log-level"];

#[test]
fn help_names_every_command_option_and_variable() {
    let help = text(&["--help"]);
    assert!(COMMANDS.iter().all(|command| help.contains(&format!("\n  {command} "))), "{help}");
    assert_eq!(text(&["-h"]), help);
    for command in ["run", "init", "watch", "ready", "check", "policy"] {
        let help = text(&[command, "--help"]);
        assert!(OPTIONS.iter().all(|option| help.contains(option)), "{help}");
        for variable in ["CONFIG", "DIR", "USER", "DEADLINE", "LOG_FORMAT", "LOG_LEVEL"] {
            assert!(help.contains(&format!("HANDFAST_{variable}")), "{variable}: {help}");
        }
    }
    assert_eq!(text(&["--version"]), format!("handfast {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(text(&["-V"]), text(&["--version"]));
}

#[test]
fn what_is_not_in_this_version_is_mentioned_nowhere() {
    let mut texts = vec![("--help".to_owned(), text(&["--help"])), ("schema".into(), text(&["schema"]))];
    texts.push(("man".into(), text(&["man"])));
    texts.extend(COMMANDS.map(|command| (command.to_owned(), text(&[command, "--help"]))));
    texts.extend(SHELLS.map(|shell| (shell.to_owned(), text(&["completions", shell]))));
    for (name, text) in texts {
        let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        for later in ["templates", "template", "exec"] {
            assert!(!words.iter().any(|word| word.eq_ignore_ascii_case(later)), "{later} in {name}");
        }
    }
}

#[test]
fn completions_are_what_the_shells_read() {
    let directory = Directory::new();
    for shell in SHELLS {
        let script = text(&["completions", shell]);
        let offers = |word: &str| script.contains(word);
        // fish writes options without their dashes.
        assert!(COMMANDS.iter().all(|command| offers(command)) && offers("log-format"), "{shell}");
        let file = directory.write(shell, &script);
        if let Some(program) = find_program(shell).filter(|_| ["bash", "zsh", "fish"].contains(&shell)) {
            let output = Command::new(program).arg("-n").arg(file).output().expect("it is there");
            assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        }
    }
    let bash = "source /dev/stdin; COMP_WORDS=(handfast run --dead); COMP_CWORD=2; _handfast handfast --dead run; echo ${COMPREPLY[*]}";
    let mut shell = Command::new("bash");
    let mut child =
        shell.args(["--norc", "-c", bash]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), text(&["completions", "bash"]).as_bytes())
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--deadline\n");
}

#[test]
fn the_manual_is_a_page_that_man_shows() {
    let page = text(&["man"]);
    assert!(page.contains(".TH handfast 1") && page.contains("handfast\\-run"), "{page}");
    let directory = Directory::new();
    let file = directory.write("handfast.1", &page);
    for (name, arguments) in [("man", &["--warnings", "-l"][..]), ("groff", &["-man", "-Tutf8", "-ww"])] {
        let Some(program) = find_program(name) else { continue };
        let output =
            Command::new(program).args(arguments).arg(&file).env("MANWIDTH", "100").output().expect("it is there");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && output.stderr.is_empty(), "{name}: {output:?}");
        assert!(shown.contains("deadline") || shown.is_empty(), "{name}: {shown}");
    }
}

#[test]
fn install_copies_this_binary_for_everybody_in_place_of_what_was_there() {
    let directory = Directory::new();
    let target = directory.path().join("handfast");
    directory.write("other", "something else");
    std::os::unix::fs::symlink("other", &target).expect("it is ours");
    for umask in ["0077", "0000"] {
        let output = Run::command("install").confine(&["--umask", umask]).arg(&target).start();
        assert_eq!((output.code, output.stderr.as_str(), output.stdout.len()), (0, "", 0));
        let metadata = fs::symlink_metadata(&target).expect("it is there");
        assert!(metadata.is_file() && metadata.mode() & 0o7777 == 0o755, "{metadata:?}");
        assert_eq!(fs::read(&target).ok(), fs::read(program("handfast")).ok());
        assert_eq!(directory.names(), ["handfast", "other"], "nothing half done is left");
    }
    assert_eq!(fs::read(directory.path().join("other")).expect("it is there"), b"something else");
    // The copy works, and can replace itself while it runs.
    let again = Command::new(&target).arg("install").arg(&target).status();
    assert!(again.is_ok_and(|status| status.success()));
}

#[test]
fn install_leaves_nothing_where_it_fails() {
    let directory = Directory::new();
    let target = directory.write("handfast", "as before");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let outcome = Run::command("install").confine(&["--rlimit", "FSIZE=1000", "--ignore", "XFSZ"]).arg(&target).start();
    assert_eq!(outcome.code, 73, "{outcome:?}");
    assert!(outcome.stderr.ends_with("`: file too large (deliver, exit 73)\n"), "{outcome:?}");
    assert_eq!((directory.names(), fs::read(&target).ok()), (vec!["handfast".into()], Some(b"as before".into())));
}

#[test]
fn install_removes_nothing_that_it_did_not_make() {
    let directory = Directory::new();
    let target = directory.path().join("handfast");
    // What an earlier version would have called its own: the shell's process becomes handfast.
    let script = format!("echo theirs >{}/.handfast.$$; exec \"$@\"", directory.text());
    let install = |limit: &[&str]| {
        let through = ["sh", "-c", &script, "sh"];
        Run::command("install").confine(limit).arg(&target).through(&through).start().code
    };
    assert_eq!([install(&[]), install(&["--rlimit", "FSIZE=1000", "--ignore", "XFSZ"])], [0, 73]);
    let theirs = |name: &String| fs::read_to_string(directory.path().join(name)).is_ok_and(|text| text == "theirs\n");
    let names = directory.names();
    assert_eq!(names.iter().filter(|name| theirs(name)).count(), 2, "{names:?}");
    assert_eq!((names.len(), names.last().map(String::as_str)), (3, Some("handfast")), "{names:?}");
}

#[test]
fn a_full_or_closed_stdout_is_told() {
    for arguments in [&["schema"][..], &["--help"], &["man"], &["completions", "bash"], &["check"]] {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let output =
            Command::new(program("handfast")).args(arguments).stdout(full).output().expect("it can be started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(71), "{arguments:?}: {stderr}");
        assert!(stderr.ends_with("cannot write to stdout: no space left on device (os, exit 71)\n"), "{stderr}");
    }
    let script = format!("{} schema | head -c 1", program("handfast").display());
    let output = Command::new("bash").args(["-o", "pipefail", "-c", &script]).env("PATH", PATH).output().expect("bash");
    assert_eq!((output.status.code(), output.stdout.as_slice(), output.stderr.len()), (Some(0), b"{".as_slice(), 0));
}

#[test]
fn nothing_of_handfasts_is_in_the_apps_standard_output() {
    let outcome = Run::new().args(["-s", "a=mock:a", "--log-level", "debug"]).app(["/bin/echo", "the app's"]).start();
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, b"the app's\n".as_slice()), "{outcome:?}");
    let refused = Run::new().args(["-s", "a", "--log-format", "json"]).start();
    assert!(refused.stdout.is_empty() && !refused.stderr.is_empty());
}

#[test]
fn options_of_the_app_are_the_apps() {
    for words in [&["/bin/echo", "--deadline", "-s"][..], &["--", "/bin/echo", "--deadline", "-s"]] {
        let mut command = Command::new(program("handfast"));
        let output = command.arg("run").args(words).env_clear().output().expect("it can be started");
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"--deadline -s\n".as_slice()));
    }
    let json: Value = serde_json::from_str(&text(&["check", "--format", "json"])).expect("check prints JSON");
    assert_eq!(json["exit"], 0);
}
