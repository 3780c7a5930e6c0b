//! Who may write one file or directory, by its owner, mode, access list, file system and mount.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::sys::stat::{FileStat, Mode};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, PROC_SUPER_MAGIC, SYSFS_MAGIC, Statfs, fstatfs};
use nix::sys::statvfs::FsFlags;

use super::rules::{Refusal, Trust};
use super::suspect::{Fault, Kind, Suspect};
use crate::sys;
use crate::sys::access_list::{AccessList, Holder, WRITE};

/// Why no file on this file system is trusted; `None` if the file system is not the reason.
pub fn no_file_at_all(descriptor: BorrowedFd<'_>, trust: Trust) -> Result<Option<Fault>, Refusal> {
    Ok(no_system_at_all(descriptor, &fstatfs(descriptor)?, trust)?)
}

fn no_system_at_all(descriptor: BorrowedFd<'_>, system: &Statfs, trust: Trust) -> io::Result<Option<Fault>> {
    Ok(match system.filesystem_type() {
        // The command line of every process is a file there, which root owns if the process is not dumpable.
        PROC_SUPER_MAGIC => Some(Fault::Kernel("procfs")),
        SYSFS_MAGIC => Some(Fault::Kernel("sysfs")),
        // The program behind the mount chooses owner, mode and content.
        FUSE_SUPER_MAGIC => match fuse_user(descriptor) {
            Ok(user) => Some(Fault::Fuse(user)).filter(|_| !trust.believes(user)),
            Err(error) => Some(Fault::Unseen(crate::error::reason(error))),
        },
        _ => None,
    })
}

/// Who may change a file or directory without being trusted. A sticky directory is no suspect, because only the owner of an entry
/// can change the entry; [`others_may_link`] checks the rest.
pub fn suspect(
    descriptor: BorrowedFd<'_>,
    path: &Path,
    status: &FileStat,
    kind: Kind,
    trust: Trust,
) -> Result<Option<Suspect>, Refusal> {
    let system = fstatfs(descriptor)?;
    let found = match no_system_at_all(descriptor, &system, trust)? {
        Some(fault) => Some(fault),
        None => fault(descriptor, status, kind, &system, trust),
    };
    Ok(found.map(|fault| Suspect::new(path, status, kind, fault)))
}

fn fault(descriptor: BorrowedFd<'_>, status: &FileStat, kind: Kind, system: &Statfs, trust: Trust) -> Option<Fault> {
    let read_only = is_read_only(system);
    if !trust.believes(status.st_uid) {
        return Some(Fault::Owner { read_only });
    }
    // If the mode lets only the owner write, no access list lets anybody else write: the group's bits mask it.
    let is_sticky = kind == Kind::Directory && status.st_mode & Mode::S_ISVTX.bits() != 0;
    if read_only || is_sticky || status.st_mode & 0o022 == 0 {
        return None;
    }
    if status.st_mode & 0o002 != 0 {
        return Some(Fault::Everybody);
    }
    match AccessList::read(descriptor) {
        Ok(None) => Some(Fault::Group),
        Ok(Some(list)) => writer(&list, status, trust),
        Err(error) => Some(Fault::Unseen(crate::error::reason(error))),
    }
}

/// Whether somebody who is not trusted may put a link into this directory, which [`suspect`] accepted because it is sticky.
pub fn others_may_link(descriptor: BorrowedFd<'_>, status: &FileStat) -> Result<bool, Refusal> {
    let writable = status.st_mode & 0o022 != 0;
    Ok(writable && status.st_mode & Mode::S_ISVTX.bits() != 0 && !is_read_only(&fstatfs(descriptor)?))
}

fn is_read_only(system: &Statfs) -> bool {
    system.flags().contains(FsFlags::ST_RDONLY)
}

/// The first untrusted holder of the right to write in this access list.
fn writer(list: &AccessList, status: &FileStat, trust: Trust) -> Option<Fault> {
    let mut faults = list.holders(WRITE).filter_map(|holder| match holder {
        Holder::User(id) if !trust.believes(id) => Some((Fault::ListedUser(id), false)),
        Holder::GroupOfFile => Some((Fault::Group, status.st_gid == 0)),
        Holder::Group(id) => Some((Fault::ListedGroup(id), id == 0)),
        Holder::Owner | Holder::User(_) | Holder::Others => None,
    });
    // Group 0 matters only if the app is a member. So a holder that matters in any case is preferred.
    let first = faults.next()?;
    let certain = if first.1 { faults.find(|(_, is_root)| !is_root) } else { None };
    Some(certain.unwrap_or(first).0)
}

