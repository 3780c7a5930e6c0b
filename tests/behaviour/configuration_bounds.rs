//! However a configuration comes, and however much is in it: the deadline and signals end it, and nothing in it grows without bound.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::{Directory, Outcome, Run, is_root, needs_root};
use nix::sys::signal::Signal;

/// A start as an ordinary user: a pipe is no file that a privileged one takes.
fn unprivileged(command: &'static str) -> Run {
    let run = if command == "run" { Run::new() } else { Run::command(command) };
    if is_root() { run.confine(&["--uid", "1000", "--gid", "1000", "--groups", "none"]) } else { run }
}

fn pipe(directory: &Directory) -> std::path::PathBuf {
    directory.shell(None, "mkfifo -m 0644 fifo");
    directory.path().join("fifo")
}

#[test]
fn the_deadline_ends_a_configuration_that_does_not_come() {
    let directory = Directory::new();
    let fifo = pipe(&directory);
    for (command, held_open) in [("run", false), ("check", false), ("run", true)] {
        // One writer who never writes, or none at all.
        let writer = held_open.then(|| OpenOptions::new().read(true).write(true).open(&fifo).expect("it is ours"));
        let started = Instant::now();
        let outcome = unprivileged(command).args(["--deadline", "300ms", "--config"]).arg(&fifo).start();
        assert_eq!(outcome.code, 69, "{outcome:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        let said = "the configuration did not come to its end within the deadline, 300ms (unavailable, exit 69)";
        assert!(outcome.stderr.contains(said), "{outcome:?}");
        let hint =
            "hint: whoever writes it must close it; `--deadline` and HANDFAST_DEADLINE say how long may be waited";
        assert!(outcome.stderr.contains(hint), "{outcome:?}");
        drop(writer);
    }
    let outcome = unprivileged("run").env("HANDFAST_DEADLINE", "200ms").env("HANDFAST_CONFIG", &fifo).start();
    assert_eq!(outcome.code, 69, "{outcome:?}");
}

#[test]
fn a_signal_ends_it() {
    let directory = Directory::new();
    let fifo = pipe(&directory);
    for (command, signal, code) in
        [("run", Signal::SIGTERM, 143), ("run", Signal::SIGINT, 130), ("check", Signal::SIGTERM, 143)]
    {
        let mut running = unprivileged(command).arg("--config").arg(&fifo).spawn();
        running.wait_for("handfast");
        std::thread::sleep(Duration::from_millis(300));
        running.signal(signal);
        let outcome = running.finish();
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(outcome.stderr.contains("before the start was complete"), "{outcome:?}");
    }
}

#[test]
fn a_signal_ends_it_also_as_process_1() {
    needs_root!();
    let directory = Directory::new();
    let fifo = pipe(&directory);
    let through = ["unshare", "--pid", "--fork", "--kill-child", "timeout", "--foreground", "-s", "KILL", "10"];
    // The first process of the namespace, to which a signal without a handler does nothing.
    let script = format!(
        "(sleep 0.5; kill -TERM 1) & exec setpriv --reuid 1000 --regid 1000 --clear-groups {} run -c {} -- true",
        crate::support::program("handfast").display(),
        fifo.display()
    );
    let mut command = std::process::Command::new(through[0]);
    let status =
        command.args(&through[1..4]).args(["sh", "-c", &script]).env_clear().env("PATH", crate::support::PATH).status();
    assert_eq!(status.expect("it can be started").code(), Some(143));
}

#[test]
fn a_pipe_that_is_slow_is_read_to_its_end() {
    let directory = Directory::new();
    let fifo = pipe(&directory);
    let running = unprivileged("check").arg("--config").arg(&fifo).spawn();
    let mut writer = OpenOptions::new().write(true).open(&fifo).expect("somebody reads it");
    for piece in ["[fetch]\n", "deadline", " = ", "\"7s\"\n"] {
        std::thread::sleep(Duration::from_millis(50));
        writer.write_all(piece.as_bytes()).expect("somebody reads it");
    }
    drop(writer);
    let outcome = running.finish();
    assert!(outcome.code == 0 && String::from_utf8_lossy(&outcome.stdout).contains("7s"), "{outcome:?}");
    // As shells hand over what a program writes: also where that is nothing, and its writer is gone already.
    for (written, expected) in [("printf '[fetch]\\ndeadline = \"8s\"'", "8s"), ("true", "1m")] {
        let script = format!("sleep 0.2; exec {} check -c <({written})", crate::support::program("handfast").display());
        let mut command = std::process::Command::new("bash");
        command.env_clear().env("PATH", crate::support::PATH);
        if is_root() {
            use std::os::unix::process::CommandExt;
            command.uid(1000).gid(1000);
        }
        let output = command.args(["-c", &script]).output().expect("there is a bash");
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(expected), "{output:?}");
    }
}

