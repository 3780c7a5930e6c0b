//! A files directory that other uids can write: what they can read there, and what of theirs a start leaves alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::others::{ACCESS, DEFAULT, Stranger, allow, exchange, has};
use crate::support::{Directory, Outcome, Run, needs_program, needs_root, tree};

const STRANGER: u32 = 1001;

/// Delivers `db` for a reader of uid 1000.
fn init(directory: &Path) -> Run {
    let toml = "[files]\nmode = \"0440\"\n[secrets.db]\nfrom = \"mock:db\"\n";
    Run::command("init").config(toml).arg("--dir").arg(directory).args(["--user", "1000:1000"])
}

#[track_caller]
fn delivers(run: Run) -> Outcome {
    let outcome = run.start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome
}

/// Every entry below a directory, links not followed.
fn below(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let with_its_own = |path: PathBuf| {
        let inner = if path.is_symlink() { Vec::new() } else { below(&path) };
        std::iter::once(path).chain(inner)
    };
    entries.flat_map(|entry| with_its_own(entry.path())).collect()
}

#[test]
fn a_default_acl_leaks_nothing() {
    needs_root!();
    let machine = Directory::new();
    let protected = machine.write("protected_symlinks", "1\n");
    let protected = ["--bind".to_owned(), format!("{}:/proc/sys/fs/protected_symlinks", protected.display())];
    let without_chown = "DAC_OVERRIDE,FOWNER,SETGID,SETUID,SETPCAP";
    let states: [(&str, &[&str]); 4] = [
        ("mode=1777", &[]),
        ("mode=1777", &["--caps", without_chown]),
        ("mode=3777,gid=1000", &["--uid", "1005", "--gid", "1000", "--groups", "1000"]),
        ("mode=755", &[]),
    ];
    for (options, state) in states {
        let volume = Directory::tmpfs(options);
        let missing = options == "mode=755";
        let path = if missing { volume.path().join("new") } else { volume.path().to_owned() };
        // What a directory of its own gives others is its owner's business; what is made in it is ours.
        allow(volume.path(), DEFAULT, STRANGER, 7);
        let (looked, read) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (place, counts) = (volume.path().to_owned(), (Arc::clone(&looked), Arc::clone(&read)));
        let stranger = Stranger::of_uid(STRANGER, move || {
            counts.0.fetch_add(1, Ordering::Relaxed);
            let opened =
                below(&place).iter().filter(|path| fs::File::open(path).is_ok_and(|file| is_file(&file))).count();
            counts.1.fetch_add(opened, Ordering::Relaxed);
        });
        for _ in 0..3 {
            delivers(init(&path).confine(state).confine(&protected));
        }
        stranger.end();
        assert!(looked.load(Ordering::Relaxed) > 3, "it was not fast enough to be a test");
        assert_eq!(read.load(Ordering::Relaxed), 0, "{options} {state:?}: {:?}", tree(volume.path()));
        for entry in below(volume.path()) {
            assert!(!has(&entry, ACCESS) && !has(&entry, DEFAULT), "{options} {state:?}: {}", entry.display());
        }
        if missing {
            assert_eq!(tree(&path)[0], "./ 755 0:0");
        }
    }
}

#[test]
fn a_default_acl_takes_no_group_from_who_is_not_in_it() {
    needs_root!();
    let volume = Directory::tmpfs("mode=3777,gid=2000");
    allow(volume.path(), DEFAULT, STRANGER, 7);
    for _ in 0..2 {
        delivers(init(volume.path()).confine(&["--uid", "1005", "--gid", "1000", "--groups", "1000"]));
        let file = volume.path().join("..data/db").canonicalize().expect("it is there");
        let found = fs::metadata(&file).expect("it is there");
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (1005, 2000, 0o440));
        for entry in file.ancestors().take(2) {
            assert!(!has(entry, ACCESS) && !has(entry, DEFAULT), "{}", entry.display());
        }
        // In the directory that only handfast writes, nothing inherits a list, and nobody gets the right to write.
        let private = volume.path().join("..handfast");
        assert!(!has(&private, DEFAULT) && fs::metadata(&private).expect("it is there").mode() & 0o022 == 0);
    }
}

