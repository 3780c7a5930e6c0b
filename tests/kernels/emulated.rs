//! The binary of the other architecture, which qemu-user runs on this kernel: `docker run --platform` does the same.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{needs_program, require};

#[test]
fn an_emulator_of_another_machine_is_named_and_nothing_starts() {
    let qemu = needs_program!("qemu-aarch64");
    let handfast = std::env::var_os("HANDFAST_BIN_AARCH64").map(PathBuf::from);
    if !require(handfast.is_some(), "HANDFAST_BIN_AARCH64, which tests/run sets") {
        return;
    }
    let handfast = handfast.expect("seen");
    let says = |arguments: &[&str]| {
        let output = Command::new(&qemu).arg(&handfast).args(arguments).env_clear().output().expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let sentence = format!(
        "handfast: error: cannot drop privileges under the emulator `{}`: its threads would keep the privileges that handfast drops \
         (isolation, exit 125)\n",
        qemu.canonicalize().expect("it is there").display()
    );
    let user = format!("{}:{}", nix::unistd::getuid().as_raw().max(1000), nix::unistd::getgid().as_raw().max(1000));
    for arguments in [
        &["run", "-s", "a=mock:a", "-u", &user, "--", "/bin/true"][..],
        &["init", "-s", "a=mock:a", "-u", &user, "--dir", "/dev/shm/handfast-none"],
        &["check", "-s", "a=mock:a", "-u", &user],
        &["check", "--online", "-s", "a=mock:a", "-u", &user],
    ] {
        let (code, stderr) = says(arguments);
        assert_eq!(code, Some(125), "{arguments:?}: {stderr}");
        assert!(stderr.ends_with(&sentence), "{arguments:?}: {stderr}");
        let hint =
            "use the image for this machine's own architecture (`docker run --platform`, `docker build --platform`)";
        assert!(stderr.starts_with(&format!("handfast: hint: {hint}\n")), "{stderr}");
    }
    // What gives up nothing needs nothing of that.
    assert_eq!(says(&["schema"]).0, Some(0));
}
