//! What the system denies or has too little of: a fallback where there is one, else an end that names it, and no app.

use crate::support::{Directory, Outcome, Run, canary, hex, is_root, needs_program, needs_root};
use nix::sys::signal::Signal;
use serde_json::json;

/// `count` secrets in descriptors.
fn descriptors(count: usize) -> Run {
    let secrets: String =
        (0..count).map(|number| format!("[secrets.s{number}]\nfrom = \"mock:s{number}\"\n")).collect();
    Run::new().config(&secrets)
}

fn one() -> Run {
    Run::new().args(["--secret", "db=mock:db"])
}

#[test]
fn descriptors_that_fit_the_limit_are_handed_over_and_others_refused_before_the_fetch() {
    for count in [1, 8, 9] {
        let app = descriptors(count).confine(&["--rlimit", "NOFILE=16"]).start().ran();
        assert_eq!(app["descriptors"].as_array().map(Vec::len), Some(3 + count));
        assert_eq!(app["status"]["rlimits"]["NOFILE"], json!([16, 16]));
    }
    for (count, needed) in [(10, 17), (100, 107)] {
        let outcome = descriptors(count).confine(&["--rlimit", "NOFILE=16"]).start();
        outcome.refused(71, &format!("{needed} needed, RLIMIT_NOFILE allows 16 (os, exit 71)"));
        outcome.says("hint: raise the limit");
    }
    let high = || Run::new().config("[secrets.a]\nfrom = \"mock:a\"\nfd = 16\n").confine(&["--rlimit", "NOFILE=16"]);
    high().start().refused(71, "17 needed, RLIMIT_NOFILE allows 16");
    if is_root() {
        // A start finds this before what it lacks to change its user, and so does a check.
        let poor = || high().args(["-u", "1000:1000"]).confine(&["--bounding", "none", "--caps", "none"]);
        poor().start().refused(71, "17 needed");
        poor().with_command("check").start().foreseen(71, "17 needed");
    }
}

#[test]
fn under_any_limit_on_descriptors_the_app_starts_right_or_it_is_71() {
    let directory = Directory::in_memory();
    let toml = "[secrets.a]\nfrom = \"mock:a\"\n[secrets.b]\nfrom = \"mock:b\"\nfd = 5\n";
    for limit in 0..20 {
        let limit = format!("NOFILE={limit}:4096");
        let with_descriptor = Run::new().config(toml).args(["--dir", directory.text()]);
        let with_files = Run::new().args(["--dir", directory.text(), "-s", "a=mock:a"]);
        for (run, reads, prints) in [(with_descriptor, "/dev/fd/5", "mock-b"), (with_files, "\"$A\"", "mock-a")] {
            let app = format!("A={}/a; cat {reads}", directory.text());
            let outcome = run.confine(&["--rlimit", &limit]).app(["/bin/sh", "-c", &app]).start();
            // The loader of a program that is not static, handfast or the app, says this before it is one.
            let is_loader = |code| code == 127 && outcome.stderr.contains("error while loading shared libraries");
            match outcome.code {
                0 => assert_eq!(outcome.stdout, prints.as_bytes(), "{limit}"),
                99 => {}
                code if is_loader(code) => {}
                code => {
                    assert_eq!((code, outcome.app_ran()), (71, false), "{limit}: {outcome:?}");
                    assert!(!outcome.stderr.contains("a bug"), "{limit}: {outcome:?}");
                }
            }
        }
    }
}

