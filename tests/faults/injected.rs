//! Any system call may fail, at any moment: then the app starts exactly as planned, or it does not start.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use crate::support::{Directory, Outcome, Run, canary, hex, needs_program, needs_root};
use serde_json::{Value, json};

/// Calls that no kernel lets fail, and those whose failure changes nothing but is not told from success by their caller.
const NEVER_FAIL: [&str; 12] = [
    "geteuid",
    "getuid",
    "getegid",
    "getgid",
    "getpid",
    "getppid",
    "umask",
    "close",
    "brk",
    "munmap",
    "getrandom",
    "exit_group",
];

struct Scene {
    files: Directory,
    secret: String,
    toml: String,
}

impl Scene {
    fn new() -> Self {
        let secret = canary();
        let toml = format!(
            "[app]\nuser = \"1000:1001\"\ngroups = [\"4\"]\n[providers.mock]\nvalues = {{ a = \"{secret}\" }}\n\
             [secrets.a]\nfrom = \"mock:a\"\n[secrets.b]\nfrom = \"mock:a\"\nfd = 5\n"
        );
        Self { files: Directory::in_memory(), secret, toml }
    }

    /// Traces handfast itself, and not its worker; with a fault where there is an option for it.
    fn start(&self, out: &str, options: &[&str]) -> Outcome {
        let strace = [&["strace", "--quiet=all", "-o", out], options].concat();
        Run::new()
            .config(&self.toml)
            .args(["--dir", self.files.text(), "--log-level", "error"])
            .through(&strace)
            .start()
    }

    /// What was said, without what differs from run to run.
    fn lines(&self, outcome: &Outcome) -> Vec<String> {
        let plain = |line: &str| {
            let line = line.replace(self.files.text(), "<directory>");
            let line = ["I/O error", "out of memory", "operation not permitted"]
                .iter()
                .fold(line, |line, reason| line.replace(&format!(": {reason}"), ": <reason>"));
            let words = line.split(' ').map(|word| match word.trim_matches(['`', ':', ',']) {
                name if name.starts_with("..handfast_") => word.replace(name, "<generation>"),
                path if path.starts_with("/tmp/") => word.replace(path, "<program>"),
                _ => word.to_owned(),
            });
            words.collect::<Vec<_>>().join(" ")
        };
        outcome.stderr.lines().filter(|line| line.starts_with("handfast: ")).map(plain).collect()
    }

    /// All that the app must find, whatever went wrong on the way.
    fn assert_right(&self, app: &Value, what: &str) {
        let status = &app["status"];
        assert_eq!(
            (&status["uids"], &status["gids"]),
            (&json!([1000, 1000, 1000, 1000]), &json!([1001, 1001, 1001, 1001])),
            "{what}"
        );
        assert_eq!((&status["groups"], &status["NoNewPrivs"]), (&json!([4]), &json!(1)), "{what}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd", "SigIgn", "SigBlk", "SigPnd", "ShdPnd"] {
            assert_eq!(status[set], "0000000000000000", "{set}: {what}");
        }
        assert_eq!(status["rlimits"]["CORE"], json!([0, 0]), "{what}");
        let descriptors = app["descriptors"].as_array().expect("a list");
        let numbers: Vec<&Value> = descriptors.iter().map(|one| &one["fd"]).collect();
        assert_eq!(numbers, [0, 1, 2, 5], "{what}");
        assert_eq!(
            (&descriptors[3]["content"], &descriptors[3]["seals"]),
            (&hex(&self.secret).into(), &json!(0x2f)),
            "{what}"
        );
        assert_eq!(app["CREDENTIALS_DIRECTORY"]["entries"]["a"]["content"], hex(&self.secret), "{what}");
    }
}

/// Compares the lines with the transcript, which has more: other C libraries make other calls. `HANDFAST_UPDATE=1`
/// adds what is new to it.
fn compare(said: BTreeSet<String>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/injected.txt");
    let mut known: BTreeSet<String> = fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect();
    let new: Vec<String> = said.difference(&known).cloned().collect();
    if std::env::var_os("HANDFAST_UPDATE").is_some() {
        known.extend(new);
        let lines: Vec<String> = known.into_iter().collect();
        return fs::write(path, lines.join("\n") + "\n").expect("it is ours");
    }
    assert!(new.is_empty(), "not in {path}:\n{}", new.join("\n"));
}

