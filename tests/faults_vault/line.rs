//! A secret in a real Vault, behind a proxy of its own that makes faults.

use std::thread;
use std::time::Duration;

use handfast_testservers::{Authority, Directory, FaultProxy, Vault, random};
use serde_json::json;

use crate::support::{Outcome, Run, hex, is_root};

/// A second.
pub const SECOND: Duration = Duration::from_secs(1);

/// Where a fault can be: the question for the mount, and the secret.
pub const PLACES: [&str; 2] = ["/v1/sys/internal/ui/mounts/", "/v1/secret/data/"];

/// The most memory that a process may have in use, in KiB.
const MOST_MEMORY: u64 = 64 << 10;

/// A secret in a real Vault, behind a proxy of its own.
pub struct Line {
    pub vault: &'static Vault,
    pub proxy: FaultProxy,
    pub authority: Authority,
    pub files: Directory,
    pub name: String,
    pub secret: String,
    pub token: String,
}

impl Line {
    pub fn new() -> Option<Self> {
        let vault = Vault::shared()?;
        let (name, secret, policy) = (random("db-"), random("canary-"), random("policy-"));
        vault.must("POST", &format!("secret/data/{name}"), json!({ "data": { "password": secret } }));
        let rules = format!("path \"secret/data/{name}\" {{ capabilities = [\"read\"] }}");
        vault.must("POST", &format!("sys/policies/acl/{policy}"), json!({ "policy": rules }));
        let made = vault.must("POST", "auth/token/create", json!({ "policies": [policy] }));
        let token = made["auth"]["client_token"].as_str().expect("it is documented so").to_owned();
        let (authority, files) = (Authority::new(), Directory::new());
        files.write("ca.pem", authority.pem());
        let proxy = FaultProxy::start(vault, &authority);
        Some(Self { vault, proxy, authority, files, name, secret, token })
    }

    /// handfast, with the probe behind it, as it finds Vault here.
    pub fn run(&self, deadline: Duration) -> Run {
        let run = Run::new()
            .env("VAULT_ADDR", self.proxy.address())
            .env("VAULT_CACERT", self.files.file("ca.pem"))
            .env("VAULT_TOKEN", &self.token)
            .env("DB_PASSWORD_FILE", format!("handfast:vault:secret/{}#password", self.name))
            .args(["--deadline", &format!("{}ms", deadline.as_millis())])
            .args(["--log-level", "debug"]);
        // The tracer tells what memory each process had; it needs root, since handfast lets nobody else look.
        if is_root() { run.measured() } else { run }
    }

    /// What holds whatever happens.
    #[track_caller]
    fn holds(&self, outcome: &Outcome, deadline: Duration) {
        assert!(outcome.elapsed < deadline + SECOND, "{outcome:?}");
        for canary in [&self.secret, &self.token, self.proxy.canary(), "of a stranger"] {
            assert!(!outcome.stderr.contains(canary), "{outcome:?}");
        }
        if is_root() {
            let reports = outcome.memory().as_array().expect("a list");
            let of = |name: &str| reports.iter().find(|report| report["process"] == name);
            assert!(of("privileged").is_some() && of("worker").is_some(), "{reports:?}");
            for report in reports {
                let peak = report["peak_kib"].as_u64().expect("a number");
                assert!(peak <= MOST_MEMORY, "{}: {peak} KiB: {outcome:?}", report["process"]);
            }
        }
    }

    /// The app runs, and has its secret, byte for byte.
    #[track_caller]
    pub fn starts(&self, outcome: &Outcome, deadline: Duration) {
        self.holds(outcome, deadline);
        let app = outcome.ran();
        assert_eq!(app["environ"]["DB_PASSWORD_FILE"], "/dev/fd/3", "{outcome:?}");
        assert_eq!(app["descriptors"][3]["content"], hex(&self.secret), "{outcome:?}");
        assert_eq!(app["descriptors"].as_array().map(Vec::len), Some(4), "{outcome:?}");
    }

    /// It ends with this code and text, and the app never ran.
    #[track_caller]
    pub fn fails(&self, outcome: &Outcome, deadline: Duration, code: i32, text: &str) {
        self.holds(outcome, deadline);
        outcome.refused(code, "cannot fetch `db-password` from `vault:secret/");
        outcome.says(text);
    }
}

/// Runs these side by side, each with a line of its own; most of their time is waiting.
pub fn each<T: Send + Sync>(cases: &[T], test: impl Fn(&Line, &T) + Sync) {
    // The first, for its message where there is no Vault.
    if Line::new().is_none() {
        return;
    }
    for some in cases.chunks(6) {
        thread::scope(|scope| {
            for case in some {
                scope.spawn(|| test(&Line::new().expect("there was one"), case));
            }
        });
    }
}

/// Each case at each place.
pub fn everywhere<T: Clone>(cases: &[T]) -> Vec<(&'static str, T)> {
    PLACES.iter().flat_map(|place| cases.iter().map(|case| (*place, case.clone()))).collect()
}
