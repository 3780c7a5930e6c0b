//! Programs of another machine, where the kernel has a handler for them: qemu-user in a container that does not see it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::support::{Directory, Run, needs_root};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// A machine that nobody has made, so that the handler is of no other test.
const MACHINE: u16 = 0xf00d;

/// A handler for [`MACHINE`], which starts `/bin/echo` with the program's path. It is registered in a mount namespace of its own,
/// and so seen by nobody else, and it goes with this value.
struct Handler {
    end: mpsc::Sender<()>,
    holder: JoinHandle<()>,
}

impl Handler {
    fn register() -> Self {
        let (end, ended) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let holder = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).expect("root may have a mount namespace");
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).expect("it is ours");
            let directory = Directory::new();
            mount(Some("handlers"), directory.path(), Some("binfmt_misc"), MsFlags::empty(), none).expect("root may");
            let [low, high] = MACHINE.to_le_bytes();
            let entry = format!(":handfast-{}:M:18:\\x{low:02x}\\x{high:02x}::/bin/echo:F", std::process::id());
            fs::write(directory.path().join("register"), entry).expect("the kernel takes it");
            tell.send(()).expect("the test waits");
            // Whatever becomes of the test.
            assert!(ended.recv().is_err(), "nothing is ever sent");
            let registered = directory.path().join(format!("handfast-{}", std::process::id()));
            fs::write(registered, "-1").expect("the kernel forgets it");
            umount2(directory.path(), MntFlags::MNT_DETACH).expect("it is ours");
        });
        told.recv().expect("it is registered");
        Self { end, holder }
    }

    fn forget(self) {
        drop(self.end);
        self.holder.join().expect("it is gone");
    }
}

#[test]
fn a_program_of_another_machine_starts_where_a_handler_takes_it_that_is_not_seen() {
    needs_root!();
    let (secrets, programs) = (Directory::in_memory(), Directory::new());
    let mut head = vec![0; 128];
    head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    head[16] = 2;
    head[18..20].copy_from_slice(&MACHINE.to_le_bytes());
    head[54..58].copy_from_slice(&[56, 0, 1, 0]);
    let program = programs.write("program", &head);
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("it is ours");
    let run = |command: &'static str| Run::command(command).args(["--dir", secrets.text(), "--secret", "db=mock:db"]);
    let start = || run("run").app([&program]).app_arg("hello").start();
    let refusal = "another machine (ELF machine 61453";
    start().refused(126, refusal);
    let handler = Handler::register();
    let outcome = start();
    handler.forget();
    let said = format!("{} hello\n", program.display());
    assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stdout).into_owned()), (0, said), "{outcome:?}");
    start().refused(126, refusal);
}
