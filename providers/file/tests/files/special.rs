//! Files that are not regular, and files of the kernel's own file systems.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use handfast_testkit::Scratch;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::{assert_refused, read, read_below};

const NOT_REGULAR: &str = "it is not a regular file";
const PROCFS: &str = "it is on procfs or sysfs";
const MAGIC: &str = "too many links, or a link of procfs";

#[test]
fn a_named_pipe_does_not_hang() {
    let scratch = Scratch::new();
    let pipe = scratch.join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    symlink("pipe", scratch.join("link")).unwrap();
    for path in [&pipe, &scratch.join("link")] {
        assert_refused(read(path), NOT_REGULAR);
        assert_refused(read_below(scratch.path(), path), NOT_REGULAR);
    }
}

#[test]
fn a_device_is_refused() {
    let scratch = Scratch::new();
    symlink("/dev/zero", scratch.join("link")).unwrap();
    for path in [Path::new("/dev/null"), Path::new("/dev/zero"), &scratch.join("link")] {
        assert_refused(read(path), NOT_REGULAR);
    }
    assert_refused(read_below(Path::new("/dev"), "/dev/zero"), NOT_REGULAR);
}

#[test]
fn a_directory_is_refused() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.join("directory")).unwrap();
    symlink("directory/.", scratch.join("link")).unwrap();
    for path in [scratch.join("directory"), scratch.join("link")] {
        assert_refused(read(&path), "it is a directory");
        assert_refused(read_below(scratch.path(), &path), "it is a directory");
    }
}

#[test]
fn a_socket_is_refused() {
    let scratch = Scratch::new();
    let socket = scratch.join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_refused(read(&socket), NOT_REGULAR);
    assert_refused(read_below(scratch.path(), &socket), NOT_REGULAR);
}

#[test]
fn a_refused_file_is_not_opened() {
    let scratch = Scratch::new();
    let (pipe, file) = (scratch.join("pipe"), scratch.join("file"));
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    fs::write(&file, "x").unwrap();
    let opened = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    opened.add_watch(&pipe, AddWatchFlags::IN_OPEN).unwrap();
    assert_refused(read(&pipe), NOT_REGULAR);
    assert!(opened.read_events().is_err(), "the pipe was opened");
    opened.add_watch(&file, AddWatchFlags::IN_OPEN).unwrap();
    read(&file).unwrap();
    assert_eq!(opened.read_events().unwrap().len(), 1, "the watch sees what is opened, and it is opened once");
}

#[test]
fn procfs_is_refused() {
    let scratch = Scratch::new();
    symlink("/proc/self/environ", scratch.join("link")).unwrap();
    symlink("/proc", scratch.join("proc")).unwrap();
    let links = [scratch.join("link"), scratch.join("proc/self/environ")];
    let paths = ["/proc/self/environ", "/proc/self/mem", "/proc/version", "/proc/mounts", "/proc/thread-self/status"];
    for path in paths.map(Path::new).into_iter().chain(links.iter().map(|link| link.as_path())) {
        assert_refused(read(path), PROCFS);
    }
    assert_refused(read_below(Path::new("/proc"), "/proc/self/environ"), PROCFS);
}

#[test]
fn sysfs_is_refused() {
    assert_refused(read("/sys/kernel/uevent_seqnum"), PROCFS);
    assert_refused(read_below(Path::new("/sys"), "/sys/kernel/uevent_seqnum"), PROCFS);
}

#[test]
fn magic_links_are_refused_though_they_lead_to_a_regular_file() {
    let scratch = Scratch::new();
    fs::write(scratch.join("file"), "a descriptor of ours").unwrap();
    let open = File::open(scratch.join("file")).unwrap();
    let number = open.as_raw_fd();
    symlink(format!("/proc/self/fd/{number}"), scratch.join("link")).unwrap();
    for path in [
        format!("/proc/self/fd/{number}"),
        format!("/proc/{}/fd/{number}", std::process::id()),
        format!("/dev/fd/{number}"),
        "/proc/self/exe".into(),
        format!("/proc/self/root{}", scratch.join("file").display()),
        scratch.join("link").display().to_string(),
    ] {
        assert_refused(read(path), MAGIC);
    }
    assert_refused(read_below(Path::new("/proc/self/root"), "/proc/self/root/etc/passwd"), MAGIC);
}

/// The test must be able to write below /dev. Otherwise only core's own tests cover devtmpfs, with lists of mounts.
#[test]
#[allow(clippy::print_stderr, reason = "a test's output")]
fn devtmpfs_is_refused_and_the_tmpfs_on_it_is_not() {
    struct Removed<'p>(&'p Path);
    impl Drop for Removed<'_> {
        fn drop(&mut self) {
            let _ = fs::remove_file(self.0);
        }
    }
    let name = format!("handfast-test-{}", std::process::id());
    let path = Path::new("/dev").join(&name);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_devtmpfs = mounts.lines().any(|line| line.contains(" /dev ") && line.contains(" - devtmpfs "));
    if is_devtmpfs && fs::write(&path, "x").is_ok() {
        let _removed = Removed(&path);
        assert_refused(read(&path), "it is on devtmpfs");
        assert_refused(read_below(Path::new("/dev"), &path), "it is on devtmpfs");
    } else {
        eprintln!("not here: no file can be made on a devtmpfs");
    }
    let shared = Path::new("/dev/shm").join(&name);
    if fs::write(&shared, "x").is_ok() {
        let _removed = Removed(&shared);
        assert_eq!(read(&shared).unwrap(), b"x");
    }
}
