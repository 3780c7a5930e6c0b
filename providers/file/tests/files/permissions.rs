//! The error for a file that may not be read shows its owner, its mode and how to fix it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use handfast_core::ErrorKind;
use handfast_testkit::Scratch;
use nix::unistd::{getegid, geteuid};

use super::{read, read_below};

/// Returns `true` if this process's user is not root. If the user is root, runs the named test in a process of an ordinary user,
/// and returns `false`.
///
/// That process gets the program as a descriptor, because the program's file may be in a directory that only root can enter.
fn is_ordinary_user(test: &str) -> bool {
    if !geteuid().is_root() {
        return true;
    }
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"])
        .args(["/proc/self/fd/0", "--exact", test])
        .stdin(File::open("/proc/self/exe").unwrap())
        .env_remove("TMPDIR")
        .current_dir("/")
        .output()
        .expect("setpriv is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "as uid 65534: {text}{:?}", output.stderr);
    false
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_unreadable_file() {
    if !is_ordinary_user("permissions::an_unreadable_file") {
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.join("db");
    fs::write(&path, "x").unwrap();
    set_mode(&path, 0o040);
    let (uid, gid, shown) = (geteuid(), getegid(), path.display());
    let error = read(&path).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert_eq!(
        error.message,
        format!(
            "cannot read `{shown}`: permission denied: owned by {uid}:{gid} with mode 0040, \
             and we are {uid}:{gid} without capabilities"
        )
    );
    assert_eq!(error.hint.unwrap(), format!("make it readable for uid {uid} or for one of its groups"));
    let below = read_below(scratch.path(), &path).unwrap_err();
    assert!(below.message.starts_with(&format!("cannot read `db` below `{}`: ", scratch.path().display())), "{below}");
    assert!(below.message.contains("with mode 0040"), "{below}");
}

#[test]
fn a_directory_without_search_permission() {
    if !is_ordinary_user("permissions::a_directory_without_search_permission") {
        return;
    }
    let scratch = Scratch::new();
    let closed = scratch.join("closed");
    fs::create_dir_all(closed.join("deep")).unwrap();
    fs::write(closed.join("deep/db"), "x").unwrap();
    set_mode(&closed, 0o600);
    let (uid, gid) = (geteuid(), getegid());
    for result in [read(closed.join("deep/db")), read_below(scratch.path(), closed.join("deep/db"))] {
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
        let why = format!(
            ": permission denied: `{}` is owned by {uid}:{gid} with mode 0600, and we are {uid}:{gid} without capabilities",
            closed.display()
        );
        assert!(error.message.ends_with(&why), "{error}");
        let hint = format!("let uid {uid} or one of its groups enter `{}` (mode `x`)", closed.display());
        assert_eq!(error.hint.unwrap(), hint);
    }
    set_mode(&closed, 0o700);
}

#[test]
fn a_closed_directory_behind_a_link() {
    if !is_ordinary_user("permissions::a_closed_directory_behind_a_link") {
        return;
    }
    let scratch = Scratch::new();
    let closed = scratch.join("closed");
    fs::create_dir(&closed).unwrap();
    set_mode(&closed, 0o600);
    std::os::unix::fs::symlink("closed/db", scratch.join("link")).unwrap();
    let error = read(scratch.join("link")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.message.contains("a directory on its way keeps us out, and we are"), "{error}");
    assert!(error.hint.unwrap().contains("enter each directory on its way"));
}
