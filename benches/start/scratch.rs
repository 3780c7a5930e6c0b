//! Temporary directories.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A directory that everybody can enter. It is removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Creates a directory below `parent` with a unique name.
    pub fn new(parent: &Path) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("handfast-bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = parent.join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // An error is ignored: leftovers only show that a benchmark ran here.
        drop(fs::remove_dir_all(&self.0));
    }
}
