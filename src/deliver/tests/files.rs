//! The files' layout, and what is refused before and after the fetch.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

#[test]
fn the_layout_is_kubelets() {
    let memory = Memory::new();
    let secrets = vec![file("a"), secret("b", Target::File { name: "b".into(), mode: 0o440, owner: None })];
    let (published, destination) =
        start(&plan(Some(&memory.0), secrets), vec![value(1, b"two"), value(0, b"one")]).unwrap();
    assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "a", "b"]);
    assert_eq!((published.secrets.as_slice(), destination.hand_over().numbers()), ([0, 1].as_slice(), vec![]));
    assert_eq!(fs::read_link(memory.join("a")).unwrap(), Path::new("..data/a"));
    let generation = fs::read_link(memory.join("..data")).unwrap();
    assert!(generation.to_str().unwrap().starts_with("..handfast_"));
    let status = fs::metadata(memory.join("a")).unwrap();
    assert_eq!((status.mode() & 0o7777, status.uid(), status.gid()), (0o400, our_ids().0, our_ids().1));
    assert_eq!(fs::metadata(memory.join("b")).unwrap().mode() & 0o7777, 0o440);
    assert_eq!(fs::metadata(memory.join("..data")).unwrap().mode() & 0o777, 0o755);
    assert_eq!(entries_of(&memory.join("..data")), ["..handfast", "a", "b"]);
}

#[test]
fn values_arrive_byte_for_byte() {
    let memory = Memory::new();
    let values: [&[u8]; 5] = [b"", b"\0", b"\xff\xfe\n", b"line\n", &[0xa5; 1 << 20]];
    let names: Vec<String> = (0..values.len()).map(|index| format!("s{index}")).collect();
    let wanted = plan(Some(&memory.0), names.iter().map(|name| file(name)).collect());
    start(&wanted, values.iter().enumerate().map(|(index, bytes)| value(index, bytes)).collect()).unwrap();
    for (name, bytes) in names.iter().zip(values) {
        assert!(fs::read(memory.join(name)).unwrap() == bytes, "{name}");
    }
}

#[test]
fn a_start_replaces_the_whole_set_and_nothing_else() {
    let memory = Memory::new();
    start(&plan(Some(&memory.0), vec![file("a"), file("b")]), vec![value(0, b"1"), value(1, b"1")]).unwrap();
    fs::write(memory.join("theirs"), "x").unwrap();
    symlink("..data/other", memory.join("their-link")).unwrap();
    fs::create_dir(memory.join("..2024_01_01")).unwrap();
    symlink("/", memory.join("..handfast_link")).unwrap();
    // `a` is optional and missing this time, `b` is not in the plan any more.
    let (published, _) = start(&plan(Some(&memory.0), vec![file("a"), file("c")]), vec![value(1, b"2")]).unwrap();
    assert!(!published.has(0) && published.has(1));
    let expected =
        ["..2024_01_01", "..data", "..handfast", "..handfast_", "..handfast_link", "c", "their-link", "theirs"];
    assert_eq!(memory.entries(), expected);
    assert_eq!(fs::read(memory.join("c")).unwrap(), b"2");
}

#[test]
fn every_field_is_a_file() {
    let memory = Memory::new();
    let every = secret("db", Target::File { name: "db-*".into(), mode: 0o400, owner: None });
    let wanted = plan(Some(&memory.0), vec![every, file("db-x")]);
    start(&wanted, vec![field(0, "db-user"), field(0, "db-a.b"), value(1, b"x")]).unwrap();
    assert_eq!(memory.entries(), ["..data", "..handfast", "..handfast_", "db-a.b", "db-user", "db-x"]);
    assert_eq!(fs::read(memory.join("db-user")).unwrap(), b"db-user");
}

#[test]
fn a_missing_directory_is_created_inside_a_tmpfs_only() {
    let memory = Memory::new();
    let path = memory.join("new");
    start(&plan(Some(&path), vec![file("a")]), vec![value(0, b"1")]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);

    let error = failure(prepare(&plan(Some(&memory.join("x/y")), vec![file("a")])));
    let (parent, path) = (memory.join("x"), memory.join("x/y"));
    let (parent, path) = (parent.display(), path.display());
    assert_eq!(error.message, format!("cannot deliver files into `{path}`: neither it nor `{parent}` exists"));
    assert!(error.hint.is_some_and(|hint| hint.contains("medium: Memory")));
    let error = failure(prepare(&plan(Some(Path::new("/proc/handfast")), vec![file("a")])));
    assert_eq!(
        error.message,
        "cannot deliver files into `/proc/handfast`: it does not exist, and would be on proc, not on a tmpfs"
    );
}

#[test]
fn what_is_no_tmpfs_directory_is_refused_with_a_hint() {
    let memory = Memory::new();
    let refused = |path: &Path| failure(prepare(&plan(Some(path), vec![file("a")])));
    let error = refused(Path::new("/proc"));
    assert_eq!(
        error.message,
        "cannot deliver files into `/proc`: it is on proc, not on a tmpfs; the app would not see a tmpfs of handfast's own"
    );
    assert_eq!(
        error.hint.unwrap(),
        "use a directory of its own, such as `/run/secrets`, with a tmpfs mounted there",
        "nobody can mount a tmpfs on /proc"
    );
    assert_eq!(error.class.exit_code(), 73);

    assert_eq!(
        refused(Path::new("/dev/shm")).message,
        "cannot deliver files into `/dev/shm`: it is shared by the whole system"
    );
    assert_eq!(refused(Path::new("/")).message, "cannot deliver files into `/`: it has no name of its own");
    symlink(&memory.0, memory.join("link")).unwrap();
    for path in [memory.join("link"), memory.join("link/")] {
        let message = format!("cannot deliver files into `{}`: it is a link", path.display());
        assert_eq!(refused(&path).message, message);
    }
    fs::write(memory.join("file"), "").unwrap();
    let path = memory.join("file");
    assert_eq!(
        refused(&path).message,
        format!("cannot deliver files into `{}`: it is not a directory", path.display())
    );
    fs::create_dir(memory.join("open")).unwrap();
    mode(&memory.join("open"), 0o775);
    let path = memory.join("open");
    assert_eq!(
        refused(&path).message,
        format!(
            "cannot deliver files into `{}`: it is no mount point, and its mode 0775 lets others write; the app would not see \
             a tmpfs of handfast's own",
            path.display()
        )
    );
}

#[test]
fn a_link_on_the_way_is_followed() {
    let memory = Memory::new();
    fs::create_dir_all(memory.join("real/set")).unwrap();
    mode(&memory.join("real/set"), 0o755);
    symlink("real", memory.join("way")).unwrap();
    start(&plan(Some(&memory.join("way/set")), vec![file("a")]), vec![value(0, b"1")]).unwrap();
    assert_eq!(fs::read(memory.join("real/set/a")).unwrap(), b"1");
}

#[test]
fn without_files_the_directory_is_not_looked_at() {
    let plan = plan(Some(Path::new("/proc/none")), vec![descriptor("a", 300)]);
    let (_, destination) = start(&run(plan), vec![value(0, b"1")]).unwrap();
    assert_eq!(destination.hand_over().numbers(), [300]);
}
