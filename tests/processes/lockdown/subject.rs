//! handfast itself, as far as these stages go: what it is told on its command line is the plan.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::process::ExitCode;

use handfast::error::{Error, Result};
use handfast::launch::{self, Prepared};
use handfast::lockdown::{self, CoreLimit};
use handfast::plan::Isolation;
use handfast::sys::process;
use handfast::sys::signals::{self, SignalFd, Signals};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid, getegid, geteuid, getgroups, setfsgid, setfsuid};

use super::filter;

/// `key=value` and single words.
struct Words<'a>(&'a [String]);

impl Words<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|word| word == flag)
    }

    fn numbers(&self, key: &str) -> Vec<u32> {
        let items = self.value(key).unwrap_or_default().split(',');
        items.filter(|item| !item.is_empty()).map(|item| item.parse().unwrap()).collect()
    }
}

pub fn run(words: &[String]) -> ExitCode {
    let words = Words(words);
    let error = start(&words).unwrap_or_else(|error| error);
    eprintln!("{}: {} (hint: {})", error.class.name(), error.message, error.hint.as_deref().unwrap_or("none"));
    error.class.exit_code().into()
}

fn start(words: &Words) -> Result<Error> {
    let isolation = isolation(words);
    let own = std::env::current_exe().unwrap();
    let command = [words.value("command").map_or(own.into(), OsString::from), "probe".into()];
    if let Some(directory) = words.value("noexec") {
        mount_noexec(directory);
    }
    let watched = Signals::of(&[Signal::SIGTERM]);
    let watch = words.has("watch").then(|| SignalFd::new(watched).unwrap());
    if let Some(bits) = words.value("securebits") {
        set_securebits(bits.parse().unwrap());
    }
    let core_limit = CoreLimit::suspend()?;
    if !words.has("unchecked") {
        lockdown::refuse_impossible(&isolation, &lockdown::ProcessState::read()?)?;
    }
    let program = launch::resolve(&command[0], words.value("path").map(AsRef::as_ref), &isolation)?;
    let environment = ["A=1".into(), "B=x=y".into()];
    let prepared = Prepared::new(&program, &command, &environment)?;

    let keep_open: Vec<i32> = words.numbers("open").into_iter().map(u32::cast_signed).collect();
    prepare_descriptors(&words.numbers("leak"), &keep_open);
    if words.has("file_system_ids") {
        setfsuid(Uid::from_raw(7));
        setfsgid(Gid::from_raw(7));
    }
    if words.has("thread") {
        std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_secs(60)));
    }
    if let Some(vanishing) = words.value("remove") {
        std::fs::remove_file(vanishing).unwrap();
    }
    if words.has("terminated") {
        raise(Signal::SIGTERM).unwrap();
    }
    // Whatever owns a descriptor gives it up before the lockdown closes it.
    drop(watch);
    let found = lockdown::ProcessState::read()?;
    if words.has("forked") {
        signals::set_default(Signal::SIGCHLD).unwrap();
        let children = SignalFd::new(Signals::NONE).unwrap();
        if let ForkResult::Parent { child } = process::fork().unwrap() {
            std::process::exit(end_of(child, &children));
        }
    }
    if let Some(denied) = words.value("deny") {
        filter::deny(denied);
    }
    let locked = lockdown::lock(&isolation, &keep_open, core_limit, found)?;
    Ok(launch::exec(locked, &prepared, watched))
}

/// Waits for a child with the descriptor that signals are read from. The exit code is the child's.
fn end_of(child: Pid, children: &SignalFd) -> i32 {
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::Exited(_, code) => return code,
            WaitStatus::StillAlive => {}
            other => panic!("{other:?}"),
        }
        let ready = poll(&mut [PollFd::new(children.as_fd(), PollFlags::POLLIN)], 10_000_u16).unwrap();
        assert_eq!((ready, children.received().unwrap()), (1, None), "a child's end is no signal that ends a start");
    }
}

fn isolation(words: &Words) -> Isolation {
    let id = |key: &str, own: u32| words.value(key).map_or(own, |value| value.parse().unwrap());
    let mut groups = match words.value("groups") {
        Some(_) => words.numbers("groups"),
        None => getgroups().unwrap().into_iter().map(Gid::as_raw).collect(),
    };
    groups.sort_unstable();
    groups.dedup();
    Isolation {
        uid: id("uid", geteuid().as_raw()),
        gid: id("gid", getegid().as_raw()),
        groups,
        defaulted: false,
        capabilities: u64::from_str_radix(words.value("keep").unwrap_or("0"), 16).unwrap(),
        core_dumps: words.has("core_dumps"),
        strict: words.has("strict"),
    }
}

/// Opens `/dev/null` under these numbers: the leaked ones stay open over exec, the others close unless somebody keeps them.
fn prepare_descriptors(leaked: &[u32], kept: &[i32]) {
    let open = |number: i32, flags: i32| {
        let null = std::fs::File::open("/dev/null").unwrap();
        let file = nix::fcntl::fcntl(&null, nix::fcntl::FcntlArg::F_DUPFD(2000)).unwrap();
        drop(null);
        // SAFETY: the numbers are the test's own; nothing else in this process uses them.
        assert_eq!(unsafe { libc::dup3(file, number, flags) }, number);
        nix::unistd::close(file).unwrap();
    };
    leaked.iter().for_each(|number| open(number.cast_signed(), 0));
    kept.iter().for_each(|number| open(*number, libc::O_CLOEXEC));
}

fn set_securebits(bits: libc::c_ulong) {
    // SAFETY: the option takes a number and no pointer.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits, 0, 0, 0) }, 0);
}

/// A tmpfs with a program in it, in a mount namespace of our own.
fn mount_noexec(directory: &str) {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::MS_NOEXEC, Some("mode=755")).unwrap();
    let program = std::path::Path::new(directory).join("program");
    std::fs::copy("/bin/true", &program).unwrap();
}
