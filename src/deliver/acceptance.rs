//! Which directories take secrets: the rule alone, on facts that tests can make up.
#![forbid(unsafe_code)]

use std::path::Path;

use nix::sys::statfs::{FsType, TMPFS_MAGIC};

use super::mounts::Mount;

const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
/// Directories that the whole system shares: no set of secrets is put there.
const SHARED: [&str; 6] = ["/dev", "/dev/shm", "/tmp", "/var/tmp", "/run", "/run/lock"];

/// The file system that the files are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// tmpfs, whose pages can be swapped out.
    Tmpfs,
    /// tmpfs with the option `noswap`.
    TmpfsWithoutSwap,
    /// ramfs, whose pages cannot be swapped out.
    Ramfs,
}

/// The facts that the decision depends on.
pub struct Facts<'a> {
    /// Its path, as configured.
    pub path: &'a Path,
    /// Its owner.
    pub uid: u32,
    /// Its mode.
    pub mode: u32,
    /// The file system, where it is one of memory.
    pub medium: Option<Medium>,
    /// The mount that it is on.
    pub mount: &'a Mount,
    /// Whether the directory is the mount point.
    pub mount_point: bool,
}

/// Whether handfast can mount a tmpfs of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnMount {
    /// Under `run`, with CAP_SYS_ADMIN.
    Possible,
    /// Under `init`: the app would not see it.
    Invisible,
    /// Without CAP_SYS_ADMIN.
    Denied,
}

impl Medium {
    /// The file system, where it is one of memory. The magic number alone also fits devtmpfs, and the name alone could be
    /// that of another mount.
    pub fn of(mount: &Mount, magic: FsType, device: (u64, u64)) -> Option<Self> {
        if device != mount.device {
            return None;
        }
        match mount.filesystem.as_str() {
            "tmpfs" if magic == TMPFS_MAGIC && mount.no_swap => Some(Medium::TmpfsWithoutSwap),
            "tmpfs" if magic == TMPFS_MAGIC => Some(Medium::Tmpfs),
            "ramfs" if magic == RAMFS_MAGIC => Some(Medium::Ramfs),
            _ => None,
        }
    }

    /// Its name, for messages.
    pub fn describe(self) -> &'static str {
        match self {
            Medium::Tmpfs => "tmpfs",
            Medium::TmpfsWithoutSwap => "tmpfs (noswap)",
            Medium::Ramfs => "ramfs",
        }
    }

    /// Whether its pages can be swapped out.
    pub fn can_be_swapped(self) -> bool {
        self == Medium::Tmpfs
    }
}

impl Facts<'_> {
    /// A tmpfs or ramfs mount point that is not everyone's, or a directory inside one that only root or we can write. The
    /// error says why not.
    pub fn accept(&self, our_uid: u32) -> Result<Medium, String> {
        let filesystem = &self.mount.filesystem;
        let medium = self.medium.ok_or_else(|| format!("it is on {filesystem}, not on a tmpfs"))?;
        if self.is_shared() {
            return Err("it is shared by the whole system".into());
        }
        if self.mount.read_only {
            return Err(format!("its {filesystem} is read-only"));
        }
        if self.mount_point {
            return Ok(medium);
        }
        if self.uid != 0 && self.uid != our_uid {
            return Err(format!("it is no mount point, and belongs to uid {} instead of root or handfast", self.uid));
        }
        if self.mode & 0o022 != 0 {
            return Err(format!("it is no mount point, and its mode {:04o} lets others write", self.mode));
        }
        Ok(medium)
    }

    /// Whether a tmpfs of our own may cover it. The error says why not, where that says more than [`accept`](Self::accept).
    pub fn cover(&self, own_mount: OwnMount, empty: bool) -> Result<(), Option<&'static str>> {
        if self.is_shared() || (self.medium.is_some() && self.mount_point) {
            return Err(None);
        }
        match own_mount {
            OwnMount::Possible if empty => Ok(()),
            OwnMount::Possible => Err(Some("a tmpfs of handfast's own would cover what is in it")),
            OwnMount::Invisible => Err(Some("the app would not see a tmpfs of handfast's own")),
            OwnMount::Denied => Err(Some("handfast lacks CAP_SYS_ADMIN to mount its own")),
        }
    }

    /// Whether it would be accepted if it were writable.
    pub fn is_read_only(&self) -> bool {
        self.mount.read_only && self.medium.is_some() && !self.is_shared()
    }

    fn is_shared(&self) -> bool {
        is_shared(self.path) || (self.mount_point && is_shared(&self.mount.point))
    }
}

/// Whether the whole system shares what has this path.
pub fn is_shared(path: &Path) -> bool {
    SHARED.iter().any(|shared| path == Path::new(shared))
}

#[cfg(test)]
mod tests {
    use super::super::mounts::find;
    use super::*;

    const EXT4_MAGIC: FsType = FsType(0xef53);

    /// Judges `path` on the mount that a line describes, for uid 1000.
    fn judged(line: &str, magic: FsType, path: &str, (uid, mode): (u32, u32)) -> Result<Medium, String> {
        let mount = find(format!("7 1 0:9 / {line}").as_bytes(), 7).unwrap();
        let medium = Medium::of(&mount, magic, (0, 9));
        let mount_point = mount.point == Path::new(path);
        Facts { path: Path::new(path), uid, mode, medium, mount: &mount, mount_point }.accept(1000)
    }

