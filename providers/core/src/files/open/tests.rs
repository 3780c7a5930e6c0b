//! Each case runs through the kernel's `openat2` and through [`walk`]: both must return the same file or the same error.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use nix::fcntl::{OpenHow, ResolveFlag, openat2};

use super::*;

/// A new directory for one test: `root` with a kubelet's layout and some hostile links, and `outside` next to it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place = Self(std::env::temp_dir().join(format!("handfast-open-{name}-{}", std::process::id())));
        let root = place.0.join("root");
        fs::create_dir_all(root.join("..2026_01_01/deep")).unwrap();
        fs::create_dir(place.0.join("outside")).unwrap();
        fs::write(place.0.join("outside/file"), "outside").unwrap();
        fs::write(root.join("..2026_01_01/db"), "inside").unwrap();
        fs::write(root.join("..2026_01_01/deep/file"), "deep").unwrap();
        for (link, target) in [
            ("..data", "..2026_01_01"),
            ("db", "..data/db"),
            ("slashes", ".//..data///./db"),
            ("down-and-up", "..data/deep/../db"),
            ("directory-by-link", "..data/deep/"),
            ("file-as-directory", "..data/db/"),
            ("file-and-dot", "..data/db/."),
            ("file-and-up", "..data/db/../db"),
            ("up-and-back", "../root/..data/db"),
            ("escape", "../outside/file"),
            ("escape-below", "..data/../../outside/file"),
            ("loop", "loop"),
            ("loop-a", "loop-b"),
            ("loop-b", "loop-a"),
            ("dangling", "..data/none"),
            ("magic", "/proc/self/cwd"),
            ("long", &"x".repeat(300)),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        symlink(root.join("db"), root.join("absolute")).unwrap();
        symlink("/", root.join("slash")).unwrap();
        // `chain-N` leads to the file through N links: `db` leads to it through two.
        symlink("db", root.join("chain-3")).unwrap();
        for at in 4..=41 {
            symlink(format!("chain-{}", at - 1), root.join(format!("chain-{at}"))).unwrap();
        }
        place
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The file's device and inode number, or the error: first from the kernel, then from `walk`.
fn both(start: BorrowedFd<'_>, path: &Path, flags: OFlag, reach: Reach) -> [Result<(u64, u64), Errno>; 2] {
    [by_kernel, walk].map(|way| {
        let stat = fstat(way(start, path, flags, reach)?)?;
        Ok((stat.st_dev, stat.st_ino))
    })
}

const NAMES: &[&str] = &[
    "..data",
    "..data/db",
    "..data/deep/..",
    "..data/deep/../../db",
    "..2026_01_01/deep/",
    "db",
    "db/",
    "db/.",
    "db/..",
    "db/x",
    "./db",
    ".",
    "./",
    "",
    "none",
    "none/db",
    "slashes",
    "down-and-up",
    "directory-by-link",
    "directory-by-link/file",
    "file-as-directory",
    "file-and-dot",
    "file-and-up",
    "up-and-back",
    "escape",
    "escape-below",
    "..",
    "../root/db",
    "../outside/file",
    "loop",
    "loop-a/x",
    "dangling",
    "magic",
    "magic/Cargo.toml",
    "long",
    "absolute",
    "slash",
    "slash/etc/passwd",
    "chain-40",
    "chain-41",
];

#[test]
fn walk_returns_the_same_as_the_kernel() {
    let place = Place::new("same");
    let start = open(&place.root(), PASSAGE, Mode::empty()).unwrap();
    let mut found = 0;
    for reach in [Reach::Beneath, Reach::Anywhere] {
        for flags in [OFlag::O_PATH, OFlag::O_RDONLY] {
            for name in NAMES {
                let [kernel, walked] = both(start.as_fd(), Path::new(name), flags, reach);
                assert_eq!(kernel, walked, "{name:?} {flags:?}");
                let rooted = place.root().join(name);
                let [kernel, walked] = both(start.as_fd(), &rooted, flags, reach);
                assert_eq!(kernel, walked, "{rooted:?} {flags:?}");
                found += usize::from(kernel.is_ok());
            }
        }
    }
    assert!(found > 20, "the table finds only {found} files");
}

#[test]
fn paths_out_of_the_root_are_refused_by_both() {
    let place = Place::new("out");
    let start = open(&place.root(), PASSAGE, Mode::empty()).unwrap();
    for name in [
        "..",
        "../root/db",
        "../outside/file",
        "escape",
        "escape-below",
        "up-and-back",
        "absolute",
        "slash/etc/passwd",
        "/etc/passwd",
    ] {
        let answers = both(start.as_fd(), Path::new(name), OFlag::O_RDONLY, Reach::Beneath);
        assert_eq!(answers, [Err(Errno::EXDEV); 2], "{name}");
    }
}

#[test]
fn walk_follows_as_many_links_as_the_kernel() {
    let place = Place::new("links");
    let start = open(&place.root(), PASSAGE, Mode::empty()).unwrap();
    let chain = |name: &str| both(start.as_fd(), Path::new(name), OFlag::O_RDONLY, Reach::Beneath);
    assert!(chain("chain-40").iter().all(Result::is_ok));
    assert_eq!(chain("chain-41"), [Err(Errno::ELOOP); 2]);
}

#[test]
fn magic_links_are_refused_by_both() {
    // Each link leads to a regular file or directory on an ordinary file system, so a check of the opened file would not find the
    // link.
    let open_file = fs::File::open("/etc/passwd").unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&open_file);
    for path in [
        format!("/proc/self/fd/{descriptor}"),
        format!("/proc/thread-self/fd/{descriptor}"),
        format!("/dev/fd/{descriptor}"),
        "/proc/self/exe".into(),
        "/proc/self/root/etc/passwd".into(),
        "/proc/self/cwd/Cargo.toml".into(),
    ] {
        for flags in [OFlag::O_PATH, OFlag::O_RDONLY] {
            let answers = both(AT_FDCWD, Path::new(&path), flags, Reach::Anywhere);
            assert_eq!(answers, [Err(Errno::ELOOP); 2], "{path}");
        }
    }
    // The links in procfs' top directory are ordinary links. Their targets are refused because they are in procfs.
    for path in ["/proc/self/environ", "/proc/mounts", "/proc/self/net/tcp"] {
        let [kernel, walked] = both(AT_FDCWD, Path::new(path), OFlag::O_PATH, Reach::Anywhere);
        assert!(kernel.is_ok() && kernel == walked, "{path}: {kernel:?}, {walked:?}");
    }
}

fn by_kernel(start: BorrowedFd<'_>, path: &Path, flags: OFlag, reach: Reach) -> Result<OwnedFd, Errno> {
    let resolve = match reach {
        Reach::Anywhere => ResolveFlag::RESOLVE_NO_MAGICLINKS,
        Reach::Beneath => ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_BENEATH,
    };
    openat2(start, path, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve))
}
