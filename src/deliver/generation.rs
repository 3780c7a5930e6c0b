//! One set of files: written whole where nobody else can enter, then published by renames alone.
//!
//! The links are made inside the generation too, so that a full tmpfs is found out before anything of the old set changes.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};

use handfast_core::SecretValue;

use super::entries::{self, DATA, Directory, Examined, GENERATION, LinkKind, MARK, NameState, open_directory};
use super::failure::{cannot_write, errno, leftover, refusal, warn};
use super::lock::Lock;
use super::ownership::{Access, with_group};
use super::write::write_all;
use super::{access_lists, leftovers};
use crate::error::{Error, Result};
use crate::sys::fs::{Taken, rename, same};

/// A file to be written.
pub struct NewFile {
    /// Its secret, as an index into `Plan::secrets`.
    pub secret: usize,
    /// Its name, already checked.
    pub name: String,
    /// Its content.
    pub content: Content,
    /// Who may read it.
    pub access: Access,
}

/// What a file holds.
pub enum Content {
    /// This value.
    Value(SecretValue),
    /// What the file of this name holds in the generation before: it is the same file, with the same inode and times.
    Unchanged,
}

/// A set of files: written, and reachable once it is published.
pub struct Generation {
    name: String,
    handle: OwnedFd,
    /// Whether it has left the directory that only we can write.
    is_out: Cell<bool>,
    data: Link,
    links: Vec<Link>,
    /// The status of the file that each link must lead to.
    files: Vec<FileStat>,
    /// The secret of each.
    secrets: Vec<usize>,
}

/// A link that is staged in the generation, and its name in the files directory.
struct Link {
    name: String,
    staged: String,
    found: NameState,
    placed: Cell<bool>,
}

impl Generation {
    /// Writes a set into the directory that only we can write; what has not changed is taken from the generation `before`. After a
    /// failure nothing of it is left.
    pub fn write(directory: &Directory<'_>, lock: &Lock, files: &[NewFile], before: Option<&Self>) -> Result<Self> {
        let Examined { data, names } = directory.examine(files.iter().map(|file| file.name.as_str()))?;
        let link =
            |name: &str, staged: String, found| Link { name: name.into(), staged, found, placed: Cell::new(false) };
        // No file's name starts with a dot.
        let links = files.iter().zip(names).enumerate();
        let links = links.map(|(index, (file, found))| link(&file.name, format!("..link_{index}"), found)).collect();
        let data = link(DATA, DATA.into(), if data == NameState::Nothing { data } else { NameState::Stale });
        let (name, handle) = create(directory, lock.private())?;
        let secrets = files.iter().map(|file| file.secret).collect();
        let mut generation = Self { name, handle, is_out: Cell::new(false), data, links, files: Vec::new(), secrets };
        match generation.fill(directory, files, before) {
            Ok(()) => Ok(generation),
            Err(error) => {
                generation.discard(directory, lock);
                Err(error)
            }
        }
    }

    /// A set that was published before, with its files, each with its secret.
    pub fn of(name: String, handle: OwnedFd, found: Vec<(usize, String, FileStat)>) -> Self {
        let link = |name: &str, staged: &str| Link {
            name: name.into(),
            staged: staged.into(),
            found: NameState::Right,
            placed: Cell::new(false),
        };
        let links = found.iter().map(|(_, name, _)| link(name, "")).collect();
        let secrets = found.iter().map(|(secret, ..)| *secret).collect();
        let files = found.into_iter().map(|(.., made)| made).collect();
        Self { name, handle, is_out: Cell::new(true), data: link(DATA, DATA), links, files, secrets }
    }

