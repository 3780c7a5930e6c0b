//! Walks a path as the app would: checks every directory and every link on the way, by mode bits and kept capabilities.
//!
//! This process walks with its own rights, so it can also see behind a directory that the app cannot enter. In the opposite case
//! (root without DAC capabilities, and a private directory of the app), the answer is "unseen".
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::plan::Isolation;
use crate::sys::attributes;
use crate::sys::capabilities::{DAC_OVERRIDE, DAC_READ_SEARCH, bit};

/// The most links that are followed, as in the kernel.
const MAX_LINKS: usize = 40;

/// Where a walk ended.
#[derive(Debug)]
pub(super) enum End {
    /// At an inode, whose path has no links.
    Reached {
        inode: Inode,
        /// The first directory on the way that the app cannot enter.
        closed: Option<Inode>,
    },
    /// Nothing with this name exists.
    Missing,
    /// The app may walk further, this process may not.
    Unseen,
    /// Another failure: too many links, an input/output error.
    Failed(io::Error),
}

/// The properties of an inode that decide about access.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) path: PathBuf,
    mode: u32,
    owner: (u32, u32),
}

impl Inode {
    fn new(path: PathBuf, metadata: &Metadata) -> Self {
        Self { path, mode: metadata.mode(), owner: (metadata.uid(), metadata.gid()) }
    }

    fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::new(path.into(), &metadata))
    }

    pub(super) fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    pub(super) fn is_regular(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// Whether the app may execute this file.
    pub(super) fn executable_for(&self, isolation: &Isolation) -> bool {
        self.has_execute_bit(isolation)
            || (isolation.capabilities & bit(DAC_OVERRIDE) != 0 && self.mode & 0o111 != 0)
            || self.has_access_list()
    }

    /// Whether the app may enter this directory.
    fn enterable_for(&self, isolation: &Isolation) -> bool {
        self.has_execute_bit(isolation)
            || isolation.capabilities & (bit(DAC_OVERRIDE) | bit(DAC_READ_SEARCH)) != 0
            || self.has_access_list()
    }

    /// Whether the execute bit is set in the class of mode bits that applies to the app: owner, group or others.
    fn has_execute_bit(&self, isolation: &Isolation) -> bool {
        let (uid, gid) = self.owner;
        let class = if uid == isolation.uid {
            6
        } else if gid == isolation.gid || isolation.groups.contains(&gid) {
            3
        } else {
            0
        };
        self.mode >> class & 1 != 0
    }

    /// Whether an access control list exists, which may allow more than the mode bits: then only exec can tell.
    fn has_access_list(&self) -> bool {
        // The error for a too small buffer (ERANGE) also means that a list exists.
        !matches!(attributes::read(&self.path, c"system.posix_acl_access", &mut [0; 64]), Ok(None))
    }
}

impl fmt::Display for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uid, gid) = self.owner;
        write!(f, "`{}` has mode {:04o} and owner {uid}:{gid}", self.path.display(), self.mode & 0o7777)
    }
}

/// Walks `path`. A relative path starts at the working directory.
pub(super) fn walk(path: &Path, isolation: &Isolation) -> End {
    match try_walk(path, isolation) {
        Ok(end) => end,
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) => End::Missing,
            Some(libc::EACCES) => End::Unseen,
            _ => End::Failed(error),
        },
    }
}

fn try_walk(path: &Path, isolation: &Isolation) -> io::Result<End> {
    let mut current = Inode::at(Path::new(if path.is_absolute() { "/" } else { "." }))?;
    let mut closed = None;
    let mut links = 0;
    let mut components = VecDeque::new();
    push_front(&mut components, path);
    while let Some(component) = components.pop_front() {
        if !current.is_directory() {
            return Ok(End::Missing);
        }
        if closed.is_none() && !current.enterable_for(isolation) {
            closed = Some(current.clone());
        }
        let next = current.path.join(component);
        let metadata = fs::symlink_metadata(&next)?;
        if !metadata.is_symlink() {
            current = Inode::new(next, &metadata);
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            current = Inode::at(Path::new("/"))?;
        }
        push_front(&mut components, &target);
    }
    Ok(End::Reached { inode: current, closed })
}

/// Puts the path's components before the remaining ones. `Path::components` would remove `.`.
fn push_front(components: &mut VecDeque<OsString>, path: &Path) {
    let parts = path.as_os_str().as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    for part in parts.rev() {
        components.push_front(OsString::from_vec(part.to_vec()));
    }
}
