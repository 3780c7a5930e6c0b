//! The worker's cage from inside: what a worker could do that somebody else has taken over.
//!
//! The cage cannot be left, so this binary runs itself again, and that process enters the cage as the worker does, tries
//! everything, and reports.

mod attempts;

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use handfast::cage::{self, Profile};
use handfast_core::Sockets;
use nix::errno::Errno;

/// What the attempts are made against.
pub struct Place {
    /// A directory with `file`, `other` and `program` in it, all writable.
    pub directory: PathBuf,
    /// The abstract name that the parent listens on.
    pub name: String,
    /// The port that the parent listens on.
    pub port: u16,
    /// The parent.
    pub parent: i32,
    /// Whether this kernel has Landlock.
    pub landlock: bool,
}

/// Inside: as `worker::inside` does it. What it finds goes to stderr: stdout is no longer its.
pub fn caged(what: &str, directory: &Path, port: u16) -> ExitCode {
    let (socket, other) = UnixStream::pair().unwrap();
    // The cage closes it, whoever owns it.
    std::mem::forget(other);
    let parent = nix::unistd::getppid();
    let landlock = handfast::sys::landlock::version() > 0;
    // Before: the tests' own means are fine, so what fails afterwards fails because of the cage.
    let place =
        Place { directory: directory.into(), name: name(parent.as_raw()), port, parent: parent.as_raw(), landlock };
    let log = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
    let possible = cage::Cage::possible();
    let cage = cage::enter(parent, Profile::of_worker(&socket, Sockets::INTERNET), log).unwrap();
    assert_eq!(cage, possible, "each part stands where the kernel has it");
    match what {
        "x32" => attempts::foreign_number(),
        "i386" => attempts::foreign_architecture(),
        _ => {}
    }
    let mut failed = 0;
    eprintln!("{cage:?}");
    for (name, expected, found) in attempts::all(&place) {
        let found = found.map_or_else(|error| format!("{error:?}"), |()| "ok".to_owned());
        let expected = expected.map_or_else(|| "ok".to_owned(), |error| format!("{error:?}"));
        if found == expected {
            eprintln!("test the_cage_and_{name} ... ok");
        } else {
            eprintln!("test the_cage_and_{name} ... FAILED: expected {expected}, found {found}");
            failed += 1;
        }
    }
    ExitCode::from(u8::from(failed > 0))
}

pub fn run(is_wanted: &dyn Fn(&str) -> bool) -> bool {
    if !is_wanted("worker_cage::the_cage") {
        return true;
    }
    let directory = PathBuf::from(format!("/tmp/handfast-cage-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("file"), "content").unwrap();
    std::fs::write(directory.join("other"), "content").unwrap();
    std::fs::copy("/bin/true", directory.join("program")).unwrap();
    let own = name(std::process::id().cast_signed());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&own).unwrap()).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let inside = |what: &str| -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["caged", what]).arg(&directory).arg(tcp.local_addr().unwrap().port().to_string());
        command.stdin(Stdio::null()).output().unwrap()
    };
    let mut failed = 0;
    let output = inside("attempts");
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    failed += u32::from(!output.status.success());
    // Another architecture's calls end the process; a kernel without them ends it too, in its own way.
    #[cfg(target_arch = "x86_64")]
    for foreign in ["x32", "i386"] {
        let output = inside(foreign);
        let ended = output.status.signal().is_some_and(|signal| [libc::SIGSYS, libc::SIGSEGV].contains(&signal));
        println!("test the_cage_and_a_call_of_{foreign} ... {}", if ended { "ok" } else { "FAILED" });
        failed += u32::from(!ended);
    }
    let content = std::fs::read(directory.join("file")).unwrap();
    let names = std::fs::read_dir(&directory).unwrap().count();
    std::fs::remove_dir_all(&directory).unwrap();
    if content != b"content" || names != 3 {
        println!("the directory has changed");
        failed += 1;
    }
    println!("\ntest result: {}", if failed == 0 { "ok" } else { "FAILED" });
    failed == 0
}

fn name(process: i32) -> String {
    format!("handfast-cage-{process}")
}

/// The last call's outcome, from what it returned.
pub fn outcome(result: libc::c_long) -> Result<(), Errno> {
    Errno::result(result).map(drop)
}
