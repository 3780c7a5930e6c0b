//! handfast's own program: who else may have written it, and which rights it may have got on its way.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use crate::support::{Directory, Run, needs_root, program};

#[test]
fn who_may_change_handfast_itself_is_told_and_strict_refuses_it() {
    needs_root!();
    let directory = Directory::new();
    directory.write("strict.toml", "[app]\nstrict = true\n");
    let copy = format!("mkdir bin; cp {} bin/handfast; chown 1000:1000 bin", program("handfast").display());
    directory.shell(None, &copy);
    let start = |confine: &[&str], words: &[&str]| {
        let mut command = std::process::Command::new(program("confine"));
        command.arg("--clean").args(confine).arg("--").arg(directory.path().join("bin/handfast")).args(words);
        let output = command.env_clear().output().expect("it can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stderr), text(&output.stdout))
    };
    let said = format!(
        "handfast's own program can be changed by uid 1000: `{}/bin` has owner 1000:1000 and mode 0755",
        directory.text()
    );
    let run = ["run", "-u", "5:5", "--", "/bin/true"];
    let (code, stderr, _) = start(&[], &run);
    assert!(code == Some(0) && stderr.contains(&format!("warn: {said}")), "{stderr}");
    let (code, _, stdout) = start(&[], &["check", "-u", "5:5"]);
    assert!(code == Some(0) && stdout.contains(&said), "{stdout}");
    let strict = directory.path().join("strict.toml");
    let strict = strict.to_str().expect("made of ASCII");
    let (code, stderr, _) = start(&[], &["run", "-c", strict, "-u", "5:5", "--", "/bin/true"]);
    assert!(code == Some(125) && stderr.ends_with(&format!("error: {said} (isolation, exit 125)\n")), "{stderr}");
    let (code, stderr, _) = start(&[], &["check", "-c", strict, "-u", "5:5"]);
    assert!(code == Some(125) && stderr.contains(&said), "{stderr}");
    // Without privileges there is nothing to misuse.
    let (code, stderr, _) = start(&["--uid", "1000", "--gid", "1000", "--groups", "none"], &["run", "--", "/bin/true"]);
    assert!(code == Some(0) && !stderr.contains("can be changed"), "{stderr}");
    // And where it is root's, as everywhere else in these tests, nothing is said.
    let outcome = Run::new().args(["-u", "5:5"]).start();
    assert!(outcome.code == 0 && outcome.stderr.is_empty(), "{outcome:?}");
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
