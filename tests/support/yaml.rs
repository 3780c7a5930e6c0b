//! YAML, by Python's reader: the manifests of the documentation.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::require;

/// A Python that reads YAML.
pub struct Yaml(&'static str);

impl Yaml {
    /// `None` where there is none, after the line that says so.
    pub fn find() -> Option<Self> {
        // A machine's own Python may not be the one that its packages are for.
        let has_yaml = |python: &&str| {
            let import = Command::new(python).args(["-c", "import yaml"]).stderr(Stdio::null()).status();
            import.is_ok_and(|status| status.success())
        };
        let python = ["python3", "/usr/bin/python3"].into_iter().find(has_yaml);
        require(python.is_some(), "python3-yaml").then_some(())?;
        python.map(Self)
    }

    /// The documents of a text, or what is wrong with it.
    pub fn parse(&self, text: &str) -> Result<Vec<Value>, String> {
        let program =
            "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin.read())), sys.stdout, default=str)";
        let mut python = Command::new(self.0);
        python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = python.spawn().expect("it is there");
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }
}
