//! The app: reports what it got, a line each.

use std::fs;
use std::process::ExitCode;

use handfast::sys::signals;
use nix::sys::resource::{Resource, getrlimit};

pub fn run() -> ExitCode {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    for name in ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"] {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        println!("{}", words.join(" "));
    }
    // Before Rust's runtime changed anything.
    let signals::Inherited { ignored, blocked } = signals::found().expect("signals can be read");
    // No wrapper sets 32 and 33, which libc uses itself, to their default.
    println!("ignored {:x} blocked {blocked:x}", ignored & !(3 << 31));
    let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:")).unwrap();
    println!("pending {:x}", u64::from_str_radix(pending.trim(), 16).unwrap());
    println!("found signals {ignored:x} {blocked:x}");
    let umask = status.lines().find(|line| line.starts_with("Umask")).unwrap();
    println!("found {umask} in {}", std::env::current_dir().unwrap().display());
    let statistics = fs::read_to_string("/proc/self/stat").unwrap();
    println!("found nice {:?}", statistics.split_whitespace().nth(18));
    for line in fs::read_to_string("/proc/self/limits").unwrap().lines().filter(|line| !line.starts_with("Max core")) {
        println!("found {line}");
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_CORE).unwrap();
    println!("core {soft}:{hard}");
    let open: Vec<String> = (0..70_000)
        .filter(|number| nix::fcntl::fcntl(borrow(*number), nix::fcntl::FcntlArg::F_GETFD).is_ok())
        .map(|number| number.to_string())
        .collect();
    println!("descriptors {}", open.join(","));
    let reopened = fs::OpenOptions::new().write(true).open("/dev/stdout").is_ok();
    println!("stdout opens: {reopened}");
    println!("environment {:?}", std::env::vars().collect::<Vec<_>>());
    println!("arguments {:?}", std::env::args().collect::<Vec<_>>());
    ExitCode::SUCCESS
}

fn borrow(number: i32) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: the number is only asked about; where nothing is open under it, the answer is EBADF.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }
}
