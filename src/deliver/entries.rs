//! The entries of the files directory: tells handfast's own entries from others by their form.
//!
//! Handfast's own entries are:
//! - generations: directories called `..handfast_…` that belong to our uid, that nobody else can write, and that hold the file
//!   `..handfast`;
//! - `..data`: a link to a directory of such a name;
//! - `NAME`: a link to exactly `..data/NAME`, or a hard link to the `NAME` of a generation of ours.
//!
//! Any uid can plant such links, which hold nothing: handfast only replaces or removes them, and never reads or follows them. No other
//! uid can make a generation of ours, or turn a directory of ours into one.
#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::powers::Powers;
use crate::error::{Error, Result, reason};
use crate::sys::capabilities::FOWNER;
use crate::sys::fs::kind;

/// The link that is swapped, as the kubelet does.
pub const DATA: &str = "..data";
/// The prefix of a generation's name.
pub const GENERATION: &str = "..handfast_";
/// The file that is made first in a generation, and removed last.
pub const MARK: &str = "..handfast";

/// The state of a name that a set needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameState {
    /// The name is free.
    Nothing,
    /// Our link, with the right target and owner.
    Right,
    /// A link of our form that must be replaced.
    Stale,
}

/// The states of the names that a set needs.
pub struct Examined {
    /// At `..data`.
    pub data: NameState,
    /// At the others, in their order.
    pub names: Vec<NameState>,
}

/// The kind of link by which a name in the directory leads to its file in the current set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// By a link to `..data/NAME`, as kubelet's: all names change at once, with `..data`.
    Symbolic {
        /// Who owns the links.
        owner: u32,
    },
    /// By a hard link, where the reader could not follow a link of ours (`fs.protected_symlinks`): each name changes by itself.
    Hard,
}

/// The files directory for one step of work in it; [`FilesDirectory`](super::files::FilesDirectory) keeps it from step to step.
pub struct Directory<'a> {
    /// The opened directory.
    pub handle: BorrowedFd<'a>,
    /// Its path, for messages.
    pub path: &'a str,
    /// Which kind of link the files' names are.
    pub link_kind: LinkKind,
    /// Our ids and capabilities.
    pub powers: &'a Powers,
    /// The files of our generations, once they were read.
    files: OnceCell<HashMap<(u64, u64), OsString>>,
}

impl<'a> Directory<'a> {
    /// An opened directory.
    pub fn new(handle: BorrowedFd<'a>, path: &'a str, link_kind: LinkKind, powers: &'a Powers) -> Self {
        Self { handle, path, link_kind, powers, files: OnceCell::new() }
    }

    /// Examines `..data`, then each name. Refuses if an entry that handfast did not make has one of the names.
    pub fn examine<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<Examined> {
        let directory = fstat(self.handle).map_err(|error| self.cannot_look(".", error))?;
        let one = |name: &str| self.examine_one(&directory, name, |target| is_link_of(OsStr::new(name), target));
        Ok(Examined { data: one(DATA)?, names: names.map(one).collect::<Result<_>>()? })
    }

    fn examine_one(&self, directory: &FileStat, name: &str, ours: impl Fn(&OsStr) -> bool) -> Result<NameState> {
        let status = match fstatat(self.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(NameState::Nothing),
            status => status.map_err(|error| self.cannot_look(name, error))?,
        };
        let link = kind(&status) == SFlag::S_IFLNK && readlinkat(self.handle, name).is_ok_and(|target| ours(&target));
        if !link && !self.is_hard_link(OsStr::new(name), &status) {
            return Err(in_the_way(self.path, name, &status));
        }
        let is_right = link && self.link_kind == (LinkKind::Symbolic { owner: status.st_uid });
        // `..data` is replaced by each start.
        if (!is_right || name == DATA) && !may_remove(directory, status.st_uid, self.powers) {
            return Err(cannot_remove(self.path, name, status.st_uid));
        }
        Ok(if is_right { NameState::Right } else { NameState::Stale })
    }

