//! `examples/postgresql`: a pool that takes new database credentials before the old ones end, with a real Vault and PostgreSQL.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::keeping::{Store, seconds};
use crate::support::{Directory, Run, needs_root, require};
use handfast_testservers::{Postgres, random};
use nix::sys::signal::Signal;
use serde_json::json;

/// The life of a lease, which no renewal makes longer.
const LEASE: u64 = 15;

fn example(name: &str) -> String {
    fs::read_to_string(format!("{}/examples/postgresql/{name}", env!("CARGO_MANIFEST_DIR"))).expect("it is there")
}

/// Whether the app's Python has the driver.
fn has_driver() -> bool {
    let python = std::process::Command::new("/usr/bin/python3").args(["-c", "import psycopg2"]).output();
    require(python.is_ok_and(|python| python.status.success()), "python3-psycopg2")
}

#[test]
fn over_three_lives_of_a_lease_no_query_of_a_pool_fails() {
    needs_root!();
    if !has_driver() {
        return;
    }
    let (Some(store), Some(postgres)) = (Store::new(), Postgres::start()) else { return };
    let (mount, lease) = (random("database-"), format!("{LEASE}s"));
    store.vault.enable_database(&mount, &postgres, &lease);
    store.vault.must(
        "POST",
        &format!("{mount}/roles/web"),
        json!({ "db_name": "postgres", "default_ttl": lease,
        "max_ttl": lease, "creation_statements":
            ["create role \"{{name}}\" login password '{{password}}' valid until '{{expiration}}'"] }),
    );
    store.allow(&format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}"));

    let (files, programs) = (Directory::in_memory(), Directory::new());
    let config = example("handfast.toml");
    let config = config.split("[providers.vault]").next().expect("the rest has the store");
    let config = config.replace("/run/secrets", files.text()).replace("vault:database/", &format!("vault:{mount}/"));
    let pool = programs.write("pool.py", example("pool.py"));
    let (host, port) =
        postgres.address().split_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).expect("a port");
    // So short a lease leaves no time for it.
    let quiet = "[watch]\nquiet = \"0s\"\n";
    let run = Run::new().config(&format!("{config}{quiet}[providers.vault]\n{}", store.by_approle("")));
    let run = store.at(run).env("VAULT_SECRET_ID", &store.role.secret_id).args(["--supervise", "--log-level", "info"]);
    let run = run.app(["/usr/bin/python3".as_ref(), pool.as_os_str()]).timeout(seconds(120));
    let running = run.env("PGHOST", host).env("PGPORT", port).env("PGDATABASE", "postgres").spawn();
    std::thread::sleep(Duration::from_secs(3 * LEASE));
    running.signal(Signal::SIGTERM);
    let outcome = running.finish();
    assert_eq!(outcome.code, 143, "{outcome:?}");
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(!said.contains("failed"), "{outcome:?}");
    let users: BTreeSet<&str> = said.lines().filter_map(|line| line.strip_prefix("query by ")).collect();
    let queries = said.lines().count();
    // Each is in use for two thirds of its life, or a little more.
    assert!((3..=6).contains(&users.len()) && queries > 300, "{queries} queries by {users:?}");
}
