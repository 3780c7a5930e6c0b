//! What only root can set up: other owners, other mounts, other uids' entries.
#![forbid(unsafe_code)]

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
use std::sync::atomic::AtomicBool;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::deliver::{descriptors, files};
use crate::sys::capabilities::{CHOWN, FOWNER, SETGID, bit};
use crate::sys::fs::{Taken, rename};

fn ids(path: &Path) -> (u32, u32, u32) {
    let status = fs::metadata(path).unwrap();
    (status.uid(), status.gid(), status.mode() & 0o7777)
}

/// Delivers files with these powers instead of all of root's.
fn files_with(plan: &Plan, powers: &Powers, arrived: Vec<Arrived>) -> Result<()> {
    let mut directory = assessment::assess(plan, powers)?.unwrap().prepare(plan, powers)?;
    let (new_files, _) = arrivals::sort(Some(&directory), received(plan, arrived))?;
    directory.publish(plan, powers, &new_files, &patience(), || Ok(()))
}

fn without(capabilities: &[u8]) -> Powers {
    let mut ours = Powers::read().unwrap();
    capabilities.iter().for_each(|capability| ours.capabilities &= !bit(*capability));
    ours
}

fn for_app(mut plan: Plan) -> Plan {
    (plan.isolation.uid, plan.isolation.gid) = (1000, 2000);
    plan
}

