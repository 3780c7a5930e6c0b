//! `watch` with what a real Vault gives for a time: leases of PostgreSQL's users, certificates and static roles.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::keeping::{Keeper, Store, seconds};
use crate::support::{Directory, needs_program, needs_root};
use handfast_testservers::{Fault, Postgres, random};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn postgres() -> Option<&'static Postgres> {
    static POSTGRES: OnceLock<Option<Postgres>> = OnceLock::new();
    POSTGRES.get_or_init(Postgres::start).as_ref()
}

/// Credentials of a database with leases of this length, renewable up to `longest`.
pub struct Database {
    pub store: Store,
    pub mount: String,
    postgres: &'static Postgres,
}

impl Database {
    pub fn new(lease: &str, longest: &str) -> Option<Self> {
        let (store, postgres, mount) = (Store::new()?, postgres()?, random("database-"));
        store.vault.enable_database(&mount, postgres, lease);
        let role = json!({ "db_name": "postgres", "default_ttl": lease, "max_ttl": longest, "creation_statements":
            ["create role \"{{name}}\" login password '{{password}}' valid until '{{expiration}}'"] });
        store.vault.must("POST", &format!("{mount}/roles/web"), role);
        store.allow(&format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}"));
        Some(Self { store, mount, postgres })
    }

    /// A keeper of the credentials as `db`, with these keys of the secret's own.
    fn keep(&self, settings: &str, more: &str) -> Keeper<'_> {
        let Self { mount, .. } = self;
        let provider = format!("mounts = {{ {mount} = \"other\" }}\n{settings}");
        let keeper = self.store.keep(&provider, &format!("[secrets.db]\nfrom = \"vault:{mount}/creds/web\"\n{more}"));
        keeper.until("the credentials are there", |keeper| keeper.content("db").is_some());
        keeper
    }

    pub fn creds(&self) -> String {
        format!("GET /v1/{}/creds/web", self.mount)
    }

    /// Whether these credentials open the database.
    pub fn opens(&self, credentials: &str) -> bool {
        let data: Value = serde_json::from_str(credentials).expect("JSON");
        let [user, password] = ["username", "password"].map(|field| data[field].as_str().expect("a text"));
        self.postgres.query(user, password, "select 1").is_some()
    }
}

/// After two more seconds, still nothing was issued sooner than `apart` after what was issued before.
#[track_caller]
fn keeps_its_pace(keeper: &Keeper, database: &Database, began: Instant, apart: Duration) {
    std::thread::sleep(seconds(2));
    let issued = keeper.count(&database.creds());
    let took = began.elapsed();
    let most = 1 + took.div_duration_f64(apart) as usize;
    assert!((2..=most).contains(&issued), "{issued} in {took:?}, expected at most {most}");
}

pub const RENEWAL: &str = "PUT /v1/sys/leases/renew";

#[test]
fn a_lease_is_renewed_and_hung_up_upon_it_is_not_issued_anew() {
    let Some(database) = Database::new("15s", "24h") else { return };
    let keeper = database.keep("", "");
    let first = keeper.content("db").expect("it is there");
    keeper.until("it is renewed twice", |keeper| {
        keeper.signal(Signal::SIGHUP);
        keeper.count(RENEWAL) == 2
    });
    let end = keeper.status("db", |secret| secret["end"].as_u64()).expect("a lease has an end");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs();
    assert!((now..=now + 16).contains(&end), "{end} at {now}");
    assert_eq!((keeper.content("db"), keeper.count(&database.creds())), (Some(first.clone()), 1));
    assert!(database.opens(&first));
    let said = keeper.end();
    assert!(!said.contains("changed") && !said.contains("cannot"), "{said}");
}