/// Starts with a configuration; it may take a while in a build that is not optimized, on a machine that does other things.
fn start(config: &str) -> Outcome {
    let started = Instant::now();
    let outcome = Run::new().config(config).env("X", "x".repeat(100_000)).timeout(Duration::from_secs(60)).start();
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    outcome
}

fn refused(config: &str, said: &str) -> Outcome {
    let outcome = start(config);
    assert_eq!(outcome.code, 78, "{said}: {outcome:?}");
    assert!(outcome.stderr.contains(said), "{said}: {outcome:?}");
    outcome
}

fn numbered(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

#[test]
fn more_secrets_than_a_start_can_deliver_are_refused_before_the_fetch() {
    let secrets = |count| numbered(count, |n| format!("[secrets.s{n}]\nfrom = \"mock:a\"\n"));
    refused(&secrets(4097), ":8193:10: there are more than 4096 secrets");
    refused(&secrets(4097), "hint: no start has more: several starts can have as many each");
    refused(&secrets(25_000), ":8193:10: there are more than 4096 secrets");
    let outcome = Run::new().config(&secrets(4096)).args(["-s", "one-more=mock:a"]).start();
    assert!(outcome.code == 78 && outcome.stderr.contains("command line: there are more than 4096"), "{outcome:?}");
    let check = Run::command("check").config(&secrets(4097)).start();
    assert_eq!(check.code, 78, "{check:?}");
    // One that is there already is no further one.
    let outcome = Run::command("check").config(&secrets(4096)).args(["-s", "s7=mock:b"]).start();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    refused(
        &numbered(300, |n| format!("[providers.p{n}]\ntype = \"mock\"\n")),
        ":513:12: there are more than 256 providers",
    );
}

#[test]
fn a_file_has_a_bound() {
    let line = "# a comment of sixty-four bytes, with the line break at its end\n";
    assert_eq!(start(&line.repeat((1 << 20) / line.len())).code, 0);
    let larger = line.repeat((1 << 20) / line.len()) + "\n";
    refused(&larger, "cannot read the configuration: it is larger than 1 MiB");
    let endless = unprivileged("run").args(["--config", "/dev/zero"]).start();
    assert!(endless.code == 78 && endless.stderr.contains("it is larger than 1 MiB"), "{endless:?}");
}

#[test]
fn of_many_problems_the_first_hundred_are_reported_and_then_a_count() {
    for (config, first, count) in [
        (format!("[app]\n{}", numbered(60_000, |n| format!("k{n} = 1\n"))), ":2:1: unknown key `k0` in [app]", "60000"),
        (numbered(60_000, |n| format!("t{n} = 1\n")), ":1:1: unknown table or key `t0`", "60000"),
        ("x\n".repeat(100_000), ":1:2: not TOML", "100000"),
        ("a = 1\n".repeat(100_000), ":2:1: not TOML: duplicate key", "100000"),
    ] {
        let outcome = refused(&config, first);
        let lines: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains("error: ")).collect();
        assert_eq!(lines.len(), 101, "{:?}", &lines[..5]);
        let last = format!(
            "handfast: error: the configuration has {count} problems, of which these are the first 100; nothing was fetched"
        );
        assert!(lines[100].starts_with(&last), "{}", lines[100]);
    }
}

#[test]
fn what_variables_make_of_a_configuration_has_a_bound() {
    let long = "${X}".repeat(100_000);
    refused(
        &format!("[secrets.a]\nfrom = \"mock:{long}\"\n"),
        ":2:8: its variables make it longer by more than 64 KiB",
    );
    refused(&format!("[secrets.a]\nfrom = \"mock:{long}\"\n"), "hint: variables are for the short parts of a setting");
    let short = "${HALF}";
    let values = numbered(10_000, |n| format!("v{n} = \"{short}\"\n"));
    let config = format!("[providers.mock.values]\n{values}");
    let outcome = Run::new().config(&config).env("HALF", "x".repeat(60_000)).start();
    let said = ":19:7: variables make the configuration longer by more than 1 MiB";
    assert!(outcome.code == 78 && outcome.stderr.contains(said), "{outcome:?}");
    assert!(outcome.stderr.contains("hint: variables are for the short parts of settings"), "{outcome:?}");
    // What is written out is no matter.
    let text = format!("[providers.mock.values]\nv = \"$$\"\nw = \"{}\"\n", "$$".repeat(100_000));
    assert_eq!(start(&text).code, 0);
    refused(
        &format!("[secrets.a]\nfrom = \"mock:{}\"\n", "a".repeat(17_000)),
        "aaa…` is a reference of 17005 bytes, more than 16384",
    );
    let query = numbered(40, |n| format!("&a{n}=1"));
    refused(&format!("[secrets.a]\nfrom = \"mock:a?a=1{query}\"\n"), "has more than 32 keys in its query");
}