    fn fill(&mut self, directory: &Directory<'_>, files: &[NewFile], before: Option<&Self>) -> Result<()> {
        mark(directory, &self.handle)?;
        let make = |file: &NewFile| match &file.content {
            Content::Value(value) => self.write_file(directory, file, value),
            Content::Unchanged => self.take_over(directory, &file.name, before),
        };
        self.files = files.iter().map(make).collect::<Result<_>>()?;
        self.stage_link(directory, DATA, &self.name)?;
        for Link { name, staged, .. } in self.links.iter().filter(|link| link.found != NameState::Right) {
            match directory.link_kind {
                LinkKind::Symbolic { .. } => self.stage_link(directory, staged, &entries::link_target(name))?,
                LinkKind::Hard => linkat(&self.handle, name.as_str(), &self.handle, staged.as_str(), AtFlags::empty())
                    .map_err(|error| cannot_write(directory.path, name, error))?,
            }
        }
        Ok(())
    }

    /// The file of this name in the generation before, under one name more.
    fn take_over(&self, directory: &Directory<'_>, name: &str, before: Option<&Self>) -> Result<FileStat> {
        let at = |error| cannot_write(directory.path, name, error);
        let before = before.ok_or_else(|| at(Errno::ENOENT))?;
        let made = before.file(name).ok_or_else(|| at(Errno::ENOENT))?;
        linkat(&before.handle, name, &self.handle, name, AtFlags::empty()).map_err(at)?;
        let found = fstatat(&self.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(at)?;
        if same(&found, &made) { Ok(found) } else { Err(changed(directory.path, name)) }
    }

    fn file(&self, name: &str) -> Option<FileStat> {
        self.links.iter().zip(&self.files).find(|(link, _)| link.name == name).map(|(_, made)| *made)
    }

    /// The number of our own descriptor of it.
    pub fn number(&self) -> RawFd {
        self.handle.as_raw_fd()
    }

    /// The bytes that its files take, page by page.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|made| (made.st_size as u64).next_multiple_of(4096)).sum()
    }

    /// The names of the files, each with its secret.
    pub fn names(&self) -> impl Iterator<Item = (usize, &str)> {
        self.secrets.iter().copied().zip(self.links.iter().map(|link| link.name.as_str()))
    }

