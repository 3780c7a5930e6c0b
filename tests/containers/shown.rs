//! The files that a page of the documentation shows, to be built and run as they stand there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use handfast_testservers::Docker;

use crate::markdown;
use crate::shell::{NO_NETWORK, Shell};
use crate::support::Directory;

/// A directory in memory with the files that a page of the documentation names: a fenced block that has a path after its
/// language is the file of that path.
pub struct Page(Directory);

impl Page {
    /// Those below this directory of the page's, written to the directory itself; the secrets are in `source`.
    pub fn write(page: &str, below: &str, secrets: &[(&str, &str)]) -> Self {
        let directory = Directory::in_memory();
        for block in markdown::page(page).blocks() {
            if let Some(name) = block.file().and_then(|path| path.strip_prefix(below)?.strip_prefix('/')) {
                directory.write(name, block.text());
            }
        }
        assert!(!directory.names().is_empty(), "{page} has no file below {below}");
        fs::create_dir(directory.path().join("source")).expect("it is ours");
        let page = Self(directory);
        for (name, value) in secrets {
            page.secret(name, value);
        }
        page
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A secret, which root alone may read.
    pub fn secret(&self, name: &str, value: &str) {
        let path = self.0.write(&format!("source/{name}"), value);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    }

    /// Runs the page's script of this name, which must succeed, in the page's directory, on this engine.
    pub fn run(&self, docker: &Docker, script: &str) {
        Shell::new(docker, NO_NETWORK, Vec::new()).must(self.path(), &format!(". ./{script}"));
    }

    /// Builds the image of the page's Dockerfile. Secrets are no part of the context.
    pub fn build(&self, docker: &Docker, image: &str) {
        self.0.write(".dockerignore", "source\n");
        docker.build(image, self.0.path(), &[]);
    }
}
