//! Files that are never read, whatever their mode.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat, major, minor};
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, TMPFS_MAGIC, fstatfs};

/// `RAMFS_MAGIC`: in a kernel without tmpfs, devtmpfs is a ramfs.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Why a file must not be read, as the end of "it is …". `None` if it may be read.
///
/// procfs, sysfs and devtmpfs contain no secrets, but files that show the reader's own memory and environment. A hostile
/// reference could deliver these as a secret.
pub fn reason(file: impl AsFd) -> Result<Option<&'static str>, Errno> {
    let stat = fstat(&file)?;
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => {}
        SFlag::S_IFDIR => return Ok(Some("a directory")),
        _ => return Ok(Some("not a regular file")),
    }
    let filesystem = fstatfs(&file)?.filesystem_type();
    if filesystem == PROC_SUPER_MAGIC || filesystem == SYSFS_MAGIC {
        return Ok(Some("on procfs or sysfs"));
    }
    // devtmpfs has the magic number of tmpfs or ramfs, so only files on these need the longer check.
    if filesystem != TMPFS_MAGIC && filesystem != RAMFS_MAGIC {
        return Ok(None);
    }
    Ok(match std::fs::read("/proc/self/mountinfo") {
        Ok(mounts) => lists_as_devtmpfs(&mounts, &device(&stat)).then_some("on devtmpfs"),
        Err(_) => Some("perhaps on devtmpfs: /proc/self/mountinfo cannot be read"),
    })
}

fn device(stat: &FileStat) -> String {
    format!("{}:{}", major(stat.st_dev), minor(stat.st_dev))
}

/// Whether the mount table lists a devtmpfs with this device number. There is only one devtmpfs, with one device number, however
/// often it is mounted; and every reachable file is on a mount.
///
/// Reads proc_pid_mountinfo(5): the third field is the device, and the type follows a lone `-`. Spaces inside a field are
/// written as `\040`; the rest may be any bytes.
fn lists_as_devtmpfs(mounts: &[u8], device: &str) -> bool {
    mounts.split(|byte| *byte == b'\n').any(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        fields.nth(2) == Some(device.as_bytes())
            && fields.find(|field| field == b"-").and_then(|_| fields.next()) == Some(b"devtmpfs")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        21 27 0:19 / /sys rw,nosuid - sysfs sysfs rw\n\
        24 27 0:6 / /dev rw,relatime shared:2 master:1 - devtmpfs devtmpfs rw,size=12334460k,mode=755\n\
        25 24 0:23 / /dev/shm rw - tmpfs devtmpfs rw\n\
        31 27 0:60 /a\\040-\\040devtmpfs\\040b /run/\u{e9} rw - tmpfs tmpfs rw\n";

    #[test]
    fn devtmpfs_is_recognized_by_its_device_number() {
        assert!(lists_as_devtmpfs(MOUNTS.as_bytes(), "0:6"));
        for other in ["0:19", "0:23", "0:60", "0:60 ", "0", "6", ""] {
            assert!(!lists_as_devtmpfs(MOUNTS.as_bytes(), other), "{other:?}");
        }
    }

    #[test]
    fn a_mount_whose_path_is_not_utf8_hides_no_other_mount() {
        let mut mounts = b"30 27 0:50 / /mnt/\xff rw - tmpfs tmpfs rw\n".to_vec();
        mounts.extend_from_slice(MOUNTS.as_bytes());
        assert!(lists_as_devtmpfs(&mounts, "0:6"));
    }

    #[test]
    fn an_incomplete_line_lists_no_devtmpfs() {
        for mounts in ["", "24 27 0:6", "24 27 0:6 / /dev rw -", "24 27 0:6 / /dev rw devtmpfs", "- - 0:6 -"] {
            assert!(!lists_as_devtmpfs(mounts.as_bytes(), "0:6"), "{mounts:?}");
        }
    }
}
