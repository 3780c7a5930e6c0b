//! A `watch` with a real Vault behind a proxy that counts its requests, and a login of its own.

use std::cell::RefCell;
use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Directory, Outcome, Run, Running};
use handfast_testservers::{AppRole, Authority, FaultProxy, Vault, random};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A Vault with an AppRole, whose policy grows.
pub struct Store {
    pub vault: &'static Vault,
    pub proxy: FaultProxy,
    pub approle: String,
    pub role: AppRole,
    policy: String,
    rules: RefCell<String>,
    ca: Directory,
}

impl Store {
    pub fn new() -> Option<Self> {
        let vault = Vault::shared()?;
        let authority = Authority::new();
        let [policy, approle] = ["policy-", "approle-"].map(random);
        let role = vault.enable_approle(&approle, &[&policy]);
        let ca = Directory::new();
        ca.write("ca.pem", authority.pem());
        let proxy = FaultProxy::start(vault, &authority);
        let store = Self { vault, proxy, approle, role, policy, rules: RefCell::default(), ca };
        store.allow("");
        Some(store)
    }

    /// The role may do this too.
    pub fn allow(&self, rule: &str) {
        self.rules.borrow_mut().push_str(&format!("{rule}\n"));
        self.vault.policy(&self.policy, &self.rules.borrow());
    }

    /// The name of its policy.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The tokens of the AppRole have these parameters (`token_ttl`, `token_type`, …).
    pub fn tokens(&self, parameters: Value) {
        self.vault.must("POST", &format!("auth/{}/role/web", self.approle), parameters);
    }

    /// A keeper with a login by the AppRole.
    pub fn keep(&self, provider: &str, secrets: &str) -> Keeper<'_> {
        self.keep_with(&self.by_approle(provider), secrets, |run| run.env("VAULT_SECRET_ID", &self.role.secret_id))
    }

    /// The same in front of an app, whose last argument is the files directory.
    pub fn supervise(&self, provider: &str, secrets: &str, app: &[&str]) -> Keeper<'_> {
        let directory = Directory::in_memory();
        let app = app.iter().copied().chain([directory.text()]).map(str::to_owned).collect::<Vec<_>>();
        let run = Run::new().arg("--supervise").app(app).env("VAULT_SECRET_ID", &self.role.secret_id);
        self.start(directory, run, &self.by_approle(provider), secrets)
    }

    /// The provider's settings for a login by the AppRole, and these.
    pub fn by_approle(&self, provider: &str) -> String {
        let (mount, role) = (&self.approle, &self.role.role_id);
        format!("auth = {{ method = \"approle\", mount = \"{mount}\", role_id = \"{role}\" }}\n{provider}")
    }

    /// A keeper with these settings of the provider, and with what else it needs.
    pub fn keep_with(&self, provider: &str, secrets: &str, with: impl FnOnce(Run) -> Run) -> Keeper<'_> {
        self.start(Directory::in_memory(), with(Run::command("watch")), provider, secrets)
    }

    /// A keeper in this directory.
    pub fn start(&self, directory: Directory, run: Run, provider: &str, secrets: &str) -> Keeper<'_> {
        let watch = match secrets.contains("[watch]\n") {
            true => secrets.replace("[watch]\n", "[watch]\nquiet = \"0s\"\n"),
            false => format!("{secrets}[watch]\nquiet = \"0s\"\n"),
        };
        let run = self
            .at(run.config(&format!("[providers.vault]\n{provider}\n{watch}")))
            .args(["--dir", directory.text(), "--log-level", "info"])
            .timeout(seconds(120));
        Keeper { store: self, running: run.spawn(), directory }
    }

    /// With the address of the store.
    pub fn at(&self, run: Run) -> Run {
        run.env("VAULT_ADDR", self.proxy.address()).env("VAULT_CACERT", self.ca.path().join("ca.pem"))
    }

    /// How many leases there are below a path.
    pub fn leases(&self, path: &str) -> usize {
        let (_, answer) = self.vault.api("LIST", &format!("sys/leases/lookup/{path}/"), Value::Null);
        answer["data"]["keys"].as_array().map_or(0, Vec::len)
    }

    /// The accessors of the AppRole's tokens that are alive.
    pub fn accessors(&self) -> Vec<String> {
        let accessors = self.vault.must("LIST", "auth/token/accessors", Value::Null);
        let path = json!(format!("auth/{}/login", self.approle));
        let of = |accessor: &&Value| {
            let (status, answer) =
                self.vault.api("POST", "auth/token/lookup-accessor", json!({ "accessor": accessor }));
            // It may be gone by now: others use this server too.
            status == 200 && answer["data"]["path"] == path
        };
        let accessors = accessors["data"]["keys"].as_array().expect("a list").iter().filter(of);
        accessors.map(|accessor| accessor.as_str().expect("a text").to_owned()).collect()
    }

    /// How many there are.
    pub fn logins(&self) -> usize {
        self.accessors().len()
    }
}

