//! Where files may go: each place that a runtime gives, and those that are refused before anything is fetched.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::{Directory, Outcome, Run, needs_root, others, tree};

/// One secret as a file there.
fn into(command: &'static str, path: &Path) -> Run {
    let run = if command == "run" { Run::new() } else { Run::command(command) };
    run.args(["--secret".as_ref(), "db=mock:db".as_ref(), "--dir".as_ref(), path.as_os_str()])
}

/// The set as it must be: the directory's line, then the file's owner, group and mode.
fn set(directory: &str, links: &str, group: &str, file: &str) -> Vec<String> {
    // What is made in a directory with the setgid bit has it, too.
    let private = if directory.starts_with(['2', '3']) { "3755" } else { "1755" };
    vec![
        format!("./ {directory}"),
        format!("..data -> ..handfast_N {links}:{group}"),
        format!("..handfast/ {private} {links}:{group}"),
        format!("..handfast/lock 600 {links}:{group} "),
        format!("..handfast_N/ 755 {links}:{group}"),
        format!("..handfast_N/..handfast 400 {links}:{group} "),
        format!("..handfast_N/db {file} mock-db"),
        format!("db -> ..data/db {links}:{group}"),
    ]
}

/// A machine that follows no links of others in sticky directories, as nearly all are; what this one does is not known.
fn protected(machine: &Directory) -> [String; 2] {
    let setting = machine.write("protected_symlinks", "1\n");
    ["--bind".into(), format!("{}:/proc/sys/fs/protected_symlinks", setting.display())]
}

/// Whether the app reads the secret through the path that it was given.
#[track_caller]
fn app_reads(outcome: &Outcome) {
    let app = outcome.ran();
    let files = &app["CREDENTIALS_DIRECTORY"]["entries"];
    assert_eq!(files["db"]["content"], crate::support::hex("mock-db"), "{files}");
    assert_eq!((&files["db"]["open_write"], &files["..data"]["type"]), (&"EACCES".into(), &"link".into()), "{files}");
}

#[test]
fn an_empty_dir_of_kubernetes_takes_them() {
    needs_root!();
    let directory = Directory::tmpfs("mode=1777");
    app_reads(&into("run", directory.path()).start());
    assert_eq!(tree(directory.path()), set("1777 0:0", "0", "0", "400 65532:65532"));
    // As a sidecar's or an init container's files, for a reader that is named.
    assert_eq!(into("init", directory.path()).args(["-u", "1000:1001"]).start().code, 0);
    assert_eq!(tree(directory.path()), set("1777 0:0", "0", "0", "400 1000:1001"));
}

#[test]
fn an_empty_dir_with_fs_group_gives_its_group() {
    needs_root!();
    let directory = Directory::tmpfs("mode=3777,gid=2000");
    let expected =
        |uid: &str| set("3777 0:2000", uid, "2000", &format!("400 {}:2000", if uid == "0" { "1000" } else { uid }));
    assert_eq!(into("init", directory.path()).args(["-u", "1000"]).start().code, 0);
    assert_eq!(tree(directory.path()), expected("0"));
    let directory = Directory::tmpfs("mode=3777,gid=2000");
    let pod = ["--uid", "1000", "--gid", "1000", "--groups", "2000"];
    app_reads(&into("run", directory.path()).confine(&pod).start());
    assert_eq!(tree(directory.path()), expected("1000"));
    // Without the group too: the directory is writable by all, and what is made in it inherits its group.
    let directory = Directory::tmpfs("mode=3777,gid=2000");
    app_reads(&into("run", directory.path()).confine(&["--uid", "1000", "--gid", "1000", "--groups", "none"]).start());
    // Group-readable only for the group: then it has to be writable for handfast in another way.
    let directory = Directory::tmpfs("mode=2770,gid=2000");
    app_reads(&into("run", directory.path()).confine(&pod).start());
    assert_eq!(tree(directory.path())[0], "./ 2770 0:2000");
    let stranger =
        into("run", directory.path()).confine(&["--uid", "1000", "--gid", "1000", "--groups", "none"]).start();
    stranger.refused(73, "cannot write into");
    stranger.says("it belongs to 0:2000 with mode 2770, and handfast is 1000:1000");
}

#[test]
fn an_init_container_of_another_uid_makes_what_its_reader_can_follow() {
    needs_root!();
    let machine = Directory::new();
    let init = |directory: &Directory, secret: &str| {
        let run = Run::command("init").args(["--secret", secret, "--dir", directory.text(), "-u", "1001"]);
        let pod = ["--uid", "1000", "--gid", "1000", "--groups", "2000"];
        let outcome = run.confine(&pod).confine(&protected(&machine)).start();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.says("readable through its group, with mode 0440: handfast lacks CAP_CHOWN").never_says("leftover");
        tree(directory.path())
    };
    // Links of uid 1000 lead uid 1001 nowhere in a sticky directory: each name is the file itself.
    let directory = Directory::tmpfs("mode=3777,gid=2000");
    for (secret, name, text) in
        [("old=mock:old", "old", "mock-old"), ("db=mock:x", "db", "mock-x"), ("db=mock:y", "db", "mock-y")]
    {
        assert_eq!(
            init(&directory, secret),
            [
                "./ 3777 0:2000",
                "..data -> ..handfast_N 1000:2000",
                "..handfast/ 3755 1000:2000",
                "..handfast/lock 600 1000:2000 ",
                "..handfast_N/ 755 1000:2000",
                "..handfast_N/..handfast 400 1000:2000 ",
                &format!("..handfast_N/{name} 440 1000:2000 {text}"),
                &format!("{name} 440 1000:2000 {text}"),
            ]
        );
    }
    // Without the sticky bit the kernel does not mind.
    let directory = Directory::tmpfs("mode=2777,gid=2000");
    assert_eq!(init(&directory, "db=mock:db"), set("2777 0:2000", "1000", "2000", "440 1000:2000"));
}