#[test]
fn the_time_that_a_configuration_takes_grows_with_its_length_alone() {
    let wide = |count, item: &str| item.repeat(count);
    refused(
        &format!("[app]\ngroups = [{}]\n", wide(1025, "\"7\",")),
        ":2:10: `groups` has 1025 strings, expected 1024 at most",
    );
    for config in [
        format!("[app]\ngroups = [{}]\n", wide(200_000, "\"a\",")),
        format!("[app]\nkeep_capabilities = [{}]\n", wide(100_000, "\"NET_AD\",")),
        format!("[app]\nuser = [{}]\n", wide(300_000, "1,")),
        format!("[app]\nuser = {{{}}}\n", numbered(60_000, |n| format!("a{n}=1,"))),
        format!(
            "x = {{{}{}}}\n",
            numbered(30_000, |n| format!("a{n}.x=1,")),
            numbered(30_000, |n| format!("a{n}.y=1,"))
        ),
        format!("[secrets.{}]\n{}", "a".repeat(300_000), numbered(30_000, |n| format!("k{n}=1\n"))),
        format!("[secrets.a]\nfrom = \"mock:a\"\nparams = {{{}}}\n", numbered(60_000, |n| format!("a{n}=1.5,"))),
        format!("[providers.vault.mounts]\n{}", numbered(50_000, |n| format!("m{n} = \"x\"\n"))),
        format!("[app]\nuser = {}", "[".repeat(1_000_000)),
        format!("[app]\nuser = {}", "{a=".repeat(300_000)),
        format!("[{}b]\n", "a.".repeat(500_000)),
        format!("[providers.{}]\n{}", "a".repeat(500_000), numbered(40_000, |n| format!("k{n}=1\n"))),
        format!("[providers.{}]\ntype = \"mock\"\n{}", "a".repeat(500_000), numbered(40_000, |n| format!("k{n}=1\n"))),
        format!("[providers.mock.values]\n{}", numbered(40, |n| format!("v{n} = \"${{{}}}\"\n", "A".repeat(20_000)))),
        numbered(60, |n| format!("[secrets.s{n}]\nfrom = \"mock:a?{}=1\"\n", "k".repeat(16_000))),
        numbered(60, |n| format!("[secrets.s{n}]\nfrom = \"{}:a\"\n", "p".repeat(16_000))),
        format!("[app]\nuser = \"{}\"\n", "u".repeat(500_000)),
        wide(150_000, "[[a]]\n"),
        wide(500_000, "=\n"),
        "\r".repeat(1_000_000),
        numbered(10_000, |n| format!("{}k{n} = 1\n", "a.".repeat(40))),
        format!(
            "{}{}",
            numbered(200, |n| format!("[providers.p{n}]\ntype = \"mock\"\n")),
            numbered(4096, |n| format!("[secrets.s{n}]\nfrom = \"q{n}:a\"\n"))
        ),
    ] {
        let outcome = start(&config);
        assert_eq!(outcome.code, 78, "{}", &config[..50]);
        assert!(outcome.stderr.lines().count() < 310 && outcome.stderr.len() < 300_000, "{}", &config[..50]);
    }
}

#[test]
fn patterns_with_many_stars_take_no_longer() {
    let pattern = |length: usize| format!("[app]\nenv_remove = [\"{}\"]\n", "*x".repeat(length / 2));
    assert_eq!(start(&pattern(256)).code, 0);
    for length in [258, 200_000] {
        let outcome = refused(&pattern(length), ":2:15: `*x*x");
        assert!(outcome.stderr.contains("…` is longer than the 256 bytes of a pattern"), "{outcome:?}");
    }
    let names = Run::new().config("[app]\nenv_remove = [\"A*_*B\", \"*KEY*\"]\n");
    let names = names.env("AX_YB", "1").env("AB", "2").env("MY_KEY_1", "3").start();
    let app = names.probe();
    assert!(app["environ"]["AX_YB"].is_null() && app["environ"]["MY_KEY_1"].is_null(), "{app}");
    assert_eq!(app["environ"]["AB"], "2");
}

