//! Which configuration root believes, and which rights handfast may have got on its way.

mod support;

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use support::{Directory, Run, is_root, needs_root, program};

/// Starts with a configuration of this owner and mode, as an app with these ids; its exit code and stderr.
fn start(owner: (u32, u32), mode: u32, user: &str, more: &str) -> (i32, String) {
    let directory = Directory::new();
    let file = directory.write("handfast.toml", format!("[app]\nuser = \"{user}\"\n{more}"));
    chown(&file, Some(owner.0), Some(owner.1)).expect("root may");
    set_permissions(&file, Permissions::from_mode(mode)).expect("root may");
    let outcome = Run::new().arg("--config").arg(&file).start();
    (outcome.code, outcome.stderr)
}

#[test]
fn root_refuses_what_the_app_or_everybody_can_write() {
    needs_root!();
    let groups = "groups = [\"77\"]\n";
    for (owner, mode, user, more, who) in [
        ((0, 0), 0o646, "1000:1000", "", "everybody"),
        ((5, 5), 0o666, "1000:1000", "", "everybody"),
        ((1000, 0), 0o644, "1000:1000", "", "the app's uid"),
        // Its owner can make it writable again.
        ((1000, 0), 0o444, "1000:1000", "", "the app's uid"),
        ((0, 1000), 0o664, "1000:1000", "", "the app's group"),
        ((0, 77), 0o664, "1000:1000", groups, "the app's group"),
        // As OpenShift has it: an arbitrary uid, gid 0.
        ((0, 0), 0o664, "1000:0", "", "the app's group"),
        ((0, 0), 0o646, "0", "allow_root = true\n", "everybody"),
    ] {
        let (code, stderr) = start(owner, mode, user, more);
        assert_eq!(code, 78, "{owner:?} {mode:o} {user}: {stderr}");
        let (uid, gid) = owner;
        let expected =
            format!("the configuration can be written by {who}: it is owned by {uid}:{gid} with mode {mode:04o}");
        assert!(stderr.contains(&expected), "{expected}: {stderr}");
        assert!(stderr.contains("hint: it tells a process that runs as root what to do: make it root's, mode 0644"));
    }
}

#[test]
fn root_believes_what_only_others_can_write() {
    needs_root!();
    for (owner, mode, user, more) in [
        ((0, 0), 0o644, "1000:1000", ""),
        ((0, 0), 0o664, "1000:1000", ""),
        ((0, 1000), 0o644, "1000:1000", ""),
        ((5, 77), 0o664, "1000:1000", ""),
        ((0, 0), 0o664, "0", "allow_root = true\n"),
    ] {
        let (code, stderr) = start(owner, mode, user, more);
        assert_eq!(code, 0, "{owner:?} {mode:o} {user}: {stderr}");
    }
}

#[test]
fn everybodys_file_is_refused_with_all_other_problems_also_where_the_user_is_unknown() {
    needs_root!();
    let (code, stderr) = start((0, 0), 0o666, "no-such-user", "strict = 1\n");
    assert_eq!(code, 78);
    for expected in ["can be written by everybody", "no user `no-such-user`", "`strict` is 1", "has 3 problems"] {
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    }
}

#[test]
fn another_user_than_root_may_have_any_configuration() {
    let directory = Directory::new();
    let file = directory.write("handfast.toml", "");
    set_permissions(&file, Permissions::from_mode(0o666)).expect("it is ours");
    let mut run = Run::new().arg("--config").arg(&file);
    if is_root() {
        run = run.confine(&["--uid", "1000", "--gid", "1000", "--groups", "none"]);
    }
    let outcome = run.start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn a_set_id_handfast_is_refused() {
    needs_root!();
    // Not in /tmp, which may be mounted nosuid.
    let directory = Directory::tmpfs("mode=755");
    let copy = directory.path().join("handfast");
    for (mode, owner) in [(0o4755, (0, 0)), (0o2755, (0, 0)), (0o4755, (2000, 2000))] {
        // By a program of its own: what a thread here writes, a child of another thread's may hold open, and too busy.
        let copied = std::process::Command::new("cp").arg(program("handfast")).arg(&copy).status();
        assert!(copied.is_ok_and(|status| status.success()), "it is ours");
        chown(&copy, Some(owner.0), Some(owner.1)).expect("root may");
        set_permissions(&copy, Permissions::from_mode(mode)).expect("root may");
        let mut command = std::process::Command::new(program("confine"));
        command.args(["--clean", "--uid", "1000", "--gid", "1000", "--groups", "none", "--"]).arg(&copy);
        let output = command.args(["run", "--", "/bin/true"]).env_clear().output().expect("it can be started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        assert!(
            stderr.ends_with(
                "handfast: hint: take them off the file: handfast must be started by root to drop root\n\
                 handfast: error: handfast was started with more rights than its caller has: a set-id bit or file \
                 capabilities (config, exit 78)\n"
            ),
            "{stderr}"
        );
    }
}