    /// Mode before owner: once the file is another's, only CAP_FOWNER could still set its mode.
    fn write_file(&self, directory: &Directory<'_>, file: &NewFile, value: &SecretValue) -> Result<FileStat> {
        let NewFile { name, access, .. } = file;
        let at = |error| cannot_write(directory.path, name, error);
        with_group(directory.powers, access.gid, || {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let handle = openat(&self.handle, name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(at)?;
            write_all(handle.as_fd(), value.expose()).map_err(at)?;
            fchmod(&handle, Mode::from_bits_truncate(access.mode)).map_err(at)?;
            let made = fstat(&handle).map_err(at)?;
            let owner = (made.st_uid != access.uid).then_some(Uid::from_raw(access.uid));
            let group = (made.st_gid != access.gid).then_some(Gid::from_raw(access.gid));
            if owner.is_some() || group.is_some() {
                fchown(&handle, owner, group).map_err(at)?;
            }
            let made = fstat(&handle).map_err(at)?;
            let found = (made.st_uid, made.st_gid, made.st_mode & 0o7777, made.st_size);
            if found != (access.uid, access.gid, access.mode, value.len() as i64) {
                let (uid, gid, mode, size) = found;
                return Err(refusal(format!(
                    "cannot write `{name}` in `{}`: it reads back as {uid}:{gid}, mode {mode:04o}, {size} bytes, instead of \
                     {}:{}, mode {:04o}, {} bytes",
                    directory.path,
                    access.uid,
                    access.gid,
                    access.mode,
                    value.len()
                )));
            }
            if access_lists::has_one(handle.as_fd()).map_err(at)? {
                return Err(refusal(format!("cannot write `{name}` in `{}`: it has an ACL", directory.path)));
            }
            Ok(made)
        })
    }

    fn stage_link(&self, directory: &Directory<'_>, at: &str, target: &str) -> Result<()> {
        let failed = |error| cannot_write(directory.path, target, error);
        symlinkat(target, &self.handle, at).map_err(failed)?;
        match directory.link_kind {
            LinkKind::Symbolic { owner } if owner != directory.powers.uid => {
                fchownat(&self.handle, at, Some(Uid::from_raw(owner)), None, AtFlags::AT_SYMLINK_NOFOLLOW)
                    .map_err(failed)
            }
            _ => Ok(()),
        }
    }

    /// Publishes the set, reads it back, and removes older sets except for `before`. Nothing is created here, so a full tmpfs cannot make
    /// it fail. After a failure the old set is there as it was, except for hard links that already lead into the new set: the next start
    /// replaces them.
    pub fn publish<'g>(
        &'g self,
        directory: &Directory<'_>,
        lock: &Lock,
        before: impl Iterator<Item = &'g Self>,
    ) -> Result<()> {
        let place_names = || self.links.iter().try_for_each(|link| self.place(directory, link));
        let switch = || self.place(directory, &self.data);
        match directory.link_kind {
            // Names first: until `..data` is switched, they lead into the old set, or nowhere.
            LinkKind::Symbolic { .. } => {
                let published =
                    self.bring_out(directory, lock.private()).and_then(|()| place_names()).and_then(|()| switch());
                published.and_then(|()| self.read_back(directory)).inspect_err(|_| {
                    self.withdraw(directory);
                    self.discard(directory, lock);
                })?;
            }
            // Names last: a hard link is known as ours by the generation that it leads to, which has to stay from then on.
            LinkKind::Hard => {
                self.bring_out(directory, lock.private())
                    .and_then(|()| switch())
                    .inspect_err(|_| self.discard(directory, lock))?;
                place_names().and_then(|()| self.read_back(directory))?;
            }
        }
        self.drop_replaced(directory);
        let current: HashSet<&[u8]> = self.links.iter().map(|link| link.name.as_bytes()).collect();
        let kept: Vec<&str> = before.chain([self]).map(|generation| generation.name.as_str()).collect();
        leftovers::clean_up(directory, lock, self.handle.as_fd(), &kept, &current);
        Ok(())
    }

    /// Moves the generation from our private directory to the place where `..data` will lead.
    fn bring_out(&self, directory: &Directory<'_>, private: BorrowedFd<'_>) -> Result<()> {
        let at = |error| cannot_write(directory.path, &self.name, error);
        fchmod(&self.handle, Mode::from_bits_truncate(0o755)).map_err(at)?;
        let name = OsStr::new(&self.name);
        put((private, name), (directory.handle, name), Taken::Refuse).map_err(at)?;
        self.is_out.set(true);
        Ok(())
    }

    /// Gives a link its name, if the name is free or still has the entry that was examined.
    fn place(&self, directory: &Directory<'_>, link: &Link) -> Result<()> {
        let at = |error| cannot_write(directory.path, &link.name, error);
        let (staged, name) = self.ends(directory, link);
        match link.found {
            NameState::Right => return Ok(()),
            NameState::Nothing => put(staged, name, Taken::Refuse).map_err(at)?,
            NameState::Stale => put(staged, name, Taken::Exchange).map_err(at)?,
        }
        link.placed.set(true);
        // The earlier entry of the name is here now, unless the kernel cannot exchange.
        if self.has_replaced(link) && !directory.is_ours(name.1, staged) {
            return Err(changed(directory.path, &link.name));
        }
        Ok(())
    }

    /// Examines each file through its links, as the app will read it: another writer of the directory could have replaced the links or
    /// the set.
    fn read_back(&self, directory: &Directory<'_>) -> Result<()> {
        if !readlinkat(directory.handle, DATA).is_ok_and(|target| target == self.name.as_str()) {
            return Err(changed(directory.path, DATA));
        }
        for (link, made) in self.links.iter().zip(&self.files) {
            let found = fstatat(directory.handle, link.name.as_str(), AtFlags::empty());
            if !found.is_ok_and(|found| same(&found, made)) {
                return Err(changed(directory.path, &link.name));
            }
        }
        Ok(())
    }

