//! Invariants 5 and 1, from outside: a value is where it was delivered, and nowhere else.
//!
//! Every secret and every credential is a fresh random value, looked for raw, in hexadecimal digits and in base64, wherever a
//! start could have left it. The last tests plant leaks, which the same search must find.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Directory, Ledger, Outcome, Run, hits, needs_root, program};
use base64::Engine;
use nix::sys::signal::Signal;

/// One start with everything in it that could leak, and the places to look at afterwards.
struct Scene {
    ledger: Ledger,
    source: Directory,
    target: Directory,
    cwd: Directory,
    config: String,
}

const CREDENTIALS: [&str; 3] = ["VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "AZURE_CLIENT_SECRET"];

impl Scene {
    fn new() -> Self {
        let mut ledger = Ledger::default();
        let (source, target, cwd) = (Directory::in_memory(), Directory::in_memory(), Directory::new());
        source.write("plain", ledger.add("plain"));
        // Names of fields are public; a value beside the wanted one is not.
        let object =
            format!(r#"{{"a":"{}","b":{{"c":"{}"}},"d":"{}"}}"#, ledger.add("a"), ledger.add("c"), ledger.add("d"));
        source.write("object", &object);
        source.write("broken", object.replace('}', ""));
        // An escape in a text takes it through a buffer of the JSON library's, which nobody but the allocator wipes.
        source.write("every", format!(r#"{{"x":"{}\n","y":"{}"}}"#, ledger.add("x"), ledger.add("y")));
        let encoded = ledger.add("encoded");
        source.write("encoded", base64::engine::general_purpose::STANDARD.encode(encoded));
        source.write("large", ledger.add("large").repeat((1 << 20) / 32 + 1));
        ledger.add("made-up");
        source.write("binary", [b"\xff\xfe", ledger.add("binary").as_bytes()].concat());
        let config = format!(
            r##"
            [app]
            user = "1234:4321"
            [files]
            dir = "{target}"
            [secrets.plain]
            from = "file:{source}/plain"
            path_env = "PLAIN_FILE"
            [secrets.a]
            from = "file:{source}/object#a"
            fd = "auto"
            [secrets.c]
            from = "file:{source}/object#/b/c"
            [secrets.every]
            from = "file:{source}/every#*"
            file = "every-*"
            [secrets.encoded]
            from = "file:{source}/encoded?decode=base64"
            fd = "auto"
            # Through the configuration too.
            [secrets.made-up]
            from = "mock:made-up"
            [providers.mock]
            values = {{ made-up = "{made_up}" }}
            "##,
            made_up = ledger.get("made-up"),
            target = target.text(),
            source = source.text()
        );
        Self { ledger, source, target, cwd, config }
    }

    fn run(&mut self, more: &str, level: &str, format: &str) -> Run {
        let run = Run::new().config(&self.config).confine(&["--cwd", self.cwd.text()]);
        let run = run.arg("--log-level").arg(level).arg("--log-format").arg(format);
        let run = if more.is_empty() { run } else { run.config(&more.replace("SOURCE", self.source.text())) };
        CREDENTIALS.iter().fold(run, |run, name| {
            let value = self.ledger.add(&format!("{name} {level} {format} {more}"));
            run.env(name, value)
        })
    }

    /// Where values may be, once delivered: the files themselves.
    fn delivered(&self) -> Vec<PathBuf> {
        let data = self.target.path().join("..data");
        let entries = fs::read_dir(fs::canonicalize(data).unwrap_or_default()).into_iter().flatten().flatten();
        // Besides the file that marks the directory as handfast's.
        let is_value = |path: &PathBuf| !path.is_symlink() && !path.ends_with("..handfast");
        entries.map(|entry| entry.path()).filter(is_value).collect()
    }

    /// Everything that the start wrote or left, but for what it was to deliver and where that came from.
    fn found(&self, outcome: &Outcome) -> Vec<String> {
        let mut found = self.ledger.find("standard error", outcome.stderr.as_bytes());
        found.extend(self.ledger.find("standard output", &outcome.stdout));
        let delivered = self.delivered();
        let delivered: Vec<&Path> = delivered.iter().map(PathBuf::as_path).collect();
        found.extend(self.ledger.find_below(self.target.path(), &delivered));
        found.extend(self.ledger.find_below(self.cwd.path(), &[]));
        found
    }
}

/// The names in the directories that anybody may write to.
fn public_places() -> BTreeSet<PathBuf> {
    let places = ["/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run", "/run/lock"];
    let entries = places.iter().flat_map(fs::read_dir).flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// What each failure puts into the configuration, and its exit code.
const FAILURES: &[(&str, i32)] = &[
    ("[secrets.d]\nfrom = \"file:SOURCE/object#nope\"\n", 66),
    ("[secrets.d]\nfrom = \"file:SOURCE/object#/b/c/d\"\n", 66),
    ("[secrets.d]\nfrom = \"file:SOURCE/broken#a\"\n", 65),
    ("[secrets.d]\nfrom = \"file:SOURCE/plain#a\"\n", 65),
    ("[secrets.d]\nfrom = \"file:SOURCE/binary#a\"\n", 65),
    ("[secrets.d]\nfrom = \"file:SOURCE/plain#*\"\nfile = \"d-*\"\n", 65),
    ("[secrets.d]\nfrom = \"file:SOURCE/object?decode=base64\"\n", 65),
    ("[secrets.d]\nfrom = \"file:SOURCE/binary?decode=base64\"\n", 65),
    ("[secrets.d]\nfrom = \"file:SOURCE/large\"\n", 65),
    ("[secrets.d]\nfrom = \"file:SOURCE/missing\"\n", 66),
    ("[secrets.d]\nfrom = \"file:SOURCE\"\n", 77),
    ("[secrets.d]\nfrom = \"mock:d\"\n[providers.mock]\nfail = \"denied\"\n", 77),
    ("[secrets.d]\nfrom = \"mock:d\"\n[providers.mock]\nfail = \"untrusted\"\n", 76),
    ("[secrets.d]\nfrom = \"mock:d\"\n[providers.mock]\nfail = \"unavailable\"\n[fetch]\ndeadline = \"200ms\"\n", 69),
    // After the fetch: the value was there, and had nowhere to go.
    ("[secrets.d]\nfrom = \"file:SOURCE/plain\"\nowner = \"1:1\"\nmode = \"0999\"\n", 78),
    ("[app]\nkeep_capabilities = [\"SYS_RESOURCES\"]\n", 78),
];

#[test]
fn no_canary_is_left_outside_of_what_was_delivered() {
    needs_root!();
    for (level, format) in [("error", "text"), ("info", "json"), ("debug", "text"), ("debug", "json")] {
        let mut scene = Scene::new();
        let run = scene.run("", level, format);
        // The output of the probe has the descriptors' contents, which are where they belong: it goes elsewhere.
        let report = Directory::in_memory();
        std::os::unix::fs::chown(report.path(), Some(1234), Some(4321)).expect("root may");
        let path = report.path().join("report");
        let outcome = run.app_arg("--out").app_arg(&path).traced(&scene.ledger.values()).start();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        // Everything was delivered.
        assert_eq!(scene.delivered().len(), 5, "{:?}", scene.delivered());
        let app: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).expect("the probe's report")).expect("JSON");
        assert_eq!(app["descriptors"][3]["content"], crate::support::hex(scene.ledger.get("a")));
        assert_eq!(app["descriptors"][4]["content"], crate::support::hex(scene.ledger.get("encoded")));
        // Memory, environment and arguments of the worker at its end, of the privileged process at its execve, of the app.
        let reports = outcome.memory().as_array().expect("a list");
        let seen: Vec<_> = reports.iter().map(|report| report["process"].as_str().expect("text")).collect();
        assert_eq!(seen, ["worker", "privileged", "app"]);
        for report in reports {
            assert_eq!(hits(report), Vec::<String>::new(), "{level} {format}: {}", report["process"]);
            assert!(report["bytes_scanned"].as_u64().is_some_and(|bytes| bytes > 100_000), "{report}");
        }
        for part in ["argv", "environ_list", "status", "HANDFAST_FDS"] {
            let text = app[part].to_string();
            assert_eq!(scene.ledger.find(part, text.as_bytes()), Vec::<String>::new());
        }
        assert_eq!(scene.found(&outcome), Vec::<String>::new(), "{level} {format}");
    }
}

#[test]
fn no_failure_tells_a_value() {
    needs_root!();
    let existed = Path::new("/dev/termination-log").exists();
    for (more, code) in FAILURES {
        for (level, format) in [("warn", "text"), ("debug", "json")] {
            let mut scene = Scene::new();
            let log = scene.cwd.write("termination-log", "");
            let run = scene.run(more, level, format);
            let run = run.confine(&["--bind", &format!("{}:/dev/termination-log", log.display())]);
            let outcome = run.traced(&scene.ledger.values()).start();
            assert_eq!((outcome.code, outcome.app_ran()), (*code, false), "{more}: {outcome:?}");
            assert_eq!(scene.found(&outcome), Vec::<String>::new(), "{more}");
            assert_eq!(scene.target.names(), Vec::<String>::new(), "{more}");
            let told = fs::read_to_string(&log).expect("it is ours");
            assert_eq!(told.lines().count(), 1, "{more}: the termination log, searched with the rest: {told}");
            for report in outcome.memory().as_array().expect("a list") {
                assert_eq!(hits(report), Vec::<String>::new(), "{more}: {}", report["process"]);
            }
        }
    }
    // The place for the bind, in a /dev that every mount namespace shares.
    if !existed {
        let _ = fs::remove_file("/dev/termination-log");
    }
}

#[test]
fn nothing_is_written_anywhere_else() {
    needs_root!();
    let mut scene = Scene::new();
    let before = public_places();
    let outcome = scene.run("", "debug", "text").app(["/bin/true"]).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(scene.cwd.names(), Vec::<String>::new());
    let delivered = scene.delivered();
    let delivered: Vec<&Path> = delivered.iter().map(PathBuf::as_path).collect();
    for path in public_places().difference(&before) {
        // What other tests make at the same time is there too, without a value of this one.
        let found = scene.ledger.find_below(path, &delivered);
        assert_eq!(found, Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn a_crash_during_the_fetch_leaves_no_core() {
    needs_root!();
    for signal in [Signal::SIGABRT, Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGQUIT] {
        // The worker blocks what ends a start, as the privileged process does.
        for hit_worker in [false, true].into_iter().filter(|worker| !worker || signal != Signal::SIGQUIT) {
            let mut scene = Scene::new();
            let more = "[secrets.slow]\nfrom = \"mock:slow\"\n[providers.mock]\nlatency = \"10s\"\n";
            let run = scene.run(more, "warn", "text").confine(&["--rlimit", "CORE=unlimited"]);
            let mut running = run.spawn();
            let worker = running.worker();
            for process in [running.pid(), worker] {
                // Whatever core_pattern says: one that is not dumpable makes none, not for a pipe either.
                let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("it waits");
                let core = limits.lines().find(|line| line.starts_with("Max core")).expect("there is one");
                assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
                let filter = fs::metadata(format!("/proc/{process}/environ")).expect("it waits");
                assert_eq!(std::os::unix::fs::MetadataExt::uid(&filter), 0);
            }
            let process = if hit_worker { worker } else { running.pid() };
            let process = nix::unistd::Pid::from_raw(process);
            nix::sys::signal::kill(process, signal).expect("it waits");
            let outcome = running.finish();
            let code = if hit_worker { 70 } else { 128 + signal as i32 };
            assert_eq!((outcome.code, outcome.app_ran()), (code, false), "{signal}: {outcome:?}");
            assert_eq!(scene.cwd.names(), Vec::<String>::new(), "{signal}");
            assert_eq!(scene.found(&outcome), Vec::<String>::new(), "{signal}");
        }
    }
}

/// Leaks of an app's, in every place that is searched above, by the same means.
#[test]
fn the_scanner_finds_a_planted_leak() {
    needs_root!();
    let mut scene = Scene::new();
    let value = scene.ledger.get("plain").to_owned();
    let digits: String = crate::support::hex(&value);
    let base64 = base64::engine::general_purpose::STANDARD.encode(format!("x{value}"));
    let traced = |run: Run, ledger: &Ledger| run.traced(&ledger.values()).start();
    let places = |outcome: &Outcome, process: &str| -> Vec<String> {
        let reports = outcome.memory().as_array().expect("a list");
        hits(reports.iter().find(|report| report["process"] == process).expect("all three are there"))
    };

    // In a variable and in an argument: memory, environment and command line of all three.
    let run = scene.run("", "warn", "text").env("PLANTED", &value);
    let outcome = traced(run, &scene.ledger);
    for process in ["worker", "privileged", "app"] {
        let found = places(&outcome, process);
        assert!(found.iter().any(|hit| hit.starts_with("raw whole in environ")), "{process}: {found:?}");
        assert!(found.iter().any(|hit| hit.starts_with("raw whole in memory")), "{process}: {found:?}");
    }
    for (planted, encoding) in [(&value, "raw"), (&digits, "hex"), (&base64, "base64+1")] {
        let outcome = traced(scene.run("", "warn", "text").app_arg(planted), &scene.ledger);
        for process in ["worker", "privileged", "app"] {
            let found = places(&outcome, process);
            assert!(
                found.iter().any(|hit| hit.starts_with(&format!("{encoding} whole in cmdline"))),
                "{process}: {found:?}"
            );
        }
    }

    // On standard output and standard error, in each form.
    let cat = |stream: &str| format!("cat \"$CREDENTIALS_DIRECTORY/plain\" {stream}");
    for (script, place) in [
        (cat(""), "raw whole in standard output"),
        (cat(">&2"), "raw whole in standard error"),
        (format!("{} | base64", cat("")), "base64 whole in standard output"),
        (format!("{} | od -An -tx1 | tr -d ' \\n'", cat("")), "hex whole in standard output"),
        (cat("| cut -c17-"), "raw tail in standard output"),
    ] {
        let outcome = scene.run("", "warn", "text").app(["/bin/sh", "-c", &script]).start();
        let found = scene.found(&outcome);
        assert!(found.iter().any(|hit| *hit == format!("plain {place}")), "{script}: {found:?} {outcome:?}");
    }

    // In a file beside those that were delivered, in the working directory, and in a name.
    for (path, what) in [
        (scene.target.path().join("..data").join("copy"), ""),
        (scene.target.path().join("beside"), "beside"),
        (scene.cwd.path().join("core"), "core"),
        (scene.cwd.path().join(&value), "a name"),
    ] {
        let outcome = scene.run("", "warn", "text").app(["/bin/true"]).start();
        assert_eq!(scene.found(&outcome), Vec::<String>::new());
        fs::write(&path, &value).expect("root may");
        let found = scene.found(&outcome);
        // What lies among the delivered files is one more of them, which the count above would show.
        let seen = found.iter().any(|hit| hit.contains(what)) || (what.is_empty() && scene.delivered().len() == 6);
        assert!(seen, "{}: {found:?}", path.display());
        fs::remove_file(&path).expect("it was written");
    }

    // And memory that was freed without being wiped, as another program leaves it: its own copy of standard input.
    let outcome = traced(
        scene.run("", "warn", "text").app([
            program("probe").to_str().expect("text"),
            "--canary-scan",
            &inverted(&value),
            &value,
        ]),
        &scene.ledger,
    );
    assert!(outcome.probe()["canaries"]["hits"].as_array().is_some_and(|hits| !hits.is_empty()), "{outcome:?}");
}

fn inverted(value: &str) -> String {
    value.bytes().map(|byte| format!("{:02x}", !byte)).collect()
}
