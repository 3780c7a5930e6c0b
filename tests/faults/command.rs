//! A command or a user that cannot be had ends the start before anything is fetched or delivered.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Directory, Outcome, Run, needs_root};

/// A secret as a file in `directory`, so that each test can see that nothing was delivered.
fn start(directory: &Directory, command: &[&str]) -> Outcome {
    Run::new().args(["--dir", directory.text(), "--secret", "db=mock:db"]).app(command).start()
}

fn file(directory: &Directory, name: &str, content: &str, mode: u32) -> String {
    let path = directory.write(name, content);
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
    path.display().to_string()
}

#[test]
fn a_command_that_does_not_exist_is_127() {
    let secrets = Directory::in_memory();
    for command in ["/nonexistent/app", "nonexistent-app", "/etc/passwd/app"] {
        let outcome = start(&secrets, &[command]);
        outcome.refused(127, command);
        assert!(secrets.names().is_empty(), "{:?}", secrets.names());
    }
}

#[test]
fn a_command_is_looked_for_in_the_apps_path_and_nowhere_else() {
    let (secrets, programs) = (Directory::in_memory(), Directory::new());
    file(&programs, "found-by-path", "#!/bin/sh\necho found\n", 0o755);
    let start = |path: &str| {
        let run = Run::new().args(["--dir", secrets.text(), "--secret", "db=mock:db"]);
        run.app(["found-by-path"]).env("PATH", path).confine(&["--cwd", programs.text()]).start()
    };
    for path in ["", ":", ".:/usr/bin", "::/usr/bin", "/nonexistent"] {
        start(path).refused(127, "found-by-path");
    }
    assert!(secrets.names().is_empty());
    let outcome = start(&format!("/nonexistent:{}", programs.text()));
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, b"found\n".as_slice()), "{outcome:?}");
}

#[test]
fn what_cannot_be_executed_is_126() {
    let (secrets, programs) = (Directory::in_memory(), Directory::new());
    for (path, text) in [
        (file(&programs, "no-x", "#!/bin/sh\nexit 0\n", 0o644), "no-x"),
        (file(&programs, "no-line", "echo never by a shell\n", 0o755), "exec format error"),
        (file(&programs, "empty", "", 0o755), "exec format error"),
        (programs.text().to_owned(), "cannot execute"),
        ("/dev/null".to_owned(), "cannot execute"),
    ] {
        start(&secrets, &[&path]).refused(126, text);
    }
}

#[test]
fn a_missing_interpreter_is_named() {
    let programs = Directory::new();
    let script = file(&programs, "script", "#!/nonexistent/interpreter\n", 0o755);
    let outcome = Run::new().args(["--secret", "db=mock:db"]).app([&script]).start();
    outcome.refused(126, &script);
    outcome.says("the file exists: its `#!` interpreter or its ELF loader does not");
}

#[test]
fn a_directory_that_the_app_cannot_enter_is_named() {
    needs_root!();
    let (secrets, programs) = (Directory::in_memory(), Directory::new());
    let inner = programs.path().join("closed");
    fs::create_dir(&inner).expect("it is ours");
    fs::copy("/bin/true", inner.join("app")).expect("it is ours");
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let command = inner.join("app").display().to_string();
    let outcome = start(&secrets, &[&command]);
    outcome.refused(126, &command);
    outcome.says(&format!("`{}`", inner.display()));
    assert!(secrets.names().is_empty());
    // Root itself may enter it.
    let root = Run::new().args(["-u", "0"]).config("[app]\nallow_root = true\n").app([command]).start();
    assert_eq!(root.code, 0, "{root:?}");
}

#[test]
fn a_noexec_mount_is_126() {
    needs_root!();
    let (programs, secrets) = (Directory::tmpfs("mode=755,noexec"), Directory::in_memory());
    fs::copy("/bin/true", programs.path().join("app")).expect("it is ours");
    let command = programs.path().join("app").display().to_string();
    let outcome = start(&secrets, &[&command]);
    outcome.refused(126, &command);
    outcome.says("noexec");
    assert!(secrets.names().is_empty());
}

#[test]
fn an_unknown_user_is_78() {
    needs_root!();
    let secrets = Directory::in_memory();
    for (user, text) in [
        ("nobody-of-this-name", "nobody-of-this-name"),
        ("root", "allow_root"),
        ("65534:no-such-group", "no-such-group"),
        ("-1", "-1"),
        ("4294967295", "4294967295"),
        ("0x10", "0x10"),
        ("+5", "+5"),
    ] {
        let run = Run::new().args(["--dir", secrets.text(), "--secret", "db=mock:db", &format!("--user={user}")]);
        let outcome = run.start();
        assert_eq!((outcome.code, outcome.app_ran()), (78, false), "{user}: {outcome:?}");
        outcome.says(text);
        assert!(secrets.names().is_empty());
    }
}
