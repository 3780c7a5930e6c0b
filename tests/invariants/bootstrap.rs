//! Invariant 6: the value of a bootstrap credential never reaches the app, unless `[app] env_keep` names its variable.

use std::fs;
use std::path::Path;

use crate::support::{Ledger, Run, hits, needs_root, scan};
use nix::sys::signal::Signal;

/// Those that the contract names: the list in the source has more, and never fewer.
const LEAST: [&str; 10] = [
    "VAULT_TOKEN",
    "VAULT_SECRET_ID",
    "VAULT_JWT",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN",
    "ARM_CLIENT_SECRET",
];

/// What stays with the app: addresses, regions, roles, paths of token files; proxies, which its own clients need.
const STAYING: [(&str, &str); 18] = [
    ("VAULT_ADDR", "https://vault.internal:8200"),
    ("VAULT_NAMESPACE", "team-a"),
    ("VAULT_ROLE", "web"),
    ("VAULT_ROLE_ID", "role-id"),
    ("VAULT_CACERT", "/etc/ssl/vault.pem"),
    ("AWS_REGION", "eu-west-1"),
    ("AWS_ROLE_ARN", "arn:aws:iam::1:role/web"),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
    ("AZURE_CLIENT_ID", "client-id"),
    ("AZURE_TENANT_ID", "tenant-id"),
    ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/azure-token"),
    ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/"),
    ("HTTPS_PROXY", "http://user:password@proxy:3128"),
    ("HTTP_PROXY", "http://user:password@proxy:3128"),
    ("ALL_PROXY", "http://user:password@proxy:3128"),
    ("https_proxy", "http://user:password@proxy:3128"),
    ("http_proxy", "http://user:password@proxy:3128"),
    ("all_proxy", "http://user:password@proxy:3128"),
];

/// The variables of src/config/bootstrap.rs.
fn variables() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/bootstrap.rs");
    let text = fs::read_to_string(path).expect("it is there");
    let list = text.split("= &[").nth(1).and_then(|rest| rest.split("];").next()).expect("the list");
    let line = |line: &str| Some(line.trim().strip_prefix('"')?.strip_suffix("\",")?.to_owned());
    let all: Vec<String> = list.lines().filter_map(line).collect();
    let missing: Vec<_> = LEAST.iter().filter(|name| !all.iter().any(|known| known == *name)).collect();
    assert!(missing.is_empty() && all.len() >= 15, "{missing:?} not in {all:?}");
    all
}

/// A run with each of them set to a value of its own.
fn run(ledger: &mut Ledger) -> Run {
    let run = variables().iter().fold(Run::new().arg("--secret").arg("db=mock:db"), |run, name| {
        let value = ledger.add(name);
        run.env(name, value)
    });
    STAYING.iter().fold(run, |run, (name, value)| run.env(name, value))
}

#[test]
fn no_bootstrap_credential_reaches_the_app() {
    needs_root!();
    let mut ledger = Ledger::default();
    let run = run(&mut ledger);
    let outcome = run.traced(&ledger.values()).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    // Neither is it left in either process of handfast's when that is done: memory, environment and arguments.
    let reports = outcome.memory().as_array().expect("a list");
    assert_eq!(reports.len(), 3, "worker, privileged, app");
    for report in reports {
        assert!(report["bytes_scanned"].as_u64().is_some_and(|bytes| bytes > 100_000), "{report}");
        assert_eq!(hits(report), Vec::<String>::new(), "{}", report["process"]);
    }
    let app = outcome.probe();
    let environment = app["environ"].as_object().expect("an object");
    for name in variables() {
        assert!(!environment.contains_key(&name), "{name}");
    }
    for (name, value) in STAYING {
        assert_eq!(environment.get(name).and_then(|value| value.as_str()), Some(value), "{name}");
    }
    assert_eq!(ledger.find("the app's report", &outcome.stdout), Vec::<String>::new());
    assert_eq!(ledger.find("standard error", outcome.stderr.as_bytes()), Vec::<String>::new());
}

#[test]
fn neither_process_shows_one_in_its_environment_during_the_fetch() {
    needs_root!();
    let mut ledger = Ledger::default();
    let config = "[providers.mock]\nlatency = \"10s\"\n";
    let mut running = run(&mut ledger).config(config).env("PLAIN", ledger.add("PLAIN")).spawn();
    let worker = running.worker();
    for process in [running.pid(), worker] {
        for place in ["environ", "cmdline"] {
            let bytes = fs::read(format!("/proc/{process}/{place}")).expect("it waits");
            let found = ledger.find(place, &bytes);
            // The control: what is no credential stands where it stood.
            let expected = if place == "environ" { vec!["PLAIN raw whole in environ".to_owned()] } else { Vec::new() };
            assert_eq!(found, expected, "{process}");
            assert!(place != "environ" || bytes.windows(12).any(|part| part == b"VAULT_TOKEN="), "the name stays");
        }
    }
    // The privileged process has given them up as soon as the worker had its copy; what env_keep does not name is gone.
    let credentials: Vec<&str> =
        variables().iter().map(|name| ledger.get(name).to_owned()).map(|value| &*value.leak()).collect();
    let report = scan(running.pid(), &credentials);
    assert_eq!(hits(&report), Vec::<String>::new());
    running.signal(Signal::SIGTERM);
    assert_eq!(running.finish().code, 143);
}

