//! Links: those of a kubelet's volumes, and hostile ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use handfast_core::ErrorKind;
use handfast_testkit::Scratch;

use super::{assert_fails, assert_refused, read, read_below};

const LEADS_OUT: &str = "a link or a `..` leads out of the provider's `root`";

/// A volume as a kubelet makes it: the visible names are links through `..data` to a directory with a time in its name.
fn volume() -> Scratch {
    let scratch = Scratch::new();
    publish(&scratch, "2026_01_01", "old");
    symlink("..data/password", scratch.join("password")).unwrap();
    scratch
}

/// A kubelet's update: a new directory, and `..data` replaced in one step.
fn publish(scratch: &Scratch, time: &str, value: &str) {
    let directory = format!("..{time}");
    fs::create_dir(scratch.join(&directory)).unwrap();
    fs::write(scratch.join(&directory).join("password"), value).unwrap();
    symlink(directory, scratch.join("..data_tmp")).unwrap();
    fs::rename(scratch.join("..data_tmp"), scratch.join("..data")).unwrap();
}

#[test]
fn a_kubelets_links_are_followed_with_and_without_a_root() {
    let volume = volume();
    for path in ["password", "..data/password"].map(|name| volume.join(name)) {
        assert_eq!(read(&path).unwrap(), b"old");
        assert_eq!(read_below(volume.path(), &path).unwrap(), b"old");
    }
    publish(&volume, "2026_02_02", "new");
    assert_eq!(read_below(volume.path(), volume.join("password")).unwrap(), b"new");
}

#[test]
fn an_update_in_the_middle_gives_the_old_value_or_the_new_one() {
    let volume = volume();
    let (path, done) = (volume.join("password"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for time in 0..200 {
                publish(&volume, &time.to_string(), "new");
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let value = read_below(volume.path(), &path).unwrap();
            assert!(value == b"old" || value == b"new", "{} bytes", value.len());
        }
    });
}

#[test]
fn a_link_out_of_the_root_is_refused_and_without_a_root_it_is_followed() {
    let scratch = Scratch::new();
    let root = scratch.join("root");
    fs::create_dir_all(root.join("deep")).unwrap();
    fs::write(scratch.join("outside"), "outside").unwrap();
    fs::write(root.join("inside"), "inside").unwrap();
    symlink("../outside", root.join("relative")).unwrap();
    symlink("deep/../../outside", root.join("winding")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink(scratch.join("outside"), root.join("absolute")).unwrap();
    for name in ["relative", "winding", "up/outside", "absolute"] {
        assert_refused(read_below(&root, root.join(name)), LEADS_OUT);
        assert_eq!(read(root.join(name)).unwrap(), b"outside", "{name}");
    }
    // An absolute link is refused even if it leads back into the root, because it passes through directories outside the root.
    symlink(root.join("inside"), root.join("back")).unwrap();
    assert_refused(read_below(&root, root.join("back")), LEADS_OUT);
    assert_eq!(read(root.join("back")).unwrap(), b"inside");
}

#[test]
fn the_root_itself_may_be_a_link() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.join("real")).unwrap();
    fs::write(scratch.join("real/db"), "inside").unwrap();
    fs::write(scratch.join("outside"), "outside").unwrap();
    symlink("../outside", scratch.join("real/escape")).unwrap();
    symlink(scratch.join("real"), scratch.join("root")).unwrap();
    let root = scratch.join("root");
    assert_eq!(read_below(&root, root.join("db")).unwrap(), b"inside");
    assert_refused(read_below(&root, root.join("escape")), LEADS_OUT);
}

#[test]
fn a_loop_is_refused_and_a_link_to_nothing_is_not_found() {
    let scratch = Scratch::new();
    symlink("b", scratch.join("a")).unwrap();
    symlink("a", scratch.join("b")).unwrap();
    symlink("none", scratch.join("dangling")).unwrap();
    fs::write(scratch.join("file"), "x").unwrap();
    let below = |name: &str| read_below(scratch.path(), scratch.join(name));
    for result in [read(scratch.join("a")), below("a"), below("a/x")] {
        assert_refused(result, "too many links, or a link of procfs");
    }
    for result in [read(scratch.join("dangling")), below("dangling"), below("none"), below("none/x"), below("file/x")] {
        assert_fails(result, ErrorKind::NotFound, "no such file");
    }
    assert_fails(below(&"x".repeat(300)), ErrorKind::NotFound, "file name too long");
    let missing = scratch.join("no-root");
    assert_fails(read_below(&missing, missing.join("x")), ErrorKind::NotFound, "no such file");
}
