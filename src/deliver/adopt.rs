//! Takes over the set that an earlier keeper has published, as it is.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::AsFd;

use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstatat};

use super::entries::{DATA, Directory, is_generation, open_generation};
use super::files::FilesDirectory;
use super::generation::Generation;
use super::keeper::STATUS;
use super::lock::Patience;
use super::powers::Powers;
use super::turn::Turn;
use crate::error::Result;
use crate::sys::fs::same;

/// No status is longer.
const LONGEST: u64 = 8 << 20;

impl FilesDirectory {
    /// Takes the turn, and takes over the published set: `choose` returns its files if it accepts the earlier keeper's status. Returns
    /// whether the set was taken over; if not, nothing has changed.
    pub fn adopt(
        &mut self,
        powers: &Powers,
        patience: &Patience<'_>,
        choose: impl FnOnce(&[u8]) -> Option<Vec<(usize, String)>>,
    ) -> Result<bool> {
        let Some((directory, mut turn)) = self.begin_turn(powers, patience)? else { return Ok(false) };
        let chosen = status(&turn).and_then(|text| choose(&text));
        let found = chosen.and_then(|files| self.find(&directory, files));
        match found {
            Some(generation) => turn.adopt(generation),
            None => {
                turn.abandon(&directory);
                return Ok(false);
            }
        }
        self.turn = Some(turn);
        Ok(true)
    }

    /// The set that `..data` leads to, if it is ours and has these files, each with the owner and mode that it would get now.
    fn find(&self, directory: &Directory<'_>, files: Vec<(usize, String)>) -> Option<Generation> {
        let name = readlinkat(directory.handle, DATA).ok()?.into_string().ok()?;
        if !is_generation(name.as_bytes()) {
            return None;
        }
        let handle = open_generation(directory.handle, OsStr::new(&name), directory.powers).ok()??;
        let mut found: Vec<(usize, String, FileStat)> = Vec::new();
        for (secret, file) in files {
            let status = fstatat(&handle, file.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
            let reached = fstatat(directory.handle, file.as_str(), AtFlags::empty()).ok()?;
            let access = self.access(secret)?;
            let is_right =
                (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (access.uid, access.gid, access.mode);
            if !is_right || !same(&status, &reached) {
                return None;
            }
            found.push((secret, file, status));
        }
        Some(Generation::of(name, handle, found))
    }
}

fn status(turn: &Turn) -> Option<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(turn.private().as_fd(), STATUS, flags, Mode::empty()).ok()?;
    let mut text = Vec::new();
    std::fs::File::from(file).take(LONGEST).read_to_end(&mut text).ok()?;
    Some(text)
}