#[test]
fn env_keep_is_the_only_way_through() {
    let mut ledger = Ledger::default();
    let outcome = run(&mut ledger).config("[app]\nenv_keep = [\"VAULT_TOKEN\", \"AWS_SESSION_TOKEN\"]\n").start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let app = outcome.probe();
    for name in variables() {
        let kept = ["VAULT_TOKEN", "AWS_SESSION_TOKEN"].contains(&name.as_str());
        let expected = kept.then(|| ledger.get(&name));
        assert_eq!(app["environ"].get(&name).and_then(|value| value.as_str()), expected, "{name}");
    }
    // What is taken away is taken away, whatever is kept.
    let config = "[app]\nenv_keep = [\"VAULT_TOKEN\"]\nenv_remove = [\"VAULT_*\"]\n";
    let outcome = run(&mut Ledger::default()).config(config).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.probe()["environ"].get("VAULT_TOKEN").is_none(), "{outcome:?}");
}

#[test]
fn a_variable_that_is_there_twice_gets_through_in_neither_form() {
    let mut ledger = Ledger::default();
    let (first, second) = (ledger.add("first"), ledger.add("second"));
    // No shell and no library makes such an environment; an attacker or an odd runtime may.
    let python = crate::support::needs_program!("python3");
    let script = "import ctypes, sys\n\
        c = ctypes.CDLL(None)\n\
        argv = [a.encode() for a in sys.argv[3:]]\n\
        env = [b'PATH=/usr/bin:/bin', b'VAULT_TOKEN=' + sys.argv[1].encode(), b'VAULT_TOKEN=' + sys.argv[2].encode(), b'VAULT_TOKEN', b'=x']\n\
        array = lambda words: (ctypes.c_char_p * (len(words) + 1))(*words, None)\n\
        c.execve(argv[0], array(argv), array(env))\n";
    let words = ["-c", script, &first, &second];
    let command: Vec<_> = std::iter::once(python.as_os_str()).chain(words.iter().map(std::ffi::OsStr::new)).collect();
    // In handfast's place as PID of the harness: the tools would make an ordinary environment of it.
    let output = std::process::Command::new(command[0])
        .args(&command[1..])
        .arg(crate::support::program("handfast"))
        .args(["run", "--secret", "db=mock:db", "--"])
        .arg(crate::support::program("probe"))
        .current_dir("/")
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ledger.find("the app's report", &output.stdout), Vec::<String>::new());
}

#[test]
fn each_removed_variable_is_named_once_at_info() {
    let mut ledger = Ledger::default();
    let outcome = run(&mut ledger)
        .arg("--log-level")
        .arg("info")
        .env("LEGACY_KEY", "x")
        .config("[app]\nenv_remove = [\"LEGACY_*\"]\n")
        .start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for name in variables().iter().map(String::as_str).chain(["LEGACY_KEY"]) {
        assert_eq!(outcome.stderr.matches(&format!("`{name}`")).count(), 1, "{name}: {outcome:?}");
    }
    assert_eq!(ledger.find("standard error", outcome.stderr.as_bytes()), Vec::<String>::new());
    let quiet = run(&mut Ledger::default()).start();
    assert!(!quiet.stderr.contains("VAULT_TOKEN"), "not at the default level: {quiet:?}");
}

#[test]
fn a_credential_is_no_part_of_a_reference() {
    let mut ledger = Ledger::default();
    for name in ["VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "AZURE_CLIENT_SECRET"] {
        for config in [
            format!("[secrets.other]\nfrom = \"mock:${{{name}}}\"\n"),
            format!("[secrets.other]\nfrom = \"mock:x${{{name}:-}}\"\n"),
            format!("[files]\ndir = \"/tmp/${{{name}}}\"\n"),
            format!("[providers.mock]\nvalues = {{ x = \"${{{name}}}\" }}\n"),
        ] {
            let outcome = run(&mut ledger).config(&config).start();
            assert_eq!((outcome.code, outcome.app_ran()), (78, false), "{config}: {outcome:?}");
            assert_eq!(ledger.find("standard error", outcome.stderr.as_bytes()), Vec::<String>::new(), "{config}");
        }
    }
}