fn is_file(file: &fs::File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

#[test]
fn a_directory_of_anothers_with_a_generations_name_stays() {
    needs_root!();
    // By whom it is made, in which kind of directory, and how.
    let by_root = "mkdir -m 755 important; echo precious >important/file";
    let plants: [(&str, Option<u32>, &str); 6] = [
        ("777", None, by_root),
        ("777", None, "mkdir -m 755 important"),
        ("777", None, "mkdir -m 777 important; echo precious >important/file"),
        ("1777", Some(4242), "echo precious >victim; chmod 666 victim; mkdir important; ln victim important/victim"),
        ("1777", Some(4242), "mkdir important; : >important/..handfast; echo precious >important/file"),
        ("777", Some(4242), "mkdir -m 755 important; : >important/..handfast; ln -s /etc/passwd important/db"),
    ];
    for (mode, uid, plant) in plants {
        let directory = Directory::tmpfs(&format!("mode={mode}"));
        directory.shell(uid, plant);
        if plant.contains("-m 777") {
            directory.shell(Some(4242), ": >important/..handfast");
        }
        directory.shell(Some(4242), "mv important ..handfast_x");
        let important = directory.path().join("..handfast_x");
        let before = (fs::metadata(&important).expect("it is there").ino(), tree(&important));
        for _ in 0..2 {
            let outcome = delivers(init(directory.path()));
            let owner = uid.unwrap_or(0);
            outcome.says(&format!("it is a directory of uid {owner} that handfast did not make"));
            let after = (fs::metadata(&important).expect("it is there").ino(), tree(&important));
            assert_eq!(after, before, "{mode} {plant}");
        }
        assert_eq!(fs::read_to_string(directory.path().join("db")).ok().as_deref(), Some("mock-db"));
    }
}

#[test]
fn a_private_directory_that_handfast_did_not_make_is_73_and_stays() {
    needs_root!();
    for (uid, plant, text) in [
        (Some(4242), "mkdir ..handfast", "it belongs to uid 4242 and has mode 0755"),
        (Some(4242), "mkdir -m 1755 ..handfast", "it belongs to uid 4242 and has mode 1755"),
        (Some(4242), "ln -s /tmp ..handfast", "it is no directory"),
        (Some(4242), "mkfifo ..handfast", "it is no directory"),
        // Root's own, which another uid gave this name.
        (None, "mkdir ..handfast; echo precious >..handfast/file", "it belongs to uid 0 and has mode 0755"),
        (None, "mkdir -m 700 ..handfast", "it belongs to uid 0 and has mode 0700"),
        (None, "mkdir -m 1777 ..handfast", "it belongs to uid 0 and has mode 1777"),
    ] {
        let directory = Directory::tmpfs("mode=777");
        directory.shell(uid, plant);
        let before = tree(directory.path());
        let outcome = init(directory.path()).start();
        outcome.refused(73, &format!("handfast, as uid 0, did not make the `..handfast` in it: {text}"));
        outcome.says("hint: give each set of secrets a directory of its own");
        // Before the fetch: `check` finds it too.
        let check = Run::command("check").args(["--secret", "db=mock:db", "--dir", directory.text()]).start();
        assert_eq!(check.code, 73, "{check:?}");
        assert_eq!(tree(directory.path()), before, "{plant}");
    }
    let directory = Directory::tmpfs("mode=777");
    directory.shell(None, "mkdir -m 1755 ..handfast; echo precious >..handfast/file");
    init(directory.path()).start().refused(73, "it has no `lock` in it");
    assert_eq!(tree(&directory.path().join("..handfast")), ["./ 1755 0:0", "file 644 0:0 precious\\n"]);
}

#[test]
fn a_hard_link_that_another_uid_made_to_look_like_ours_is_73() {
    needs_root!();
    let machine = Directory::new();
    let setting = machine.write("protected_symlinks", "1\n");
    let bind = format!("{}:/proc/sys/fs/protected_symlinks", setting.display());
    let directory = Directory::tmpfs("mode=1777");
    directory
        .shell(Some(4242), "echo precious >db; mkdir ..handfast_e; ln db ..handfast_e/db; : >..handfast_e/..handfast");
    let run =
        || init(directory.path()).confine(&["--uid", "1005", "--gid", "1000", "--groups", "none", "--bind", &bind]);
    for _ in 0..2 {
        run().start().refused(73, "`db` is a file of uid 4242 that handfast did not make");
    }
    assert_eq!(fs::read(directory.path().join("db")).expect("it is there"), b"precious\n");
}

/// The directory without what each start leaves where others could exchange it.
fn without_lock(directory: &Directory) -> Vec<String> {
    tree(directory.path()).into_iter().filter(|line| !line.starts_with("..handfast/")).collect()
}

/// A start that waits for half a second before the n-th of these calls; meanwhile `meddle` works on the directory.
fn meddled_with(directory: &Directory, calls: &str, nth: u32, meddle: &str) -> Outcome {
    let inject = format!("inject={calls}:delay_enter=500000:when={nth}");
    let run = init(directory.path()).through(&["strace", "--quiet=all", "-o", "/dev/null", "-e", &inject]).spawn();
    std::thread::sleep(Duration::from_millis(300));
    directory.shell(None, meddle);
    run.finish()
}

#[test]
fn what_appears_after_the_last_look_is_not_replaced() {
    needs_root!();
    needs_program!("strace");
    // The first rename brings the set out, the second gives it its name, the third is `..data`.
    for (nth, plant, name) in
        [(2, "echo mine >db", "db"), (2, "ln -s /etc/passwd db", "db"), (3, "echo mine >..data", "..data")]
    {
        let directory = Directory::tmpfs("mode=777");
        let outcome = meddled_with(&directory, "renameat2", nth, plant);
        outcome.refused(73, &format!("cannot write `{name}` in"));
        let lines = without_lock(&directory);
        assert_eq!(lines.len(), 2, "what was there and nothing of ours: {lines:?}");
        assert!(lines[1].starts_with(name), "{lines:?}");
    }
    // The same where a link of ours has the name at the last look, and must be replaced: the links of another uid.
    for (nth, name) in [(2, "db"), (3, "..data")] {
        let directory = Directory::tmpfs("mode=777");
        directory.shell(Some(4242), "ln -s ..data/db db; ln -s ..handfast_gone ..data");
        let outcome = meddled_with(&directory, "renameat2", nth, &format!("rm {name}; echo mine >{name}"));
        outcome.refused(73, &format!("`{name}` was replaced meanwhile"));
        outcome.says("hint: someone else writes into this directory");
        assert_eq!(fs::read(directory.path().join(name)).expect("it is there"), b"mine\n");
        let other = if name == "db" { "..data -> ..handfast_gone 4242:4242" } else { "db -> ..data/db 4242:4242" };
        let lines = without_lock(&directory);
        assert!(lines.iter().any(|line| line == other) && lines.len() == 3, "{lines:?}");
    }
}

#[test]
fn a_set_that_does_not_read_back_is_no_success() {
    needs_root!();
    needs_program!("strace");
    for meddle in [
        "rm ..data; ln -s ..handfast_evil ..data",
        "rm db; echo mine >db",
        "rm db; ln -s ..data/other db",
        "mv ..handfast_1* gone",
    ] {
        let directory = Directory::tmpfs("mode=777");
        let outcome = meddled_with(&directory, "readlinkat", 1, meddle);
        outcome.refused(73, "was replaced meanwhile");
    }
}

#[test]
fn only_root_or_handfast_may_be_able_to_take_the_directory_away() {
    needs_root!();
    let refused = |run: Run, component: &Path, owned: &str| {
        let outcome = run.start();
        outcome.refused(73, "others than root could put something else in its place");
        outcome.says(&format!("hint: `{}` belongs to {owned}", component.display()));
    };
    let disk = |path: &Path| Run::new().args(["--secret", "db=mock:db", "--dir"]).arg(path);
    for (owner, mode, list, owned) in [
        (4242, 0o755, false, "4242:4242, with mode 0755"),
        (0, 0o777, false, "0:0, with mode 0777"),
        (0, 0o775, false, "0:0, with mode 0775"),
        (0, 0o755, true, "0:0, with mode 0775 and an ACL"),
    ] {
        let (memory, on_disk) = (Directory::in_memory(), Directory::on_disk());
        for (place, run) in [(&memory, &init as &dyn Fn(&Path) -> Run), (&on_disk, &disk)] {
            let middle = place.path().join("middle");
            let set = middle.join("safe/set");
            fs::create_dir_all(&set).expect("it is ours");
            let link = place.path().join("link");
            symlink("middle/safe", &link).expect("it is ours");
            delivers(run(&set));
            std::os::unix::fs::chown(&middle, Some(owner), Some(owner)).expect("this is root");
            fs::set_permissions(&middle, fs::Permissions::from_mode(mode)).expect("this is root");
            if list {
                allow(&middle, ACCESS, STRANGER, 7);
            }
            refused(run(&set), &middle, owned);
            refused(run(&link.join("set")), &middle, owned);
            // A link is replaced as easily as a directory.
            let safe = place.path().join("safe");
            fs::create_dir(&safe).expect("it is ours");
            symlink(&safe, middle.join("out")).expect("this is root");
            fs::create_dir(safe.join("set")).expect("it is ours");
            refused(run(&middle.join("out/set")), &middle, owned);
            delivers(run(&safe.join("set")));
        }
    }
    // In a sticky directory, the entry's owner may rename it, and nobody else.
    for place in [Directory::in_memory(), Directory::on_disk()] {
        let run: &dyn Fn(&Path) -> Run = if place.path().starts_with("/dev/shm") { &init } else { &disk };
        let open = place.path().join("open");
        let set = open.join("middle/set");
        fs::create_dir_all(&set).expect("it is ours");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).expect("it is ours");
        delivers(run(&set));
        std::os::unix::fs::chown(open.join("middle"), Some(4242), Some(4242)).expect("this is root");
        refused(run(&set), &open.join("middle"), "4242:4242, with mode 0755");
    }
    // A mount point is whoever's who mounted it.
    let (volume, mount) = (Directory::tmpfs("mode=777"), Directory::new());
    std::os::unix::fs::chown(volume.path(), Some(4242), Some(4242)).expect("this is root");
    delivers(init(volume.path()));
    let way = mount.path().join("way");
    fs::create_dir_all(way.join("set")).expect("it is ours");
    std::os::unix::fs::chown(&way, Some(4242), Some(4242)).expect("this is root");
    refused(disk(&way.join("set")), &way, "4242:4242, with mode 0755");
    // What is mounted read-only here may be written through another mount of the same file system.
    let read_only = format!("mount --bind {0} {0} && mount -o remount,bind,ro {0}", mount.text());
    refused(disk(&way.join("set")).confine(&["--mountns", "--setup", &read_only]), &way, "4242:4242, with mode 0755");
}

