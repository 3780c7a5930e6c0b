//! Notices at once that local files have changed (inotify(7)): written, replaced, or reached by another link on their way, as the
//! kubelet changes them.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::time::{Instant, sleep_until};

use crate::sys::readable::Readable;

/// How long to collect changes of files: a file that is written without a pause causes one read in this time.
const PAUSE: Duration = Duration::from_millis(100);

/// In place of an entry's name: the watch is for the directory itself, which may be moved away.
const ITSELF: &str = "";

/// The most links on the way to a file, as in the kernel.
const MOST_LINKS: u32 = 40;

/// Where the kernel reports changes; `None` where there is no file to watch, or the kernel refuses, and the files are only read again
/// at their time.
pub fn open(files: &[(usize, PathBuf)]) -> Option<Inotify> {
    if files.is_empty() {
        return None;
    }
    let opened = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
    opened.inspect_err(|error| untold("files", *error)).ok()
}

/// The watched files.
pub struct Files<'i> {
    inotify: &'i Inotify,
    readable: Readable<'i>,
    /// Each with the request that reads it.
    files: Vec<(usize, PathBuf)>,
    /// By watched directory.
    places: BTreeMap<WatchDescriptor, Place>,
    /// No event is read before this time.
    not_before: Instant,
    /// The directories for which a log line says that they cannot be watched.
    untold: BTreeSet<PathBuf>,
}

/// A watched directory.
struct Place {
    path: PathBuf,
    /// The entries on the way to a file, each with the file's index. [`ITSELF`] where the way only leads through.
    entries: BTreeSet<(OsString, usize)>,
}

impl<'i> Files<'i> {
    /// Begins to watch these files. Earlier changes are not noticed.
    pub fn watch(inotify: &'i Inotify, files: Vec<(usize, PathBuf)>) -> io::Result<Self> {
        let readable = Readable::of(inotify.as_fd())?;
        let (places, untold) = (BTreeMap::new(), BTreeSet::new());
        let mut watched = Self { inotify, readable, files, places, not_before: Instant::now(), untold };
        watched.follow(&(0..watched.files.len()).collect());
        Ok(watched)
    }

    /// The requests whose files have changed since.
    pub async fn changed(&mut self) -> io::Result<Vec<usize>> {
        sleep_until(self.not_before).await;
        loop {
            let mut ready = self.readable.wait().await?;
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => {
                    ready.clear_ready();
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            drop(ready);
            let changed: BTreeSet<usize> = events.iter().flat_map(|event| self.concerned(event)).collect();
            if !changed.is_empty() {
                self.not_before = Instant::now() + PAUSE;
                self.follow(&changed);
                return Ok(changed.into_iter().map(|file| self.files[file].0).collect());
            }
        }
    }

    /// The files that an event is about.
    fn concerned(&mut self, event: &InotifyEvent) -> Vec<usize> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return (0..self.files.len()).collect();
        }
        let Some(place) = self.places.get(&event.wd) else { return Vec::new() };
        let is_meant = |entry: &OsStr| event.name.as_deref().is_none_or(|name| name == entry);
        // A new file is empty until its writer closes it; one with two names is not new.
        let is_begun = |name: &OsStr| {
            fs::symlink_metadata(place.path.join(name)).is_ok_and(|found| found.is_file() && found.nlink() == 1)
        };
        let concerned = match &event.name {
            Some(name) if event.mask.contains(AddWatchFlags::IN_CREATE) && is_begun(name) => Vec::new(),
            _ => place.entries.iter().filter(|(entry, _)| is_meant(entry)).map(|(_, file)| *file).collect(),
        };
        // The directory is gone, and its watch with it.
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.places.remove(&event.wd);
        }
        concerned
    }

    /// Watches the paths to the files of these requests as they are now: inotify does not report every change of a path, such as a
    /// mount.
    pub fn look_again(&mut self, jobs: &[usize]) {
        let files = (0..self.files.len()).filter(|file| jobs.contains(&self.files[*file].0)).collect();
        self.follow(&files);
    }

    /// Watches the paths to these files as they are now, and ends the watches that are no longer needed.
    fn follow(&mut self, files: &BTreeSet<usize>) {
        for place in self.places.values_mut() {
            place.entries.retain(|(_, file)| !files.contains(file));
        }
        for file in files {
            for (directory, entry) in way(&self.files[*file].1) {
                match self.inotify.add_watch(&directory, events(&entry)) {
                    Ok(number) => {
                        let place = Place { path: directory, entries: BTreeSet::new() };
                        self.places.entry(number).or_insert(place).entries.insert((entry, *file));
                    }
                    // A directory that may be entered and not read cannot be watched.
                    Err(error) if entry != ITSELF && self.untold.insert(directory.clone()) => {
                        untold(&format!("`{}`", directory.display()), error);
                    }
                    Err(_) => {}
                }
            }
        }
        for (number, _) in self.places.extract_if(.., |_, place| place.entries.is_empty()) {
            // A directory that is gone has no watch any more.
            if let Err(error) = self.inotify.rm_watch(number)
                && error != Errno::EINVAL
            {
                handfast_core::debug!("cannot end the watch of a directory: {error}");
            }
        }
    }
}

