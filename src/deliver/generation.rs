//! One set of files: written whole into a directory that nobody else can enter, then published by renames alone.
//!
//! The links are made inside the generation too, so that a full tmpfs is found out before anything of the old set changes.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};

use handfast_core::SecretValue;

use super::entries::{self, DATA, Directory, Found, GENERATION, Names, open_directory};
use super::ownership::{Access, with_group};
use super::{refusal, warn, write_all};
use crate::error::{Error, Result, reason};

/// A file to be written.
pub struct NewFile {
    /// Its name, already checked.
    pub name: String,
    /// Its content.
    pub value: SecretValue,
    /// Who may read it.
    pub access: Access,
}

/// A set that is written and not yet reachable.
pub struct Generation {
    name: String,
    handle: OwnedFd,
    links: Vec<(String, Found)>,
}

impl Generation {
    /// Writes a set. After a failure nothing of it is left.
    pub fn write(directory: &Directory<'_>, files: &[NewFile]) -> Result<Self> {
        let names = || files.iter().map(|file| file.name.as_str());
        let found = directory.examine(names())?;
        let links = names().map(str::to_owned).zip(found).collect();
        let (name, handle) = create(directory)?;
        let generation = Self { name, handle, links };
        match generation.fill(directory, files) {
            Ok(()) => Ok(generation),
            Err(error) => {
                generation.discard(directory);
                Err(error)
            }
        }
    }

    fn fill(&self, directory: &Directory<'_>, files: &[NewFile]) -> Result<()> {
        for file in files {
            self.write_file(directory, file)?;
        }
        self.stage_link(directory, DATA, &self.name)?;
        for (index, (name, found)) in self.links.iter().enumerate() {
            match directory.names {
                _ if *found == Found::Right => {}
                Names::Links { .. } => self.stage_link(directory, &staged(index), &entries::link_target(name))?,
                Names::HardLinks => {
                    linkat(&self.handle, name.as_str(), &self.handle, staged(index).as_str(), AtFlags::empty())
                        .map_err(|error| cannot_write(directory.path, name, error))?
                }
            }
        }
        Ok(())
    }

    /// Mode before owner: once the file is another's, only CAP_FOWNER could still set its mode.
    fn write_file(&self, directory: &Directory<'_>, file: &NewFile) -> Result<()> {
        let NewFile { name, value, access } = file;
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
            Ok(())
        })
    }

    fn stage_link(&self, directory: &Directory<'_>, at: &str, target: &str) -> Result<()> {
        let failed = |error| cannot_write(directory.path, target, error);
        symlinkat(target, &self.handle, at).map_err(failed)?;
        match directory.names {
            Names::Links { owner } if owner != directory.powers.uid => {
                fchownat(&self.handle, at, Some(Uid::from_raw(owner)), None, AtFlags::AT_SYMLINK_NOFOLLOW)
                    .map_err(failed)
            }
            _ => Ok(()),
        }
    }

    /// Makes the set reachable, and removes what is not in it. Nothing is created here, so nothing can run out. After a
    /// failure the old set is there as it was, but for hard links that already lead into the new one: the next start
    /// replaces them.
    pub fn publish(&self, directory: &Directory<'_>) -> Result<()> {
        match directory.names {
            // Names first: until `..data` is switched they lead into the old set, or nowhere.
            Names::Links { .. } => {
                self.place_names(directory).and_then(|()| self.switch(directory)).inspect_err(|_| {
                    self.withdraw_names(directory);
                    self.discard(directory);
                })?;
            }
            // Names last: what tells a hard link of ours is the generation that it leads to, which has to stay from then on.
            Names::HardLinks => {
                self.switch(directory).inspect_err(|_| self.discard(directory))?;
                self.place_names(directory)?;
            }
        }
        let current: HashSet<&[u8]> = self.links.iter().map(|(name, _)| name.as_bytes()).collect();
        clean_up(directory, &self.name, &current);
        Ok(())
    }

    fn place_names(&self, directory: &Directory<'_>) -> Result<()> {
        for (index, (name, found)) in self.links.iter().enumerate() {
            if *found != Found::Right {
                renameat(&self.handle, staged(index).as_str(), directory.handle, name.as_str())
                    .map_err(|error| cannot_write(directory.path, name, error))?;
            }
        }
        Ok(())
    }

    /// Takes back the links that were not there before.
    fn withdraw_names(&self, directory: &Directory<'_>) {
        for (name, _) in self.links.iter().filter(|(_, found)| *found == Found::Nothing) {
            let name = OsStr::new(name);
            if readlinkat(directory.handle, name).is_ok_and(|target| is_link_of(name, &target))
                && let Err(error) = unlinkat(directory.handle, name, UnlinkatFlags::NoRemoveDir)
            {
                warn(&leftover_warning(directory.path, name, error));
            }
        }
    }

    /// The one step after which the new set counts.
    fn switch(&self, directory: &Directory<'_>) -> Result<()> {
        let at = |error| cannot_write(directory.path, DATA, error);
        fchmod(&self.handle, Mode::from_bits_truncate(0o755)).map_err(at)?;
        renameat(&self.handle, DATA, directory.handle, DATA).map_err(at)
    }

    /// Removes what was written, when it is not going to be published.
    pub fn discard(&self, directory: &Directory<'_>) {
        remove_generation(directory, OsStr::new(&self.name));
    }
}

