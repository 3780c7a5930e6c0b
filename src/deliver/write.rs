//! Writing to a descriptor.
#![forbid(unsafe_code)]

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

/// Writes all bytes, however few the kernel takes at a time.
pub fn write_all(descriptor: BorrowedFd<'_>, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(descriptor, bytes) {
            Ok(0) => return Err(Errno::ENOSPC),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