    /// Takes the links back, `..data` first, and restores the entries that they have replaced.
    fn withdraw(&self, directory: &Directory<'_>) {
        for link in std::iter::once(&self.data).chain(&self.links).filter(|link| link.placed.get()) {
            let (staged, name) = self.ends(directory, link);
            let withdrawn = match link.found {
                NameState::Nothing => leftovers::remove_name(directory, self.handle.as_fd(), name.1),
                _ if self.has_replaced(link) => put(staged, name, Taken::Exchange),
                _ => Ok(()),
            };
            if let Err(error) = withdrawn {
                warn(&leftover(directory.path, name.1, error));
            }
        }
    }

    /// Removes the links that our new links have replaced.
    fn drop_replaced(&self, directory: &Directory<'_>) {
        for link in std::iter::once(&self.data).chain(&self.links).filter(|link| self.has_replaced(link)) {
            if let Err(error) = unlinkat(&self.handle, link.staged.as_str(), UnlinkatFlags::NoRemoveDir) {
                warn(&leftover(directory.path, OsStr::new(&link.name), error));
            }
        }
    }

    fn has_replaced(&self, link: &Link) -> bool {
        link.placed.get()
            && link.found == NameState::Stale
            && fstatat(&self.handle, link.staged.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Where a link waits, and where it goes.
    fn ends<'a>(&'a self, directory: &'a Directory<'_>, link: &'a Link) -> (At<'a>, At<'a>) {
        ((self.handle.as_fd(), OsStr::new(&link.staged)), (directory.handle, OsStr::new(&link.name)))
    }

    /// Removes the generation: it is not going to be published, or was replaced.
    pub fn discard(&self, directory: &Directory<'_>, lock: &Lock) {
        let (name, private) = (OsStr::new(&self.name), lock.private());
        let removed = if self.is_out.get() {
            leftovers::take_out(directory.handle, private, name, &self.handle)
        } else {
            leftovers::remove_generation(private, name, &self.handle)
        };
        if let Err(error) = removed {
            warn(&leftover(directory.path, name, error));
        }
    }
}

/// An entry: the directory that it is in, and its name.
type At<'a> = (BorrowedFd<'a>, &'a OsStr);

/// A rename. On ramfs of old kernels and on emulations of Linux, which have no flags for renames, it does the same with a plain rename.
fn put(from: At<'_>, to: At<'_>, taken: Taken) -> nix::Result<()> {
    let renamed = rename(from, to, taken).map_err(errno);
    if !matches!(renamed, Err(Errno::EINVAL | Errno::ENOSYS)) {
        return renamed;
    }
    match fstatat(to.0, to.1, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(_) if taken == Taken::Refuse => Err(Errno::EEXIST),
        _ => renameat(from.0, from.1, to.0, to.1),
    }
}

fn create(directory: &Directory<'_>, private: BorrowedFd<'_>) -> Result<(String, OwnedFd)> {
    let at = |error| cannot_write(directory.path, "", error);
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_nanos()).unwrap_or_default();
    let name = format!("{GENERATION}{nanoseconds}_{:016x}", fastrand::u64(..));
    mkdirat(private, name.as_str(), Mode::S_IRWXU).map_err(at)?;
    let handle = open_directory(private, OsStr::new(&name)).map_err(at)?;
    Ok((name, handle))
}

/// Makes a new directory a generation of ours, in which nothing inherits an ACL.
fn mark(directory: &Directory<'_>, generation: &OwnedFd) -> Result<()> {
    let at = |error| cannot_write(directory.path, MARK, error);
    access_lists::strip(generation.as_fd()).map_err(at)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(generation, MARK, flags, Mode::S_IRUSR).map(drop).map_err(at)
}

fn changed(path: &str, name: &str) -> Error {
    refusal(format!("cannot write into `{path}`: `{name}` was replaced meanwhile"))
        .hint("someone else writes into this directory: use one of its own")
}
