//! `watch` with secrets of AWS and Azure: a change in the store reaches the files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use crate::aws_secrets::{as_operator, secret};
use crate::azure_secrets::{as_application, config};
use crate::keeping::seconds;
use crate::support::{Directory, Run, Running};
use handfast_testservers::{Azure, Moto, random};
use nix::sys::signal::Signal;
use serde_json::json;

/// A running `watch`, and its files directory.
struct Keeper {
    running: Running,
    directory: Directory,
}

impl Keeper {
    fn start(with: impl FnOnce(Run) -> Run, config: &str) -> Self {
        let directory = Directory::in_memory();
        let run = Run::command("watch").config(config).args(["--dir", directory.text(), "--log-level", "info"]);
        Self { running: with(run).timeout(seconds(180)).spawn(), directory }
    }

    fn holds(&self, name: &str, value: &str) -> bool {
        fs::read_to_string(self.directory.path().join(name)).is_ok_and(|content| content == value)
    }

    fn inode(&self, name: &str) -> u64 {
        fs::metadata(self.directory.path().join(name)).expect("it is there").ino()
    }

    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < seconds(60), "never: {what}; {:?}", self.directory.names());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// Ends it by TERM. Returns what it said.
    fn end(self) -> String {
        self.running.signal(Signal::SIGTERM);
        let outcome = self.running.finish();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.stderr
    }
}

/// Both secrets are read by one request for a batch. Nobody signals the keeper: it reads them again by itself.
#[test]
fn a_secret_of_aws_that_changes_is_read_again_and_the_file_of_another_stays_the_same() {
    let Some(moto) = Moto::shared() else { return };
    let name = random("web-");
    secret(moto, &format!("{name}/changes"), r#"{"password":"old"}"#);
    secret(moto, &format!("{name}/stays"), "same");
    let config = format!(
        "[watch]\nrefresh = \"10s\"\nquiet = \"0s\"\n\
         [secrets.changes]\nfrom = \"aws:sm/{name}/changes#password\"\n[secrets.stays]\nfrom = \"aws:sm/{name}/stays\"\n"
    );
    let keeper = Keeper::start(|run| as_operator(run, moto), &config);
    keeper.until("both are there", |keeper| keeper.holds("changes", "old") && keeper.holds("stays", "same"));
    let inodes = ["changes", "stays"].map(|name| keeper.inode(name));
    let put = json!({ "SecretId": format!("{name}/changes"), "SecretString": r#"{"password":"new"}"# });
    moto.must("secretsmanager.PutSecretValue", put);
    keeper.until("the new value is there", |keeper| keeper.holds("changes", "new"));
    assert!(keeper.holds("stays", "same"));
    assert_ne!(keeper.inode("changes"), inodes[0], "nobody writes into a file that an app may have open");
    assert_eq!(keeper.inode("stays"), inodes[1]);
    let said = keeper.end();
    assert_eq!(said.matches("info: changed: changes\n").count(), 1, "{said}");
    assert!(said.matches("changed: ").count() == 1 && !said.contains("cannot"), "{said}");
}

/// A version never changes: nobody asks for it again, even where the user asks for everything.
#[test]
fn a_new_version_in_azure_is_read_on_hup_and_a_named_version_is_asked_for_once() {
    let Some(azure) = Azure::start() else { return };
    azure.set("current", "first");
    let version = azure.set("pinned", "first");
    let secrets = format!(
        "[watch]\nrefresh = \"24h\"\nquiet = \"0s\"\n[secrets.current]\nfrom = \"azure:current\"\n\
         [secrets.pinned]\nfrom = \"azure:pinned?version={version}\"\n"
    );
    let keeper = Keeper::start(|run| as_application(run, &azure), &config(&azure, &secrets));
    keeper.until("both are there", |keeper| keeper.holds("current", "first") && keeper.holds("pinned", "first"));
    let asked = |name: &str| {
        let place = format!("/secrets/{name}/");
        let is_read = |path: &str| path.starts_with(&place) || path.starts_with(&format!("/secrets/{name}?"));
        let requests = azure.requests().into_iter().filter(|request| request["method"] == "GET");
        // Without a token, it asks for the challenge.
        let requests = requests.filter(|request| request["authorized"] == true);
        requests.filter(|request| is_read(request["path"].as_str().expect("a path"))).count()
    };
    assert_eq!(asked("pinned"), 1);
    // All that one signal leads to has come when the next one is answered.
    for value in ["second", "third", "fourth"] {
        azure.set("current", value);
        azure.set("pinned", value);
        let before = asked("current");
        keeper.running.signal(Signal::SIGHUP);
        keeper.until("the new version is there", |keeper| keeper.holds("current", value));
        assert!(asked("current") > before);
    }
    assert_eq!((asked("pinned"), keeper.holds("pinned", "first")), (1, true));
    let said = keeper.end();
    assert!(said.matches("info: changed: current\n").count() == 3 && !said.contains("cannot"), "{said}");
}
