//! What killed runs leave, and what others plant.
#![forbid(unsafe_code)]

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use nix::errno::Errno;

use super::*;
use crate::deliver::failure::leftover as leftovers_warning;

const OLD: &str = "..handfast_1_0123456789abcdef";

/// A directory, a canary outside of it, and a plan for the files `a` and `b`.
fn scene() -> (Memory, Memory, Plan) {
    let (memory, outside) = (Memory::new(), Memory::new());
    fs::write(outside.join("canary"), "alive").unwrap();
    let wanted = plan(Some(&memory.0), vec![file("a"), file("b")]);
    (memory, outside, wanted)
}

/// A generation as an earlier start of ours made it.
fn make_old(memory: &Memory) {
    fs::create_dir(memory.join(OLD)).unwrap();
    mode(&memory.join(OLD), 0o700);
    fs::write(memory.join(OLD).join("..handfast"), "").unwrap();
}

fn both() -> Vec<Arrived> {
    vec![value(0, b"1"), value(1, b"2")]
}

#[test]
fn a_killed_runs_leftovers_are_repaired() {
    // Killed while it wrote; after `..data` was swapped; after one of the names.
    let states: [&[(&str, &str)]; 3] = [&[], &[("..data", OLD)], &[("..data", OLD), ("a", "..data/a")]];
    for links in states {
        let (memory, _outside, wanted) = scene();
        make_old(&memory);
        fs::write(memory.join(OLD).join("a"), "old").unwrap();
        symlink("..data/a", memory.join(OLD).join("..link_0")).unwrap();
        for (name, target) in links {
            symlink(target, memory.join(name)).unwrap();
        }
        start(&wanted, both()).unwrap();
        assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "a", "b"], "{links:?}");
        assert!(!memory.join(OLD).exists());
        assert_eq!(fs::read(memory.join("a")).unwrap(), b"1");
    }
}

#[test]
fn what_a_killed_run_has_replaced_goes_with_its_set() {
    let (memory, _outside, wanted) = scene();
    make_old(&memory);
    // A hard link to a file of a set that is gone, as an exchange leaves it, and one that waited to be removed.
    fs::write(memory.join(OLD).join("..link_0"), "older").unwrap();
    fs::write(memory.join(OLD).join("..taken_0"), "older").unwrap();
    start(&wanted, both()).unwrap();
    assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "a", "b"]);
    assert!(!memory.join(OLD).exists());
}

#[test]
fn a_set_with_something_of_others_in_it_keeps_its_mark() {
    let (memory, _outside, wanted) = scene();
    make_old(&memory);
    fs::create_dir(memory.join(OLD).join("theirs")).unwrap();
    start(&wanted, both()).unwrap();
    // It was moved to where only handfast writes, and the next start knows it again.
    let kept = memory.join("..handfast").join(OLD);
    assert!(kept.join("theirs").is_dir() && kept.join("..handfast").is_file());
}

#[test]
fn planted_links_are_neither_followed_nor_written_through() {
    let (memory, outside, wanted) = scene();
    make_old(&memory);
    symlink(outside.join("canary"), memory.join(OLD).join("a")).unwrap();
    symlink(&outside.0, memory.join(OLD).join("directory")).unwrap();
    symlink(&outside.0, memory.join("..handfast_2_x")).unwrap();
    symlink(OLD, memory.join("..data")).unwrap();
    symlink("..data/a", memory.join("a")).unwrap();
    start(&wanted, both()).unwrap();
    assert_eq!(fs::read(outside.join("canary")).unwrap(), b"alive");
    assert_eq!(outside.entries(), ["canary"]);
    assert_eq!(fs::read(memory.join("a")).unwrap(), b"1");
    assert!(!memory.join(OLD).exists());
}

#[test]
fn a_planted_directory_inside_a_generation_is_not_entered() {
    let (memory, _outside, wanted) = scene();
    make_old(&memory);
    fs::create_dir(memory.join(OLD).join("nested")).unwrap();
    fs::write(memory.join(OLD).join("nested/kept"), "x").unwrap();
    start(&wanted, both()).unwrap();
    let moved = [memory.join(OLD), memory.join("..handfast").join(OLD)];
    assert!(moved.iter().any(|place| place.join("nested/kept").exists()));
    assert_eq!(
        leftovers_warning("/s", OLD.as_ref(), Errno::ENOTEMPTY),
        format!("cannot remove the leftover `{OLD}` in `/s`: directory not empty")
    );
}

#[test]
fn a_name_that_is_anothers_is_refused_before_the_fetch_and_untouched() {
    let (uid, _) = our_ids();
    type Plant = fn(&Memory, &Memory);
    let plants: [(&str, &str, Plant); 6] = [
        ("a", "a file", |memory, _| fs::write(memory.join("a"), "x").unwrap()),
        ("b", "a directory", |memory, _| fs::create_dir(memory.join("b")).unwrap()),
        ("a", "a link", |memory, outside| symlink(outside.join("canary"), memory.join("a")).unwrap()),
        ("a", "a link", |memory, _| symlink("..data/b", memory.join("a")).unwrap()),
        ("..data", "a link", |memory, outside| symlink(&outside.0, memory.join("..data")).unwrap()),
        ("..data", "a link", |memory, _| symlink("..handfast_1/../../x", memory.join("..data")).unwrap()),
    ];
    for (name, what, plant) in plants {
        let (memory, outside, wanted) = scene();
        plant(&memory, &outside);
        let before = memory.entries();
        let error = failure(prepare(&wanted));
        assert_eq!(
            error.message,
            format!("cannot use `{}`: `{name}` is {what} of uid {uid} that handfast did not make", memory.0.display())
        );
        assert_eq!(error.hint.as_deref(), Some("give each set of secrets a directory of its own"));
        assert_eq!((error.class.exit_code(), memory.entries()), (73, before));
        assert_eq!(fs::read(outside.join("canary")).unwrap(), b"alive");
    }
}

