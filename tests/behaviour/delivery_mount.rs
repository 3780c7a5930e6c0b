//! A tmpfs of handfast's own over an empty directory on a disk: for the app alone, and gone with it. And swap.

use std::fs;

use crate::support::{Directory, Run, hex, needs_program, needs_root, tree};
use nix::sys::signal::Signal;

fn into(directory: &Directory) -> Run {
    Run::new().args(["--secret", "db=mock:db", "--dir", directory.text()])
}

/// As a machine that swaps, whatever this one does.
fn swapping(machine: &Directory) -> Vec<String> {
    let areas = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/swapfile file 1048572 0 -2\n";
    let swaps = machine.write("swaps", areas);
    let bind = format!("{}:/proc/swaps", swaps.display());
    // Without the limits of control groups, of which one may be 0 here.
    vec!["--bind".into(), bind, "--tmpfs".into(), "/sys/fs/cgroup".into()]
}

#[test]
fn only_the_app_sees_it_and_it_ends_with_the_app() {
    needs_root!();
    let directory = Directory::on_disk();
    let mut running = into(&directory).app_arg("--sleep").app_arg("0.5").spawn();
    running.wait_for("probe");
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", running.pid())).expect("it is there");
    let mount = mounts.lines().find(|line| line.contains(directory.text())).expect("it is mounted").to_owned();
    assert!(directory.names().is_empty(), "{:?}", directory.names());
    assert!(!fs::read_to_string("/proc/self/mountinfo").expect("it is there").contains(directory.text()));
    let outcome = running.finish();
    let app = outcome.ran();
    let files = &app["CREDENTIALS_DIRECTORY"];
    assert_eq!(files["filesystem"], "1021994");
    let flags = u32::from_str_radix(files["mount_flags"].as_str().expect("text"), 16).expect("digits");
    assert_eq!(flags & 0xf, 0xe, "nosuid, nodev, noexec");
    assert_eq!(files["entries"]["db"]["content"], hex("mock-db"));
    assert_eq!((&files["entries"]["."]["mode"], &files["entries"]["."]["uid"]), (&"755".into(), &0.into()));
    assert!(mount.contains(" - tmpfs ") && mount.contains("size=1024k"), "{mount}");
    // This kernel has the option, or handfast has said that it has not.
    assert_ne!(mount.contains("noswap"), outcome.stderr.contains("mounts no tmpfs with `noswap`"), "{mount}");
    assert_eq!(tree(directory.path()).len(), 1);
}

#[test]
fn its_size_is_the_configured_one() {
    needs_root!();
    let directory = Directory::on_disk();
    let large = format!("[providers.mock]\nvalues = {{ db = \"{}\" }}\n", "x".repeat(20_000));
    let outcome = into(&directory).config(&format!("{large}[files]\nsize = \"16KiB\"\n")).start();
    outcome.refused(73, "no space left on device");
    outcome.says("hint: make the tmpfs larger");
    into(&directory).config(&format!("{large}[files]\nsize = \"20KiB\"\n")).start().ran();
    assert!(directory.names().is_empty());
}

#[test]
fn an_app_that_is_killed_leaves_nothing() {
    needs_root!();
    let directory = Directory::on_disk();
    let mut running = into(&directory).app_arg("--sleep").app_arg("60").spawn();
    running.wait_for("probe");
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish().code, 137);
    assert!(directory.names().is_empty());
    assert!(!fs::read_to_string("/proc/self/mountinfo").expect("it is there").contains(directory.text()));
}

#[test]
fn where_noswap_is_refused_it_is_mounted_without_and_said() {
    needs_root!();
    let directory = Directory::on_disk();
    // The kernel has no noswap for the root of a user namespace.
    let outcome = into(&directory).config("[app]\nuser = \"0:0\"\nallow_root = true\n").confine(&["--userns"]).start();
    let app = outcome.ran();
    assert_eq!(app["CREDENTIALS_DIRECTORY"]["entries"]["db"]["content"], hex("mock-db"));
    outcome.says("this kernel mounts no tmpfs with `noswap`");
    let machine = Directory::new();
    let refused = into(&directory).config("[app]\nuser = \"0:0\"\nallow_root = true\n[files]\nswap = \"refuse\"\n");
    let refused = refused.confine(&swapping(&machine)).confine(&["--userns"]).start();
    refused.refused(73, "can be swapped out to disk, and swap is on");
    assert!(directory.names().is_empty());
}

#[test]
fn where_noswap_is_taken_and_not_shown_the_start_goes_on_and_says_so() {
    needs_root!();
    needs_program!("strace");
    let directory = Directory::on_disk();
    // As gVisor does: the option does not reach the kernel, and the call succeeds. The first mount makes the namespace a slave.
    let options = hex("size=1048576,mode=0755\0");
    let ignored = format!("inject=mount:poke_enter=@arg5={options}:when=2");
    let outcome =
        into(&directory).through(&["strace", "-f", "-o", "/dev/null", "-e", "trace=mount", "-e", &ignored]).start();
    let app = outcome.ran();
    assert_eq!(app["CREDENTIALS_DIRECTORY"]["entries"]["db"]["content"], hex("mock-db"));
    outcome.says("`noswap` of handfast's own tmpfs does not read back");
}

