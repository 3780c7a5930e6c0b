//! The mount table, `/proc/thread-self/mountinfo`: bytes that name what others chose, so nothing in it is trusted to be well formed.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::error::{Phase, Result, reason};
use crate::sys;

const TABLE: &str = "/proc/thread-self/mountinfo";
/// Of the table: far more than a machine has mounts for.
const LIMIT: u64 = 1 << 28;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its id.
    pub id: u64,
    /// The device, as major and minor number.
    pub device: (u64, u64),
    /// Where it is mounted, as seen from our root directory.
    pub point: PathBuf,
    /// Whether the mount or its file system is read-only.
    pub read_only: bool,
    /// The file system's name.
    pub filesystem: String,
    /// Whether the file system has the option `noswap`.
    pub no_swap: bool,
}

/// The mount that a descriptor is on.
pub fn mount_of(descriptor: BorrowedFd<'_>) -> Result<Mount> {
    let id = mount_id(descriptor)?;
    let table = read_table()?;
    find(&table, id).ok_or_else(|| super::failure::refusal(format!("cannot find mount {id} in `{TABLE}`")))
}

fn read_table() -> Result<Vec<u8>> {
    let unreadable = |why: String| {
        super::failure::refusal(format!("cannot read `{TABLE}`: {why}"))
            .hint("mount procfs on /proc: what the files directory is on is looked up there")
    };
    let file = File::open(TABLE).map_err(|error| match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => Phase::Deliver.cannot(&format!("read `{TABLE}`"), error),
        _ => unreadable(reason(error)),
    })?;
    if fstatfs(&file).map_err(|error| unreadable(reason(error)))?.filesystem_type() != PROC_SUPER_MAGIC {
        return Err(unreadable("it is not on procfs".into()));
    }
    let mut table = Vec::with_capacity(4096);
    // Asked for no size, which the kernel does not know.
    file.take(LIMIT).read_to_end(&mut table).map_err(|error| unreadable(reason(error)))?;
    Ok(table)
}

/// The id of the mount that a descriptor is on.
pub fn mount_id(descriptor: BorrowedFd<'_>) -> Result<u64> {
    let asked = sys::fs::mount_id(descriptor);
    asked.or_else(|error| mount_id_from_proc(descriptor).ok_or(error)).map_err(|error| {
        super::failure::refusal(format!("cannot tell which mount the files directory is on: {}", reason(error)))
    })
}

/// The same where a filter denies statx.
fn mount_id_from_proc(descriptor: BorrowedFd<'_>) -> Option<u64> {
    let information = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd())).ok()?;
    information.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// The mount with this id in the text of a mount table.
pub fn find(table: &[u8], id: u64) -> Option<Mount> {
    table.split(|byte| *byte == b'\n').filter_map(parse).find(|mount| mount.id == id)
}

/// `36 35 98:0 /root /point ro,noatime shared:1 - ext3 /dev/root rw,errors=continue`: white space in a field is escaped by
/// the kernel, so the fields are what blanks separate, and the first `-` after the sixth ends the optional ones.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let _parent = fields.next()?;
    let mut device = fields.next()?.split(|byte| *byte == b':');
    let device = (number(device.next()?)?, number(device.next()?)?);
    let _root = fields.next()?;
    let point = unescape(fields.next()?);
    let options = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let filesystem = String::from_utf8_lossy(&unescape(fields.next()?)).into_owned();
    let _source = fields.next()?;
    let super_options = fields.next()?;
    Some(Mount {
        id,
        device,
        point: PathBuf::from(OsString::from_vec(point)),
        read_only: has_option(options, "ro") || has_option(super_options, "ro"),
        filesystem,
        no_swap: has_option(super_options, "noswap"),
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn has_option(options: &[u8], name: &str) -> bool {
    options.split(|byte| *byte == b',').any(|option| option == name.as_bytes())
}

/// Turns `\040` and its like back into the byte.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_line_is_read() {
        let line = b"36 35 0:98 /vol /run/my\\040secrets rw,nosuid shared:1 master:2 - tmpfs tmpfs rw,size=64k,noswap";
        let mount = parse(line).unwrap();
        assert_eq!(mount.id, 36);
        assert_eq!(mount.device, (0, 98));
        assert_eq!(mount.point, PathBuf::from("/run/my secrets"));
        assert_eq!(mount.filesystem, "tmpfs");
        assert!(mount.no_swap && !mount.read_only);
    }

    #[test]
    fn read_only_may_be_the_mount_or_the_file_system() {
        assert!(parse(b"1 1 0:1 / /a ro - tmpfs tmpfs rw").unwrap().read_only);
        assert!(parse(b"1 1 0:1 / /a rw - tmpfs tmpfs ro").unwrap().read_only);
        assert!(!parse(b"1 1 0:1 / /a rw - tmpfs tmpfs rw,errors=remount-ro").unwrap().read_only);
    }

    #[test]
    fn hostile_lines_are_not_misread() {
        for line in
            ["", " ", "1", "x 1 0:1 / /a rw - tmpfs t rw", "1 1 0 / /a rw - tmpfs t rw", "1 1 0:1 / /a rw tmpfs"]
        {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
        // A mount point that spells out a whole line keeps being a mount point.
        let line = b"7 1 0:9 / /a\\040-\\040tmpfs\\012\\134040 rw - ext4 /dev/x rw";
        let mount = parse(line).unwrap();
        assert_eq!((mount.filesystem.as_str(), mount.point), ("ext4", PathBuf::from("/a - tmpfs\n\\040")));
        assert_eq!(unescape(b"\\9\\04\\777\\"), b"\\9\\04\\777\\");
        // A device's name may be anything, also `-`, and the file system's name stands before it.
        assert_eq!(parse(b"7 1 0:9 / /a rw - fuse.x - rw").unwrap().filesystem, "fuse.x");
    }

    #[test]
    fn the_mount_of_a_descriptor_is_found_in_both_ways() {
        let directory = std::fs::File::open("/proc").unwrap();
        assert_eq!(mount_of(directory.as_fd()).unwrap().filesystem, "proc");
        assert_eq!(mount_id(directory.as_fd()).ok(), mount_id_from_proc(directory.as_fd()));
    }
}
