//! Takes over the set that an earlier keeper has published, as it is.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use handfast_core::{MAX_SECRET, SecretValue};
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::entries::{DATA, Directory, LinkKind, is_generation, names, open_directory, open_generation};
use super::files::FilesDirectory;
use super::generation::Generation;
use super::keeper::{PRIVATE, STATUS};
use super::lock::Patience;
use super::powers::Powers;
use crate::error::Result;
use crate::plan::Plan;
use crate::sys::fs::{kind, same};

/// No status is longer.
const LONGEST: u64 = 8 << 20;

/// The published set of an earlier keeper.
pub struct EarlierSet {
    /// The name of its generation.
    generation: OsString,
    /// Its files: the secret of each, its name, and the digest of its value; `None` if this process may not read it.
    pub files: Vec<(usize, String, Option<u128>)>,
}

impl EarlierSet {
    /// Finds the published set in the files directory: `choose` returns the secret and the name of each of its files if it accepts the
    /// earlier keeper's status. Takes no turn, so another start may replace the set at any time.
    pub fn find(
        plan: &Plan,
        choose: impl FnOnce(&[u8]) -> Option<Vec<(usize, String)>>,
        digest: impl Fn(&SecretValue) -> u128,
    ) -> Option<Self> {
        let powers = Powers::read().ok()?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let path = &plan.files.as_ref()?.directory;
        let opened = open(path, flags, Mode::empty()).ok()?;
        let path = path.to_string_lossy();
        // No link is made or removed here, so either kind of links is right.
        let directory = Directory::new(opened.as_fd(), &path, LinkKind::Hard, &powers);
        let files = choose(&status(&directory)?)?;
        let (generation, handle) = published(&directory)?;
        let file = |(secret, name): (usize, String)| {
            let digest = value(&handle, &name).map(|value| digest(&value));
            (secret, name, digest)
        };
        Some(Self { generation, files: files.into_iter().map(file).collect() })
    }
}

impl FilesDirectory {
    /// Whether this set could be taken over now.
    pub fn could_adopt(&self, powers: &Powers, set: &EarlierSet) -> bool {
        let directory = |handle| Directory::new(handle, &self.path, self.link_kind, powers);
        let directory = self.handle.as_ref().map(|handle| directory(handle.as_fd()));
        directory.is_some_and(|directory| self.generation(&directory, set).is_some())
    }

    /// Takes the turn, and takes over this set if it is still published. Returns whether it was taken over; if not, nothing has changed.
    pub fn adopt(&mut self, powers: &Powers, patience: &Patience<'_>, set: &EarlierSet) -> Result<bool> {
        let Some((directory, mut turn)) = self.begin_turn(powers, patience)? else { return Ok(false) };
        match self.generation(&directory, set) {
            Some(generation) => turn.adopt(&directory, generation),
            None => {
                turn.abandon(&directory);
                return Ok(false);
            }
        }
        self.turn = Some(turn);
        Ok(true)
    }

    /// The generation of this set, if `..data` leads to it and each file has the owner and mode that it would get now.
    fn generation(&self, directory: &Directory<'_>, set: &EarlierSet) -> Option<Generation> {
        let (name, handle) = published(directory)?;
        if name != set.generation {
            return None;
        }
        let mut found: Vec<(usize, String, FileStat)> = Vec::new();
        for (secret, file, _) in &set.files {
            let status = fstatat(&handle, file.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
            let reached = fstatat(directory.handle, file.as_str(), AtFlags::empty()).ok()?;
            let access = self.access(*secret)?;
            let is_right =
                (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (access.uid, access.gid, access.mode);
            if !is_right || !same(&status, &reached) {
                return None;
            }
            found.push((*secret, file.clone(), status));
        }
        Some(Generation::of(name.into_string().ok()?, handle, found))
    }
}

impl Generation {
    /// The sets of ours that `..data` does not lead to, the oldest first. None where names are hard links, which are known by their sets.
    pub fn replaced(directory: &Directory<'_>) -> Vec<Self> {
        let Ok(published) = readlinkat(directory.handle, DATA) else { return Vec::new() };
        if directory.link_kind == LinkKind::Hard {
            return Vec::new();
        }
        let mut names = names(directory.handle).unwrap_or_default();
        names.retain(|name| is_generation(name.as_encoded_bytes()) && *name != published);
        // Each name begins with the time of its publication.
        names.sort();
        let open = |name: OsString| {
            let handle = open_generation(directory.handle, &name, directory.powers).ok()??;
            Some(Self::of(name.into_string().ok()?, handle, Vec::new()))
        };
        names.into_iter().filter_map(open).collect()
    }
}

/// The name of the generation that `..data` leads to, and the generation, if it is ours.
fn published(directory: &Directory<'_>) -> Option<(OsString, OwnedFd)> {
    let name = readlinkat(directory.handle, DATA).ok().filter(|name| is_generation(name.as_encoded_bytes()))?;
    let handle = open_generation(directory.handle, &name, directory.powers).ok()??;
    Some((name, handle))
}

/// The earlier keeper's status, if only we can have written it.
fn status(directory: &Directory<'_>) -> Option<Vec<u8>> {
    directory.check_private().ok()?;
    let private = open_directory(directory.handle, OsStr::new(PRIVATE)).ok()?;
    // Another user may have exchanged it meanwhile.
    directory.check(&fstat(&private).ok()?).ok()?;
    let mut text = Vec::new();
    open_file(&private, STATUS)?.take(LONGEST).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The value in a file of a generation.
fn value(generation: &OwnedFd, name: &str) -> Option<SecretValue> {
    let mut file = open_file(generation, name)?;
    let status = fstat(&file).ok()?;
    let length = usize::try_from(status.st_size).ok().filter(|length| *length <= MAX_SECRET)?;
    if kind(&status) != SFlag::S_IFREG {
        return None;
    }
    SecretValue::filled(length, |buffer| file.read_exact(buffer)).ok()
}

/// Opens a file for reading, without waiting and following no link.
fn open_file(directory: &OwnedFd, name: &str) -> Option<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::empty()).ok().map(File::from)
}