#[test]
fn denied_mounts_are_73_with_a_hint() {
    needs_root!();
    let directory = Directory::on_disk();
    for (call, text) in [("unshare", "cannot make a mount namespace"), ("mount", "cannot make the mounts")] {
        for error in ["EPERM", "ENOSYS"] {
            let outcome = into(&directory).confine(&["--deny", &format!("{call}={error}")]).start();
            outcome.refused(73, text);
            outcome.says("hint: allow mount and unshare in the seccomp profile");
        }
    }
    assert!(directory.names().is_empty());
}

#[test]
fn what_can_be_swapped_out_is_said_or_refused() {
    needs_root!();
    let machine = Directory::new();
    let (swappable, kept) = (Directory::tmpfs("mode=755"), Directory::tmpfs("mode=755,noswap"));
    let refuse = "[files]\nswap = \"refuse\"\n";
    let said = "can be swapped out to disk, and swap is on";
    let run = |directory: &Directory| into(directory).confine(&swapping(&machine));
    let outcome = run(&swappable).start();
    outcome.ran();
    outcome.says(&format!("warn: `{}` {said}", swappable.text()));
    run(&swappable).config(refuse).start().refused(73, said);
    run(&kept).start().never_says(said).ran();
    run(&kept).config(refuse).start().never_says(said).ran();
    // Descriptors are swappable memory too.
    let descriptor = || Run::new().args(["--secret", "db=mock:db"]).confine(&swapping(&machine));
    descriptor().start().says(&format!("warn: descriptor 3 {said}")).ran();
    descriptor().config(refuse).start().refused(73, said);
    // With an empty table there is nothing to say.
    let off = machine.write("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    let off = format!("{}:/proc/swaps", off.display());
    let outcome = into(&swappable).config(refuse).confine(&["--bind", &off]).start();
    outcome.never_says(said).ran();
}

#[test]
fn where_the_list_of_swap_areas_cannot_be_read_swap_is_not_ruled_out() {
    needs_root!();
    let machine = Directory::new();
    let empty = machine.write("empty", "");
    let (swappable, kept) = (Directory::tmpfs("mode=755"), Directory::tmpfs("mode=755,noswap"));
    let said = "can be swapped out to disk, and swap cannot be ruled out: `/proc/swaps` cannot be read";
    let refuse = "[files]\nswap = \"refuse\"\n";
    let covered = format!("{}:/proc/swaps", empty.display());
    // A procfs that shows processes alone, and a list that an engine has covered.
    for state in [
        ["--mountns", "--setup", "mount -t proc -o subset=pid proc /proc", "--tmpfs", "/sys/fs/cgroup"],
        ["--mountns", "--bind", &covered, "--tmpfs", "/sys/fs/cgroup"],
    ] {
        let run = |directory: &Directory| into(directory).confine(&state);
        let outcome = run(&swappable).start();
        outcome.says(&format!("warn: `{}` {said}", swappable.text())).ran();
        let refused = run(&swappable).config(refuse).start();
        refused.refused(73, said);
        refused.says("hint: use a tmpfs mounted with `noswap`");
        run(&kept).config(refuse).start().never_says("swap").ran();
        let check = Run::command("check").config(refuse).args(["--secret", "db=mock:db", "--dir", swappable.text()]);
        assert_eq!(check.confine(&state).start().code, 73);
    }
}

#[test]
fn a_proc_that_is_no_procfs_is_not_believed() {
    needs_root!();
    let (disk, machine) = (Directory::on_disk(), Directory::new());
    // A table of mounts that calls the disk a tmpfs, with the numbers of the true one.
    let fake = format!(
        "cp /proc/self/mountinfo {0}/true; mount -t tmpfs fake /proc; mkdir -p /proc/thread-self /proc/self/task/1 /proc/self/fd
         sed 's/ - [^ ]* / - tmpfs /' {0}/true >/proc/thread-self/mountinfo; cp /proc/thread-self/mountinfo /proc/self/
         mkdir -p /proc/sys/fs; echo 0 >/proc/sys/fs/protected_symlinks; echo Filename >/proc/swaps",
        machine.text()
    );
    let volume = Directory::tmpfs("mode=755");
    for directory in [&disk, &volume] {
        let init = Run::command("init").args(["--secret", "db=mock:db", "--dir", directory.text(), "-u", "1000:1000"]);
        let outcome = init.confine(&["--mountns", "--setup", &fake]).start();
        outcome.refused(73, "cannot read `/proc/thread-self/mountinfo`: it is not on procfs");
        outcome.says("hint: mount procfs on /proc");
        assert!(directory.names().is_empty());
    }
}