    #[test]
    fn mount_points_of_memory_are_accepted_whatever_their_mode() {
        let (tmpfs, any) = (TMPFS_MAGIC, (5, 0o1777));
        assert_eq!(judged("/s rw - tmpfs tmpfs rw,size=1k", tmpfs, "/s", any), Ok(Medium::Tmpfs));
        assert_eq!(judged("/s rw - tmpfs tmpfs rw,noswap", tmpfs, "/s", any), Ok(Medium::TmpfsWithoutSwap));
        assert_eq!(judged("/s rw - ramfs none rw", RAMFS_MAGIC, "/s", any), Ok(Medium::Ramfs));
        assert_eq!(judged("/s rw shared:3 - tmpfs tmpfs rw", tmpfs, "/s", (0, 0o3777)), Ok(Medium::Tmpfs));
        assert_eq!(judged("/tmp/s rw - tmpfs tmpfs rw", tmpfs, "/tmp/s", any), Ok(Medium::Tmpfs));
    }

    #[test]
    fn what_only_looks_like_a_tmpfs_is_refused() {
        let any = (0, 0o755);
        let not = |name: &str| Err(format!("it is on {name}, not on a tmpfs"));
        assert_eq!(judged("/s rw - ext4 /dev/x rw", EXT4_MAGIC, "/s", any), not("ext4"));
        assert_eq!(judged("/s rw - overlay overlay rw", TMPFS_MAGIC, "/s", any), not("overlay"));
        assert_eq!(judged("/dev rw - devtmpfs udev rw", TMPFS_MAGIC, "/dev/s", any), not("devtmpfs"));
        assert_eq!(judged("/s rw - fuse.tmpfs tmpfs rw", FsType(0x6573_5546), "/s", any), not("fuse.tmpfs"));
        assert_eq!(judged("/s rw - tmpfs tmpfs rw", EXT4_MAGIC, "/s", any), not("tmpfs"));
        let mount = find(b"7 1 0:9 / /s rw - tmpfs tmpfs rw", 7).unwrap();
        assert_eq!(Medium::of(&mount, TMPFS_MAGIC, (0, 10)), None);
    }

    #[test]
    fn what_everyone_shares_is_refused_under_any_name() {
        for shared in SHARED {
            let line = format!("{shared} rw - tmpfs tmpfs rw");
            let refused = Err("it is shared by the whole system".to_owned());
            assert_eq!(judged(&line, TMPFS_MAGIC, shared, (0, 0o755)), refused, "{shared}");
        }
        let mount = find(b"7 1 0:9 / /run rw - tmpfs tmpfs rw", 7).unwrap();
        let medium = Some(Medium::Tmpfs);
        let facts =
            Facts { path: Path::new("/var/run"), uid: 0, mode: 0o755, medium, mount: &mount, mount_point: true };
        assert!(facts.accept(0).is_err());
        assert_eq!(facts.cover(OwnMount::Possible, true), Err(None));
    }

    #[test]
    fn a_directory_inside_must_be_roots_or_ours_alone() {
        let inside = |owner| judged("/run rw - tmpfs tmpfs rw", TMPFS_MAGIC, "/run/s", owner);
        assert_eq!(inside((0, 0o755)), Ok(Medium::Tmpfs));
        assert_eq!(inside((1000, 0o2700)), Ok(Medium::Tmpfs));
        assert_eq!(
            inside((1001, 0o755)).unwrap_err(),
            "it is no mount point, and belongs to uid 1001 instead of root or handfast"
        );
        for mode in [0o775, 0o757, 0o1777] {
            let text = format!("it is no mount point, and its mode {mode:04o} lets others write");
            assert_eq!(inside((0, mode)).unwrap_err(), text);
        }
    }

    #[test]
    fn read_only_is_refused() {
        for line in ["/s ro - tmpfs tmpfs rw", "/s rw - tmpfs tmpfs ro"] {
            assert_eq!(judged(line, TMPFS_MAGIC, "/s", (0, 0o755)).unwrap_err(), "its tmpfs is read-only");
        }
    }

    #[test]
    fn an_own_mount_covers_nothing_of_others() {
        let disk = find(b"7 1 0:9 / / rw - ext4 /dev/x rw", 7).unwrap();
        let facts = |path, mount_point, medium| Facts {
            path: Path::new(path),
            uid: 0,
            mode: 0o755,
            medium,
            mount: &disk,
            mount_point,
        };
        let plain = facts("/s", false, None);
        assert_eq!(plain.cover(OwnMount::Possible, true), Ok(()));
        assert_eq!(
            plain.cover(OwnMount::Possible, false),
            Err(Some("a tmpfs of handfast's own would cover what is in it"))
        );
        assert_eq!(plain.cover(OwnMount::Denied, true), Err(Some("handfast lacks CAP_SYS_ADMIN to mount its own")));
        assert_eq!(
            plain.cover(OwnMount::Invisible, true),
            Err(Some("the app would not see a tmpfs of handfast's own"))
        );
        // An empty volume has nothing to cover; a tmpfs mount point was refused for what it is.
        assert_eq!(facts("/s", true, None).cover(OwnMount::Possible, true), Ok(()));
        assert_eq!(facts("/s", true, Some(Medium::Tmpfs)).cover(OwnMount::Possible, true), Err(None));
        assert_eq!(facts("/tmp", false, None).cover(OwnMount::Possible, true), Err(None));
    }
}
