//! The stage as a whole, on real directories and descriptors. Tests that need root say so and pass for others; those that
//! change what all threads share run in a process of their own.
#![forbid(unsafe_code)]

mod descriptors;
mod files;
mod generations;
mod leftovers;
mod root;

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use handfast_core::SecretValue;

use super::descriptors::list as descriptors_text;
use super::*;
use crate::plan::{Deadline, Delivery, Files, Isolation, Purpose, Swap, Target, Watching};

/// A directory of our own on the machine's shared memory; removed at the end.
struct Memory(PathBuf);

impl Memory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/dev/shm/handfast-test-{}-{count}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        mode(&path, 0o755);
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Every entry's name, sorted, with the generation's shortened to its prefix.
    fn entries(&self) -> Vec<String> {
        entries_of(&self.0)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("left behind: {}: {error}", self.0.display());
        }
    }
}

fn entries_of(path: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(path).unwrap().map(name).collect();
    for name in &mut names {
        if name.starts_with(entries::GENERATION) && name.len() > 30 {
            *name = entries::GENERATION.into();
        }
    }
    names.sort();
    names
}

fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn our_ids() -> (u32, u32) {
    (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
}

fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test}: needs root");
    }
    root
}

/// A plan for `init`, with ourselves as the reader.
fn plan(directory: Option<&Path>, deliveries: Vec<Delivery>) -> Plan {
    let (uid, gid) = our_ids();
    let deliveries = deliveries.into_iter().enumerate().map(|(secret, delivery)| Delivery { secret, ..delivery });
    Plan {
        purpose: Purpose::Init,
        isolation: Isolation {
            uid,
            gid,
            groups: Vec::new(),
            defaulted: false,
            capabilities: 0,
            core_dumps: false,
            strict: false,
        },
        secrets: Vec::new(),
        deliveries: deliveries.collect(),
        inherited: Vec::new(),
        files: directory.map(|directory| Files { directory: directory.to_owned(), size: 1 << 20 }),
        swap: Swap::Warn,
        concurrency: 1,
        deadline: Deadline { started: Instant::now(), limit: Duration::from_secs(60) },
        watching: Watching::default(),
        revokes_on_exit: false,
        has_stores: false,
        environment: Vec::new(),
        provider_warnings: Vec::new(),
        executable: None,
    }
}

fn run(plan: Plan) -> Plan {
    Plan { purpose: Purpose::Run, ..plan }
}

fn file(name: &str) -> Delivery {
    secret(name, Target::File { name: name.into(), mode: 0o400, owner: None })
}

fn descriptor(name: &str, number: RawFd) -> Delivery {
    secret(name, Target::Descriptor(number))
}

fn secret(name: &str, target: Target) -> Delivery {
    Delivery { name: name.into(), secret: 0, target, path_variables: Vec::new(), number_variables: Vec::new() }
}

fn value(secret: usize, bytes: &[u8]) -> Arrived {
    Arrived { secret, file: None, value: SecretValue::from(bytes.to_vec()) }
}

/// A field of `#*`, under the name that its file gets.
fn field(secret: usize, file: &str) -> Arrived {
    Arrived { secret, file: Some(file.into()), value: SecretValue::from(file.as_bytes().to_vec()) }
}

/// With the files' names, as they come out of the worker's frames.
fn received(plan: &Plan, mut arrived: Vec<Arrived>) -> Vec<Arrived> {
    for one in arrived.iter_mut().filter(|one| one.file.is_none()) {
        one.file = plan.file_name(one.secret, None);
    }
    arrived
}

/// As before a fetch.
fn prepare(plan: &Plan) -> Result<Destination> {
    super::prepare(plan, reserve_descriptors(plan)?)
}

fn start(plan: &Plan, arrived: Vec<Arrived>) -> Result<(Published, Destination)> {
    let mut destination = prepare(plan)?;
    let published = publish(&mut destination, plan, arrived)?;
    Ok((published, destination))
}

/// As after a fetch.
fn publish(destination: &mut Destination, plan: &Plan, arrived: Vec<Arrived>) -> Result<Published> {
    destination.publish(plan, received(plan, arrived), &|| Ok(()))
}

/// For tests that deliver without a plan's deadline.
const PATIENCE: Duration = Duration::from_secs(10);

fn patience() -> Patience<'static> {
    Patience { deadline: Instant::now() + PATIENCE, check_interrupts: &|| Ok(()) }
}

fn failure<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("this must be refused"),
        Err(error) => error,
    }
}

/// Runs the body in a process of its own: the test binary again, with this test alone.
fn in_child(module: &str, test: &str, body: impl FnOnce()) {
    const MARK: &str = "HANDFAST_TEST_CHILD";
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let name = format!("{}::{test}", module.split_once("::").unwrap().1);
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name.as_str(), "--exact", "--test-threads=1", "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && text.contains("1 passed"), "{name} in a process of its own: {text}");
}

/// What `check` says is what a start does.
#[test]
fn an_inspection_touches_nothing_and_agrees_with_a_start() {
    let memory = Memory::new();
    let missing = memory.join("set");
    let wanted = plan(Some(&missing), vec![file("db")]);
    let inspection = inspect(&wanted);
    assert!(inspection.refusal.is_none());
    assert_eq!(inspection.files.unwrap().medium, format!("tmpfs, `{}` will be created", missing.display()));
    assert!(!missing.exists());
    start(&wanted, vec![value(0, b"x")]).unwrap();
    let inspection = inspect(&wanted);
    assert_eq!(inspection.files.unwrap().medium, format!("tmpfs at `{}`", missing.display()));
    assert_eq!(inspection.descriptors, None);

    let refused = plan(Some(Path::new("/proc")), vec![file("db")]);
    assert_eq!(inspect(&refused).refusal.unwrap().message, failure(prepare(&refused)).message);
}

#[test]
fn swap_warns_or_refuses_where_the_target_can_be_swapped() {
    let targets = [descriptors_text(&[3, 4]), "`/s`".to_owned()];
    assert_eq!(swap::judge(Swap::Refuse, Swapping::On, &[]).unwrap(), None);
    assert_eq!(swap::judge(Swap::Refuse, Swapping::Off, &targets).unwrap(), None);
    let warning = swap::judge(Swap::Warn, Swapping::On, &targets).unwrap().unwrap();
    assert_eq!(warning, "descriptors 3, 4, `/s` can be swapped out to disk, and swap is on");
    assert_eq!(failure(swap::judge(Swap::Refuse, Swapping::On, &targets)).class.exit_code(), 73);
}
