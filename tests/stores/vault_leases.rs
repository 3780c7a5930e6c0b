//! What Vault gives for a time: what each start says of its end, and what a failed start gives back.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::{Directory, Outcome, Run, needs_root};
use handfast_testservers::{Postgres, Vault, random};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// A database's credentials at a mount of its own, and a role whose login may read them.
struct World<'p> {
    vault: &'static Vault,
    postgres: &'p Postgres,
    mount: String,
    approle: String,
    role_id: String,
    secret_id: String,
}

impl<'p> World<'p> {
    /// In the database that the tests here share.
    fn new(lease: &str) -> Option<Self> {
        static POSTGRES: OnceLock<Option<Postgres>> = OnceLock::new();
        POSTGRES.get_or_init(Postgres::start).as_ref().and_then(|postgres| Self::with(postgres, lease))
    }

    fn with(postgres: &'p Postgres, lease: &str) -> Option<Self> {
        let vault = Vault::shared()?;
        let [mount, policy, approle] = ["database-", "policy-", "approle-"].map(random);
        vault.enable_database(&mount, postgres, lease);
        vault.policy(&policy, &format!("path \"{mount}/creds/web\" {{ capabilities = [\"read\"] }}"));
        let role = vault.enable_approle(&approle, &[&policy]);
        Some(Self { vault, postgres, mount, approle, role_id: role.role_id, secret_id: role.secret_id })
    }

    /// A start with the credentials as the secret `db`, with a login of its own, and with what else the configuration says.
    fn run(&self, more: &str) -> Run {
        let Self { mount, approle, role_id, .. } = self;
        let config = format!(
            "[providers.vault]\nmounts = {{ {mount} = \"other\" }}\n\
             auth = {{ method = \"approle\", mount = \"{approle}\", role_id = \"{role_id}\" }}\n\
             [secrets.db]\nfrom = \"vault:{mount}/creds/web\"\n{more}"
        );
        self.reach(Run::new()).config(&config).env("VAULT_SECRET_ID", &self.secret_id)
    }

    fn reach(&self, run: Run) -> Run {
        run.env("VAULT_ADDR", self.vault.address()).env("VAULT_CACERT", self.vault.ca_file())
    }

    /// How many leases there are.
    fn leases(&self) -> usize {
        let (_, answer) = self.vault.api("LIST", &format!("sys/leases/lookup/{}/creds/web/", self.mount), Value::Null);
        answer["data"]["keys"].as_array().map_or(0, Vec::len)
    }