/// The uid whose program serves a FUSE mount, from the mount table; root if the table names none.
fn fuse_user(descriptor: BorrowedFd<'_>) -> io::Result<u32> {
    let id = sys::fs::mount_id(descriptor)?;
    let table = std::fs::read("/proc/thread-self/mountinfo")?;
    mounting_user(&table, id).ok_or_else(|| io::Error::other("the mount table does not have its mount"))
}

/// The option `user_id` of the mount with this id; 0 if it has none. Type, source and options follow ` - `.
fn mounting_user(table: &[u8], id: u64) -> Option<u32> {
    let id = format!("{id} ");
    let line = table.split(|byte| *byte == b'\n').find(|line| line.starts_with(id.as_bytes()))?;
    let options = line.rsplit(|byte| *byte == b' ').next()?;
    let user = options.split(|byte| *byte == b',').find_map(|option| option.strip_prefix(b"user_id="));
    match user {
        None => Some(0),
        Some(user) => std::str::from_utf8(user).ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::access_list;

    fn writer_of(gid: u32, owner: u32, entries: &[(u16, u16, u32)]) -> Option<Fault> {
        let mut status = nix::sys::stat::stat("/").expect("it is there");
        status.st_gid = gid;
        writer(&access_list::list(entries), &status, Trust { owner })
    }

    const NOBODY: u32 = u32::MAX;
    const BASE: [(u16, u16, u32); 3] = [(1, 6, NOBODY), (4, 4, NOBODY), (32, 4, NOBODY)];

    fn with(entries: &[(u16, u16, u32)]) -> Vec<(u16, u16, u32)> {
        [&BASE[..], entries].concat()
    }

    #[test]
    fn an_access_list_is_read_with_its_mask() {
        assert_eq!(writer_of(0, 0, &BASE), None);
        assert_eq!(writer_of(0, 0, &with(&[(2, 6, 1000), (16, 6, NOBODY)])), Some(Fault::ListedUser(1000)));
        assert_eq!(writer_of(0, 0, &with(&[(8, 6, 77), (16, 6, NOBODY)])), Some(Fault::ListedGroup(77)));
        assert_eq!(writer_of(5, 0, &[(4, 6, NOBODY), (16, 7, NOBODY)]), Some(Fault::Group));
        // Entries without the right to write, by themselves or by the mask; and trusted users.
        assert_eq!(writer_of(0, 0, &with(&[(2, 5, 1000), (8, 4, 77), (16, 7, NOBODY)])), None);
        assert_eq!(writer_of(0, 0, &with(&[(2, 6, 1000), (8, 7, 77), (16, 5, NOBODY)])), None);
        assert_eq!(writer_of(0, 1000, &with(&[(2, 6, 1000), (2, 7, 0), (16, 7, NOBODY)])), None);
    }

    #[test]
    fn who_counts_in_any_case_is_told_before_group_0() {
        let entries = [(4, 6, NOBODY), (8, 6, 0), (8, 6, 77), (16, 6, NOBODY)];
        assert_eq!(writer_of(0, 0, &entries), Some(Fault::ListedGroup(77)));
        assert_eq!(writer_of(0, 0, &entries[..2]), Some(Fault::Group));
        assert_eq!(writer_of(5, 0, &[(8, 6, 0)]), Some(Fault::ListedGroup(0)));
    }

    #[test]
    fn the_mount_table_tells_who_plays_a_file_system() {
        let table = b"361 36 0:5 / /a rw - tmpfs t rw\n36 1 0:9 / /mnt\\040x ro shared:1 - fuse.a src ro,user_id=1000,group_id=0\n\
                      7 1 0:9 / /v rw - virtiofs v rw\n8 1 0:9 / /w rw - fuse w rw,user_id=x\n";
        assert_eq!(mounting_user(table, 36), Some(1000));
        assert_eq!(mounting_user(table, 7), Some(0));
        assert_eq!(mounting_user(table, 361), Some(0));
        assert_eq!((mounting_user(table, 8), mounting_user(table, 3)), (None, None));
    }
}