/// A running `watch`.
pub struct Keeper<'s> {
    store: &'s Store,
    running: Running,
    directory: Directory,
}

impl<'s> Keeper<'s> {
    pub fn store(&self) -> &'s Store {
        self.store
    }

    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    pub fn pid(&self) -> i32 {
        self.running.pid()
    }

    /// What a file holds, if it is there.
    pub fn content(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.path().join(name)).ok()
    }

    /// Something of what the keeper tells of a secret.
    pub fn status<T>(&self, name: &str, part: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let text = fs::read(self.directory.path().join("..handfast/status.json")).ok()?;
        let status: Value = serde_json::from_slice(&text).expect("JSON");
        part(status["secrets"].as_array()?.iter().find(|secret| secret["name"] == name)?)
    }

    /// How often this was asked for since the proxy's last reset: `METHOD PLACE`.
    pub fn count(&self, line: &str) -> usize {
        self.store.proxy.lines().iter().filter(|asked| *asked == line).count()
    }

    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            let lines = self.store.proxy.lines();
            assert!(start.elapsed() < seconds(60), "never: {what}; {:?}; {lines:#?}", self.directory.names());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it by TERM, which takes no longer than it may. What it said.
    pub fn end(self) -> String {
        self.signal(Signal::SIGTERM);
        let start = Instant::now();
        let outcome = self.running.finish();
        assert!(outcome.code == 0 && start.elapsed() < Duration::from_millis(2500), "{outcome:?}");
        outcome.stderr
    }

    /// Kills it. The directory, with all that it has left there.
    pub fn kill(self) -> Directory {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.running.finish().code, 137);
        self.directory
    }

    /// Waits for its own end. How it ended, and what was asked for.
    pub fn ended(self) -> (Outcome, Vec<String>) {
        let outcome = self.running.finish();
        (outcome, self.store.proxy.lines())
    }
}

/// A store with a KV 2 secret, `db`, and its configuration.
pub struct Kv {
    pub store: Store,
    pub mount: String,
}

impl Kv {
    pub fn new() -> Option<Self> {
        let (store, mount) = (Store::new()?, random("kv-"));
        store.vault.enable_kv(&mount, 2);
        store.allow(&format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}"));
        let kv = Self { store, mount };
        kv.put("old");
        Some(kv)
    }

    pub fn put(&self, value: &str) {
        self.store.vault.must("POST", &format!("{}/data/db", self.mount), json!({ "data": { "password": value } }));
    }

    pub fn provider(&self) -> String {
        format!("mounts = {{ {} = \"kv-v2\" }}", self.mount)
    }

    pub fn secrets(&self) -> String {
        format!("[secrets.db]\nfrom = \"vault:{}/db#password\"\n", self.mount)
    }

    /// Puts another value, and waits until it is there.
    pub fn can_still_read(&self, keeper: &Keeper<'_>) {
        let value = random("value-");
        self.put(&value);
        keeper.signal(Signal::SIGHUP);
        keeper.until("the new value is there", |keeper| keeper.content("db").as_deref() == Some(&value));
    }
}
