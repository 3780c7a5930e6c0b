//! Vault's own account of the requests that it got: a file audit device.

use std::fs;

use handfast_testservers::{Directory, Vault, random};
use serde_json::{Value, json};

/// An audit device, until it is dropped.
pub struct Audit<'v> {
    vault: &'v Vault,
    name: String,
    directory: Directory,
}

impl<'v> Audit<'v> {
    /// Starts to write down every request.
    pub fn start(vault: &'v Vault) -> Self {
        // Vault refuses what no device has written down, also in the moment in which the only one goes: one stays. It is there
        // already where another test has been here before.
        let discard = json!({ "type": "file", "options": { "file_path": "discard" } });
        vault.api("PUT", "sys/audit/discard", discard);
        let (directory, name) = (Directory::new(), random("audit-"));
        let options = json!({ "file_path": directory.file("audit.log"), "log_raw": true });
        vault.must("PUT", &format!("sys/audit/{name}"), json!({ "type": "file", "options": options }));
        Self { vault, name, directory }
    }

    /// The requests so far that this is true of, in order: `read kv/data/web/db`. Other tests ask the same server.
    pub fn requests(&self, ours: impl Fn(&Value) -> bool) -> Vec<String> {
        let text = fs::read_to_string(self.directory.file("audit.log")).unwrap_or_default();
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let entries = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON object a line"));
        let word = |entry: &Value, key: &str| entry["request"][key].as_str().unwrap_or_default().to_owned();
        entries
            .filter(|entry| entry["type"] == "request" && ours(entry))
            .map(|entry| format!("{} {}", word(&entry, "operation"), word(&entry, "path")))
            .collect()
    }

    /// Those with this in their path.
    pub fn about(&self, name: &str) -> Vec<String> {
        self.requests(|entry| entry["request"]["path"].as_str().is_some_and(|path| path.contains(name)))
    }
}

impl Drop for Audit<'_> {
    fn drop(&mut self) {
        // Not `must`: a panic here would hide another.
        self.vault.api("DELETE", &format!("sys/audit/{}", self.name), Value::Null);
    }
}
