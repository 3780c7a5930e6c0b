//! The shell of somebody who follows a page: its `docker` asks an engine of the tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use handfast_testservers::{Directory, Docker};

use crate::support::find_program;

/// Options of `docker run` on an engine that has no network of its own, where nobody is to be reached.
pub const NO_NETWORK: &str = "--network none";

/// `docker`: containers get some options besides, unless they say themselves what their network is. Debian has Compose as a
/// program of its own.
const CLIENT: &str = r#"#!/bin/sh
verb=$1; shift
case $verb in
    compose) exec docker-compose --host unix://@SOCKET@ --file compose.yaml --file "${0%/*}/network.yaml" "$@" ;;
    build) set -- --network none "$@" ;;
    run) case " $* " in *" --network "*) ;; *) set -- @OPTIONS@ "$@" ;; esac ;;
esac
exec /usr/bin/docker --host unix://@SOCKET@ "$verb" "$@"
"#;

/// What the services of examples/compose have here besides.
const NETWORK: &str = "services:\n  web: { network_mode: none }\n  keep: { network_mode: none }\n  \
    secrets: { network_mode: none }\n  jobs: { network_mode: none }\n";

/// A shell.
pub struct Shell {
    bin: Directory,
    environment: Vec<(&'static str, String)>,
}

impl Shell {
    /// One whose `docker` is this engine's, with these options of `docker run`, and whose environment has more variables.
    pub fn new(docker: &Docker, options: &str, environment: Vec<(&'static str, String)>) -> Self {
        let (bin, socket) = (Directory::new(), docker.directory().join("socket"));
        let client = CLIENT.replace("@SOCKET@", &socket.display().to_string()).replace("@OPTIONS@", options);
        let path = bin.write("docker", client);
        bin.write("network.yaml", NETWORK);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self { bin, environment }
    }

    /// What becomes of these lines in this directory.
    pub fn output(&self, directory: &Path, lines: &str) -> Output {
        let go = find_program("go").and_then(|go| Some(format!(":{}", go.parent()?.display()))).unwrap_or_default();
        let path = format!("{}:/usr/bin:/bin{go}", self.bin.path().display());
        let mut shell = Command::new("bash");
        shell.args(["-c", lines]).current_dir(directory).env("PATH", path);
        shell.envs(self.environment.iter().map(|(name, value)| (name, value))).output().expect("bash starts")
    }

    /// The same where no line may fail; what they print.
    pub fn must(&self, directory: &Path, lines: &str) -> String {
        let output = self.output(directory, &format!("set -eu\n{lines}"));
        assert!(output.status.success(), "{lines}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}