#[test]
fn dockers_tmpfs_takes_them() {
    needs_root!();
    let directory = Directory::tmpfs("mode=1777,noexec,nosuid,nodev");
    let docker = "CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,SETGID,SETUID,SETPCAP,NET_BIND_SERVICE,SYS_CHROOT";
    app_reads(&into("run", directory.path()).confine(&["--caps", docker]).start());
    assert_eq!(tree(directory.path()), set("1777 0:0", "0", "0", "400 65532:65532"));
}

#[test]
fn a_sub_path_takes_them_whoever_owns_it() {
    needs_root!();
    let (volume, mount, machine) = (Directory::tmpfs("mode=1777"), Directory::new(), Directory::new());
    for (name, owner, mode) in [("root", 0, 0o755), ("open", 7, 0o777), ("sticky", 7, 0o1777)] {
        let below = volume.path().join(name);
        fs::create_dir(&below).expect("it is ours");
        fs::set_permissions(&below, fs::Permissions::from_mode(mode)).expect("it is ours");
        std::os::unix::fs::chown(&below, Some(owner), Some(owner)).expect("this is root");
        let bind = format!("{}:{}", below.display(), mount.text());
        let run = into("run", mount.path()).confine(&["--bind", &bind]).confine(&protected(&machine));
        app_reads(&run.start());
        // In a sticky directory that all can write, only its owner's links, or one's own, are followed.
        let links = if name == "sticky" { "7" } else { "0" };
        let lines = tree(&below);
        assert_eq!(lines[0], format!("./ {mode:o} {owner}:{owner}"));
        assert!(lines[1].starts_with(&format!("..data -> ..handfast_N {links}:")), "{lines:?}");
    }
    // Not mounted itself, the same directories are inside of a tmpfs, and only root's is nobody else's.
    app_reads(&into("run", &volume.path().join("root")).start());
    into("run", &volume.path().join("open")).start().refused(73, "belongs to uid 7 instead of root or handfast");
}

#[test]
fn a_directory_inside_a_tmpfs_is_made_where_it_is_missing() {
    needs_root!();
    let volume = Directory::tmpfs("mode=755");
    let path = volume.path().join("new");
    app_reads(&into("run", &path).confine(&["--umask", "077"]).start());
    assert_eq!(tree(&path), set("755 0:0", "0", "0", "400 65532:65532"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o775)).expect("it is ours");
    into("run", &path).start().refused(73, "it is no mount point, and its mode 0775 lets others write");
    let parent = format!("neither it nor `{}` exists", volume.path().join("a").display());
    into("run", &volume.path().join("a/b")).start().refused(73, &parent);
    assert_eq!(volume.names(), ["new"]);
}

#[test]
fn an_ordinary_user_has_a_directory_of_its_own() {
    let directory = Directory::in_memory();
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let outcome = into("init", directory.path()).args(["-u", &format!("{uid}:{gid}")]);
    let outcome = outcome.config("[app]\nallow_root = true\n").start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let owner = format!("{uid}:{gid}");
    assert_eq!(
        tree(directory.path()),
        set(&format!("755 {owner}"), &uid.to_string(), &gid.to_string(), &format!("400 {owner}"))
    );
}

#[test]
fn what_the_whole_system_shares_is_refused() {
    needs_root!();
    for path in ["/run", "/run/lock", "/dev/shm", "/var/tmp"] {
        for command in ["run", "init"] {
            let outcome = into(command, Path::new(path)).confine(&["--tmpfs", &format!("{path}:mode=1777")]).start();
            outcome.refused(73, &format!("cannot deliver files into `{path}`: it is shared by the whole system"));
            outcome.says("hint: use a directory of its own");
        }
    }
    for path in ["/", "/dev", "/tmp", "/proc", "/sys"] {
        let outcome = into("run", Path::new(path)).start();
        assert_eq!((outcome.code, outcome.app_ran()), (73, false), "{path}: {outcome:?}");
    }
}