/// Each call of handfast's between the first line of the pipeline and the app: its name, and which of that name it is.
fn calls(trace: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = trace.lines().collect();
    let started = lines.iter().position(|line| line.starts_with("execve(") && line.contains("/handfast\", ["));
    let steps = |line: &&str| line.starts_with("prctl(PR_SET_DUMPABLE");
    let started = started.expect("confine becomes handfast");
    let first = started + lines[started..].iter().position(steps).expect("it is the first step");
    let last = lines.iter().rposition(|line| line.starts_with("execve(")).expect("it becomes the app");
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut calls = Vec::new();
    for (index, line) in lines.iter().enumerate().take(last + 1) {
        let Some((name, _)) = line.split_once('(') else { continue };
        let count = counts.entry(name).or_default();
        *count += 1;
        // Dropping a capability from the bounding set is best effort, and tested for itself.
        let counts = !NEVER_FAIL.contains(&name) && !line.contains("PR_CAPBSET_DROP");
        if index >= first && counts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            calls.push((name.to_owned(), *count));
        }
    }
    calls
}

/// Whether the fault met a call of the app, and none of handfast's.
fn met_the_app(trace: &str) -> bool {
    trace.find("(INJECTED)") > trace.rfind("\nexecve(")
}

#[test]
fn whichever_call_fails_the_app_starts_right_or_not_at_all() {
    needs_root!();
    needs_program!("strace");
    let (scene, traces) = (Scene::new(), Directory::new());
    let out = traces.write("trace", "").display().to_string();
    scene.assert_right(&scene.start(&out, &[]).ran(), "without a fault");
    let calls = calls(&fs::read_to_string(&out).expect("it was written"));
    assert!(calls.len() > 60, "{calls:?}");
    let mut ended = 0;
    let mut said = BTreeSet::new();
    let faults = calls.iter().flat_map(|call| ["EIO", "ENOMEM", "EPERM"].map(|error| (call, error)));
    for ((name, nth), error) in faults {
        let what = format!("{name} {nth} {error}");
        let outcome = scene.start(&out, &["-e", &format!("inject={name}:error={error}:when={nth}")]);
        outcome.never_says(&scene.secret).never_says("panicked").never_says("a bug");
        match outcome.code {
            // Frames come in one piece or in several, so that the numbers of calls differ from run to run.
            0 if met_the_app(&fs::read_to_string(&out).expect("it was written")) => {}
            0 => scene.assert_right(&outcome.probe(), &what),
            // Before `main`, where nothing is told yet what to do without memory: the counts differ from run to run.
            134 if outcome.stderr.starts_with("memory allocation of ") => assert!(!outcome.app_ran(), "{what}"),
            // This fault met the app's loader.
            127 if outcome.stderr.contains("error while loading shared libraries") => {}
            code => {
                assert!([71, 73, 78, 125, 126].contains(&code), "{what}: {outcome:?}");
                assert!(!outcome.app_ran(), "{what}: {outcome:?}");
                assert!(outcome.last_line().starts_with("handfast: error: "), "{what}: {outcome:?}");
                said.extend(scene.lines(&outcome));
                ended += 1;
            }
        }
    }
    assert!(ended > 100, "only {ended} of {} calls' failures were noticed", calls.len());
    compare(said);
    // What the failed ones left is no hindrance to the next.
    scene.assert_right(&scene.start("/dev/null", &[]).ran(), "after all of them");
    assert_eq!(scene.files.names().len(), 4, "{:?}", scene.files.names());
}

#[test]
fn an_interrupted_call_is_made_again_where_that_is_what_it_needs() {
    needs_root!();
    needs_program!("strace");
    let scene = Scene::new();
    for name in ["read", "write", "recvfrom", "poll", "wait4"] {
        for nth in 1..4 {
            let inject = format!("inject={name}:error=EINTR:when={nth}");
            let outcome = scene.start("/dev/null", &["-e", &inject]);
            // The loader of a program that is not static takes no interruption of its own reads.
            if outcome.code != 127 {
                scene.assert_right(&outcome.ran(), &inject);
            }
        }
    }
}