#[test]
fn a_providers_name_has_a_bound() {
    let named = |length| format!("[providers.{}]\ntype = \"mock\"\n", "a".repeat(length));
    assert_eq!(start(&named(128)).code, 0);
    let outcome = refused(&named(129), "cannot be a provider's name");
    assert!(outcome.stderr.contains("hint: letters, digits, `-` and `_`, 1 to 128"), "{outcome:?}");
}

#[test]
fn what_is_told_of_variables_and_options_has_a_bound() {
    let many = |value: &str, suffix: &str| {
        let name = |n: usize| format!("V{n}_{}{suffix}", "X".repeat(10_000));
        (0..120).fold(Run::command("check"), |run, n| run.env(name(n), value))
    };
    for (value, suffix, code) in [
        ("handfast:mock:a", "", 78),
        ("handfast:mock:a", "_FILE", 78),
        ("vault:kv/data/db#password", "", 0),
        ("vault:kv/data/db#password", "_FILE", 0),
    ] {
        let outcome = many(value, suffix).start();
        assert_eq!(outcome.code, code, "{value} {suffix}");
        let told = outcome.stderr.len() + outcome.stdout.len();
        assert!(told < 200_000 && told > 1000, "{value} {suffix}: {told}");
    }
    let outcome = many("vault:kv/data/db#password", "").start();
    let told = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert!(told.contains("20 more variables hold another tool's reference"), "{told}");
    let long = "x".repeat(100_000);
    for arguments in
        [["--format", &long], ["--user", &long], ["--deadline", &long], ["--log-level", &long], ["--log-format", &long]]
    {
        let outcome = Run::command("check").args(arguments).start();
        assert!(outcome.code != 0 && outcome.stderr.len() < 2000, "{}: {}", arguments[0], outcome.stderr.len());
    }
    let outcome = Run::command("check").arg(format!("--{long}")).start();
    assert!(outcome.code == 64 && outcome.stderr.len() < 2000, "{}", outcome.stderr.len());
}

#[test]
fn more_than_sixteen_files_are_refused() {
    let directory = Directory::new();
    directory.write("a.toml", "");
    let start =
        |count| (0..count).fold(Run::new(), |run, _| run.arg("-c").arg(directory.path().join("a.toml"))).start();
    assert_eq!(start(16).code, 0);
    let outcome = start(17);
    let said = "command line: there are more than 16 configurations";
    assert!(outcome.code == 78 && outcome.stderr.contains(said), "{outcome:?}");
    assert!(outcome.stderr.contains("hint: one file can have what several have"), "{outcome:?}");
}

#[test]
fn the_time_that_an_environment_takes_grows_with_its_length_alone() {
    let removed = numbered(500, |n| format!("\"W{n}_*\","));
    let secrets =
        numbered(500, |n| format!("[secrets.s{n}]\nfrom = \"mock:${{V{n}:-a}}\"\npath_env = \"S{n}_FILE\"\n"));
    let providers = numbered(20, |n| {
        format!(
            "[providers.p{n}]\ntype = \"vault\"\naddress = \"https://v\"\nauth = {{ method = \"token\", token_env = \"V{n}\" }}\n"
        )
    });
    for (config, code) in [
        (format!("[app]\nenv_remove = [\"V*\"]\n{secrets}"), 0),
        (format!("[providers.mock.values]\n{}", numbered(20_000, |n| format!("v{n} = \"${{ABSENT:-a}}\"\n"))), 0),
        (format!("[app]\nenv_remove = [{removed}]\n{providers}"), 0),
    ] {
        let run = (0..50_000).fold(Run::command("check").config(&config), |run, n| run.env(format!("V{n}"), "1"));
        let started = Instant::now();
        let outcome = run.timeout(Duration::from_secs(60)).start();
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(started.elapsed() < Duration::from_secs(15), "{}: {:?}", &config[..40], started.elapsed());
    }
    let run = (0..50_000).fold(Run::new().app(["true"]).config("[app]\n"), |run, n| run.env(format!("V{n}"), "1"));
    let started = Instant::now();
    let outcome = run.timeout(Duration::from_secs(60)).start();
    assert!(outcome.code == 0 && started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}