#[test]
fn under_any_limit_on_descriptors_what_stays_starts_right_or_is_71_as_check_says() {
    let memory = Directory::in_memory();
    let directory = |name: &str| memory.text().to_owned() + "/" + name;
    let fast = "[providers.mock]\nrotate_every = \"1s\"\n[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\nsplay = \"0s\"\n";
    let restart = format!("{fast}on_change = \"restart\"\n[secrets.b]\nfrom = \"mock:b\"\nfd = 5\n");
    let options = |run: Run, config: &str, name: &str, limit: u64| {
        let run = run.config(config).args(["-s", "a=mock:a", "--dir", &directory(name)]);
        run.confine(&["--rlimit", &format!("NOFILE={limit}:4096")])
    };
    for (purpose, config, wanted) in
        [("init", "", 10), ("run", "", 10), ("supervise", "", 18), ("supervise", &restart, 19)]
    {
        for limit in 9..=20 {
            let run = match purpose {
                "supervise" => Run::new().arg("--supervise").app(["/bin/true"]),
                "run" => Run::new().app(["/bin/true"]),
                other => Run::command(other),
            };
            let code = if limit < wanted { 71 } else { 0 };
            let outcome = options(run, config, purpose, limit).start();
            assert_eq!(outcome.code, code, "{purpose} {limit}: {outcome:?}");
            let check = options(Run::command("check").args(["--for", purpose]), config, purpose, limit).start();
            assert_eq!(check.code, code, "{purpose} {limit}: {check:?}");
        }
    }
    // With just enough, a set replaces another, and nothing of a set before is in the way: 79.
    let check = |limit| options(Run::command("check").args(["--for", "watch"]), fast, "watch", limit).start();
    let watch = |limit| {
        let config = format!("{fast}on_change = \"restart\"\n");
        options(Run::command("watch"), &config, "watch", limit).start()
    };
    for (limit, code, checked) in [(17, 71, 71), (18, 79, 0)] {
        let outcome = watch(limit);
        assert_eq!((outcome.code, check(limit).code), (code, checked), "{limit}: {outcome:?}");
        assert!(!outcome.stderr.contains("too many open files"), "{outcome:?}");
    }
}

#[test]
fn what_keeps_a_worker_from_its_cage_is_found_by_check_too() {
    needs_root!();
    let memory = Directory::in_memory();
    let files = ["-s", "a=mock:a", "--dir", memory.text()];
    for (state, said, code) in [
        (["--deny", "prctl-no_new_privs=EPERM"], "the worker could not give up its privileges", 125),
        (["--deny", "prctl-pdeathsig=EPERM"], "the worker could not give up its privileges", 125),
        (["--deny", "socketpair=EPERM"], "cannot make a socketpair for the worker", 71),
    ] {
        for purpose in ["run", "supervise", "init", "watch"] {
            let start = match purpose {
                "run" => Run::new(),
                "supervise" => Run::new().arg("--supervise"),
                other => Run::command(other),
            };
            start.args(files).confine(&state).start().refused(code, said);
            let check = Run::command("check").args(["--for", purpose]).args(files).confine(&state).start();
            check.foreseen(code, said);
        }
    }
}

#[test]
fn descriptors_that_were_left_open_up_to_the_limit_are_71() {
    for (junk, code) in [("8", 71), ("7", 0), ("6", 0)] {
        for run in [Run::new(), Run::command("check")] {
            let outcome = run.args(["-s", "a=mock:a"]).confine(&["--rlimit", "NOFILE=16", "--open-junk", junk]).start();
            assert_eq!(outcome.code, code, "{junk}: {outcome:?}");
            let told = "cannot open the six descriptors that every start needs: too many open files (os, exit 71)";
            assert!(code == 0 || outcome.stderr.contains(told), "{outcome:?}");
            let hint =
                "raise the limit (`ulimit -n`, `--ulimit nofile=`), or start handfast with fewer descriptors open";
            assert!(code == 0 || outcome.stderr.contains(hint), "{outcome:?}");
        }
    }
}

#[test]
fn no_more_processes_is_71() {
    needs_root!();
    const UID: &str = "41277";
    let limit = ["--uid", UID, "--gid", UID, "--groups", "none", "--rlimit", "NPROC=0"];
    one().confine(&limit).start().refused(71, "cannot fork the worker");
    one().with_command("check").confine(&limit).start().foreseen(71, "cannot fork the worker");
    // Root may fork beyond the limit; the user that it becomes may not execute, once it has a process.
    let other = Run::direct().confine(&["--uid", UID, "--gid", UID]).app_arg("--sleep").app_arg("60");
    let mut other = other.spawn();
    other.wait_for("probe");
    let outcome = one().args(["--user", UID]).confine(&["--rlimit", "NPROC=0"]).start();
    other.signal(Signal::SIGKILL);
    assert_eq!(other.finish().code, 137);
    outcome.refused(71, "cannot execute");
    outcome.says("more processes than RLIMIT_NPROC allows");
}

