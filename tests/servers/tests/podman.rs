//! Nothing of podman outlives its value: no process, no control group, no file.

use std::fs;
use std::path::Path;
use std::process::Command;

use handfast_testservers::Podman;

/// The control groups whose names contain this text.
fn control_groups(name: &str) -> String {
    let output = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", &format!("*{name}*")]).output();
    let output = output.expect("find starts");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_container_ends_with_its_podman() {
    let Some(podman) = Podman::start() else { return };
    podman.must(&["volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "memory"]);
    podman.hold("holder", &["memory"]);
    let id = podman.must(&["inspect", "--format", "{{.Id}}", "holder"]);
    assert_ne!(control_groups(&id), "");
    let directory = podman.directory().to_owned();
    assert_eq!(podman.must(&["exec", "holder", "/busybox", "stat", "-f", "-c", "%T", "/memory"]), "tmpfs");
    drop(podman);
    assert!(!directory.exists(), "{}", directory.display());
    assert_eq!(control_groups(&id), "");
    let mounts = fs::read_to_string("/proc/mounts").expect("there is /proc");
    assert!(!mounts.contains(directory.to_str().expect("made of ASCII")), "{mounts}");
    assert!(!Path::new("/run/runc").join(&id).exists(), "runc's state is in the directory");
}