    /// How many users of the database Vault has made and not yet dropped, for any mount.
    fn users(&self) -> usize {
        let (owner, password) = self.postgres.owner();
        let count = self.postgres.query(owner, password, "select count(*) from pg_roles where rolname like 'v-%'");
        count.expect("the owner may").parse().expect("a number")
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.leases() > 0 {
            assert!(Instant::now() < deadline, "{} leases are left", self.leases());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[track_caller]
fn failed(outcome: &Outcome, code: i32) {
    assert_eq!((outcome.code, outcome.app_ran()), (code, false), "{outcome:?}");
    assert!(outcome.elapsed < Duration::from_secs(5), "{outcome:?}");
}

#[test]
fn the_end_of_a_lease_is_a_warning_where_it_is_near() {
    let (Some(short), Some(long)) = (World::new("1h"), World::new("24h")) else { return };
    // Which a database's role would cap.
    let week = json!({ "default_lease_ttl": "168h", "max_lease_ttl": "168h" });
    long.vault.must("POST", &format!("sys/mounts/{}/tune", long.mount), week);
    let role = json!({ "db_name": "postgres", "default_ttl": "100h", "max_ttl": "100h",
        "creation_statements": ["create role \"{{name}}\" login password '{{password}}'"] });
    long.vault.must("POST", &format!("{}/roles/web", long.mount), role);
    for (world, level) in [(&short, "warn"), (&long, "info")] {
        let json = ["--log-format", "json", "--log-level", "info"];
        let outcome = world.run("").args(json).start();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let line = outcome.stderr.lines().find(|line| line.contains("the lease of")).expect("it is told");
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["level"], level, "{line}");
        let text = line["message"].as_str().expect("a text");
        assert!(text.starts_with(&format!("`vault`: the lease of `{}/creds/web` ends in ", world.mount)), "{text}");
        assert!(text.ends_with(", and nothing renews it once the app has started"), "{text}");
        assert_eq!(world.leases(), 1, "the app uses it");
    }
}

#[test]
fn one_missing_secret_of_two_gives_the_lease_of_the_other_back() {
    let Some(world) = World::new("1h") else { return };
    // The failure comes after the lease: a request that Vault answers at once, and one behind a mount that is asked for.
    let outcome = world.run("[secrets.gone]\nfrom = \"vault:cubbyhole/none\"\n").start();
    failed(&outcome, 66);
    world.nothing_is_left();
}

#[test]
fn a_lease_is_given_back_even_when_the_deadline_is_over() {
    let Some(world) = World::new("1h") else { return };
    let never = "[providers.never]\ntype = \"mock\"\nlatency = \"1h\"\n[secrets.late]\nfrom = \"never:x\"\n";
    let outcome = world.run(never).args(["--deadline", "2s"]).start();
    assert_eq!((outcome.code, outcome.app_ran()), (69, false), "{outcome:?}");
    assert!(outcome.elapsed < Duration::from_secs(3), "{outcome:?}");
    world.nothing_is_left();
}

#[test]
fn a_failure_that_comes_after_the_fetch_gives_the_lease_back() {
    needs_root!();
    // A database of its own, whose users are all of this test's making.
    let Some(postgres) = Postgres::start() else { return };
    let Some(world) = World::with(&postgres, "1h") else { return };
    let full = Directory::tmpfs("mode=1777,size=8k,nr_inodes=30");
    let source = Directory::in_memory();
    let large = source.write("large", vec![b'x'; 6000]);
    let files = format!(
        "[secrets.large]\nfrom = \"file:{path}\"\n[secrets.more]\nfrom = \"file:{path}\"\n[files]\ndir = \"{}\"\n",
        full.text(),
        path = large.display()
    );
    failed(&world.run(&files).start(), 73);
    world.nothing_is_left();
    assert_eq!(full.names(), Vec::<String>::new());
    drop(full);

    // What arrives cannot be a file: the worker waits to hear what becomes of it.
    let directory = Directory::in_memory();
    let source = Directory::in_memory();
    let odd = source.write("odd", r#"{"a name":"x"}"#);
    let files =
        format!("[secrets.odd]\nfrom = \"file:{}#*\"\n[files]\ndir = \"{}\"\n", odd.display(), directory.text());
    failed(&world.run(&files).start(), 65);
    world.nothing_is_left();
    assert_eq!(world.users(), 0, "and no user of the database is left either");
}

#[test]
fn a_failure_that_comes_after_the_worker_is_gone_leaves_the_lease_to_its_end() {
    needs_root!();
    let Some(world) = World::new("1h") else { return };
    failed(&world.run("").confine(&["--deny", "setresuid=EPERM"]).start(), 125);
    assert_eq!(world.leases(), 1, "nobody is left who could give it back");
}

#[test]
fn a_signal_after_the_fetch_gives_the_lease_back() {
    needs_root!();
    let Some(world) = World::new("1h") else { return };
    // Another start has its turn in the directory: this one waits for it, its secrets in hand.
    let directory = Directory::in_memory();
    let _other = directory.taken();
    let run = world.run(&format!("[files]\ndir = \"{}\"\n", directory.text())).spawn();
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.leases() == 0 {
        assert!(Instant::now() < deadline, "nothing is leased");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The answer is on its way to the worker, and from there to the privileged process.
    std::thread::sleep(Duration::from_millis(500));
    run.signal(Signal::SIGTERM);
    failed(&run.finish(), 143);
    world.nothing_is_left();
}

#[test]
fn a_worker_that_ends_before_the_delivery_delivers_nothing() {
    needs_root!();
    let Some(world) = World::new("1h") else { return };
    let directory = Directory::in_memory();
    let other = directory.taken();
    let mut run = world.run(&format!("[files]\ndir = \"{}\"\n", directory.text())).spawn();
    let worker = run.worker();
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.leases() == 0 {
        assert!(Instant::now() < deadline, "nothing is leased");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it waits for the verdict");
    std::thread::sleep(Duration::from_millis(100));
    drop(other);
    let outcome = run.finish();
    failed(&outcome, 70);
    assert!(outcome.stderr.contains("the worker ended before its secrets were delivered"), "{outcome:?}");
    assert_eq!(directory.names(), ["..handfast"]);
}

#[test]
fn what_cannot_be_given_back_is_told_and_keeps_nobody_waiting() {
    needs_root!();
    let Some(world) = World::new("1h") else { return };
    let full = Directory::tmpfs("mode=1777,size=8k,nr_inodes=30");
    let source = Directory::in_memory();
    let large = source.write("large", vec![b'x'; 12_000]);
    // A given token, which may read and not revoke.
    let policy = random("policy-");
    world.vault.policy(&policy, &format!("path \"{}/creds/web\" {{ capabilities = [\"read\"] }}", world.mount));
    let token = world.vault.token(&[&policy]);
    let config = format!(
        "[secrets.db]\nfrom = \"vault:{}/creds/web\"\n[secrets.large]\nfrom = \"file:{}\"\n[files]\ndir = \"{}\"\n",
        world.mount,
        large.display(),
        full.text()
    );
    let outcome = world.reach(Run::new()).config(&config).env("VAULT_TOKEN", &token).start();
    failed(&outcome, 73);
    assert!(outcome.stderr.contains("cannot give a lease back to Vault"), "{outcome:?}");
    let last = outcome.stderr.lines().last().expect("a line");
    assert!(last.contains("error: cannot write `large`"), "the last line says it all: {outcome:?}");
    assert!(!outcome.stderr.contains(&token), "{outcome:?}");
    assert_eq!(world.leases(), 1);
}
