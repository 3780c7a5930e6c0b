//! One set after the other in the same process.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::sync::atomic::AtomicBool;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use super::*;
use crate::sys::clock::boot_time;

fn link(memory: &Memory) -> PathBuf {
    fs::read_link(memory.join("..data")).unwrap()
}

#[test]
fn each_set_replaces_the_one_before_which_stays_for_its_readers_a_minute() {
    let memory = Memory::new();
    let wanted = plan(Some(&memory.0), vec![file("a"), file("b")]);
    let mut destination = prepare(&wanted).unwrap();
    let mut generations = Vec::new();
    for word in ["1", "2", "3", "4"] {
        let both = vec![value(0, word.as_bytes()), value(1, word.as_bytes())];
        assert!(publish(&mut destination, &wanted, both).unwrap().has(1));
        assert_eq!(["a", "b"].map(|name| fs::read_to_string(memory.join(name)).unwrap()), [word, word]);
        generations.push(memory.join(link(&memory).to_str().unwrap()));
        assert!(generations.iter().all(|generation| generation.join("a").exists()), "all of this minute");
    }
    let there = || generations.iter().filter(|generation| generation.exists()).count();
    let next = destination.tidy(boot_time()).expect("the oldest goes first");
    assert!(
        there() == 4 && next > boot_time() + Duration::from_secs(50) && next <= boot_time() + Duration::from_secs(60)
    );
    assert!(destination.tidy(next).is_some() && there() == 3, "the first one's minute is over");
    assert_eq!(
        (destination.tidy(next + Duration::from_secs(10)), there()),
        (None, 1),
        "the set that is published stays"
    );
    // A name that is not in the set goes at once.
    assert!(!publish(&mut destination, &wanted, vec![value(0, b"5")]).unwrap().has(1));
    assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "..handfast_", "a"]);
    drop(destination);
    start(&wanted, vec![value(0, b"6"), value(1, b"6")]).unwrap();
    assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "a", "b"]);
}

/// The keeper that has replaced them was killed, so nobody else removes them.
#[test]
fn the_sets_before_one_that_was_taken_over_go_after_a_minute_or_where_their_room_is_needed() {
    for needs_room in [false, true] {
        let memory = Memory::new();
        let wanted = prepared(&memory);
        let mut destination = prepare(&wanted).unwrap();
        for word in ["1", "2"] {
            publish(&mut destination, &wanted, vec![value(0, word.as_bytes())]).unwrap();
        }
        destination.write_status(b"").unwrap();
        drop(destination);
        let found = EarlierSet::find(&wanted, |_| Some(vec![(0, "a".into())]), |_| 0).unwrap();
        let mut destination = prepare(&wanted).unwrap();
        assert!(destination.adopt(&wanted, &found, &|| Ok(())).unwrap());
        assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "..handfast_", "a"]);
        let next = destination.tidy(boot_time()).expect("its minute is not over");
        assert!(next > boot_time() + Duration::from_secs(50) && next <= boot_time() + Duration::from_secs(60));
        if needs_room {
            // No set has room for this name.
            let mut impossible = value(0, b"3");
            impossible.file = Some("x".repeat(300));
            failure(publish(&mut destination, &wanted, vec![impossible]));
        } else {
            assert_eq!(destination.tidy(next), None);
        }
        assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "a"]);
        assert_eq!(fs::read_to_string(memory.join("a")).unwrap(), "2");
    }
}

/// With the default of `quiet`.
#[test]
fn as_many_sets_stay_as_changes_can_come_in_their_minute() {
    let memory = Memory::new();
    let wanted = prepared(&memory);
    let mut destination = prepare(&wanted).unwrap();
    let changes = Duration::from_secs(60).div_duration_f64(Watching::default().quiet) as usize;
    let sets: Vec<PathBuf> = (0..=changes)
        .map(|number| {
            publish(&mut destination, &wanted, vec![value(0, number.to_string().as_bytes())]).unwrap();
            memory.join(link(&memory).to_str().unwrap())
        })
        .collect();
    assert!(sets.len() == 31 && sets.iter().all(|set| set.join("a").exists()), "{:?}", memory.entries());
}

