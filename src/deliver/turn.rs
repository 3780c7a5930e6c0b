//! This process' turn to write into the files directory, and the sets that it has published there.
#![forbid(unsafe_code)]

use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use super::entries::Directory;
use super::generation::{Generation, NewFile};
use super::keeper;
use super::leftovers;
use super::lock::{Lock, Patience};
use crate::error::Result;
use crate::sys::clock::boot_time;

/// How long a set stays after another has replaced it, for readers that were on their way through the old `..data`.
const GRACE: Duration = Duration::from_secs(60);

/// How many such sets stay at most: each holds a descriptor. With the default of `quiet`, no more are replaced within [`GRACE`].
const MOST_BEFORE: usize = 32;

/// The turn of this process.
pub struct Turn {
    lock: Lock,
    /// The set that is published.
    current: Option<Generation>,
    /// The sets before it, and until when each stays.
    before: Vec<(Generation, Duration)>,
}

impl Turn {
    /// Waits until it is our turn.
    pub fn begin(directory: &Directory<'_>, patience: &Patience<'_>) -> Result<Self> {
        let lock = directory.take_turn(patience)?;
        if lock.has_leftovers {
            leftovers::clean_private(directory, lock.private());
        }
        Ok(Self { lock, current: None, before: Vec::new() })
    }

    /// The directory that only we can write.
    pub fn private(&self) -> BorrowedFd<'_> {
        self.lock.private()
    }

    /// The numbers of our own descriptors of it.
    pub fn numbers(&self) -> Vec<RawFd> {
        let generations = self.before.iter().map(|(generation, _)| generation).chain(&self.current);
        self.lock.numbers().into_iter().chain(generations.map(Generation::number)).collect()
    }

    /// Takes over the set that an earlier keeper has published last. The sets that it has replaced stay for a while.
    pub fn adopt(&mut self, directory: &Directory<'_>, generation: Generation) {
        self.find_replaced(directory);
        self.keep_latest(directory, MOST_BEFORE);
        self.current = Some(generation);
    }

    /// The set that is published.
    pub fn current(&self) -> Option<&Generation> {
        self.current.as_ref()
    }

    /// Publishes a set, after `others` has made the rest of it.
    pub fn publish<T>(
        &mut self,
        directory: &Directory<'_>,
        new_files: &[NewFile],
        others: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.tidy(directory, boot_time());
        let written = match Generation::write(directory, &self.lock, new_files, self.current.as_ref()) {
            Err(_) if self.make_room(directory) => {
                Generation::write(directory, &self.lock, new_files, self.current.as_ref())
            }
            written => written,
        };
        let generation = written?;
        let others = others().inspect_err(|_| generation.discard(directory, &self.lock))?;
        if self.current.is_none() {
            // The earlier keeper's status describes the set that is replaced now.
            keeper::remove_status(directory.path, self.private())
                .inspect_err(|_| generation.discard(directory, &self.lock))?;
        }
        let before = self.before.iter().map(|(generation, _)| generation).chain(&self.current);
        generation.publish(directory, &self.lock, before)?;
        if let Some(replaced) = self.current.replace(generation) {
            self.before.push((replaced, boot_time() + GRACE));
        }
        self.keep_latest(directory, MOST_BEFORE);
        Ok(others)
    }

    /// Removes every set that is not published any more. Returns whether there was one.
    fn make_room(&mut self, directory: &Directory<'_>) -> bool {
        if self.current.is_none() {
            self.find_replaced(directory);
        }
        let was_any = !self.before.is_empty();
        self.keep_latest(directory, 0);
        was_any
    }

    /// Finds the sets that a keeper has replaced and could not remove, because it was killed.
    fn find_replaced(&mut self, directory: &Directory<'_>) {
        let until = boot_time() + GRACE;
        self.before = Generation::replaced(directory).into_iter().map(|generation| (generation, until)).collect();
    }

    /// Removes all earlier sets but the latest `count`: readers need seconds, and a new set needs the room.
    fn keep_latest(&mut self, directory: &Directory<'_>, count: usize) {
        for (generation, _) in self.before.drain(..self.before.len().saturating_sub(count)) {
            generation.discard(directory, &self.lock);
        }
    }

    /// Removes the sets whose grace is over, and returns when the next one's is.
    pub fn tidy(&mut self, directory: &Directory<'_>, now: Duration) -> Option<Duration> {
        for (generation, _) in self.before.extract_if(.., |(_, until)| *until <= now) {
            generation.discard(directory, &self.lock);
        }
        self.before.iter().map(|(_, until)| *until).min()
    }

    /// Ends the turn of a failed start, and removes the entries that only this start has made.
    pub fn abandon(self, directory: &Directory<'_>) {
        self.lock.abandon(directory);
    }

    /// Keeps the turn until lockdown, exec or the end of this process closes the descriptor.
    pub fn keep(self) {
        self.lock.keep();
    }
}