#[test]
fn a_disk_is_refused_where_no_tmpfs_can_be_mounted_for_the_app() {
    needs_root!();
    let directory = Directory::on_disk();
    let outcome = into("init", directory.path()).start();
    outcome.refused(73, "the app would not see a tmpfs of handfast's own");
    outcome.says("Kubernetes: an emptyDir with `medium: Memory`");
    let without = into("run", directory.path()).confine(&["--caps", "CHOWN,SETUID,SETGID,SETPCAP"]).start();
    without.refused(73, "handfast lacks CAP_SYS_ADMIN to mount its own");
    into("run", &directory.path().join("new")).start().refused(73, "needs it to be there, empty");
    directory.write("something", "of another's");
    into("run", directory.path()).start().refused(73, "would cover what is in it");
    assert_eq!(directory.names(), ["something"]);
}

#[test]
fn read_only_and_links_are_refused() {
    needs_root!();
    let directory = Directory::tmpfs("mode=755,ro");
    into("run", directory.path()).start().refused(73, "its tmpfs is read-only");
    into("init", directory.path()).start().refused(73, "its tmpfs is read-only");
    into("init", &directory.path().join("new")).start().refused(73, "is read-only");
    let (real, links) = (Directory::in_memory(), Directory::new());
    let link = links.path().join("link");
    symlink(real.path(), &link).expect("it is ours");
    let outcome = into("run", &link).start();
    outcome.refused(73, "it is a link");
    outcome.says("hint: name the directory itself");
    into("init", &links.write("file", "")).start().refused(73, "it is not a directory");
    assert!(real.names().is_empty());
    // On the way to it, a link is as good as a directory.
    let below = real.path().join("below");
    fs::create_dir(&below).expect("it is ours");
    app_reads(&into("run", &link.join("below")).start());
}

#[test]
fn a_directory_that_its_reader_cannot_enter_is_73_before_the_fetch() {
    needs_root!();
    let volume = Directory::tmpfs("mode=755");
    let closed = volume.path().join("closed");
    fs::create_dir_all(closed.join("set")).expect("it is ours");
    let chmod = |mode| fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).expect("it is ours");
    let disk = Directory::on_disk();
    fs::create_dir_all(disk.path().join("closed/set")).expect("it is ours");
    fs::set_permissions(disk.path().join("closed"), fs::Permissions::from_mode(0o700)).expect("it is ours");
    let late = "[providers.mock]\nlatency = \"30s\"\n";
    let refused = |run: Run, uid: u32, directory: &Path| {
        let outcome = run.config(late).start();
        let text = format!("uid {uid}, who shall read them, cannot enter `{}`", directory.display());
        outcome.refused(73, &text);
        assert!(outcome.elapsed < std::time::Duration::from_secs(10), "before the fetch: {outcome:?}");
    };
    chmod(0o700);
    refused(into("run", &closed.join("set")), 65532, &closed);
    refused(into("init", &closed.join("set")).args(["-u", "1000"]), 1000, &closed);
    refused(into("run", &closed), 65532, &closed);
    refused(into("run", &closed.join("new")), 65532, &closed);
    // Also where the files would be on a tmpfs of handfast's own.
    refused(into("run", &disk.path().join("closed/set")), 65532, &disk.path().join("closed"));
    // An owner that a secret names is a reader too.
    let owner = "[secrets.db]\nfrom = \"mock:db\"\nowner = \"7:8\"\n";
    let other = Run::new().config(owner).args(["-u", "0:0"]).config("[app]\nallow_root = true\n");
    refused(other.arg("--dir").arg(closed.join("set")), 7, &closed);
    // In a group that may, with a capability that may, or by an ACL.
    chmod(0o710);
    std::os::unix::fs::chown(&closed, None, Some(1001)).expect("this is root");
    refused(into("run", &closed.join("set")).args(["-u", "1000:1000"]), 1000, &closed);
    app_reads(&into("run", &closed.join("set")).args(["-u", "1000:1001"]).start());
    assert_eq!(into("init", &closed.join("set")).args(["-u", "1000:1000"]).start().code, 0, "its groups are not known");
    chmod(0o700);
    let keeps = "[app]\nuser = \"1000:1000\"\nkeep_capabilities = [\"DAC_READ_SEARCH\"]\n";
    into("run", &closed.join("set")).config(keeps).start().ran();
    chmod(0o755);
    crate::support::others::allow(&closed, crate::support::others::ACCESS, 1000, 5);
    chmod(0o750);
    app_reads(&into("run", &closed.join("set")).args(["-u", "1000:1000"]).start());
    // The ACL is for that uid alone.
    refused(into("run", &closed.join("set")).args(["-u", "1002:1002"]), 1002, &closed);
    // The ACL lets handfast and the app enter. Neither may list the directory.
    std::os::unix::fs::chown(&closed, None, Some(1000)).expect("this is root");
    chmod(0o710);
    others::allow(&closed, others::ACCESS, 1007, 1);
    chmod(0o710);
    fs::create_dir(closed.join("own")).expect("it is ours");
    std::os::unix::fs::chown(closed.join("own"), Some(1000), Some(1000)).expect("this is root");
    let init = into("init", &closed.join("own")).args(["-u", "1007:1007"]);
    let outcome = init.confine(&["--uid", "1000", "--gid", "1000", "--groups", "1007"]).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}
