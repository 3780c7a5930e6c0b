//! Everything that is tried, with what must come of it.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::errno::Errno;

use super::{Place, outcome};

type Attempt = (&'static str, Option<Errno>, Result<(), Errno>);

/// A name, the error that it must end with (none: it must work), and how it ended.
pub fn all(place: &Place) -> Vec<Attempt> {
    [allowed(place), files(place), the_outside(place), refused_calls(place)].concat()
}

fn io<T>(result: io::Result<T>) -> Result<(), Errno> {
    result.map(drop).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

fn call(number: libc::c_long, arguments: [libc::c_long; 5]) -> Result<(), Errno> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the calls that this is used with take numbers, null pointers, or pointers to what lives until after them.
    outcome(unsafe { libc::syscall(number, a, b, c, d, e) })
}

/// The control: what fetching needs still works, so the rest fails for the reason that is tested.
fn allowed(place: &Place) -> Vec<Attempt> {
    vec![
        ("reading", None, io(fs::read(place.directory.join("file")))),
        ("listing", None, io(fs::read_dir(&place.directory))),
        ("tcp", None, io(TcpStream::connect(("127.0.0.1", place.port)))),
        ("a_thread", None, std::thread::spawn(|| ()).join().map_err(|_| Errno::EINVAL)),
        (
            "its_own_limit",
            None,
            io(nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_err(Into::into)),
        ),
    ]
}

/// Nothing is written, made, moved or removed anywhere.
fn files(place: &Place) -> Vec<Attempt> {
    let at = |name: &str| place.directory.join(name);
    let refused = Some(Errno::EPERM);
    let open = |options: &mut OpenOptions, name: &str| io(options.open(at(name)));
    let new = CString::new(at("new").as_os_str().as_bytes()).unwrap();
    let mut all = vec![
        ("a_new_file", refused, open(OpenOptions::new().write(true).create_new(true), "new")),
        (
            "a_file_without_name",
            refused,
            io(OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(&place.directory)),
        ),
        ("writing", refused, open(OpenOptions::new().write(true), "file")),
        ("appending", refused, open(OpenOptions::new().append(true), "file")),
        ("reading_and_writing", refused, open(OpenOptions::new().read(true).write(true), "file")),
        ("truncating", refused, io(nix::unistd::truncate(&at("file"), 0).map_err(Into::into))),
        ("a_directory", refused, io(fs::create_dir(at("new")))),
        ("a_symbolic_link", refused, io(std::os::unix::fs::symlink("file", at("new")))),
        ("a_hard_link", refused, io(fs::hard_link(at("file"), at("new")))),
        ("renaming", refused, io(fs::rename(at("other"), at("new")))),
        ("replacing", refused, io(fs::rename(at("other"), at("file")))),
        ("removing", refused, io(fs::remove_file(at("file")))),
        ("a_socket", refused, io(UnixListener::bind(at("new")))),
        (
            "a_fifo",
            refused,
            call(libc::SYS_mknodat, [libc::AT_FDCWD.into(), new.as_ptr() as _, (libc::S_IFIFO | 0o600).into(), 0, 0]),
        ),
        ("its_own_memory_as_a_file", refused, io(OpenOptions::new().write(true).open("/proc/self/mem"))),
    ];
    for (name, path) in [("shared_memory", "/dev/shm/handfast-cage"), ("temporary_files", "/tmp/handfast-cage")] {
        all.push((name, refused, io(File::create(path))));
    }
    all
}

/// The privileged process and the rest of the machine: not to be read, signalled or reached.
fn the_outside(place: &Place) -> Vec<Attempt> {
    let of_parent = |name: &str| format!("/proc/{}/{name}", place.parent);
    // Where there is Landlock, nothing is read of devices, terminals among them, and of the machine's settings.
    let unread = place.landlock.then_some(Errno::EACCES);
    let address = SocketAddr::from_abstract_name(&place.name).unwrap();
    vec![
        ("its_parents_memory", Some(Errno::EACCES), io(File::open(of_parent("mem")))),
        ("its_parents_environment", Some(Errno::EACCES), io(fs::read(of_parent("environ")))),
        ("its_parents_descriptors", Some(Errno::EACCES), io(fs::read_link(of_parent("fd/0")))),
        ("a_terminal", unread, io(File::open("/dev/tty").or_else(|_| File::open("/dev/ptmx")))),
        ("a_device", unread, io(File::open("/dev/zero"))),
        ("the_kernels_settings", unread, io(File::open("/sys/kernel/mm/transparent_hugepage/enabled"))),
        ("an_abstract_socket", Some(Errno::EPERM), io(UnixStream::connect_addr(&address))),
    ]
}

/// Calls that a fetch does not need.
fn refused_calls(place: &Place) -> Vec<Attempt> {
    let refused = Some(Errno::EPERM);
    let path = |name: &str| CString::new(place.directory.join(name).as_os_str().as_bytes()).unwrap();
    let (program, file) = (path("program"), path("file"));
    let none: [*const libc::c_char; 1] = [std::ptr::null()];
    let (program, file, none) =
        (program.as_ptr() as libc::c_long, file.as_ptr() as libc::c_long, none.as_ptr() as libc::c_long);
    let (parent, own) = (libc::c_long::from(place.parent), libc::c_long::from(std::process::id().cast_signed()));
    let here = libc::AT_FDCWD.into();
    let reader = File::open(place.directory.join("file")).unwrap();
    let descriptor = reader.as_raw_fd().into();
    let name = c"user.x".as_ptr() as libc::c_long;
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    let term = libc::SIGTERM.into();
    let byte = c"x".as_ptr() as libc::c_long;
    let mut all = vec![
        ("execve", libc::SYS_execve, [program, none, none, 0, 0]),
        ("execveat", libc::SYS_execveat, [here, program, none, none, 0]),
        ("clone", libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0]),
        ("kill_of_its_parent", libc::SYS_kill, [parent, term, 0, 0, 0]),
        ("kill_of_all", libc::SYS_kill, [-1, 0, 0, 0, 0]),
        ("kill_of_its_group", libc::SYS_kill, [0, 0, 0, 0, 0]),
        ("kill_of_itself", libc::SYS_kill, [own, 0, 0, 0, 0]),
        ("tgkill", libc::SYS_tgkill, [parent, parent, term, 0, 0]),
        ("tkill", libc::SYS_tkill, [parent, term, 0, 0, 0]),
        ("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, [parent, term, 0, 0, 0]),
        ("pidfd_send_signal", libc::SYS_pidfd_send_signal, [descriptor, term, 0, 0, 0]),
        ("ptrace", libc::SYS_ptrace, [libc::PTRACE_SEIZE.into(), parent, 0, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [parent, 0, 0, 0, 0]),
        ("process_vm_writev", libc::SYS_process_vm_writev, [parent, 0, 0, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [descriptor, 0, 0, 0, 0]),
        ("kcmp", libc::SYS_kcmp, [parent, own, 0, 0, 0]),
        ("mount", libc::SYS_mount, [file, file, file, libc::MS_BIND.cast_signed() as _, 0]),
        ("umount2", libc::SYS_umount2, [file, 0, 0, 0, 0]),
        ("pivot_root", libc::SYS_pivot_root, [file, file, 0, 0, 0]),
        ("chroot", libc::SYS_chroot, [file, 0, 0, 0, 0]),
        ("open_tree", libc::SYS_open_tree, [here, file, 0, 0, 0]),
        ("move_mount", libc::SYS_move_mount, [here, file, here, file, 0]),
        ("fsopen", libc::SYS_fsopen, [c"tmpfs".as_ptr() as _, 0, 0, 0, 0]),
        ("mount_setattr", libc::SYS_mount_setattr, [here, file, 0, 0, 0]),
        ("unshare", libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0]),
        ("setns", libc::SYS_setns, [descriptor, 0, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, [0, 0, 0, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, [0, 0, -1, -1, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [0, 0, 0, 0, 0]),
        ("add_key", libc::SYS_add_key, [0, 0, 0, 0, 0]),
        ("request_key", libc::SYS_request_key, [0, 0, 0, 0, 0]),
        ("init_module", libc::SYS_init_module, [0, 0, 0, 0, 0]),
        ("kexec_load", libc::SYS_kexec_load, [0, 0, 0, 0, 0]),
        // Landlock does not know these; the files of root and of the worker's uid are many.
        ("fchmod", libc::SYS_fchmod, [descriptor, 0o777, 0, 0, 0]),
        ("fchmodat", libc::SYS_fchmodat, [here, file, 0o777, 0, 0]),
        ("fchmodat2", 452, [here, file, 0o777, 0, 0]),
        ("fchown", libc::SYS_fchown, [descriptor, -1, -1, 0, 0]),
        ("fchownat", libc::SYS_fchownat, [here, file, -1, -1, 0]),
        ("setxattr", libc::SYS_setxattr, [file, name, byte, 1, 0]),
        ("fsetxattr", libc::SYS_fsetxattr, [descriptor, name, byte, 1, 0]),
        ("removexattr", libc::SYS_removexattr, [file, name, 0, 0, 0]),
        ("utimensat", libc::SYS_utimensat, [here, file, 0, 0, 0]),
        // A limit of the privileged process', which has the same uid.
        (
            "a_limit_of_its_parent",
            libc::SYS_prlimit64,
            [parent, libc::RLIMIT_NOFILE.into(), &raw const limit as _, 0, 0],
        ),
        // Keystrokes for whoever reads the terminal next.
        ("terminal_input", libc::SYS_ioctl, [0, libc::TIOCSTI.cast_signed() as _, byte, 0, 0]),
        ("terminal_selection", libc::SYS_ioctl, [0, libc::TIOCLINUX.cast_signed() as _, byte, 0, 0]),
    ];
    #[cfg(target_arch = "x86_64")]
    all.extend([
        ("fork", libc::SYS_fork, [0, 0, 0, 0, 0]),
        ("chmod", libc::SYS_chmod, [file, 0o777, 0, 0, 0]),
        ("chown", libc::SYS_chown, [file, -1, -1, 0, 0]),
        ("lchown", libc::SYS_lchown, [file, -1, -1, 0, 0]),
        ("utimes", libc::SYS_utimes, [file, 0, 0, 0, 0]),
    ]);
    let mut attempts: Vec<Attempt> =
        all.drain(..).map(|(name, number, arguments)| (name, refused, call(number, arguments))).collect();
    // Whose flags a filter can't see; the C library takes `clone` where it is missing.
    attempts.push(("clone3", Some(Errno::ENOSYS), call(libc::SYS_clone3, [0, 0, 0, 0, 0])));
    let mode = fs::metadata(place.directory.join("file")).unwrap().permissions().mode() & 0o777;
    attempts.push(("the_mode_of_the_file", None, if mode == 0o777 { Err(Errno::EEXIST) } else { Ok(()) }));
    attempts
}

/// The same call by its x32 number.
pub fn foreign_number() {
    let result = call(0x4000_0000 + libc::SYS_getpid, [0; 5]);
    eprintln!("{result:?}");
}

/// `getpid` as i386 has it.
pub fn foreign_architecture() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the call takes nothing and changes only the register that holds its result.
    unsafe {
        std::arch::asm!("int 0x80", inout("eax") 20 => _);
    }
}