#[test]
fn a_missing_directory_is_made_only_where_nobody_can_exchange_it() {
    needs_root!();
    // Not sticky: whoever writes there could put root's own directory in the place of the one that is made.
    let volume = Directory::tmpfs("mode=777");
    volume.shell(None, "mkdir -m 700 private");
    let (private, set) = (volume.path().join("private"), volume.path().join("set"));
    let before = tree(&private);
    let (one, other) = (private.clone(), set.clone());
    let rival = Stranger::of_uid(4242, move || {
        let _ = exchange(&one, &other);
    });
    for _ in 0..5 {
        init(&set).start().refused(73, "others than root could put something else in its place");
    }
    rival.end();
    assert_eq!((tree(&private), volume.names()), (before, vec!["private".to_owned()]));
    // Sticky: they cannot.
    let volume = Directory::tmpfs("mode=1777");
    volume.shell(None, "mkdir -m 700 private");
    let (private, set) = (volume.path().join("private"), volume.path().join("set"));
    let (one, other, before) = (private.clone(), set.clone(), tree(&private));
    let rival = Stranger::of_uid(4242, move || {
        let _ = exchange(&one, &other);
    });
    for _ in 0..5 {
        delivers(init(&set));
        assert_eq!((tree(&private), tree(&set)[0].as_str()), (before.clone(), "./ 755 0:0"));
        fs::remove_dir_all(&set).expect("it is ours");
    }
    rival.end();
}