/// A mount namespace of our own with a fresh tmpfs.
fn with_tmpfs(options: &str, body: impl FnOnce(&Path)) {
    let memory = Memory::new();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    mount(Some("tmpfs"), &memory.0, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
    body(&memory.0);
    umount2(&memory.0, MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn files_belong_to_the_app_or_the_named_owner() {
    if !is_root("files_belong_to_the_app_or_the_named_owner") {
        return;
    }
    let memory = Memory::new();
    let named = secret("b", Target::File { name: "b".into(), mode: 0o640, owner: Some((5, 6)) });
    let wanted = for_app(plan(Some(&memory.0), vec![file("a"), named]));
    start(&wanted, vec![value(0, b"1"), value(1, b"2")]).unwrap();
    assert_eq!(ids(&memory.join("a")), (1000, 2000, 0o400));
    assert_eq!(ids(&memory.join("b")), (5, 6, 0o640));

    chown(&memory.0, None, Some(3000)).unwrap();
    mode(&memory.0, 0o2755);
    start(&wanted, vec![value(0, b"1"), value(1, b"2")]).unwrap();
    assert_eq!(ids(&memory.join("a")), (1000, 3000, 0o400));
    assert_eq!(ids(&memory.join("b")), (5, 6, 0o640));
}

#[test]
fn without_chown_the_group_is_the_way() {
    if !is_root("without_chown_the_group_is_the_way") {
        return;
    }
    let memory = Memory::new();
    let wanted = for_app(plan(Some(&memory.0), vec![file("a")]));
    files_with(&wanted, &without(&[CHOWN]), vec![value(0, b"1")]).unwrap();
    assert_eq!(ids(&memory.join("a")), (0, 2000, 0o440));
    let error = failure(files_with(&wanted, &without(&[CHOWN, SETGID]), vec![value(0, b"1")]));
    assert_eq!(error.class.exit_code(), 73);

    chown(&memory.0, None, Some(3000)).unwrap();
    mode(&memory.0, 0o2755);
    files_with(&wanted, &without(&[CHOWN, SETGID]), vec![value(0, b"1")]).unwrap();
    assert_eq!(ids(&memory.join("a")), (0, 3000, 0o440));
    // `run` knows that its app is not in the directory's group, and gives the app's own.
    files_with(&run(wanted), &without(&[CHOWN]), vec![value(0, b"1")]).unwrap();
    assert_eq!(ids(&memory.join("a")), (0, 2000, 0o440));
}

#[test]
fn a_descriptor_gets_the_apps_group_and_keeps_our_uid() {
    if !is_root("a_descriptor_gets_the_apps_group_and_keeps_our_uid") {
        return;
    }
    let wanted = for_app(run(plan(None, vec![descriptor("a", 500)])));
    let started = start(&wanted, vec![value(0, b"1")]).unwrap();
    assert_eq!(ids(Path::new("/proc/self/fd/500")), (0, 2000, 0o440));
    drop(started);

    let powers = without(&[CHOWN]);
    let mut reserved = descriptors::reserve(&wanted).unwrap();
    let values = [(0, SecretValue::from(b"1".to_vec()))].into();
    descriptors::fill(&mut reserved, values, &wanted.isolation, &powers).unwrap().place().unwrap();
    assert_eq!(ids(Path::new("/proc/self/fd/500")), (0, 2000, 0o440));
    drop(reserved);

    let error = failure(descriptors::check_group(2000, &without(&[CHOWN, SETGID])));
    assert_eq!(error.message, "cannot give descriptors the group 2000: handfast is not in it and lacks CAP_SETGID");
}

#[test]
fn anothers_entries_in_our_shape_are_replaced_where_that_is_allowed() {
    if !is_root("anothers_entries_in_our_shape_are_replaced_where_that_is_allowed") {
        return;
    }
    const OLD: &str = "..handfast_1_0123456789abcdef";
    in_child(module_path!(), "anothers_entries_in_our_shape_are_replaced_where_that_is_allowed", || {
        with_tmpfs("mode=1777,uid=7", |path| {
            fs::create_dir(path.join(OLD)).unwrap();
            fs::write(path.join(OLD).join("a"), "planted").unwrap();
            symlink(OLD, path.join("..data")).unwrap();
            symlink("..data/a", path.join("a")).unwrap();
            for name in [OLD, "..data", "a"] {
                lchown(path.join(name), Some(2000), Some(2000)).unwrap();
            }
            let wanted = plan(Some(path), vec![file("a")]);
            let error = failure(files_with(&wanted, &without(&[FOWNER]), vec![value(0, b"1")]));
            assert_eq!(
                error.message,
                format!(
                    "cannot replace `..data` in `{}`: it belongs to uid 2000, and the directory is sticky and not ours",
                    path.display()
                )
            );
            start(&wanted, vec![value(0, b"1")]).unwrap();
            // The links are replaced, and the directory stays: only a generation of our own uid is ours.
            assert_eq!(fs::read(path.join(OLD).join("a")).unwrap(), b"planted");
            fs::remove_dir_all(path.join(OLD)).unwrap();
            assert_eq!(entries_of(path), ["..data", "..handfast", "..handfast_", "a"]);
            assert_eq!(fs::symlink_metadata(path.join("a")).unwrap().uid(), 0);
            assert_eq!(fs::read(path.join("a")).unwrap(), b"1");
        });
    });
}

#[test]
fn links_can_be_given_to_the_directorys_owner() {
    if !is_root("links_can_be_given_to_the_directorys_owner") {
        return;
    }
    let memory = Memory::new();
    let powers = Powers::read().unwrap();
    let handle = fs::File::open(&memory.0).unwrap();
    let names = entries::LinkKind::Symbolic { owner: 7 };
    let directory = entries::Directory::new(handle.as_fd(), "/s", names, &powers);
    let access = ownership::Access { uid: 1000, gid: 2000, mode: 0o400, compromise: None };
    let owner = |name| fs::symlink_metadata(memory.join(name)).unwrap();
    let mut inode = None;
    for _ in 0..2 {
        let value = SecretValue::from(b"1".to_vec());
        let files =
            [generation::NewFile { secret: 0, name: "a".into(), content: generation::Content::Value(value), access }];
        let lock = directory.take_turn(&patience()).unwrap();
        let generation = generation::Generation::write(&directory, &lock, &files, None).unwrap();
        generation.publish(&directory, &lock, std::iter::empty()).unwrap();
        assert_eq!((owner("a").uid(), owner("..data").uid(), ids(&memory.join("a")).0), (7, 7, 1000));
        // A link that is right already stays: readers never miss it.
        assert_eq!(*inode.get_or_insert(owner("a").ino()), owner("a").ino());
    }
}

#[test]
fn a_full_tmpfs_keeps_the_old_set() {
    if !is_root("a_full_tmpfs_keeps_the_old_set") {
        return;
    }
    in_child(module_path!(), "a_full_tmpfs_keeps_the_old_set", || {
        // Bytes run out in the file, inodes in the generation, its mark, a file, `..data`, a link. The first set takes eight.
        let inodes = [8, 9, 11, 13, 14].map(|inodes| (format!("nr_inodes={inodes}"), 1));
        for (options, size) in inodes.iter().map(|(text, size)| (text.as_str(), *size)).chain([("size=64k", 100_000)]) {
            with_tmpfs(options, |path| {
                start(&plan(Some(path), vec![file("a")]), vec![value(0, b"old")]).unwrap();
                let before = entries_of(path);
                let wanted = plan(Some(path), vec![file("a"), file("b"), file("c")]);
                let large = vec![b'x'; size];
                let error = failure(start(&wanted, vec![value(0, b"new"), value(1, &large), value(2, b"z")]));
                assert!(error.message.ends_with(": no space left on device"), "{options}: {}", error.message);
                assert_eq!(
                    error.hint.as_deref(),
                    Some("make the tmpfs larger (its options `size` and `nr_inodes`; Kubernetes: `sizeLimit`)")
                );
                assert_eq!((entries_of(path), error.class.exit_code()), (before, 73));
                assert_eq!(fs::read(path.join("a")).unwrap(), b"old");
            });
        }
    });
}

#[test]
fn mount_points_are_accepted_with_any_mode_and_not_when_read_only() {
    if !is_root("mount_points_are_accepted_with_any_mode_and_not_when_read_only") {
        return;
    }
    in_child(module_path!(), "mount_points_are_accepted_with_any_mode_and_not_when_read_only", || {
        for options in ["mode=1777", "mode=3777,gid=3000", "mode=0777,uid=5", "mode=0700"] {
            with_tmpfs(options, |path| {
                start(&plan(Some(path), vec![file("a")]), vec![value(0, b"1")]).unwrap();
                // As subPath does: a directory of a tmpfs, bound elsewhere.
                let (inner, bound) = (path.join("inner"), path.join("bound"));
                fs::create_dir(&inner).unwrap();
                fs::create_dir(&bound).unwrap();
                mode(&inner, 0o777);
                mount(Some(&inner), &bound, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
                start(&plan(Some(&bound), vec![file("a")]), vec![value(0, b"1")]).unwrap();
                assert_eq!(fs::read(inner.join("a")).unwrap(), b"1");
                let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
                mount(None::<&str>, &bound, None::<&str>, flags, None::<&str>).unwrap();
                let error = failure(prepare(&run(plan(Some(&bound), vec![file("a")]))));
                let text = format!("cannot deliver files into `{}`: its tmpfs is read-only", bound.display());
                assert_eq!((error.message, error.class.exit_code()), (text, 73));
            });
        }
    });
}

#[test]
fn an_own_tmpfs_is_there_for_the_app_alone() {
    if !is_root("an_own_tmpfs_is_there_for_the_app_alone") {
        return;
    }
    in_child(module_path!(), "an_own_tmpfs_is_there_for_the_app_alone", || {
        let memory = Memory::new();
        // Not acceptable as it is: others may write it.
        mode(&memory.0, 0o777);
        let wanted = run(plan(Some(&memory.0), vec![file("a")]));
        let inspection = inspect(&wanted).files.unwrap();
        assert!(inspection.medium.ends_with("for the app alone"), "{}", inspection.medium);
        start(&wanted, vec![value(0, b"1")]).unwrap();
        assert_eq!(fs::read(memory.join("a")).unwrap(), b"1");
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line = table.lines().find(|line| line.contains(memory.0.to_str().unwrap())).unwrap().to_owned();
        assert!(line.contains("nosuid,nodev,noexec") && line.contains("size=1024k"), "{line}");
        assert_eq!(line.contains("noswap"), files::kernel_has_noswap());
        // From outside it is still the empty directory.
        let outside = fs::read_dir(format!("/proc/{}/root{}", std::os::unix::process::parent_id(), memory.0.display()));
        assert_eq!(outside.unwrap().count(), 0);

        let occupied = Memory::new();
        mode(&occupied.0, 0o777);
        fs::write(occupied.join("theirs"), "").unwrap();
        let error = failure(prepare(&run(plan(Some(&occupied.0), vec![file("a")]))));
        assert!(error.message.ends_with("; a tmpfs of handfast's own would cover what is in it"), "{}", error.message);
        // What was mounted ends with this process, so its directory can go only now.
        umount2(&memory.0, MntFlags::MNT_DETACH).unwrap();
    });
}

/// Where all can write, another user gives our name to a directory of its own at any moment.
#[test]
fn what_another_user_tells_of_a_set_is_never_believed() {
    if !is_root("what_another_user_tells_of_a_set_is_never_believed") {
        return;
    }
    let memory = Memory::new();
    let wanted = plan(Some(&memory.0), vec![file("a")]);
    let (_, destination) = start(&wanted, vec![value(0, b"1")]).unwrap();
    destination.write_status(b"ours").unwrap();
    drop(destination);
    let other = memory.join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("status.json"), "another's").unwrap();
    chown(&other, Some(1000), Some(1000)).unwrap();
    mode(&other, 0o1755);
    let (is_over, here) = (AtomicBool::new(false), fs::File::open(&memory.0).unwrap());
    let exchange = || {
        let at = |name: &'static str| (here.as_fd(), name.as_ref());
        rename(at("..handfast"), at("other"), Taken::Exchange).unwrap();
    };
    let (mut ours, mut others) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                exchange();
            }
        });
        let start = Instant::now();
        while ours < 5000 && others == 0 && start.elapsed() < PATIENCE {
            let choose = |status: &[u8]| {
                *if status == b"ours" { &mut ours } else { &mut others } += 1;
                None
            };
            assert!(EarlierSet::find(&wanted, choose, |_| 0).is_none());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(ours > 0 && others == 0, "{ours} {others}");
}
