//! A path and everything below it, with contents, as far as the app's uid may see them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statfs::statfs;
use nix::sys::statvfs::statvfs;
use serde_json::{Map, Value, json};

use crate::descriptors::{MOST, outcome};

/// The file system of `path`, and one entry for each name, by its path below `path` (`path` itself is `.`).
pub fn listing(path: &str) -> Value {
    let mut entries = Map::new();
    walk(Path::new(path), Path::new(""), &mut entries);
    let (filesystem, flags) = filesystem(path);
    json!({ "path": path, "filesystem": filesystem, "mount_flags": flags, "entries": entries })
}

fn walk(root: &Path, below: &Path, entries: &mut Map<String, Value>) {
    let path = if below.as_os_str().is_empty() { root.to_owned() } else { root.join(below) };
    let name = if below.as_os_str().is_empty() { ".".into() } else { below.to_string_lossy().into_owned() };
    entries.insert(name, entry(&path));
    if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
        let mut names: Vec<PathBuf> =
            fs::read_dir(&path).into_iter().flatten().flatten().map(|name| name.file_name().into()).collect();
        names.sort();
        for name in names {
            walk(root, &below.join(name), entries);
        }
    }
}

fn entry(path: &Path) -> Value {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return json!({ "error": outcome(Err(error)) }),
    };
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_symlink() => "link",
        () if kind.is_dir() => "directory",
        () if kind.is_file() => "file",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "device",
    };
    let mut entry = json!({
        "type": kind,
        "mode": format!("{:o}", metadata.mode() & 0o7777),
        "uid": metadata.uid(),
        "gid": metadata.gid(),
        "links": metadata.nlink(),
    });
    if kind == "link" {
        entry["target"] = json!(fs::read_link(path).map(|target| target.to_string_lossy().into_owned()).ok());
    }
    // Follow links too, because an app reads its files through them.
    if matches!(kind, "file" | "link") {
        match content(path) {
            Ok(content) => entry["content"] = json!(content),
            Err(error) => entry["content_error"] = outcome(Err(error)),
        }
        let append = fs::OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(path);
        entry["open_write"] = outcome(append.map(drop));
    }
    entry
}

fn content(path: &Path) -> io::Result<String> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(hex(&bytes))
}

/// The magic number of the file system and the flags of its mount (read-only 1, nosuid 2, nodev 4, noexec 8), in hexadecimal.
fn filesystem(path: &str) -> (Option<String>, Option<String>) {
    let kind = statfs(path).map(|buffer| format!("{:x}", buffer.filesystem_type().0));
    let flags = statvfs(path).map(|buffer| format!("{:x}", buffer.flags().bits()));
    (kind.ok(), flags.ok())
}

/// Lower-case digits, two for each byte.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}
