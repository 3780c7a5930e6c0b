//! `install PATH`: copies this binary, for images that have no cp.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{Class, Error, Phase, Result, reason};

/// Copies this binary to `path`, mode 0755: whole or not at all, in place of what was there.
pub fn install(path: &Path) -> Result<()> {
    if path.is_dir() {
        let error = failed(path, "it is a directory".into());
        return Err(error.hint(format!("name the file: `{}`", path.join("handfast").display())));
    }
    let Some(name) = path.file_name() else { return Err(failed(path, "it names no file".into())) };
    let beside = path.with_file_name(format!(".{}.{:016x}", name.to_string_lossy(), fastrand::u64(..)));
    let mut file = create(&beside).map_err(|error| failed(path, reason(error)))?;
    let installed = copy(&mut file).and_then(|()| fs::rename(&beside, path));
    installed.map_err(|error| {
        // What is half done goes again, and nothing else; the error that counts is the one that stopped us.
        if is_at(&beside, &file) {
            drop(fs::remove_file(&beside));
        }
        failed(path, reason(error))
    })
}

fn is_at(path: &Path, file: &File) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let found = fs::symlink_metadata(path).map(identity);
    found.is_ok_and(|found| file.metadata().is_ok_and(|made| identity(made) == found))
}

/// Makes a file that was not there.
fn create(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    OpenOptions::new().write(true).create_new(true).mode(0o700).custom_flags(flags).open(path)
}

/// The kernel copies (copy_file_range or sendfile, whichever the file systems can), so that a container with little memory is
/// charged no buffer for it.
fn copy(to: &mut File) -> io::Result<()> {
    let mut from = File::open("/proc/self/exe")?;
    io::copy(&mut from, to)?;
    to.set_permissions(Permissions::from_mode(0o755))?;
    to.sync_all()
}

fn failed(path: &Path, why: String) -> Error {
    Error::new(Phase::Install, Class::Deliver, format!("cannot install to `{}`: {why}", path.display()))
}
