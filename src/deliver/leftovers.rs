//! Removes the entries that an earlier start left: moves each out of the files directory first, because only in our private directory
//! nobody else can replace it.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat, renameat};
use nix::sys::stat::{SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::entries::{self, DATA, Directory, MARK, is_generation, open_generation};
use super::failure::{errno, leftover, warn};
use super::lock::{Lock, is_at};
use crate::plan::valid_name;
use crate::sys::fs::{Taken, kind, rename, same};

/// How long a replaced set stays for the app that was started with it: it may have followed the old `..data` and not have opened
/// its file yet. On a busy machine it waits for a processor some ten milliseconds in between.
const GRACE_OF_CONCURRENT: Duration = Duration::from_millis(50);

/// The same where no start was in our way, and the set is younger than [`YOUNG`].
const GRACE_OF_YOUNG: Duration = Duration::from_millis(3);
const YOUNG: Duration = Duration::from_millis(100);

/// The prefixes of staged entries in a generation, which wait to get a name or to be removed.
const STAGED: [&[u8]; 2] = [b"..link_", b"..taken_"];

/// How many leftovers that cannot be removed get a warning each.
const MOST_WARNINGS: usize = 8;

/// Removes our links and generations, except for `links` and `generations`. The set is published by now, so an entry that cannot be
/// removed is a warning and no failure. `published` is the generation of the set.
pub fn clean_up(
    directory: &Directory<'_>,
    lock: &Lock,
    published: BorrowedFd<'_>,
    generations: &[&str],
    links: &HashSet<&[u8]>,
) {
    let names = match entries::names(directory.handle) {
        Ok(names) => names,
        Err(error) => return warn(&leftover(directory.path, OsStr::new("..handfast_*"), error)),
    };
    let (found, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| is_generation(name.as_bytes()));
    // Names first: a hard link is known as ours by the generation that it leads to.
    let others = |name: &&OsString| !links.contains(name.as_bytes()) && name.as_os_str() != DATA;
    for name in names.iter().filter(others) {
        if directory.is_ours(name, (directory.handle, name))
            && let Err(error) = remove_name(directory, published, name)
        {
            warn(&leftover(directory.path, name, error));
        }
    }
    let is_kept = |name: &OsString| generations.iter().any(|kept| name == kept);
    let older: Vec<&OsString> = found.iter().filter(|name| !is_kept(name)).collect();
    if older.iter().any(|name| lock.has_waited || is_young(directory, name)) {
        std::thread::sleep(if lock.has_waited { GRACE_OF_CONCURRENT } else { GRACE_OF_YOUNG });
    }
    let stay: Vec<String> =
        older.into_iter().filter_map(|name| remove_older(directory, lock.private(), name).err()).collect();
    stay.iter().take(MOST_WARNINGS).for_each(|why| warn(why));
    if stay.len() > MOST_WARNINGS {
        let more = stay.len() - MOST_WARNINGS;
        warn(&format!("cannot remove {more} more leftovers in `{}`", directory.path));
    }
}

/// Whether a set was made just now, by a start whose app may be about to read it.
fn is_young(directory: &Directory<'_>, name: &OsStr) -> bool {
    let made = fstatat(directory.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(|status| {
        UNIX_EPOCH
            + Duration::new(status.st_ctime.unsigned_abs(), u32::try_from(status.st_ctime_nsec).unwrap_or_default())
    });
    made.is_ok_and(|made| SystemTime::now().duration_since(made).is_ok_and(|age| age < YOUNG))
}

/// Removes the generations of a start that was killed before it published its set, or while it removed another.
pub fn clean_private(directory: &Directory<'_>, private: BorrowedFd<'_>) {
    for name in entries::names(private).unwrap_or_default().iter().filter(|name| is_generation(name.as_bytes())) {
        let remove = || match open_generation(private, name, directory.powers)? {
            Some(handle) => remove_generation(private, name, &handle),
            // Made and not marked yet, or no more.
            None => match unlinkat(private, name.as_os_str(), UnlinkatFlags::RemoveDir) {
                Err(Errno::ENOTDIR) => Ok(()),
                done => done,
            },
        };
        if let Err(error) = remove() {
            warn(&leftover(directory.path, name, error));
        }
    }
}

/// Removes a name of ours, and puts it back if it is another's by now. Moves it into the generation first: if this process is killed,
/// the entry is removed with the generation.
pub fn remove_name(directory: &Directory<'_>, generation: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    let moved = taken_name();
    let (here, there) = ((generation, OsStr::new(&moved)), (directory.handle, name));
    renameat(there.0, there.1, here.0, here.1)?;
    if directory.is_ours(name, here) {
        unlinkat(here.0, here.1, UnlinkatFlags::NoRemoveDir)
    } else {
        put_back(here, there)
    }
}

/// Removes a generation of an earlier start, if it is ours. Else the text that says what stays.
fn remove_older(directory: &Directory<'_>, private: BorrowedFd<'_>, name: &OsStr) -> Result<(), String> {
    let failed = |error| leftover(directory.path, name, error);
    match open_generation(directory.handle, name, directory.powers) {
        Ok(Some(handle)) => take_out(directory.handle, private, name, &handle).map_err(failed),
        Ok(None) => match fstatat(directory.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) if kind(&status) == SFlag::S_IFDIR => Err(format!(
                "cannot remove the leftover `{}` in `{}`: it is a directory of uid {} that handfast did not make",
                name.display(),
                directory.path,
                status.st_uid
            )),
            _ => Ok(()),
        },
        Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Removes an opened generation from where others could rename it.
pub fn take_out(from: BorrowedFd<'_>, private: BorrowedFd<'_>, name: &OsStr, handle: &OwnedFd) -> nix::Result<()> {
    renameat(from, name, private, name)?;
    let opened = fstat(handle)?;
    if !fstatat(private, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|found| same(&found, &opened)) {
        return put_back((private, name), (from, name));
    }
    remove_generation(private, name, handle)
}

/// Removes a generation from the directory that only we can write.
pub fn remove_generation(private: BorrowedFd<'_>, name: &OsStr, handle: &OwnedFd) -> nix::Result<()> {
    let names = entries::names(handle.as_fd())?;
    let unlink = |name: &OsStr| match unlinkat(handle, name, UnlinkatFlags::NoRemoveDir) {
        // A directory in it is not ours, and is neither entered nor removed.
        Ok(()) | Err(Errno::ENOENT | Errno::EISDIR) => Ok(()),
        Err(error) => Err(error),
    };
    // Staged entries first: a hard link is recognised by the file that it leads to.
    let (files, staged): (Vec<_>, Vec<_>) =
        names.iter().partition(|name| name.to_str().is_some_and(valid_name) || name.as_os_str() == MARK);
    for name in staged.into_iter().filter(|name| is_staged(handle.as_fd(), name)) {
        unlink(name)?;
    }
    // The mark last: a process that is killed before leaves a generation that is recognised as ours.
    for name in files.into_iter().filter(|name| name.as_os_str() != MARK) {
        unlink(name)?;
    }
    // Entries of others stay, and so does the mark: the next start tries again.
    if entries::names(handle.as_fd())?.iter().any(|name| name.as_os_str() != MARK) {
        return Err(Errno::ENOTEMPTY);
    }
    unlink(OsStr::new(MARK))?;
    unlinkat(private, name, UnlinkatFlags::RemoveDir)
}

/// Whether an entry of a generation is a link that waited there to be published, or what it has replaced: a hard link to a file of
/// ours, of this set or of an older one.
fn is_staged(generation: BorrowedFd<'_>, name: &OsStr) -> bool {
    let Ok(status) = fstatat(generation, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { return false };
    let is_by_name = STAGED.iter().any(|start| name.as_bytes().starts_with(start));
    let is_ours = || fstat(generation).is_ok_and(|generation| generation.st_uid == status.st_uid);
    match kind(&status) {
        SFlag::S_IFREG if is_by_name && is_ours() => true,
        SFlag::S_IFLNK => readlinkat(generation, name).is_ok_and(|target| target.as_bytes().starts_with(b"..")),
        SFlag::S_IFREG => entries::names(generation)
            .unwrap_or_default()
            .iter()
            .filter_map(|file| file.to_str().filter(|file| valid_name(file)))
            .any(|file| is_at(generation, file, &status)),
        _ => false,
    }
}

/// Puts back an entry that was moved out and is not ours, under another name if its own was taken meanwhile: no entry of others stays in
/// our directory. Logs nothing, because the entry was never handfast's.
fn put_back((private, at): (BorrowedFd<'_>, &OsStr), (to, name): (BorrowedFd<'_>, &OsStr)) -> nix::Result<()> {
    let put = |name| rename((private, at), (to, name), Taken::Refuse).map_err(errno);
    match put(name) {
        Err(Errno::EEXIST) => put(OsStr::new(&taken_name())),
        put => put,
    }
}

/// No file's name starts with a dot.
fn taken_name() -> String {
    format!("..taken_{:016x}", fastrand::u64(..))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn what_is_not_ours_leaves_our_directory_also_where_its_name_was_taken() {
        let place = std::env::temp_dir().join(format!("handfast-leftovers-{}", std::process::id()));
        let (private, outside) = (place.join("private"), place.join("outside"));
        for directory in [private.join("..taken_1"), private.join("..handfast_1"), outside.join("a")] {
            fs::create_dir_all(directory).unwrap();
        }
        let (from, to) = (File::open(&private).unwrap(), File::open(&outside).unwrap());
        for moved in ["..taken_1", "..handfast_1"] {
            put_back((from.as_fd(), moved.as_ref()), (to.as_fd(), "a".as_ref())).unwrap();
        }
        put_back((to.as_fd(), "a".as_ref()), (to.as_fd(), "b".as_ref())).unwrap();
        assert_eq!(fs::read_dir(&private).unwrap().count(), 0);
        let mut names = entries::names(to.as_fd()).unwrap();
        names.sort();
        assert_eq!((names.len(), &names[2]), (3, &OsString::from("b")));
        assert!(names[..2].iter().all(|name| name.as_bytes().starts_with(b"..taken_")), "{names:?}");
        fs::remove_dir_all(&place).unwrap();
    }
}
