//! The conformance suite for `file`. The store is a directory with secrets, the provider's `root`, in a directory with other
//! files.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use handfast_core::files::System;
use handfast_core::{Definition, ErrorKind, Files, ProviderError, SecretValue, Table};
use handfast_testkit::{Answer, Cannot, Fixture, Outside, Scratch, canary, table, text};

struct Directory {
    scratch: Scratch,
    outside: String,
    failing: u32,
}

impl Directory {
    fn root(&self) -> PathBuf {
        self.scratch.join("root")
    }

    fn reference(&self, name: &str) -> String {
        format!("file:{}/{name}", self.root().display())
    }
}

impl Fixture for Directory {
    const DEFINITION: &'static Definition = &handfast_file::DEFINITION;

    fn new() -> Self {
        let directory = Self { scratch: Scratch::new(), outside: canary(), failing: 0 };
        fs::create_dir(directory.root()).unwrap();
        fs::write(directory.scratch.join("outside"), &directory.outside).unwrap();
        directory
    }

    fn settings(&self) -> Table {
        table([("root", text(self.root().to_str().unwrap()))])
    }

    fn outside(&self) -> Outside {
        Outside { files: Rc::new(Flaky { failing: Cell::new(self.failing) }), ..Outside::default() }
    }

    fn put(&mut self, name: &str, value: &[u8]) -> Answer {
        fs::write(self.root().join(name), value).unwrap();
        Ok(self.reference(name))
    }

    fn missing(&mut self) -> Answer {
        Ok(self.reference("missing"))
    }

    fn denied(&mut self) -> Answer {
        symlink("../outside", self.root().join("escape")).unwrap();
        Ok(self.reference("escape"))
    }

    fn unavailable(&mut self, attempts: u32) -> Answer {
        self.failing = attempts;
        self.put("unavailable", b"there at last")
    }

    fn slow(&mut self, _: Duration) -> Answer {
        Err(Cannot("reading a file is one step: a fetch has no point at which it waits"))
    }

    fn bad_references(&self) -> Result<Vec<&'static str>, Cannot> {
        Ok(vec!["file:relative", "file:./x", "file:/etc/../etc/passwd", "file:/etc/passwd", "file:/", "file:/etc/"])
    }

    fn more_failures(&mut self) -> Vec<(String, ErrorKind)> {
        fs::create_dir(self.root().join("directory")).unwrap();
        symlink("loop", self.root().join("loop")).unwrap();
        symlink("/etc/passwd", self.root().join("absolute")).unwrap();
        ["directory", "loop", "absolute"].map(|name| (self.reference(name), ErrorKind::Denied)).into()
    }

    fn canaries(&self) -> Vec<String> {
        vec![self.outside.clone()]
    }
}

/// The real files, whose first reads fail.
struct Flaky {
    failing: Cell<u32>,
}

impl Files for Flaky {
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, ProviderError> {
        System.list(directory)
    }

    fn read(&self, path: &Path, root: Option<&Path>, limit: usize) -> Result<SecretValue, ProviderError> {
        match self.failing.get() {
            0 => System.read(path, root, limit),
            left => {
                self.failing.set(left - 1);
                let message = format!("cannot read `{}`: I/O error", path.display());
                Err(ProviderError::new(ErrorKind::Unavailable, message))
            }
        }
    }
}

handfast_testkit::conformance!(Directory);
