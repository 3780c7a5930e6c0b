//! podman from Debian, as a service with its own socket, data directory and containers. It runs Kubernetes manifests.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::directory::Directory;
use crate::process::Process;
use crate::requirements::{find_program, is_root, require};

/// The programs that podman needs, with their Debian packages.
const PROGRAMS: [(&str, &str); 7] = [
    ("podman", "podman"),
    ("conmon", "conmon"),
    ("runc", "runc"),
    ("tini", "tini"),
    ("unshare", "util-linux"),
    ("flock", "util-linux"),
    ("busybox", "busybox-static"),
];

/// The longest time of a command in seconds: commands build small images and start pods.
const PATIENCE: &str = "60";

/// The PATH on which podman finds its parts.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The image of the container that holds a pod together. It is built first.
const PAUSE: &str = "localhost/pause:1";

/// Replaces the machine's configuration with settings that work without systemd, and where root may not raise its limits.
const CONFIGURATION: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[network]
network_config_dir = "@DIRECTORY@/networks"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
infra_image = "localhost/pause:1"
runtime = "here"
[engine.runtimes]
here = ["@DIRECTORY@/runtime"]
"#;

/// runc with its state in the directory. The script records the control groups: podman has one parent group for the pods of all
/// services, and on a machine with two versions of control groups it leaves the groups of removed pods behind.
const RUNTIME: &str = r#"#!/bin/sh
previous=''
for word; do
    if [ "$previous" = --bundle ]; then
        echo "$(sed -n 's/.*"cgroupsPath":"\([^"]*\)".*/\1/p' "$word/config.json")" >>@DIRECTORY@/groups
    fi
    previous=$word
done
exec runc --root @DIRECTORY@/runc "$@"
"#;

/// As for the Docker engine, everything ends with the first process of the namespaces. `/var/lib/containers` contains a cache
/// that no setting moves.
const START: &str = r#"
exec 9>"$1/lock"
flock 9
mkdir -p /var/lib/containers "$1/cache"
exec unshare --mount --pid --fork --kill-child --mount-proc sh -c '
    mount --bind "$1/cache" /var/lib/containers
    exec tini -- podman --root "$1/data" --runroot "$1/run" --tmpdir "$1/libpod" --log-level warn \
        system service --time 0 "unix://$1/socket"' podman "$1"
"#;

/// Removes the control groups of the pods and containers.
const AT_END: &str = r#"
flock "$1/lock" true
groups() {
    sed 's,^\(/libpod_parent/[0-9a-f]*\)/.*,\1,' "$1/groups" | sort -u
}
for attempt in $(seq 100); do
    left=''
    for group in $(groups "$1"); do
        find /sys/fs/cgroup -depth -type d -path "/sys/fs/cgroup*$group*" -exec rmdir {} + 2>/dev/null
        left=$left$(find /sys/fs/cgroup -type d -path "/sys/fs/cgroup*$group")
    done
    [ -n "$left" ] || break
    sleep 0.1
done
for parent in /sys/fs/cgroup/libpod_parent /sys/fs/cgroup/*/libpod_parent; do
    rmdir "$parent/conmon" "$parent"
done 2>/dev/null
"#;

/// A podman service.
pub struct Podman(Process);

impl Podman {
    /// Whether podman can start; if not, prints a line that says why.
    pub fn can_start() -> bool {
        let missing = PROGRAMS.iter().find(|(name, _)| find_program(name).is_none());
        let what = missing.map(|(name, package)| format!("{name} (Debian: {package})"));
        require(is_root(), "root, for podman") && require(what.is_none(), &what.unwrap_or_default())
    }

    /// Starts a service that can run pods without a network or with the machine's network.
    pub fn start() -> Option<Self> {
        if !Self::can_start() {
            return None;
        }
        let directory = Directory::new();
        directory.write("at-end", AT_END);
        let path = directory.path().display().to_string();
        let here = |text: &str| text.replace("@DIRECTORY@", &path);
        let configuration = directory.write("containers.conf", here(CONFIGURATION)).display().to_string();
        let runtime = directory.write("runtime", here(RUNTIME));
        fs::set_permissions(runtime, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let environment = [("PATH", PATH), ("CONTAINERS_CONF", &configuration)];
        let mut process = Process::start("podman", directory, &["sh", "-c", START, "podman", &path], &environment);
        let mut version = client(process.directory(), &["version"]);
        process.wait_for(|| version.output().is_ok_and(|output| output.status.success()).then_some(()));
        let podman = Self(process);
        let context = Directory::new();
        fs::copy(find_program("busybox").expect("it was there"), context.path().join("busybox"))
            .expect("it can be read");
        // As the first process of its namespace, sleep ignores signals for which it has no handler, so stop it with SIGKILL.
        let lines = "FROM scratch\nCOPY busybox /\nENTRYPOINT [\"/busybox\", \"sleep\", \"inf\"]\nSTOPSIGNAL SIGKILL\n";
        context.write("Dockerfile", lines);
        podman.build(PAUSE, context.path());
        Some(podman)
    }

    /// The service's directory: `data` contains images, containers and their logs.
    pub fn directory(&self) -> &Path {
        self.0.directory()
    }

    /// Runs `podman WORD…`. Returns its result.
    pub fn output<S: AsRef<OsStr>>(&self, words: &[S]) -> Output {
        client(self.directory(), words).output().expect("the client starts")
    }

    /// Runs `podman WORD…`. Returns its output; panics if it fails.
    pub fn must<S: AsRef<OsStr>>(&self, words: &[S]) -> String {
        let output = self.output(words);
        let shown = || words.iter().map(|word| word.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(output.status.success(), "podman {}: {}", shown(), String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("the client prints text").trim_end().to_owned()
    }

    /// Builds an image from a directory with a Dockerfile.
    pub fn build(&self, name: &str, context: &Path) {
        let context = context.to_str().expect("made of ASCII");
        self.must(&["build", "--quiet", "--network", "none", "--tag", name, context]);
    }

    /// Starts an idle container with these volumes, because the content of a tmpfs ends with the last container that uses it.
    pub fn hold(&self, container: &str, volumes: &[&str]) {
        let mounts = volumes.iter().flat_map(|volume| ["--volume".to_owned(), format!("{volume}:/{volume}")]);
        let words = ["run", "--detach", "--network", "none", "--name", container].map(str::to_owned);
        self.must(&words.into_iter().chain(mounts).chain([PAUSE.to_owned()]).collect::<Vec<_>>());
    }
}

fn client<S: AsRef<OsStr>>(directory: &Path, words: &[S]) -> Command {
    let mut command = Command::new("/usr/bin/timeout");
    command.args(["--kill-after=1", PATIENCE, "podman", "--remote", "--url"]);
    command.arg(format!("unix://{}", directory.join("socket").display())).args(words);
    command.env_clear().env("PATH", PATH).env("HOME", directory).current_dir("/").stdin(Stdio::null());
    command
}
