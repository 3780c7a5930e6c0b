//! The files that a page of the documentation shows, to be built and run as they stand there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use handfast_testservers::Docker;

use crate::support::Directory;

/// A directory in memory with the files that a page of the documentation names: a fenced block that has a path after its
/// language is the file of that path.
pub struct Page(Directory);

impl Page {
    /// Those below this directory of the page's, written to the directory itself; the secrets are in `source`.
    pub fn write(page: &str, below: &str, secrets: &[(&str, &str)]) -> Self {
        let directory = Directory::in_memory();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(head) = line.strip_prefix("```") else { continue };
            let content: String =
                lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
            if let Some(name) = head.split_once(' ').and_then(|(_, path)| path.strip_prefix(below)?.strip_prefix('/')) {
                directory.write(name, content);
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

    /// What became of the page's script of this name, in the page's directory, whose `docker` is this engine.
    pub fn output(&self, docker: &Docker, script: &str) -> Output {
        let socket = docker.directory().join("socket");
        let function = format!(
            "docker() {{ verb=$1; shift; /usr/bin/docker --host unix://{} \"$verb\" --network none \"$@\"; }}; . ./\"$1\"",
            socket.display()
        );
        let mut shell = Command::new("bash");
        shell.args(["-euc", &function, "bash", script]).current_dir(self.0.path());
        shell.output().expect("bash starts")
    }

    /// Runs the page's script, which must succeed; what it prints.
    pub fn run(&self, docker: &Docker, script: &str) -> String {
        let output = self.output(docker, script);
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Builds the image of the page's Dockerfile. Secrets are no part of the context.
    pub fn build(&self, docker: &Docker, image: &str) {
        self.0.write(".dockerignore", "source\n");
        docker.build(image, self.0.path(), &[]);
    }
}
