//! The files directory of a start, from its first set to the last.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::statvfs::fstatvfs;

use super::entries::{Directory, LinkKind};
use super::failure::warn;
use super::generation::{Generation, NewFile};
use super::keeper::{self, Presence};
use super::lock::Patience;
use super::own_mount::mount_own;
use super::ownership::{self, Access};
use super::powers::Powers;
use super::swap;
use super::turn::Turn;
use crate::error::{Class, Error, Phase, Result};
use crate::plan::{Files, Plan};

/// The room that the status takes while a new one replaces it, in bytes.
const STATUS_ROOM: u64 = 2 * 4096;

/// The files directory of a start, to which it publishes one generation after the other.
pub struct FilesDirectory {
    pub(super) files: Files,
    pub(super) path: String,
    /// `None` until our own tmpfs is mounted.
    pub(super) handle: Option<OwnedFd>,
    /// The device and inode of the directory, before our own tmpfs covers it.
    pub(super) identity: (u64, u64),
    pub(super) accesses: BTreeMap<usize, Access>,
    pub(super) link_kind: LinkKind,
    /// The group that files inherit from the directory.
    pub(super) inherited: Option<u32>,
    pub(super) turn: Option<Turn>,
}

impl FilesDirectory {
    /// A file's access, by secret.
    pub fn access(&self, secret: usize) -> Option<Access> {
        self.accesses.get(&secret).copied()
    }

    /// Publishes a generation of files, after `others` has made the rest of the set. Before the first one, mounts our own tmpfs
    /// where that was decided, and waits for our turn. After a failure the generation before is there as it was.
    pub fn publish<T>(
        &mut self,
        plan: &Plan,
        powers: &Powers,
        new_files: &[NewFile],
        patience: &Patience<'_>,
        others: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let handle = match &self.handle {
            Some(handle) => handle,
            None => self.handle.insert(mount(&self.files, self.identity, plan, powers)?),
        };
        let directory = Directory::new(handle.as_fd(), &self.path, self.link_kind, powers);
        let mut turn = match self.turn.take() {
            Some(turn) => turn,
            None => Turn::begin(&directory, patience)?,
        };
        let published = turn.publish(&directory, new_files, others);
        if published.is_err() && turn.current().is_none() {
            turn.abandon(&directory);
        } else {
            self.turn = Some(turn);
        }
        published
    }

    /// The directory, and our turn in it; `None` where it is still to be mounted.
    pub fn begin_turn<'d>(
        &'d self,
        powers: &'d Powers,
        patience: &Patience<'_>,
    ) -> Result<Option<(Directory<'d>, Turn)>> {
        let Some(handle) = &self.handle else { return Ok(None) };
        let directory = Directory::new(handle.as_fd(), &self.path, self.link_kind, powers);
        let turn = Turn::begin(&directory, patience)?;
        Ok(Some((directory, turn)))
    }

    /// Keeps the turn until lockdown, exec or the end of this process closes the descriptor.
    pub fn keep_turn(self) {
        self.turn.into_iter().for_each(Turn::keep);
    }

    /// The files of the set that is published: the secret of each, and its name.
    pub fn current(&self) -> impl Iterator<Item = (usize, &str)> {
        self.turn.iter().filter_map(Turn::current).flat_map(Generation::names)
    }

    /// Shows that a keeper lives, once its first set is published.
    pub fn announce(&self) -> Result<Presence> {
        let presence = keeper::announce(&self.path, self.private()?)?;
        if let Some(text) = self.room() {
            warn(&text);
        }
        Ok(presence)
    }

    /// Replaces the status file.
    pub fn write_status(&self, status: &[u8]) -> Result<()> {
        keeper::write_status(&self.path, self.private()?, status)
    }

    /// The directory that only we can write, once something is published.
    fn private(&self) -> Result<BorrowedFd<'_>> {
        let nothing = || Error::new(Phase::Deliver, Class::Internal, "nothing is published");
        self.turn.as_ref().map(Turn::private).ok_or_else(nothing)
    }

    /// Removes the sets whose grace is over, and returns when the next one's is.
    pub fn tidy(&mut self, powers: &Powers, now: Duration) -> Option<Duration> {
        let directory = Directory::new(self.handle.as_ref()?.as_fd(), &self.path, self.link_kind, powers);
        self.turn.as_mut()?.tidy(&directory, now)
    }

    /// The capabilities that later sets need.
    pub fn capabilities(&self, powers: &Powers) -> u64 {
        ownership::needed_later(self.accesses.values(), self.link_kind, self.inherited, powers)
    }

    /// The numbers of our own descriptors of it.
    pub fn numbers(&self) -> Vec<RawFd> {
        let turn = self.turn.iter().flat_map(Turn::numbers);
        self.handle.iter().map(AsRawFd::as_raw_fd).chain(turn).collect()
    }

    /// The warning for a directory without room for one more set.
    fn room(&self) -> Option<String> {
        let (handle, current) = (self.handle.as_ref()?, self.turn.as_ref()?.current()?);
        let space = fstatvfs(handle).ok().filter(|space| space.blocks() > 0)?;
        let free = space.blocks_available() as u64 * space.fragment_size() as u64;
        let needed = current.size();
        // The status is there twice while a new one replaces it.
        (free < needed + STATUS_ROOM).then(|| {
            format!(
                "`{}` has {} KiB left, and the secrets take {} KiB: a change needs room for both sets, so make it larger",
                self.path,
                free >> 10,
                needed.div_ceil(1 << 10)
            )
        })
    }
}

fn mount(files: &Files, identity: (u64, u64), plan: &Plan, powers: &Powers) -> Result<OwnedFd> {
    let (handle, medium) = mount_own(&files.directory, identity, files.size, powers)?;
    // Before the fetch, `noswap` was expected to work, so swap was not judged then.
    if medium.can_be_swapped() && kernel_has_noswap() {
        let target = format!("`{}`", files.directory.display());
        let warning = swap::judge(plan.swap, swap::read(), &[target])?;
        warning.iter().for_each(|text| warn(text));
    }
    Ok(handle)
}

/// Whether this kernel's tmpfs knows `noswap` (6.4).
pub fn kernel_has_noswap() -> bool {
    nix::sys::utsname::uname().is_ok_and(|system| version(&system.release().to_string_lossy()) >= Some((6, 4)))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_compared_as_numbers() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert!(version("6.10.0") >= Some((6, 4)) && version("5.10.0") < Some((6, 4)) && version("x") < Some((6, 4)));
    }
}
