//! Reads files that another, perhaps hostile, user may have created.

mod explain;
mod list;
mod open;
mod refuse;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use zeroize::Zeroizing;

use crate::error::ProviderError;
use crate::secret::SecretValue;

/// Reads whole files.
pub trait Files {
    /// The paths of every file in a directory and below it, in order. Names that begin with `..` are left
    /// out, because the kubelet keeps its own copies under them. Links to directories are not followed.
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, ProviderError>;

    /// Reads a regular file of at most `limit` bytes. With a `root`, `path` is relative to the root, and no file outside of it
    /// can be reached: relative links inside the root are followed; absolute links and `..` beyond the root are refused. The root
    /// itself may be a link.
    fn read(&self, path: &Path, root: Option<&Path>, limit: usize) -> Result<SecretValue, ProviderError>;
}

/// The real files.
///
/// Only regular files are opened, and none through a magic link (`/proc/self/fd/…`). The size that the file system reports is
/// never trusted.
pub struct System;

impl Files for System {
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, ProviderError> {
        list::files(directory)
    }

    fn read(&self, path: &Path, root: Option<&Path>, limit: usize) -> Result<SecretValue, ProviderError> {
        let target = open::Target { path, root };
        let refuse_special = |file: &dyn AsFd| match refuse::reason(file.as_fd()) {
            Ok(None) => Ok(()),
            Ok(Some(what)) => Err(explain::refused(target, what)),
            Err(error) => Err(explain::failure(target, error, None)),
        };
        let found = target.locate().map_err(|error| explain::failure(target, error, None))?;
        refuse_special(&found)?;
        let file = target.open().map_err(|error| explain::failure(target, error, Some(&found)))?;
        // Checked again, because the file may have been replaced.
        refuse_special(&file)?;
        let file = File::from(file);
        let reported_size = file.metadata().map_or(0, |metadata| metadata.len());
        match read_up_to(file, reported_size, limit) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(explain::too_large(target, limit)),
            Err(error) => {
                let error = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
                Err(explain::failure(target, error, Some(&found)))
            }
        }
    }
}

/// The whole file, or `None` if it has more than `limit` bytes. The size that the file system reports is only the first guess.
/// The buffer is never reallocated, so that no copy of the secret is left in freed memory.
pub fn read_up_to(mut file: impl Read, reported_size: u64, limit: usize) -> io::Result<Option<SecretValue>> {
    let guess = usize::try_from(reported_size).unwrap_or(limit).max(512).min(limit) + 1;
    let mut buffer = Zeroizing::new(vec![0; guess]);
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            if filled > limit {
                return Ok(None);
            }
            let mut larger = Zeroizing::new(vec![0; (filled * 2).min(limit + 1)]);
            larger[..filled].copy_from_slice(&buffer);
            buffer = larger;
        }
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if filled > limit {
        return Ok(None);
    }
    buffer.truncate(filled);
    Ok(Some(SecretValue::from(buffer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a file of `length` bytes whose size the file system reports as `reported`.
    fn read(length: usize, reported: u64, limit: usize) -> Option<Vec<u8>> {
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let value = read_up_to(Slow(&bytes), reported, limit).unwrap()?;
        assert_eq!(value.expose(), bytes);
        Some(bytes)
    }

    /// Returns one byte, or up to 1000 bytes, at a time.
    struct Slow<'b>(&'b [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.len() % 2 == 1 {
                let (first, rest) = self.0.split_at(1);
                buffer[0] = first[0];
                self.0 = rest;
                return Ok(1);
            }
            let count = buffer.len().min(self.0.len()).min(1000);
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn the_size_that_the_file_system_reports_is_not_trusted() {
        for length in [0, 1, 511, 512, 513, 514, 1024, 1025, 9_999] {
            for reported in [0, 1, 512, length as u64, 10_000, 10_001, u64::MAX] {
                assert!(read(length, reported, 10_000).is_some(), "{length} bytes, {reported} reported");
            }
        }
    }

    #[test]
    fn the_limit_holds_to_the_byte() {
        for limit in [0, 1, 100, 511, 512, 513, 1 << 20] {
            for reported in [0, limit as u64, limit as u64 + 1, u64::MAX] {
                assert!(read(limit, reported, limit).is_some(), "{limit}, {reported} reported");
                assert!(read(limit + 1, reported, limit).is_none(), "{limit} + 1, {reported} reported");
            }
        }
    }

    #[test]
    fn an_endless_file_is_refused_at_the_limit() {
        assert!(read_up_to(io::repeat(7), 0, 1 << 20).unwrap().is_none());
    }

    #[test]
    fn a_read_that_fails_in_the_middle_returns_the_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(Errno::EIO as i32))
            }
        }
        let error = read_up_to(b"half".chain(Broken), 8, 100).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(Errno::EIO as i32));
    }

    #[test]
    fn an_interrupted_read_is_continued() {
        struct Interrupted(bool);
        impl Read for Interrupted {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0 = !self.0;
                if self.0 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(0) }
            }
        }
        assert_eq!(read_up_to(b"all".chain(Interrupted(false)), 3, 100).unwrap().unwrap().expose(), b"all");
    }
}