#[test]
fn a_storm_of_hups_keeps_the_pace_and_issues_nothing_anew() {
    let Some(database) = Database::new("1h", "24h") else { return };
    let (store, mount, kv) = (&database.store, &database.mount, random("kv-"));
    store.vault.enable_kv(&kv, 2);
    let put = |value: &str| {
        for name in ["a", "b", "c"] {
            store.vault.must("POST", &format!("{kv}/data/{name}"), json!({ "data": { "value": value } }));
        }
    };
    put("old");
    store.allow(&format!("path \"{kv}/*\" {{ capabilities = [\"read\"] }}"));
    let secret = |name: &str| format!("[secrets.{name}]\nfrom = \"vault:{kv}/{name}#value\"\n");
    let secrets = ["a", "b", "c"].map(secret).concat();
    let keeper = store.keep(
        &format!("mounts = {{ {mount} = \"other\", {kv} = \"kv-v2\" }}"),
        &format!("{secrets}[secrets.db]\nfrom = \"vault:{mount}/creds/web\"\n[fetch]\nconcurrency = 4\n"),
    );
    keeper.until("it lives", |keeper| keeper.status("db", |secret| secret["end"].as_u64()).is_some());
    let credentials = keeper.content("db");
    let (start, before) = (std::time::Instant::now(), store.proxy.requests().len());
    for _ in 0..1000 {
        keeper.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(1));
    }
    put("new");
    keeper.signal(Signal::SIGHUP);
    keeper.until("the last one was heard", |keeper| {
        ["a", "b", "c"].iter().all(|name| keeper.content(name).as_deref() == Some("new"))
    });
    // What was still due comes within this time.
    std::thread::sleep(seconds(3));
    let (asked, took) = (store.proxy.requests().len() - before, start.elapsed());
    let most = 4.0 + 2.0 * took.as_secs_f64();
    assert!(asked >= 3 && asked as f64 <= most + 1.0, "{asked} in {took:?}, expected at most {most}");
    assert_eq!((keeper.count(&database.creds()), keeper.content("db")), (1, credentials));
    keeper.end();
}

#[test]
fn a_lease_near_its_longest_life_is_issued_anew_before_it_ends() {
    let Some(database) = Database::new("20s", "27s") else { return };
    let keeper = database.keep("", "");
    let first = keeper.content("db").expect("it is there");
    keeper.until("there are others", |keeper| keeper.content("db").is_some_and(|now| now != first));
    assert!(database.opens(&first), "a pool may still hold the old ones");
    assert!(database.opens(&keeper.content("db").expect("it is there")));
    assert_eq!((keeper.count(RENEWAL), keeper.count(&database.creds())), (1, 2));
    keeper.end();
}

#[test]
fn a_lease_whose_renewal_is_denied_is_issued_anew_and_asked_for_once() {
    let Some(database) = Database::new("8s", "24h") else { return };
    database.store.allow("path \"sys/leases/renew\" { capabilities = [\"deny\"] }");
    let began = Instant::now();
    let keeper = database.keep("", "");
    let first = keeper.content("db").expect("it is there");
    keeper.until("there are others", |keeper| keeper.content("db").is_some_and(|now| now != first));
    assert_eq!((keeper.count(RENEWAL), keeper.count(&database.creds())), (1, 2));
    // The next one is due at 67 % of the lease at the earliest.
    keeps_its_pace(&keeper, &database, began, seconds(8).mul_f64(0.67));
    let said = keeper.end();
    let text = "warn: the lease of `db` from `vault:";
    assert_eq!(said.matches(text).count(), 1, "{said}");
    assert!(said.contains("` is not renewed but issued anew: cannot renew the lease of `"), "{said}");
}

#[test]
fn renewals_that_fail_are_few_and_lead_to_new_credentials_before_the_end() {
    let Some(database) = Database::new("30s", "24h") else { return };
    let began = Instant::now();
    let keeper = database.keep("", "");
    keeper.store().proxy.add(Fault::Status(500).on("/v1/sys/leases/renew"));
    let first = keeper.content("db").expect("it is there");
    keeper.until("there are others", |keeper| keeper.content("db").is_some_and(|now| now != first));
    let renewals = keeper.count(RENEWAL);
    assert!((1..=6).contains(&renewals), "{renewals}");
    assert_eq!(keeper.count(&database.creds()), 2);
    // Renewals are tried until 80 % of the lease.
    keeps_its_pace(&keeper, &database, began, seconds(30).mul_f64(0.80));
    let said = keeper.end();
    assert!(said.contains("warn: cannot renew the lease of `db` from `vault:"), "{said}");
    assert!(!said.contains("is stale"), "{said}");
}

