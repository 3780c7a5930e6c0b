//! The access list (POSIX ACL) of a file or directory: reads the kernel's attribute and the rights that its entries grant.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use super::attributes;

const NAME: &std::ffi::CStr = c"system.posix_acl_access";
/// The most bytes of an attribute (`XATTR_SIZE_MAX`).
const LARGEST: usize = 1 << 16;

/// The right to write.
pub const WRITE: u16 = 2;
/// The right to execute a file, or to enter a directory.
pub const EXECUTE: u16 = 1;

/// The user or group that an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The owner.
    Owner,
    /// A user, by uid.
    User(u32),
    /// The group of the file.
    GroupOfFile,
    /// A group, by gid.
    Group(u32),
    /// Everybody else.
    Others,
}

/// The entries, each with the rights that the mask leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessList(Vec<(Holder, u16)>);

impl AccessList {
    /// The list of an open file or directory, or of the file that an `O_PATH` descriptor names. `None` if the file has only a
    /// mode.
    pub fn read(descriptor: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let mut buffer = vec![0; LARGEST];
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let bytes = match attributes::read_open(descriptor, NAME, &mut buffer) {
            // The kernel reads no attributes through an O_PATH descriptor, so they are read through the descriptor's path in
            // /proc.
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                attributes::read(Path::new(&path), NAME, &mut buffer)
            }
            read => read,
        };
        bytes?
            .map(|bytes| Self::parse(bytes).ok_or_else(|| io::Error::other("its access list is malformed")))
            .transpose()
    }

    /// `struct posix_acl_xattr_header`, then entries of tag, rights and id, all little-endian.
    fn parse(bytes: &[u8]) -> Option<Self> {
        const VERSION: u32 = 2;
        const MASK: u16 = 16;
        let (version, entries) = bytes.split_first_chunk::<4>()?;
        let (entries, rest) = entries.as_chunks::<8>();
        if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
            return None;
        }
        let entries = || {
            entries.iter().map(|[a, b, c, d, id @ ..]| {
                (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]), u32::from_le_bytes(*id))
            })
        };
        let mask = entries().find(|(tag, ..)| *tag == MASK).map_or(u16::MAX, |(_, rights, _)| rights);
        let entry = |(tag, rights, id)| match tag {
            1 => Some((Holder::Owner, rights)),
            2 => Some((Holder::User(id), rights & mask)),
            4 => Some((Holder::GroupOfFile, rights & mask)),
            8 => Some((Holder::Group(id), rights & mask)),
            32 => Some((Holder::Others, rights)),
            _ => None,
        };
        Some(Self(entries().filter_map(entry).collect()))
    }

    /// The holders of a right.
    pub fn holders(&self, right: u16) -> impl Iterator<Item = Holder> {
        self.0.iter().filter(move |(_, rights)| rights & right != 0).map(|(holder, _)| *holder)
    }

    /// Whether the list has an entry for a matching holder, whatever rights it grants.
    pub fn names(&self, is_meant: impl Fn(Holder) -> bool) -> bool {
        self.0.iter().any(|(holder, _)| is_meant(*holder))
    }
}

/// A list made of entries of tag, rights and id.
#[cfg(test)]
pub fn list(entries: &[(u16, u16, u32)]) -> AccessList {
    AccessList::parse(&bytes(entries)).expect("it is well formed")
}

#[cfg(test)]
fn bytes(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let entry = |(tag, rights, id): &(u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [&2u32.to_le_bytes()[..], &entries.iter().flat_map(entry).collect::<Vec<_>>()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_none_is_not_believed() {
        let whole = bytes(&[(1, 6, u32::MAX), (4, 4, u32::MAX), (32, 4, u32::MAX)]);
        assert!(AccessList::parse(&whole).is_some());
        for wrong in [&b""[..], b"\x02\0\0", b"\x01\0\0\0", &whole[..whole.len() - 1]] {
            assert_eq!(AccessList::parse(wrong), None, "{wrong:?}");
        }
    }
}
