//! Reading files that someone else may have made.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use nix::sys::statfs::{FsType, fstatfs};
use zeroize::Zeroizing;

use crate::error::{ErrorKind, ProviderError};
use crate::secret::SecretValue;

/// Reads whole files.
pub trait Files {
    /// Reads a regular file of at most `limit` bytes. With a `root`, `path` is below it and nothing outside is reached:
    /// relative links inside are followed, absolute ones and `..` beyond the root are refused.
    fn read(&self, path: &Path, root: Option<&Path>, limit: usize) -> Result<SecretValue, ProviderError>;
}

/// The real files.
///
/// Opened without blocking (a named pipe must not hang the start) and without magic links (`/proc/self/fd/…`); the size
/// that the file system tells is never trusted.
pub struct System;

impl Files for System {
    fn read(&self, path: &Path, root: Option<&Path>, limit: usize) -> Result<SecretValue, ProviderError> {
        let file = open_file(path, root).map_err(|error| explain(error, path, root))?;
        refuse_special(&file, path)?;
        read_up_to(file, limit)
            .map_err(|error| explain(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw), path, root))?
            .ok_or_else(|| {
                let message = format!("cannot read `{}`: it is larger than {limit} bytes", path.display());
                ProviderError::new(ErrorKind::Malformed, message)
            })
    }
}

fn open_file(path: &Path, root: Option<&Path>) -> Result<File, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let how = OpenHow::new().flags(flags);
    let opened: OwnedFd = match root {
        None => match openat2(nix::fcntl::AT_FDCWD, path, how.resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS)) {
            // Denied by a seccomp filter (either errno): the checks on the opened file below still hold.
            Err(Errno::ENOSYS | Errno::EPERM) => open(path, flags, Mode::empty())?,
            opened => opened?,
        },
        Some(root) => {
            let root = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
            let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
            match openat2(&root, path, how.resolve(resolve)) {
                Err(Errno::ENOSYS | Errno::EPERM) => open_beneath(root, path, flags)?,
                opened => opened?,
            }
        }
    };
    Ok(File::from(opened))
}

/// What `RESOLVE_BENEATH` does, step by step, for where `openat2` is denied.
fn open_beneath(root: OwnedFd, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    const MOST_LINKS: usize = 40;
    let mut pending: Vec<PathBuf> = components(path)?;
    let mut directories = vec![root];
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == Path::new("..") {
            directories.pop();
            if directories.is_empty() {
                return Err(Errno::EXDEV);
            }
            continue;
        }
        let here = directories.last().ok_or(Errno::EXDEV)?;
        match nix::fcntl::readlinkat(here.as_fd(), &name) {
            Ok(target) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::ELOOP);
                }
                pending.extend(components(Path::new(&target))?);
            }
            Err(Errno::EINVAL) if pending.is_empty() => {
                return nix::fcntl::openat(here.as_fd(), &name, flags | OFlag::O_NOFOLLOW, Mode::empty());
            }
            Err(Errno::EINVAL) => {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let next = nix::fcntl::openat(here.as_fd(), &name, flags, Mode::empty())?;
                directories.push(next);
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EISDIR)
}

/// A path's components, last first; an absolute path leaves the root and is refused.
fn components(path: &Path) -> Result<Vec<PathBuf>, Errno> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(PathBuf::from(name)),
            Component::ParentDir => names.push(PathBuf::from("..")),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err(Errno::EXDEV),
        }
    }
    names.reverse();
    Ok(names)
}

/// procfs, sysfs and devtmpfs hold no secrets, but ways to trick a reader out of its own memory and environment.
fn refuse_special(file: &File, path: &Path) -> Result<(), ProviderError> {
    const SYSFS: FsType = FsType(0x6265_6572);
    const PROCFS: FsType = FsType(0x9fa0);
    let refuse = |what: &str| {
        let message = format!("cannot read `{}`: it is {what}", path.display());
        Err(ProviderError::new(ErrorKind::Denied, message)
            .hint("`file:` reads regular files: Docker and Kubernetes secret mounts, CSI volumes"))
    };
    let metadata = file
        .metadata()
        .map_err(|error| explain(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw), path, None))?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return refuse("a directory");
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device() || !kind.is_file() {
        return refuse("not a regular file");
    }
    let filesystem = fstatfs(file).map_err(|error| explain(error, path, None))?.filesystem_type();
    if filesystem == PROCFS || filesystem == SYSFS {
        return refuse("on procfs or sysfs");
    }
    // devtmpfs has tmpfs' magic number, so it is told by being the file system that /dev is mounted from.
    if on_devtmpfs(&metadata) {
        return refuse("on devtmpfs");
    }
    Ok(())
}

fn on_devtmpfs(metadata: &std::fs::Metadata) -> bool {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else { return false };
    let device = format!("{}:{}", nix::sys::stat::major(metadata.dev()), nix::sys::stat::minor(metadata.dev()));
    mounts.lines().any(|line| line.split(' ').nth(2) == Some(&device) && line.contains(" - devtmpfs "))
}

/// The whole file, or `None` when it has more than `limit` bytes. Read in place: the buffer never grows, so that no
/// part of it is left behind in freed memory.
fn read_up_to(mut file: File, limit: usize) -> io::Result<Option<SecretValue>> {
    let guess = usize::try_from(file.metadata()?.len()).unwrap_or(limit).clamp(512, limit) + 1;
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

fn explain(error: Errno, path: &Path, root: Option<&Path>) -> ProviderError {
    let at = format!("cannot read `{}`", path.display());
    let below = root.map(|root| format!(" below `{}`", root.display())).unwrap_or_default();
    match error {
        Errno::ENOENT | Errno::ENOTDIR => ProviderError::new(ErrorKind::NotFound, format!("{at}{below}: no such file")),
        Errno::EACCES | Errno::EPERM => denied(&at, path, root),
        Errno::EXDEV => ProviderError::new(
            ErrorKind::Denied,
            format!("{at}: it leads out of `{}`", root.unwrap_or(Path::new("/")).display()),
        )
        .hint("only paths below the provider's `root` are read; links below it must be relative"),
        Errno::ELOOP => ProviderError::new(ErrorKind::Denied, format!("{at}{below}: too many links, or a magic link")),
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => {
            ProviderError::new(ErrorKind::Os, format!("{at}{below}: {}", error.desc().to_lowercase()))
        }
        Errno::ENAMETOOLONG | Errno::EINVAL => {
            ProviderError::new(ErrorKind::NotFound, format!("{at}{below}: {}", error.desc().to_lowercase()))
        }
        error => ProviderError::new(ErrorKind::Unavailable, format!("{at}{below}: {}", error.desc().to_lowercase())),
    }
}

/// Says who may read the file and who we are: the worker has no capabilities, so root is not above the mode here.
fn denied(at: &str, path: &Path, root: Option<&Path>) -> ProviderError {
    let full = root.map_or_else(|| path.to_owned(), |root| root.join(path));
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let message = match std::fs::metadata(&full) {
        Ok(metadata) => format!(
            "{at}: permission denied: it is owned by {}:{} with mode {:04o}, handfast's worker is {uid}:{gid} without capabilities",
            metadata.uid(),
            metadata.gid(),
            metadata.mode() & 0o7777
        ),
        Err(_) => format!(
            "{at}: permission denied: a directory on its way cannot be entered by {uid}:{gid} without capabilities"
        ),
    };
    ProviderError::new(ErrorKind::Denied, message).hint(format!("make it readable for uid {uid} or one of its groups"))
}
