//! The state that an attack would have changed, read before and after the attack, whatever the results of its calls are.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::terminal::Terminal;
use crate::worker::Worker;

/// The name and the state of each attacked object.
pub struct State(Vec<(&'static str, String)>);

impl State {
    /// Reads the present state.
    pub fn now(worker: &Worker, victim: libc::pid_t, place: &str, terminal: Option<&Terminal>) -> io::Result<Self> {
        let mut all = vec![
            ("parent", process(worker.parent)),
            ("victim", process(victim)),
            ("worker", group(worker.process)),
            ("files", format!("{:?}", files(Path::new(place))?)),
        ];
        if let Some(terminal) = terminal {
            all.push(("terminal", terminal.state()));
        }
        Ok(Self(all))
    }

    /// Yields the name of each object, its earlier state and its later state.
    pub fn compare<'a>(&'a self, later: &'a Self) -> impl Iterator<Item = (&'static str, &'a str, &'a str)> {
        self.0.iter().zip(&later.0).map(|((name, before), (_, after))| (*name, &**before, &**after))
    }
}

/// Whether the process is alive, and its scheduling and limits.
fn process(process: libc::pid_t) -> String {
    let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).unwrap_or_default();
    let status = read("status");
    let cpus = status.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap_or_default();
    let gone = if status.contains("State:\tZ") || status.is_empty() { "gone" } else { "there" };
    // SAFETY: it takes numbers.
    let io = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, process) };
    let rest = read("stat");
    // Parse after the process name, which may contain anything. nice is field 19, and the scheduling policy is field 41.
    let fields: Vec<&str> = rest.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    let limits = read("limits").lines().filter(|line| line.contains("open files")).collect::<String>();
    format!("{gone} nice {} policy {} io {io} {cpus} {limits} {}", field(19), field(41), group(process))
}

fn group(process: libc::pid_t) -> String {
    // SAFETY: it takes a number.
    let group = unsafe { libc::getpgid(process) };
    // SAFETY: as above.
    let session = unsafe { libc::getsid(process) };
    format!("group {group} session {session}")
}

/// Every entry with its content and all its attributes, except the access time.
fn files(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let about = fs::symlink_metadata(&path)?;
        let content = match about.file_type() {
            kind if kind.is_file() => String::from_utf8_lossy(&fs::read(&path)?).into_owned(),
            kind if kind.is_dir() => format!("{:?}", files(&path)?),
            kind if kind.is_socket() => "socket".into(),
            _ => "something".into(),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (changed, part) = (about.ctime(), about.ctime_nsec());
        all.insert(
            name,
            format!("{:o} {} {} {} {changed}.{part} {content}", about.mode(), about.uid(), about.gid(), about.len()),
        );
    }
    Ok(all)
}