#[test]
fn a_lease_that_runs_out_makes_its_secret_stale_and_another_ends_that() {
    let Some(database) = Database::new("8s", "24h") else { return };
    let keeper = database.keep("", "");
    let first = keeper.content("db").expect("it is there");
    let proxy = &keeper.store().proxy;
    proxy.reset();
    proxy.add(Fault::Status(500));
    keeper.until("it is stale", |keeper| keeper.status("db", |secret| secret["stale"].as_bool()) == Some(true));
    assert_eq!(keeper.content("db").as_ref(), Some(&first), "the files stay");
    let asked = proxy.requests().len();
    assert!((1..=12).contains(&asked), "{asked}");
    proxy.reset();
    keeper.until("there are others", |keeper| keeper.content("db").is_some_and(|now| now != first));
    keeper.until("it is fresh", |keeper| keeper.status("db", |secret| secret["stale"].as_bool()) == Some(false));
    let said = keeper.end();
    assert!(said.contains("error: `db` is stale: it has ended, and no other could be had\n"), "{said}");
}

/// Without `revoke_on_exit` the leases stay for the app, which runs on.
#[test]
fn leases_and_tokens_are_given_back_at_the_end_where_that_is_asked_for() {
    let Some(database) = Database::new("1h", "24h") else { return };
    let leases = || database.store.leases(&format!("{}/creds/web", database.mount));
    database.keep("", "").end();
    assert_eq!(leases(), 1);
    let logins = database.store.logins();
    database.keep("revoke_on_exit = true", "").end();
    keeper_gone(|| leases() == 1 && database.store.logins() == logins);
}

#[track_caller]
fn keeper_gone(is_so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < seconds(20), "what was issued is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_due_anew_is_left_to_the_next_start_where_it_asks_for_a_restart() {
    let Some(database) = Database::new("30s", "24h") else { return };
    database.store.allow("path \"sys/leases/renew\" { capabilities = [\"deny\"] }");
    let keeper = database.keep("revoke_on_exit = true", "on_change = \"restart\"\n[watch]\nsplay = \"1s\"\n");
    let first = keeper.content("db").expect("it is there");
    let (outcome, requests) = keeper.ended();
    assert_eq!(outcome.code, 79, "{outcome:?}");
    assert!(outcome.stderr.contains("error: `db` is due anew, and asks for a restart"), "{outcome:?}");
    assert_eq!(requests.iter().filter(|line| **line == database.creds()).count(), 1, "{requests:?}");
    assert!(database.opens(&first), "nothing is given back");
}

/// The next start would get nothing from a store that is gone, and the app would have been ended for nothing.
#[test]
fn a_store_that_is_gone_asks_for_no_restart_before_it_is_there_again() {
    let Some(database) = Database::new("8s", "24h") else { return };
    let keeper = database.keep("", "on_change = \"restart\"\n[watch]\nsplay = \"0s\"\n");
    keeper.store().proxy.add(Fault::Status(500));
    keeper.until("it is stale", |keeper| keeper.status("db", |secret| secret["stale"].as_bool()) == Some(true));
    // The lease is over by now, as a renewal is told.
    keeper.store().proxy.reset();
    let (outcome, _) = keeper.ended();
    assert_eq!(outcome.code, 79, "{outcome:?}");
    assert!(outcome.stderr.contains("error: `db` is due anew, and asks for a restart"), "{outcome:?}");
}

