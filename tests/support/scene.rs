//! A configuration that may or may not be believed, and where it is.

use super::{Directory, Outcome, Run};

/// A configuration in a directory of root's, laid out further by a shell; `@` stands for the directory.
pub struct Scene {
    /// The directory.
    pub directory: Directory,
    /// Options of `confine` for each start.
    pub setup: Vec<String>,
}

impl Scene {
    /// With this configuration as `handfast.toml`, after this script.
    pub fn new(config: &str, script: &str) -> Self {
        let directory = Directory::new();
        directory.write("handfast.toml", config);
        directory.shell(None, script);
        Self { directory, setup: Vec::new() }
    }

    /// Mounts of the start alone.
    pub fn mounts(mut self, script: &str) -> Self {
        self.setup = vec!["--mountns".into(), "--setup".into(), script.replace('@', self.directory.text())];
        self
    }

    /// A start with the configuration at this path.
    pub fn run(&self, path: &str) -> Run {
        Run::new().confine(&self.setup).arg("--config").arg(path.replace('@', self.directory.text()))
    }

    /// The same, to its end.
    pub fn start(&self, path: &str) -> Outcome {
        self.run(path).start()
    }

    /// A text about the directory.
    pub fn says(&self, text: &str) -> String {
        text.replace('@', self.directory.text())
    }
}