/// The name of a link that waits in the generation; no file's name starts with a dot.
fn staged(index: usize) -> String {
    format!("..link_{index}")
}

fn create(directory: &Directory<'_>) -> Result<(String, OwnedFd)> {
    let at = |error| cannot_write(directory.path, "", error);
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_nanos()).unwrap_or_default();
    let name = format!("{GENERATION}{nanoseconds}_{:016x}", fastrand::u64(..));
    mkdirat(directory.handle, name.as_str(), Mode::S_IRWXU).map_err(at)?;
    let handle = open_directory(directory.handle, OsStr::new(&name)).map_err(|error| {
        remove_generation(directory, OsStr::new(&name));
        at(error)
    })?;
    let made = fstat(&handle).map_err(at)?;
    if made.st_uid != directory.powers.uid || made.st_mode & 0o077 != 0 {
        let message = format!("cannot write into `{}`: `{name}` was replaced while it was made", directory.path);
        return Err(refusal(message).hint("someone else writes into this directory: use one of its own"));
    }
    Ok((name, handle))
}

/// Removes our links and generations that are not of this set. The set is published by now, so what cannot be removed is
/// told, and is no failure.
fn clean_up(directory: &Directory<'_>, generation: &str, links: &HashSet<&[u8]>) {
    let names = match entries::names(directory.handle) {
        Ok(names) => names,
        Err(error) => return warn(&leftover_warning(directory.path, OsStr::new("..handfast_*"), error)),
    };
    let (generations, names): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| entries::is_generation(name.as_bytes()));
    // Names first: what tells a hard link of ours is the generation that it leads to.
    for name in names.iter().filter(|name| !links.contains(name.as_bytes())) {
        let Ok(status) = fstatat(directory.handle, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
        let ours = match entries::kind(&status) {
            SFlag::S_IFLNK => {
                readlinkat(directory.handle, name.as_os_str()).is_ok_and(|target| is_link_of(name, &target))
            }
            _ => directory.is_hard_link(name, &status),
        };
        if ours && let Err(error) = unlinkat(directory.handle, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            warn(&leftover_warning(directory.path, name, error));
        }
    }
    for name in generations.iter().filter(|name| *name != generation) {
        if fstatat(directory.handle, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok_and(|status| entries::kind(&status) == SFlag::S_IFDIR)
        {
            remove_generation(directory, name);
        }
    }
}

fn is_link_of(name: &OsStr, target: &OsStr) -> bool {
    target.as_bytes().strip_prefix(DATA.as_bytes()).and_then(|rest| rest.strip_prefix(b"/")) == Some(name.as_bytes())
}

/// Removes a generation with the files and links in it. A directory in it is not ours, and is neither entered nor removed.
fn remove_generation(directory: &Directory<'_>, name: &OsStr) {
    let remove = || {
        let handle = open_directory(directory.handle, name)?;
        for entry in entries::names(handle.as_fd())? {
            match unlinkat(&handle, entry.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT | Errno::EISDIR) => {}
                Err(error) => return Err(error),
            }
        }
        unlinkat(directory.handle, name, UnlinkatFlags::RemoveDir)
    };
    if let Err(error) = remove() {
        warn(&leftover_warning(directory.path, name, error));
    }
}

/// The warning for what an earlier start left and this one cannot remove.
pub fn leftover_warning(path: &str, name: &OsStr, error: Errno) -> String {
    format!("cannot remove the leftover `{}` in `{path}`: {}", name.display(), reason(error))
}

fn cannot_write(path: &str, name: &str, error: Errno) -> Error {
    let what = if name.is_empty() { format!("into `{path}`") } else { format!("`{name}` in `{path}`") };
    let failed = refusal(format!("cannot write {what}: {}", reason(error)));
    match error {
        Errno::ENOSPC | Errno::EDQUOT => failed.hint("make the tmpfs larger (its options `size` and `nr_inodes`)"),
        Errno::EFBIG => failed.hint("raise the limit on the size of files (`ulimit -f`)"),
        Errno::EROFS => failed.hint("mount it writable for handfast"),
        _ => failed,
    }
}