/// Nobody waits with dead credentials until the time at which a living lease would be issued anew.
#[test]
fn leases_that_are_gone_with_their_login_are_issued_anew_as_soon_as_that_is_seen() {
    let Some(database) = Database::new("30s", "24h") else { return };
    let names = ["one", "two", "three", "four", "five"];
    let role = json!({ "db_name": "postgres", "default_ttl": "30s", "max_ttl": "24h", "creation_statements":
        ["create role \"{{name}}\" login password '{{password}}' valid until '{{expiration}}'"] });
    let secret = |name: &&str| {
        database.store.vault.must("POST", &format!("{}/roles/{name}", database.mount), role.clone());
        format!("[secrets.{name}]\nfrom = \"vault:{}/creds/{name}\"\n", database.mount)
    };
    database.store.vault.must("POST", &format!("{}/config/postgres", database.mount), json!({ "allowed_roles": "*" }));
    let keeper = database.keep("", &names.iter().map(secret).collect::<String>());
    let contents = |keeper: &Keeper<'_>| names.map(|name| keeper.content(name).expect("it is there"));
    let first = contents(&keeper);
    for accessor in database.store.accessors() {
        database.store.vault.must("POST", "auth/token/revoke-accessor", json!({ "accessor": accessor }));
    }
    keeper.until("the loss is seen", |keeper| keeper.count(RENEWAL) > 0);
    let seen = std::time::Instant::now();
    keeper.until("there are others", |keeper| contents(keeper).iter().zip(&first).all(|(now, first)| now != first));
    assert!(seen.elapsed() < seconds(5), "{:?}", seen.elapsed());
    assert!(contents(&keeper).iter().all(|credentials| database.opens(credentials)));
    let said = keeper.end();
    assert!(!said.contains("is stale"), "{said}");
}

#[test]
fn a_lease_ends_with_a_login_that_has_no_successor() {
    let Some(database) = Database::new("1h", "24h") else { return };
    database.store.tokens(json!({ "token_ttl": "8s", "token_max_ttl": "8s" }));
    let keeper = database.keep("", "");
    keeper.store().proxy.add(Fault::Status(500).on(&format!("/v1/auth/{}/login", database.store.approle)));
    keeper.until("it is stale", |keeper| keeper.status("db", |secret| secret["stale"].as_bool()) == Some(true));
    keeper.store().proxy.reset();
    keeper.until("it is fresh", |keeper| keeper.status("db", |secret| secret["stale"].as_bool()) == Some(false));
    keeper.end();
}

#[test]
fn a_certificate_is_issued_anew_after_half_of_its_life() {
    let Some(store) = Store::new() else { return };
    let mount = random("pki-");
    store.vault.enable_engine(&mount, "pki");
    store.vault.must("POST", &format!("{mount}/root/generate/internal"), json!({ "common_name": "ca", "ttl": "1h" }));
    let role = json!({ "allow_any_name": true, "enforce_hostnames": false, "max_ttl": "1h" });
    store.vault.must("POST", &format!("{mount}/roles/web"), role);
    store.allow(&format!("path \"{mount}/issue/web\" {{ capabilities = [\"update\"] }}"));
    let keeper = store.keep(
        &format!("mounts = {{ {mount} = \"other\" }}"),
        &format!(
            "[secrets.tls]\nfrom = \"vault:{mount}/issue/web\"\nparams = {{ common_name = \"web\", ttl = \"12s\" }}\n\
             [secrets.certificate]\nfrom = \"vault:{mount}/issue/web#certificate\"\n\
             params = {{ common_name = \"web\", ttl = \"12s\" }}\n"
        ),
    );
    let issued = format!("PUT /v1/{mount}/issue/web");
    keeper.until("it is there", |keeper| keeper.content("tls").is_some());
    let first = keeper.content("tls").expect("it is there");
    keeper.signal(Signal::SIGHUP);
    let left = || keeper.status("tls", |secret| Some(secret["end"].as_u64()? - secret["next"].as_u64()?));
    keeper.until("its end is told", |_| left().is_some());
    let next = left().expect("it has an end");
    assert!((3..=7).contains(&next), "{next}");
    keeper.until("there is another", |keeper| keeper.content("tls").is_some_and(|now| now != first));
    assert_eq!(keeper.count(&issued), 2, "one request for both secrets, and none for the signal");
    let whole: Value = serde_json::from_str(&keeper.content("tls").expect("it is there")).expect("JSON");
    assert_eq!(whole["certificate"].as_str(), keeper.content("certificate").as_deref(), "they belong together");
    keeper.end();
}