#[test]
fn what_is_planted_during_the_fetch_is_refused_too_and_nothing_stays() {
    let (memory, _outside, wanted) = scene();
    start(&wanted, both()).unwrap();
    let mut destination = prepare(&wanted).unwrap();
    fs::remove_file(memory.join("a")).unwrap();
    fs::write(memory.join("a"), "theirs").unwrap();
    let generation = fs::read_link(memory.join("..data")).unwrap();
    failure(super::publish(&mut destination, &wanted, vec![value(0, b"3"), value(1, b"4")]));
    assert_eq!(fs::read_link(memory.join("..data")).unwrap(), generation);
    assert_eq!(fs::read(memory.join("b")).unwrap(), b"2");
    assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "a", "b"]);
}

/// Writes a set with names of this kind; `meanwhile` comes between the writing and the publishing.
fn publish(memory: &Memory, names: entries::LinkKind, files: &[(&str, &str)], meanwhile: impl FnOnce()) -> Result<()> {
    let powers = Powers::read().unwrap();
    let handle = fs::File::open(&memory.0).unwrap();
    let (uid, gid) = our_ids();
    let access = ownership::Access { uid, gid, mode: 0o440, compromise: None };
    let directory = entries::Directory::new(handle.as_fd(), "/s", names, &powers);
    let file = |(name, value): &(&str, &str)| {
        let value = SecretValue::from(value.as_bytes().to_vec());
        generation::NewFile { secret: 0, name: (*name).to_owned(), content: generation::Content::Value(value), access }
    };
    let files: Vec<_> = files.iter().map(file).collect();
    let lock = directory.take_turn(&patience())?;
    let generation = generation::Generation::write(&directory, &lock, &files, None)?;
    meanwhile();
    generation.publish(&directory, &lock, std::iter::empty())
}

#[test]
fn names_are_hard_links_where_the_reader_could_follow_no_link() {
    let memory = Memory::new();
    let (uid, _) = our_ids();
    let publish = |names, files: &[(&str, &str)]| publish(&memory, names, files, || ());
    let kind = |name| fs::symlink_metadata(memory.join(name)).unwrap().file_type();
    let read = |name| fs::read_to_string(memory.join(name)).unwrap();

    publish(entries::LinkKind::Hard, &[("a", "1"), ("b", "1")]).unwrap();
    publish(entries::LinkKind::Hard, &[("a", "2")]).unwrap();
    assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "a"], "names that are not in the set go");
    assert!(kind("a").is_file());
    assert_eq!((read("a"), read("..data/a")), ("2".into(), "2".into()));

    // A start that could use links takes over, and back.
    publish(entries::LinkKind::Symbolic { owner: uid }, &[("a", "3")]).unwrap();
    assert!(kind("a").is_symlink());
    publish(entries::LinkKind::Hard, &[("a", "4")]).unwrap();
    assert_eq!((kind("a").is_file(), read("a")), (true, "4".into()));

    // A file of another's is not ours, also where it has a second name.
    fs::write(memory.join("c"), "theirs").unwrap();
    fs::hard_link(memory.join("c"), memory.join("d")).unwrap();
    assert!(publish(entries::LinkKind::Hard, &[("c", "5")]).is_err());
    publish(entries::LinkKind::Hard, &[("a", "6")]).unwrap();
    assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "a", "c", "d"]);
    assert_eq!((read("c"), read("a")), ("theirs".into(), "6".into()));
}

#[test]
fn a_name_that_cannot_be_placed_leaves_the_old_set_or_what_the_next_start_repairs() {
    let links = entries::LinkKind::Symbolic { owner: our_ids().0 };
    let set = |value| [("a", value), ("b", value), ("c", value)];
    for names in [links, entries::LinkKind::Hard] {
        let memory = Memory::new();
        let read = |name| fs::read_to_string(memory.join(name)).unwrap();
        publish(&memory, names, &[("a", "old"), ("gone", "old")], || ()).unwrap();
        // No name takes the place of a directory: the second one cannot be placed.
        let planted = publish(&memory, names, &set("new"), || fs::create_dir(memory.join("b")).unwrap());
        assert!(failure(planted).message.starts_with("cannot write `b` in `/s`: "));
        if names == links {
            assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "a", "b", "gone"]);
            assert_eq!((read("a"), read("gone")), ("old".into(), "old".into()));
        }
        fs::remove_dir(memory.join("b")).unwrap();
        publish(&memory, names, &set("next"), || ()).unwrap();
        assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "a", "b", "c"]);
        assert!(["a", "b", "c"].iter().all(|name| read(name) == "next"), "{names:?}");
    }
}