#[test]
fn a_rival_who_exchanges_all_it_can_reach_destroys_nothing_of_others() {
    needs_root!();
    let directory = Directory::tmpfs("mode=777");
    directory.shell(None, "mkdir -m 700 private; mkdir -m 755 empty important; echo precious >important/file");
    let inodes = |names: &[&str]| -> Vec<Option<u64>> {
        let all = below(directory.path());
        let find = |name: &&str| fs::symlink_metadata(directory.path().join(name)).ok().map(|found| found.ino());
        assert!(!all.is_empty());
        names.iter().map(find).collect()
    };
    let wanted = inodes(&["private", "empty", "important"]);
    let (place, moves) = (directory.path().to_owned(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&moves);
    let rival = Stranger::of_uid(4242, move || {
        // Every name of ours in turn takes the place of each of root's directories, and each of these a generation's.
        let entries = fs::read_dir(&place).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("..handfast")) {
            for name in ["private", "empty", "important"] {
                let (here, there) = (place.join(name), place.join(format!("..handfast_{name}")));
                let moved = [
                    exchange(&entry.path(), &here).is_ok(),
                    exchange(&entry.path(), &here).is_ok(),
                    fs::rename(&here, &there).is_ok(),
                    fs::rename(&there, &here).is_ok(),
                ];
                counted.fetch_add(moved.into_iter().filter(|moved| *moved).count(), Ordering::Relaxed);
            }
        }
    });
    let start = || init(directory.path()).timeout(Duration::from_secs(30)).start().code;
    let codes: Vec<i32> = (0..60).map(|_| start()).collect();
    rival.end();
    assert!(codes.iter().all(|code| [0, 73].contains(code)), "{codes:?}");
    assert!(codes.contains(&0) && moves.load(Ordering::Relaxed) > 1000, "{moves:?} {codes:?}");
    // Wherever the rival has put them: they are there, as they were.
    let all: Vec<PathBuf> = below(directory.path());
    let find = |inode: u64| all.iter().find(|path| fs::symlink_metadata(path).is_ok_and(|found| found.ino() == inode));
    for (inode, mode, files) in [(wanted[0], 0o700, 0), (wanted[1], 0o755, 0), (wanted[2], 0o755, 1)] {
        let path = find(inode.expect("it was made")).expect("it was removed");
        let found = fs::metadata(path).expect("it is there");
        let count = fs::read_dir(path).expect("it is there").count();
        assert_eq!((found.mode() & 0o7777, count), (mode, files), "{}: {:?}", path.display(), tree(path));
    }
}