/// Its password changes at the store by itself: the new one is there soon after, whatever `refresh` says.
#[test]
fn a_static_role_is_read_when_its_password_has_changed() {
    let Some(database) = Database::new("1h", "24h") else { return };
    let (mount, user, postgres) = (&database.mount, random("static_"), database.postgres);
    let (owner, password) = postgres.owner();
    postgres.query(owner, password, &format!("create role \"{user}\" login password 'x'")).expect("the owner may");
    let vault = database.store.vault;
    vault.must("POST", &format!("{mount}/config/postgres"), json!({ "allowed_roles": "*" }));
    let statement = ["alter role \"{{name}}\" with password '{{password}}'"];
    let role =
        json!({ "db_name": "postgres", "username": user, "rotation_period": "7s", "rotation_statements": statement });
    vault.must("POST", &format!("{mount}/static-roles/fixed"), role);
    let keeper = database.store.keep(
        &format!("mounts = {{ {mount} = \"other\" }}"),
        &format!("[secrets.db]\nfrom = \"vault:{mount}/static-creds/fixed#password\"\nrefresh = \"1h\"\n"),
    );
    keeper.until("it is there", |keeper| keeper.content("db").is_some());
    let mut before = keeper.content("db").expect("it is there");
    for _ in 0..2 {
        keeper.until("it is another", |keeper| keeper.content("db").is_some_and(|now| now != before));
        before = keeper.content("db").expect("it is there");
    }
    keeper.until("it is that of the database", |keeper| {
        postgres.query(&user, &keeper.content("db").expect("it is there"), "select 1").is_some()
    });
    let asked = keeper.count(&format!("GET /v1/{mount}/static-creds/fixed"));
    assert!((3..=20).contains(&asked), "{asked}");
    keeper.end();
}

/// A pool that opens its connections with what the file holds now, told by HUP.
const POOL: &str = "import signal, sys\n\
    def read(*_):\n\
    \x20   with open(sys.argv[2] + '/db') as source, open(sys.argv[1], 'a') as log: log.write(source.read() + '\\n')\n\
    signal.signal(signal.SIGHUP, read)\nread()\nwhile True: signal.pause()\n";

#[test]
fn a_supervised_pool_takes_new_credentials_before_the_old_end() {
    needs_root!();
    needs_program!("python3");
    let Some(database) = Database::new("10s", "20s") else { return };
    let (mount, notes) = (&database.mount, Directory::new());
    let file = notes.write("notes", "");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("it is ours");
    let secrets = format!("[secrets.db]\nfrom = \"vault:{mount}/creds/web\"\non_change = \"signal:HUP\"\n");
    let provider = format!("mounts = {{ {mount} = \"other\" }}");
    let keeper = database.store.supervise(&provider, &secrets, &["python3", "-c", POOL, &file.display().to_string()]);
    let notes =
        || -> Vec<String> { std::fs::read_to_string(&file).expect("it is ours").lines().map(str::to_owned).collect() };
    keeper.until("the pool has other credentials", |_| notes().len() >= 2);
    let noted = notes();
    assert!(noted[0] != noted[1] && database.opens(&noted[1]), "{noted:?}");
    // What is in use from before is not taken away early.
    assert!(database.opens(&noted[0]));
    keeper.signal(Signal::SIGTERM);
    let (outcome, _) = keeper.ended();
    assert_eq!(outcome.code, 143, "{outcome:?}");
}

#[test]
fn what_a_supervised_app_was_given_is_given_back_at_its_end_where_that_is_asked_for() {
    let Some(database) = Database::new("1h", "24h") else { return };
    let mount = &database.mount;
    let leases = || database.store.leases(&format!("{mount}/creds/web"));
    for (settings, left) in [("", 1), ("revoke_on_exit = true", 1)] {
        let provider = format!("mounts = {{ {mount} = \"other\" }}\n{settings}");
        let secrets = format!("[secrets.db]\nfrom = \"vault:{mount}/creds/web\"\n");
        let keeper = database.store.supervise(&provider, &secrets, &["sh", "-c", "exec sleep 100", "sh"]);
        keeper.until("the app runs", |keeper| keeper.status("db", |secret| secret["end"].as_u64()).is_some());
        keeper.signal(Signal::SIGTERM);
        let (outcome, _) = keeper.ended();
        assert_eq!(outcome.code, 143, "{outcome:?}");
        keeper_gone(|| leases() == left);
    }
}
