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
    // A fetch would take an hour: each is found out before it.
    let start = |path: &str| {
        let run = Run::new().config("[providers.mock]\nlatency = \"1h\"\n[secrets.db]\nfrom = \"mock:db\"\n");
        run.args(["--dir", secrets.text()]).app([path]).start()
    };
    let (sparc, missing) = (program(43, "/lib/ld.so"), program(MACHINE, "/no/such/loader.so"));
    let mut object = missing.clone();
    object[16..18].copy_from_slice(&libc::ET_REL.to_le_bytes());
    for (path, text) in [
        (file(&programs, "crlf", "#!/bin/sh\r\nexit 0\r\n", 0o755), "carriage return"),
        (file(&programs, "bom", "\u{feff}#!/bin/sh\nexit 0\n", 0o755), "byte order mark"),
        (file(&programs, "nameless", "#! \nexit 0\n", 0o755), "names no interpreter"),
        (file(&programs, "chain", &format!("#!{}/crlf\n", programs.text()), 0o755), "carriage return"),
        (file(&programs, "closed", &format!("#!{}/no-x\n", programs.text()), 0o755), "may not execute its interpreter"),
        (file(&programs, "empty", "", 0o755), "it is empty"),
        (binary(&programs, "cut", &missing[..40]), "it is a program that is cut off"),
        (binary(&programs, "object", &object), "it is an ELF file, and no program"),
        (binary(&programs, "sparc", &sparc), "another machine (ELF machine 43"),
        (binary(&programs, "loader", &missing), "its ELF loader `/no/such/loader.so` does not exist"),
        (file(&programs, "no-x", "#!/bin/sh\nexit 0\n", 0o644), "no-x"),
        (file(&programs, "no-line", "echo never by a shell\n", 0o755), "exec format error"),
        (programs.text().to_owned(), "cannot execute"),
        ("/dev/null".to_owned(), "cannot execute"),
    ] {
        start(&path).refused(126, text);
        assert!(secrets.names().is_empty(), "{path}: {:?}", secrets.names());
    }
}

#[test]
fn no_other_program_takes_the_place_of_one_that_the_kernel_would_refuse() {
    let (secrets, first, second) = (Directory::in_memory(), Directory::new(), Directory::new());
    file(&second, "wrapped", "#!/bin/sh\necho the secrets are mine\n", 0o755);
    let path = format!("{}:{}", first.text(), second.text());
    for content in ["#!/bin/sh\r\n", "exec the-app\n", "", "#!/no/such/interpreter\n"] {
        file(&first, "wrapped", content, 0o755);
        let run = Run::new().args(["--dir", secrets.text(), "--secret", "db=mock:db"]);
        let outcome = run.app(["wrapped"]).env("PATH", &path).start();
        outcome.refused(126, &format!("{}/wrapped", first.text()));
        assert!(secrets.names().is_empty(), "{content:?}");
    }
    // As for the kernel, what may not be executed is no candidate.
    file(&first, "wrapped", "", 0o644);
    let run = Run::new().args(["--dir", secrets.text(), "--secret", "db=mock:db"]);
    assert_eq!(run.app(["wrapped"]).env("PATH", &path).start().code, 0);
}

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = libc::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = libc::EM_AARCH64;

/// An ELF header for a machine, and a program header that names a loader.
fn program(machine: u16, loader: &str) -> Vec<u8> {
    let mut head = vec![0; 64 + 56];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    head[16..18].copy_from_slice(&libc::ET_DYN.to_le_bytes());
    head[18..20].copy_from_slice(&machine.to_le_bytes());
    head[32..40].copy_from_slice(&64_u64.to_le_bytes());
    head[54..58].copy_from_slice(&[56, 0, 1, 0]);
    head[64..68].copy_from_slice(&libc::PT_INTERP.to_le_bytes());
    head[72..80].copy_from_slice(&120_u64.to_le_bytes());
    head[96..104].copy_from_slice(&(loader.len() as u64 + 1).to_le_bytes());
    head.extend([loader.as_bytes(), b"\0"].concat());
    head
}

fn binary(directory: &Directory, name: &str, content: &[u8]) -> String {
    let path = directory.write(name, content);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path.display().to_string()
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