#[test]
fn a_limit_on_the_size_of_files_is_73_and_no_signal() {
    let directory = Directory::in_memory();
    let limit = ["--rlimit", "FSIZE=4"];
    one().confine(&limit).start().refused(73, "cannot write the memfd for descriptor 3: file too large");
    let outcome = one().args(["--dir", directory.text()]).confine(&limit).start();
    outcome.refused(73, "file too large");
    assert!(directory.names().is_empty(), "{:?}", directory.names());
    // What is no longer than the limit passes, and the app finds the limit, and the signal's disposition, as they were.
    let app = Run::new().config("[providers.mock]\nvalues = { db = \"four\" }\n[secrets.db]\nfrom = \"mock:db\"\n");
    let app = app.confine(&limit).start().ran();
    assert_eq!(app["descriptors"][3]["content"], hex("four"));
    assert_eq!(
        (&app["status"]["SigBlk"], &app["status"]["SigPnd"]),
        (&json!("0000000000000000"), &json!("0000000000000000"))
    );
}

#[test]
fn when_memory_runs_out_it_is_71_and_shows_nothing() {
    let source = Directory::in_memory();
    let secret = canary().repeat(28_000);
    let mut run_out = 0;
    let references: Vec<String> =
        (0..4).map(|number| source.write(&format!("s{number}"), &secret).display().to_string()).collect();
    for megabytes in (4..40).step_by(2) {
        let limit = format!("AS={}", megabytes << 20);
        let mut run = Run::new().confine(&["--rlimit", &limit]).app(["/bin/sh", "-c", "wc -c </dev/fd/6"]);
        for (number, reference) in references.iter().enumerate() {
            run = run.args(["--secret", &format!("s{number}=file:{reference}")]);
        }
        let outcome = run.start();
        outcome.never_says(&secret[..16]).never_says("panicked").never_says("a bug");
        match outcome.code {
            0 => assert_eq!(outcome.stdout, format!("{}\n", secret.len()).as_bytes()),
            // Nothing of handfast's ran yet, or the app was there and had no memory itself.
            99 | 126 | 127 | 134 | 139 => {
                assert!(!outcome.stderr.contains("handfast: error: "), "{limit}: {outcome:?}")
            }
            code => {
                assert_eq!((code, outcome.app_ran()), (71, false), "{limit}: {outcome:?}");
                run_out += 1;
            }
        }
    }
    assert!(run_out > 0, "no limit was between too little and enough");
}

/// Features that have a fallback, or are best effort.
const OPTIONAL: [&str; 8] = [
    "close_range",
    "openat2",
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
    "seccomp",
    "clone3",
    "pidfd_open",
];

fn denied(calls: &[&str], error: &str) -> Vec<String> {
    let denials: Vec<String> = calls.iter().map(|call| format!("{call}={error}")).collect();
    vec!["--deny".into(), denials.join(",")]
}

#[test]
fn denied_features_have_a_fallback() {
    needs_root!();
    let source = Directory::in_memory();
    let reference = format!("db=file:{}", source.write("secret", "from a file").display());
    for error in ["EPERM", "ENOSYS"] {
        let run = || Run::new().args(["--secret", &reference]).confine(&["--open-junk", "7"]);
        for calls in [&OPTIONAL[..], &OPTIONAL[..1], &OPTIONAL[1..2]] {
            let outcome = run().confine(&denied(calls, error)).start();
            let app = outcome.ran();
            assert_eq!(app["descriptors"].as_array().map(Vec::len), Some(4), "{calls:?} {error}");
            assert_eq!(app["descriptors"][3]["content"], hex("from a file"));
            assert_eq!(
                (&app["status"]["NoNewPrivs"], &app["status"]["CapEff"]),
                (&json!(1), &json!("0000000000000000"))
            );
            if calls.len() > 2 {
                outcome.says("warn: the worker ran without Landlock and seccomp");
            }
        }
        for (calls, name) in [(&OPTIONAL[2..5], "Landlock"), (&OPTIONAL[5..6], "seccomp")] {
            let text = |ran: &str| format!("the worker {ran} without {name}: this kernel or container does not let it");
            run().confine(&denied(calls, error)).start().says(&text("ran")).ran();
            // Before the fetch, which would end with another code.
            let strict = run().config("[app]\nstrict = true\n[secrets.none]\nfrom = \"file:/none\"\n");
            let strict = strict.confine(&denied(calls, error)).start();
            strict.refused(125, &text("would run"));
            strict.says("hint: [app] strict = true makes this a failure");
        }
    }
}