/// The events to watch for: of a directory's entries, and of the directory itself. They are added to the events of an existing watch.
fn events(entry: &OsStr) -> AddWatchFlags {
    let itself = AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR
        | AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD);
    if entry == ITSELF {
        return itself;
    }
    itself
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVE
}

/// Every entry that decides which file a path leads to, with its directory: the links on the path, and the file, or the first missing
/// component. And every directory that the path leads through.
fn way(path: &Path) -> Vec<(PathBuf, OsString)> {
    let parts = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<VecDeque<_>>();
    let (mut directory, mut left, mut links) = (PathBuf::from("/"), parts(path), 0);
    let mut entries = Vec::new();
    while let Some(part) = left.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => directory = "/".into(),
            Some(Component::ParentDir) => drop(directory.pop()),
            Some(Component::Normal(_)) => {
                let entry = directory.join(&part);
                let found = fs::symlink_metadata(&entry);
                let target = match &found {
                    Ok(found) if found.is_symlink() && links < MOST_LINKS => fs::read_link(&entry).ok(),
                    _ => None,
                };
                match target {
                    Some(target) => {
                        links += 1;
                        entries.push((directory.clone(), part));
                        parts(&target).into_iter().rev().for_each(|part| left.push_front(part));
                    }
                    None if left.is_empty() || !found.as_ref().is_ok_and(fs::Metadata::is_dir) => {
                        entries.push((directory, part));
                        return entries;
                    }
                    None => {
                        entries.push((entry.clone(), ITSELF.into()));
                        directory = entry;
                    }
                }
            }
            _ => {}
        }
    }
    entries
}

fn untold(what: &str, error: Errno) {
    tracing::info!(target: "handfast", "changes of {what} are not noticed at once, but at `refresh`: {}", crate::error::reason(error));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_way_to_a_file_is_all_that_can_lead_elsewhere() {
        let place = std::env::temp_dir().join(format!("handfast-way-{}", std::process::id()));
        let place = fs::canonicalize(std::env::temp_dir()).unwrap().join(place.file_name().unwrap());
        fs::create_dir_all(place.join("..1")).unwrap();
        fs::write(place.join("..1/db"), "x").unwrap();
        symlink("..1", place.join("..data")).unwrap();
        symlink("..data/db", place.join("db")).unwrap();
        symlink("loop", place.join("loop")).unwrap();
        symlink("../../tmp/..", place.join("up")).unwrap();
        let way = |name: &str| {
            let named = |(directory, entry): (PathBuf, OsString)| {
                let below = directory.strip_prefix(&place).map_or(directory.clone(), Path::to_owned);
                (below.display().to_string(), entry.into_string().unwrap())
            };
            let way = way(&place.join(name)).into_iter().filter(|(at, name)| name != ITSELF || at.starts_with(&place));
            way.map(named).collect::<Vec<_>>()
        };
        let through = |at: &str| (at.to_owned(), ITSELF.to_owned());
        let entry = |at: &str, name: &str| (at.to_owned(), name.to_owned());
        assert_eq!(way("db"), [through(""), entry("", "db"), entry("", "..data"), through("..1"), entry("..1", "db")]);
        assert_eq!(way("missing/file"), [through(""), entry("", "missing")]);
        assert_eq!(way("..1/db/no"), [through(""), through("..1"), entry("..1", "db")]);
        assert_eq!(way("loop").len(), 42, "it ends");
        assert_eq!(way("up/etc")[1], entry("", "up"));
        fs::remove_dir_all(&place).unwrap();
    }
}