#[test]
fn our_turn_lasts_from_the_first_set_to_the_destinations_end() {
    let memory = Memory::new();
    let wanted = plan(Some(&memory.0), vec![file("a")]);
    let mut destination = prepare(&wanted).unwrap();
    for word in ["1", "2"] {
        publish(&mut destination, &wanted, vec![value(0, word.as_bytes())]).unwrap();
        let late = Plan { deadline: Deadline { started: Instant::now(), limit: Duration::ZERO }, ..prepared(&memory) };
        let error = failure(start(&late, vec![value(0, b"other")]));
        assert!(error.message.ends_with("another start writes there, and did not end in time"), "{}", error.message);
        assert_eq!(fs::read_to_string(memory.join("a")).unwrap(), word);
    }
    drop(destination);
    start(&wanted, vec![value(0, b"other")]).unwrap();
}

fn prepared(memory: &Memory) -> Plan {
    plan(Some(&memory.0), vec![file("a")])
}

#[test]
fn a_reader_finds_one_set_or_the_other_at_any_moment() {
    let memory = Memory::new();
    let wanted = prepared(&memory);
    let mut destination = prepare(&wanted).unwrap();
    let set = |number: u32| vec![value(0, number.to_string().repeat(9).as_bytes())];
    publish(&mut destination, &wanted, set(0)).unwrap();
    let (path, is_over) = (memory.join("a"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !is_over.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&path).expect("it is never missing");
                assert!(text.chars().all(|digit| text.starts_with(digit)) && text.len() == 9, "{text}");
                reads += 1;
            }
            reads
        });
        for number in 1..200 {
            publish(&mut destination, &wanted, set(number % 10)).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn memfds_are_made_again_under_the_same_numbers() {
    let wanted = run(plan(None, vec![descriptor("a", 510), descriptor("b", 511)]));
    let path = |number: RawFd| format!("/proc/self/fd/{number}");
    let mut destination = prepare(&wanted).unwrap();
    publish(&mut destination, &wanted, vec![value(0, b"old"), value(1, b"old")]).unwrap();
    let app = fs::File::open(path(510)).unwrap();
    publish(&mut destination, &wanted, vec![value(0, b"fresh")]).unwrap();
    assert_eq!(fs::read(path(510)).unwrap(), b"fresh");
    assert_eq!(std::io::read_to_string(app).unwrap(), "old", "who has the old memfd keeps its content");
    assert!(fs::OpenOptions::new().append(true).open(path(510)).and_then(|mut file| file.write(b"x")).is_err());
    // The second secret is missing now. Its number stays reserved, and the app does not get it.
    assert!(fs::exists(path(511)).unwrap());
    publish(&mut destination, &wanted, vec![value(0, b"fresh"), value(1, b"back")]).unwrap();
    assert_eq!(fs::read(path(511)).unwrap(), b"back");
    publish(&mut destination, &wanted, vec![value(0, b"last")]).unwrap();
    let handover = destination.hand_over();
    assert_eq!((handover.numbers(), fs::exists(path(511)).unwrap()), (vec![510], false));
    let seals = fcntl(&handover.descriptors[0], FcntlArg::F_GET_SEALS).unwrap();
    assert!(seals == 0x2f || seals == 0x0f, "{seals:#x}");
    assert_eq!(fcntl(&handover.descriptors[0], FcntlArg::F_GETFD).unwrap(), 0);
    assert_eq!(fs::read(path(510)).unwrap(), b"last");
}

#[test]
fn a_set_that_fails_leaves_the_one_before_whole() {
    in_child(module_path!(), "a_set_that_fails_leaves_the_one_before_whole", || {
        let memory = Memory::new();
        let wanted = run(plan(Some(&memory.0), vec![file("f"), descriptor("a", 520), descriptor("b", 521)]));
        let set = |word: &[u8], last: &[u8]| vec![value(0, word), value(1, word), value(2, last)];
        let mut destination = prepare(&wanted).unwrap();
        let is_whole = |word: &[u8]| {
            for path in [memory.join("f"), "/proc/self/fd/520".into(), "/proc/self/fd/521".into()] {
                assert_eq!(fs::read(path).unwrap(), word);
            }
        };
        publish(&mut destination, &wanted, set(b"1", b"1")).unwrap();
        let (first, entries) = (link(&memory), memory.entries());

        // The last of the memfds is too large.
        SigSet::from(Signal::SIGXFSZ).thread_block().unwrap();
        let (soft, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, 100, hard).unwrap();
        let error = failure(publish(&mut destination, &wanted, set(b"2", &[b'x'; 200])));
        assert_eq!(error.message, "cannot write the memfd for descriptor 521: file too large");
        is_whole(b"1");

        // The file cannot be written, then not be published.
        let error = failure(publish(&mut destination, &wanted, vec![value(0, &[b'x'; 200]), value(1, b"2")]));
        assert_eq!(error.message, format!("cannot write `f` in `{}`: file too large", memory.0.display()));
        setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
        fs::remove_file(memory.join("f")).unwrap();
        fs::create_dir(memory.join("f")).unwrap();
        failure(publish(&mut destination, &wanted, set(b"2", b"2")));
        fs::remove_dir(memory.join("f")).unwrap();
        std::os::unix::fs::symlink("..data/f", memory.join("f")).unwrap();
        is_whole(b"1");
        assert_eq!((link(&memory), memory.entries()), (first, entries));

        publish(&mut destination, &wanted, set(b"3", b"3")).unwrap();
        is_whole(b"3");
    });
}

/// A file that has not changed is the same file in the next set.
#[test]
fn a_later_set_takes_over_what_has_not_changed() {
    use std::os::unix::fs::MetadataExt;
    let memory = Memory::new();
    let wanted = plan(
        Some(&memory.0),
        vec![file("a"), file("b"), secret("l", Target::File { name: "l-*".into(), mode: 0o400, owner: None })],
    );
    let mut destination = prepare(&wanted).unwrap();
    let set = vec![value(0, b"1"), value(1, b"1"), field(2, "l-x"), field(2, "l-y")];
    publish(&mut destination, &wanted, set).unwrap();
    let identity = |name: &str| match fs::metadata(memory.join(name)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        found => found.map(|status| Some((status.ino(), status.mtime_nsec()))).unwrap(),
    };
    let before = ["b", "l-x", "l-y"].map(identity);
    assert!(before.iter().all(Option::is_some), "{before:?}");
    let arrived = received(&wanted, vec![value(0, b"2")]);
    destination.publish_changes(&wanted, Changes { arrived, ..Changes::default() }, &|| Ok(())).unwrap();
    assert_eq!(
        (fs::read_to_string(memory.join("a")).unwrap().as_str(), ["b", "l-x", "l-y"].map(identity)),
        ("2", before)
    );
    // Of a list, what is named stays; and what is gone is gone.
    let changes = Changes { arrived: vec![field(2, "l-z")], same: vec![(2, "l-y".into())], gone: vec![1] };
    destination.publish_changes(&wanted, changes, &|| Ok(())).unwrap();
    assert_eq!((identity("l-y"), identity("l-x"), identity("b")), (before[2], None, None));
    assert_eq!(
        (destination.files_of(2), destination.files_of(1)),
        (vec!["l-y".to_owned(), "l-z".to_owned()], Vec::new())
    );
    // What was never there cannot stay, and two secrets cannot be one file: the set before stays whole.
    for (changes, why) in [
        (Changes { same: vec![(2, "l-none".into())], ..Changes::default() }, "cannot write `l-none` in `"),
        (
            Changes { arrived: vec![field(2, "a")], ..Changes::default() },
            "cannot deliver `a`: two secrets would be that file",
        ),
    ] {
        let error = destination.publish_changes(&wanted, changes, &|| Ok(())).unwrap_err();
        assert!(error.class.exit_code() == 73 && error.message.starts_with(why), "{}", error.message);
        assert_eq!((fs::read_to_string(memory.join("a")).unwrap().as_str(), identity("l-y")), ("2", before[2]));
    }
}
