//! A Docker engine from Debian with its own socket, data directory and containers.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::directory::Directory;
use crate::process::Process;
use crate::requirements::{find_program, is_root, require};

/// The client that belongs to the engine. A machine may have another client earlier in its PATH.
const CLIENT: &str = "/usr/bin/docker";

/// The other programs that the engine needs, with their Debian packages.
const PROGRAMS: [(&str, &str); 7] = [
    ("dockerd", "docker.io"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("tini", "tini"),
    ("capsh", "libcap2-bin"),
    ("unshare", "util-linux"),
    ("flock", "util-linux"),
];

/// The longest time of a command in seconds: the longest command builds handfast.
const PATIENCE: &str = "900";

/// The PATH on which the engine finds its parts.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts the engine in its own process and mount namespaces: when the first process ends, all other processes, the containers
/// and all mounts end too. The first process holds the lock, and is the last to end.
const START: &str = r#"
exec 9>"$1/lock"
flock 9
exec unshare --mount --pid --fork --kill-child --mount-proc tini -- dockerd \
    --host "unix://$1/socket" --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" \
    --cgroup-parent "/$2" --bridge none --iptables=false --ip6tables=false \
    --add-runtime "here=$1/runtime" --default-runtime here --log-level warn
"#;

/// Removes the control groups of containers that could not end by themselves. The first process releases the lock a moment
/// before the kernel ends the other processes, so the script repeats the removal.
const AT_END: &str = r#"
flock "$1/lock" true
for attempt in $(seq 100); do
    find /sys/fs/cgroup -depth -type d -path "/sys/fs/cgroup*/@GROUP@*" -exec rmdir {} + 2>/dev/null
    [ -n "$(find /sys/fs/cgroup -maxdepth 2 -name "@GROUP@")" ] || break
    sleep 0.1
done
"#;

/// runc without the capabilities that root itself lacks on this machine: with them, a privileged container, which gets all
/// capabilities, could not start.
const RUNTIME: &str = r#"#!/bin/sh
previous=''
for word; do
    if [ "$previous" = --bundle ]; then
        for missing in @MISSING@; do
            sed -i "s/\"$missing\",//g; s/,\"$missing\"//g" "$word/config.json"
        done
    fi
    previous=$word
done
exec runc "$@"
"#;

/// A Docker engine.
pub struct Docker {
    process: Process,
    group: String,
}

impl Docker {
    /// The engine that all tests of this process share. Each test uses its own containers.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Docker>> = OnceLock::new();
        // Call it first for its message, which every test must print.
        can_start().then(|| SHARED.get_or_init(Self::start).as_ref()).flatten()
    }

    /// Starts an engine without networks other than `none` and `host`.
    pub fn start() -> Option<Self> {
        if !can_start() {
            return None;
        }
        let directory = Directory::new();
        let group = directory.path().file_name().expect("it has one").to_string_lossy().into_owned();
        directory.write("at-end", AT_END.replace("@GROUP@", &group));
        let runtime = directory.write("runtime", RUNTIME.replace("@MISSING@", &missing_capabilities()));
        fs::set_permissions(runtime, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let path = directory.path().display().to_string();
        let command = ["sh", "-c", START, "dockerd", &path, &group];
        let mut process = Process::start("dockerd", directory, &command, &[("PATH", PATH)]);
        let mut version = client(process.directory(), &["version"]);
        process.wait_for(|| version.output().is_ok_and(|output| output.status.success()).then_some(()));
        Some(Self { process, group })
    }

    /// The engine's directory: `data` contains images, containers and their logs.
    pub fn directory(&self) -> &Path {
        self.process.directory()
    }

    /// The memory charged to the control group of a running container with this full id.
    pub fn memory(&self, id: &str) -> Memory {
        Memory::read(&format!("{}/{id}", self.group))
    }

    /// The command `docker WORD…`, with an empty environment and a time limit.
    pub fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        client(self.directory(), words)
    }

    /// Runs `docker WORD…`. Returns its result.
    pub fn output<S: AsRef<OsStr>>(&self, words: &[S]) -> Output {
        self.command(words).output().expect("the client starts")
    }

    /// Runs `docker WORD…`. Returns its output; panics if it fails.
    pub fn must<S: AsRef<OsStr>>(&self, words: &[S]) -> String {
        let output = self.output(words);
        let shown = || words.iter().map(|word| word.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(output.status.success(), "docker {}: {}", shown(), String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("the client prints text").trim_end().to_owned()
    }

    /// Builds an image from a directory with a Dockerfile, with additional options of `docker build`.
    pub fn build(&self, name: &str, context: &Path, options: &[&str]) {
        let context = context.to_str().expect("made of ASCII");
        self.must(&[&["build", "--quiet", "--network", "none", "--tag", name], options, &[context]].concat());
    }
}

/// The memory charged to a control group, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Heaps, stacks, and written pages of programs.
    pub anonymous: u64,
    /// tmpfs and memfd.
    pub shared: u64,
    /// Page cache of files, which the kernel reclaims when it needs memory.
    pub file: u64,
    /// The kernel's own memory for the group.
    pub kernel: u64,
    /// The peak of the sum.
    pub peak: u64,
}

impl Memory {
    fn read(group: &str) -> Self {
        let (old, new) = (format!("/sys/fs/cgroup/memory/{group}"), format!("/sys/fs/cgroup/{group}"));
        let read = |path: String| fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let number = |text: &str| text.trim().parse().expect("a number");
        let of = |stat: &str, name: &str| {
            let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            number(value.unwrap_or_else(|| panic!("no `{name}` in {stat}")))
        };
        if Path::new(&old).is_dir() {
            let stat = read(format!("{old}/memory.stat"));
            let (cache, shared): (u64, u64) = (of(&stat, "cache"), of(&stat, "shmem"));
            return Self {
                anonymous: of(&stat, "rss"),
                shared,
                file: cache.saturating_sub(shared),
                kernel: number(&read(format!("{old}/memory.kmem.usage_in_bytes"))),
                peak: number(&read(format!("{old}/memory.max_usage_in_bytes"))),
            };
        }
        let stat = read(format!("{new}/memory.stat"));
        let (file, shared): (u64, u64) = (of(&stat, "file"), of(&stat, "shmem"));
        Self {
            anonymous: of(&stat, "anon"),
            shared,
            file: file.saturating_sub(shared),
            kernel: of(&stat, "kernel"),
            peak: number(&read(format!("{new}/memory.peak"))),
        }
    }
}

fn can_start() -> bool {
    let missing = PROGRAMS.iter().find(|(name, _)| find_program(name).is_none());
    let missing = missing.or((!Path::new(CLIENT).is_file()).then_some(&(CLIENT, "docker.io")));
    let what = missing.map(|(name, package)| format!("{name} (Debian: {package})"));
    require(is_root(), "root, for a Docker engine") && require(what.is_none(), &what.unwrap_or_default())
}

fn client<S: AsRef<OsStr>>(directory: &Path, words: &[S]) -> Command {
    let mut command = Command::new("/usr/bin/timeout");
    command.args(["--kill-after=1", PATIENCE, CLIENT, "--host"]);
    command.arg(format!("unix://{}", directory.join("socket").display())).args(words);
    command.env_clear().env("PATH", PATH).env("HOME", directory).current_dir("/").stdin(Stdio::null());
    command
}

/// The capabilities as `CAP_SYS_RESOURCE` and so on, separated by spaces.
fn missing_capabilities() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("there is /proc");
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("each process has one");
    let bounding = u64::from_str_radix(bounding.trim(), 16).expect("hexadecimal digits");
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("each kernel has one");
    let all = u64::MAX >> (63 - last.trim().parse::<u32>().expect("a number"));
    let decode = format!("--decode={:x}", all & !bounding);
    let capsh = find_program("capsh").expect("it was there");
    let output = Command::new(capsh).arg(decode).output().expect("capsh starts");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_uppercase();
    let (_, names) = text.split_once('=').expect("capsh prints MASK=NAMES");
    names.replace(',', " ")
}