#[test]
fn what_cannot_be_replaced_ends_the_start() {
    needs_root!();
    let directory = Directory::in_memory();
    let toml = "[app]\nuser = \"1000:1001\"\ngroups = [\"4\"]\n";
    // With ENOSYS there is an older call, which some C libraries then make.
    one().config(toml).confine(&denied(&["prlimit64"], "EPERM")).start().refused(125, "RLIMIT_CORE");
    for error in ["EPERM", "ENOSYS"] {
        for (call, code) in [
            ("memfd_create", 73),
            ("prctl-no_new_privs", 125),
            ("capset", 125),
            ("setresuid", 125),
            ("setresgid", 125),
            ("setgroups", 125),
            ("socketpair", 71),
            ("prctl-dumpable", 71),
        ] {
            let outcome = one().config(toml).confine(&denied(&[call], error)).start();
            assert_eq!((outcome.code, outcome.app_ran()), (code, false), "{call} {error}: {outcome:?}");
            assert!(outcome.last_line().starts_with("handfast: error: "), "{outcome:?}");
            outcome.never_says("os error");
        }
        // Files need no memfd.
        let outcome = one().args(["--dir", directory.text()]).confine(&denied(&["memfd_create"], error)).start();
        outcome.ran();
        let outcome = one().confine(&denied(&["memfd_create"], error)).start();
        outcome.says("hint: allow memfd_create in the seccomp profile, or deliver into files");
    }
}

#[test]
fn what_already_holds_is_not_attempted() {
    needs_root!();
    let state = ["--uid", "1000", "--gid", "1000", "--groups", "none", "--bounding", "none"];
    let calls = ["setresuid", "setresgid", "setgroups", "capset", "prctl-ambient", "prctl-bounding", "fchown"];
    let app = one().confine(&state).confine(&denied(&calls, "EPERM")).start().ran();
    assert_eq!(app["status"]["uids"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(app["status"]["CapBnd"], "0000000000000000");
    // As root, nothing that is ambient has to be given up.
    one().confine(&denied(&["prctl-ambient"], "EPERM")).start().ran();
}

#[test]
fn without_proc_nothing_starts() {
    needs_root!();
    needs_program!("unshare");
    let secrets = Directory::tmpfs("mode=1777");
    let hide: fn(Run) -> Outcome =
        |run| run.through(&["unshare", "--mount", "sh", "-c", "umount -l /proc; exec \"$0\" \"$@\""]).start();
    let outcome = hide(one().app(["/bin/echo", "started"]));
    outcome.refused(125, "cannot read `/proc/thread-self/status`");
    outcome.says("hint: mount procfs on /proc");
    hide(one().with_command("check")).foreseen(125, "cannot read `/proc/thread-self/status`");
    // A directory of ordinary files is no procfs.
    let fake = one().app(["/bin/echo", "started"]).through(&[
        "unshare",
        "--mount",
        "sh",
        "-c",
        "s=$(cat /proc/self/status); mount -t tmpfs t /proc; mkdir -p /proc/thread-self; echo \"$s\" >/proc/thread-self/status; exec \"$0\" \"$@\"",
    ]);
    fake.start().refused(125, "it is not on procfs");
    let files = ["--secret", "db=mock:db", "--dir", secrets.text()];
    hide(Run::command("check").args(["--for", "init"]).args(files)).foreseen(71, "cannot fork the worker");
    let outcome = hide(Run::command("init").args(files));
    outcome.refused(71, "cannot fork the worker");
    outcome.says("hint: mount procfs on /proc");
    assert!(secrets.names().is_empty());
}
