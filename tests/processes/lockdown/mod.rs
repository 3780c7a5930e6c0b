//! The stages `lockdown` and `launch` from every state that handfast can be started in: the app reports what it got.
//!
//! Each case runs in processes of its own: a wrapper such as `setpriv` makes the start state, then this binary (called with
//! `subject`) locks itself down and becomes this binary again (called with `probe`). Each case runs a second time with a child
//! that is forked right before the lockdown.

mod cases;
mod commands;
mod filter;
mod probe;
mod subject;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cases::{Case, Expected};
pub use probe::run as probe;
pub use subject::run as subject;

pub fn run(is_wanted: &dyn Fn(&str) -> bool) -> bool {
    let place = Place::new();
    let root = nix::unistd::geteuid().is_root();
    let (mut passed, mut skipped, mut failed) = (0, 0, 0);
    for case in cases::all(&place.directory) {
        if !is_wanted(&format!("lockdown::{}", case.name)) {
            continue;
        }
        if case.needs_root && !root {
            println!("skipped: {}: needs root", case.name);
            skipped += 1;
            continue;
        }
        let mut count = |name: &str, result| match result {
            Ok(()) => {
                println!("test lockdown::{name} ... ok");
                passed += 1;
            }
            Err(why) => {
                println!("test lockdown::{name} ... FAILED\n{why}");
                failed += 1;
            }
        };
        count(&case.name, run_case(&case, &place.binary));
        // A fork refuses more than one thread, and its child has no pending signals.
        if !["thread", "terminated"].iter().any(|word| case.plan.contains(word)) {
            let forked = case.with("forked");
            count(&format!("{} in a child", forked.name), run_case(&forked, &place.binary));
        }
    }
    println!("\ntest result: {passed} passed; {failed} failed; {skipped} skipped");
    failed == 0
}

fn run_case(case: &Case, binary: &Path) -> Result<(), String> {
    let binary = binary.to_str().unwrap();
    let mut words: Vec<&str> = case.before.split_whitespace().collect();
    words.extend([binary, "subject"]);
    words.extend(case.plan.split_whitespace());
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let all = || format!("{words:?}\n{}\n{stdout}{stderr}", output.status);
    match &case.expected {
        Expected::App(lines) => {
            let found = as_found(case, binary)?;
            let lines = lines.iter().chain(&found);
            if !output.status.success() {
                return Err(format!("the app did not start: {}", all()));
            }
            for line in lines {
                if !stdout.lines().any(|found| found == line) {
                    return Err(format!("the app does not report `{line}`: {}", all()));
                }
            }
        }
        Expected::Refused(code, texts) => {
            if !stdout.is_empty() || output.status.code() != Some(*code) {
                return Err(format!("expected exit {code} without an app: {}", all()));
            }
            for text in texts {
                if !stderr.contains(text) {
                    return Err(format!("the error does not say `{text}`: {}", all()));
                }
            }
        }
    }
    Ok(())
}

/// What a program that is started directly finds, and the app must find too.
fn as_found(case: &Case, binary: &str) -> Result<Vec<String>, String> {
    let words: Vec<&str> = case.before.split_whitespace().chain([binary, "probe"]).collect();
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let found: Vec<String> = stdout.lines().filter(|line| line.starts_with("found ")).map(Into::into).collect();
    if found.is_empty() { Err(format!("cannot start directly: {words:?}")) } else { Ok(found) }
}

/// A directory that every uid can enter, with this binary in it: the checkout itself may be private.
struct Place {
    directory: PathBuf,
    binary: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = Path::new("/tmp").join(format!("handfast-lockdown-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let binary = directory.join("binary");
        fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory, binary }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }
}