    /// Whether the entry `at` of an opened directory is one of ours for a name in this one: a link of our shape, or a hard link to
    /// the file of that name in a generation of ours.
    pub fn is_ours(&self, name: &OsStr, (holder, at): (BorrowedFd<'_>, &OsStr)) -> bool {
        let Ok(status) = fstatat(holder, at, AtFlags::AT_SYMLINK_NOFOLLOW) else { return false };
        match kind(&status) {
            SFlag::S_IFLNK => readlinkat(holder, at).is_ok_and(|target| is_link_of(name, &target)),
            _ => self.is_hard_link(name, &status),
        }
    }

    fn is_hard_link(&self, name: &OsStr, status: &FileStat) -> bool {
        if kind(status) != SFlag::S_IFREG || status.st_nlink < 2 {
            return false;
        }
        let files = self.files.get_or_init(|| self.files_of_generations());
        files.get(&(status.st_dev, status.st_ino)).is_some_and(|file| file.as_os_str() == name)
    }

    /// The files in the generations of ours that are there, by device and inode. Read once: others can plant as many hard links as
    /// they like, and each is looked up.
    fn files_of_generations(&self) -> HashMap<(u64, u64), OsString> {
        let mut files = HashMap::new();
        let generations = names(self.handle).unwrap_or_default();
        for generation in generations.iter().filter(|name| is_generation(name.as_bytes())) {
            let Ok(Some(handle)) = open_generation(self.handle, generation, self.powers) else { continue };
            // Staged entries are hard links to files of other sets.
            let in_it = names(handle.as_fd()).unwrap_or_default();
            for name in in_it.into_iter().filter(|name| !name.as_bytes().starts_with(b"..")) {
                if let Ok(file) = fstatat(&handle, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                    files.insert((file.st_dev, file.st_ino), name);
                }
            }
        }
        files
    }

    fn cannot_look(&self, name: &str, error: Errno) -> Error {
        super::failure::refusal(format!("cannot look at `{name}` in `{}`: {}", self.path, reason(error)))
    }
}

/// Whether we may remove an entry of this owner. In a sticky directory, that takes the entry's or the directory's owner, or CAP_FOWNER.
fn may_remove(directory: &FileStat, owner: u32, powers: &Powers) -> bool {
    let sticky = Mode::from_bits_truncate(directory.st_mode).contains(Mode::S_ISVTX);
    !sticky || owner == powers.uid || directory.st_uid == powers.uid || powers.has(FOWNER)
}

/// Where the link of a name leads.
pub fn link_target(name: &str) -> String {
    format!("{DATA}/{name}")
}

/// Whether a link of this name leads where ours does: `..data` to a generation, any other into `..data`.
fn is_link_of(name: &OsStr, target: &OsStr) -> bool {
    if name == DATA {
        return is_generation(target.as_bytes());
    }
    target.as_bytes().strip_prefix(DATA.as_bytes()).and_then(|rest| rest.strip_prefix(b"/")) == Some(name.as_bytes())
}

/// Whether a name is a generation's.
pub fn is_generation(name: &[u8]) -> bool {
    name.starts_with(GENERATION.as_bytes()) && !name.contains(&b'/')
}

/// Opens a directory in the directory, following no link.
pub fn open_directory(directory: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

/// Opens a generation of ours, by a name that may be anything's. `None` where it is not ours.
pub fn open_generation(directory: BorrowedFd<'_>, name: &OsStr, powers: &Powers) -> nix::Result<Option<OwnedFd>> {
    // Examined before it is opened: opening another user's entry could have an effect.
    let ours = |status: FileStat| {
        kind(&status) == SFlag::S_IFDIR && status.st_uid == powers.uid && status.st_mode & 0o022 == 0
    };
    if !ours(fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?) {
        return Ok(None);
    }
    let handle = open_directory(directory, name)?;
    let marked = fstatat(&handle, MARK, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|mark| kind(&mark) == SFlag::S_IFREG && mark.st_uid == powers.uid);
    Ok((ours(fstat(&handle)?) && marked).then_some(handle))
}

/// The names in an opened directory.
pub fn names(directory: BorrowedFd<'_>) -> nix::Result<Vec<OsString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let list = Dir::openat(directory.as_fd(), ".", flags, Mode::empty())?;
    let name = |entry: nix::dir::Entry| CString::from(entry.file_name()).into_bytes();
    list.into_iter()
        .map(|entry| entry.map(|entry| OsString::from_vec(name(entry))))
        .filter(|name| !matches!(name.as_ref().map(|name| name.as_bytes()), Ok(b"." | b"..")))
        .collect()
}

fn in_the_way(path: &str, name: &str, status: &FileStat) -> Error {
    let what = match kind(status) {
        SFlag::S_IFLNK => "a link",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFREG => "a file",
        _ => "an entry",
    };
    super::failure::refusal(format!(
        "cannot use `{path}`: `{name}` is {what} of uid {} that handfast did not make",
        status.st_uid
    ))
    .hint("give each set of secrets a directory of its own")
}

fn cannot_remove(path: &str, name: &str, owner: u32) -> Error {
    super::failure::refusal(format!(
        "cannot replace `{name}` in `{path}`: it belongs to uid {owner}, and the directory is sticky and not ours"
    ))
    .hint("remove it, start handfast as that uid or as root with CAP_FOWNER, or use another directory")
}
