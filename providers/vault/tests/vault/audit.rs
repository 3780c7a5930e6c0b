//! Vault's own log of the requests that it received: a file audit device.

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
    /// Starts to log every request.
    pub fn start(vault: &'v Vault) -> Self {
        // Vault refuses requests that no audit device can log, also while the only device is removed. So one device stays;
        // another test may have created it.
        let discard = json!({ "type": "file", "options": { "file_path": "discard" } });
        vault.api("PUT", "sys/audit/discard", discard);
        let (directory, name) = (Directory::new(), random("audit-"));
        let options = json!({ "file_path": directory.file("audit.log"), "log_raw": true });
        vault.must("PUT", &format!("sys/audit/{name}"), json!({ "type": "file", "options": options }));
        Self { vault, name, directory }
    }

    /// The requests so far that `ours` selects, in order: `read kv/data/web/db`. Other tests use the same server.
    pub fn requests(&self, ours: impl Fn(&Value) -> bool) -> Vec<String> {
        let text = fs::read_to_string(self.directory.file("audit.log")).unwrap_or_default();
        // The last line may be incomplete.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let entries = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON object a line"));
        let word = |entry: &Value, key: &str| entry["request"][key].as_str().unwrap_or_default().to_owned();
        entries
            .filter(|entry| entry["type"] == "request" && ours(entry))
            .map(|entry| format!("{} {}", word(&entry, "operation"), word(&entry, "path")))
            .collect()
    }

    /// The requests with `name` in their path.
    pub fn about(&self, name: &str) -> Vec<String> {
        self.requests(|entry| entry["request"]["path"].as_str().is_some_and(|path| path.contains(name)))
    }
}

impl Drop for Audit<'_> {
    fn drop(&mut self) {
        // Not `must`, because a panic here would hide another panic.
        self.vault.api("DELETE", &format!("sys/audit/{}", self.name), Value::Null);
    }
}
