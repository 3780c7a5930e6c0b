//! `run --supervise` with `on_change = "restart"`: the same command anew, with what the secrets are now.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::supervised::{Supervised, children, comm, descriptors, end, status, until};
use crate::support::{Directory, Run, needs_program, needs_root};

const TERM: u8 = 15;

/// A descriptor that changes when the file does, and one that never does.
fn config(source: &Path, more: &str) -> String {
    format!(
        "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\nsplay = \"0s\"\n{more}\n[secrets.a]\nfrom = \"file:{}\"\non_change = \"restart\"\n\
         [secrets.b]\nfrom = \"mock:b\"\n",
        source.display()
    )
}

/// A supervisor with this configuration.
pub fn supervised(config: &str) -> Run {
    Run::new().config(config).args(["--supervise", "--log-level", "info"])
}

/// The secrets' file, and a file for the app's own notes, which any app may write.
fn scene() -> (Directory, std::path::PathBuf, std::path::PathBuf) {
    let directory = Directory::in_memory();
    let (secret, notes) = (directory.write("secret", "old"), directory.write("notes", ""));
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(&notes, all).expect("it is ours");
    (directory, secret, notes)
}

/// A shell that notes what it gets, and lives on as `sleep`.
fn noting(notes: &Path) -> [String; 3] {
    let script = format!(
        "{{ cat <&3; echo -n ' '; cat <&4; echo \" $(pwd) $(umask) $A_FD\"; }} >> {}; exec sleep 100",
        notes.display()
    );
    ["/bin/sh".into(), "-c".into(), script]
}

fn lines(notes: &Path, count: usize) -> Vec<String> {
    until("the app has noted", || {
        let text = fs::read_to_string(notes).expect("it is there");
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

/// The app that runs now, once it is this program, and another one than before.
pub fn app(supervised: &Supervised, name: &str, before: &[i32]) -> i32 {
    until("another app runs", || {
        children(supervised.supervisor).into_iter().find(|child| !before.contains(child) && comm(*child) == name)
    })
}

#[test]
fn a_restarted_app_finds_the_new_value_and_everything_else_as_before() {
    let (directory, secret, notes) = scene();
    let run = supervised(&config(&secret, "").replace("from = \"file", "fd_env = \"A_FD\"\nfrom = \"file"))
        .app(noting(&notes));
    let supervised = Supervised::start(run, "sleep");
    let first = lines(&notes, 1).remove(0);
    assert!(first.starts_with("old mock-b ") && first.ends_with(" 3"), "{first}");
    directory.write("secret", "new");
    let second = lines(&notes, 2).remove(1);
    assert_eq!(second, first.replacen("old", "new", 1), "the other secret is read from its beginning, too");
    app(&supervised, "sleep", &[supervised.app]);
    directory.write("secret", "newer");
    assert!(lines(&notes, 3)[2].starts_with("newer mock-b "));
    let outcome = end(supervised, 143);
    outcome.says("info: `a` has changed: the app is started anew\n");
}

#[test]
fn limits_priority_and_umask_are_as_found_at_each_start() {
    let (directory, secret, notes) = scene();
    let found = "umask; nice; ulimit -a; ulimit -Ha; cat /proc/self/timerslack_ns /proc/self/oom_score_adj";
    let script = format!("{{ {{ {found}; }} | tr '\\n' ' '; echo; }} >> {}; exec $0 100", notes.display());
    let before = "echo 123456 > /proc/self/timerslack_ns; echo 300 > /proc/self/oom_score_adj; exec \"$@\"";
    let limits = ["NOFILE=100:200", "CORE=4096", "STACK=4194304:8388608", "FSIZE=1048576"];
    let start = |run: Run, program: &str| {
        let run = run.app(["/bin/sh", "-c", &script, program]).through(&["/bin/sh", "-c", before, "sh"]);
        run.confine(&limits.map(|limit| ["--rlimit", limit]).concat()).confine(&["--umask", "027", "--nice", "3"])
    };
    start(Run::direct(), "true").start();
    let core_dumps = "[app]\ncore_dumps = true\n";
    // Where nothing can change.
    start(Run::new().arg("--supervise").config(core_dumps), "true").start();
    let run = start(supervised(&format!("{core_dumps}{}", config(&secret, ""))), "sleep");
    let supervised = Supervised::start(run, "sleep");
    lines(&notes, 3);
    directory.write("secret", "new");
    let all = lines(&notes, 4);
    assert!(all[0].starts_with("0027 3 ") && all[0].ends_with(" 123456 300 "), "{all:?}");
    assert_eq!(all, vec![all[0].clone(); 4]);
    end(supervised, 143);
}

#[test]
fn a_working_directory_that_lets_only_the_app_in_stays_the_next_apps() {
    needs_root!();
    let (directory, secret, notes) = scene();
    let home = Directory::in_memory();
    std::os::unix::fs::chown(home.path(), Some(1234), Some(1234)).expect("we are root");
    fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("we are root");
    let run = supervised(&format!("[app]\nuser = \"1234:1234\"\n{}", config(&secret, ""))).app(noting(&notes));
    let supervised = Supervised::start(run.through(&["env", "--chdir", home.text()]), "sleep");
    let first = lines(&notes, 1).remove(0);
    assert!(first.contains(&format!(" {} ", home.text())), "{first}");
    directory.write("secret", "new");
    assert_eq!(lines(&notes, 2)[1], first.replacen("old", "new", 1));
    end(supervised, 143);
}

#[test]
fn a_file_that_changes_restarts_the_app_too() {
    let (directory, secret, notes) = scene();
    let files = Directory::in_memory();
    let config =
        config(&secret, "").replace("[secrets.a]", &format!("[files]\ndir = \"{}\"\n[secrets.a]", files.text()));
    let script = format!("echo $(cat {}/a) >> {}; exec sleep 100", files.text(), notes.display());
    let supervised = Supervised::start(supervised(&config).app(["/bin/sh", "-c", &script]), "sleep");
    assert_eq!(lines(&notes, 1), ["old"]);
    directory.write("secret", "new");
    assert_eq!(lines(&notes, 2), ["old", "new"]);
    end(supervised, 143);
}

#[test]
fn the_old_process_group_has_ended_before_the_new_app_starts() {
    needs_program!("python3");
    let (directory, secret, _) = scene();
    // It ignores the signal to stop, and so does its child.
    let stubborn = "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.fork()\nwhile True: time.sleep(1)\n";
    let config = config(&secret, "stop_timeout = \"1s\"");
    let supervised = Supervised::start(supervised(&config).app(["python3", "-c", stubborn]), "python3");
    let old = supervised.app;
    let child = until("it has a child", || children(old).first().copied());
    directory.write("secret", "new");
    let new = app(&supervised, "python3", &[old, child]);
    // The other one is an orphan until it is reaped.
    let is_gone = |pid: i32| !["R", "S", "D"].iter().any(|state| status(pid, "State").starts_with(state));
    assert!(new != old && is_gone(old) && is_gone(child), "{old} {child} {new}");
    // Its child has the output too.
    handfast::sys::jobs::send(-new, 9).expect("it is there");
    assert_eq!(supervised.finish().code, 137);
}

/// They are told of by one signal where the supervisor could not look in between.
#[test]
fn orphans_that_end_together_with_the_app_are_reaped_once_the_next_one_runs() {
    needs_root!();
    let (directory, secret, notes) = scene();
    // The supervisor is of the app's uid, which may stop it.
    let script = format!(
        "setsid sleep 100 & orphan=$!\ntrap 'kill -STOP $PPID; kill -9 $orphan; setsid sh -c \"sleep 0.5; kill -CONT $PPID\" & exit' TERM\n\
         echo up >> {}; while :; do sleep 0.05; done",
        notes.display()
    );
    let config = config(&secret, "").replace("\"1s\"", "\"300d\"");
    let run = supervised(&format!("[app]\nuser = \"0:0\"\nallow_root = true\n{config}")).app(["sh", "-c", &script]);
    let supervised = Supervised::start(run, "sh");
    lines(&notes, 1);
    directory.write("secret", "new");
    lines(&notes, 2);
    until("all orphans are reaped", || {
        let is_dead = |child: &i32| status(*child, "State").starts_with('Z');
        (!children(supervised.supervisor).iter().any(is_dead)).then_some(())
    });
    end(supervised, 0);
}

#[test]
fn the_stop_signal_is_the_one_that_is_asked_for() {
    needs_program!("python3");
    let (directory, secret, notes) = scene();
    let app = format!(
        "import signal, sys\ndef stop(number, _):\n    open('{0}', 'a').write(f'{{number}}\\n'); sys.exit(0)\n\
         signal.signal(signal.SIGUSR2, stop)\nopen('{0}', 'a').write('ready\\n')\nwhile True: signal.pause()\n",
        notes.display()
    );
    let config = config(&secret, "stop_signal = \"USR2\"");
    let supervised = Supervised::start(supervised(&config).app(["python3", "-c", &app]), "python3");
    lines(&notes, 1);
    directory.write("secret", "new");
    assert_eq!(lines(&notes, 3), ["ready", "12", "ready"]);
    end(supervised, 143);
}

#[test]
fn a_signal_to_end_calls_a_restart_off() {
    needs_program!("python3");
    let (directory, secret, notes) = scene();
    // It takes its time, and counts the signals.
    let slow = format!(
        "import signal, sys\ncount = 0\ndef stop(*_):\n    global count; count += 1; open('{0}', 'a').write(f'{{count}}\\n')\n    \
         if count == 2: sys.exit(9)\nsignal.signal(signal.SIGTERM, stop)\nopen('{0}', 'a').write('ready\\n')\nwhile True: signal.pause()\n",
        notes.display()
    );
    let supervised = Supervised::start(supervised(&config(&secret, "")).app(["python3", "-c", &slow]), "python3");
    lines(&notes, 1);
    directory.write("secret", "new");
    assert_eq!(lines(&notes, 2)[1], "1", "the restart has begun");
    supervised.signal(TERM);
    let outcome = supervised.finish();
    assert_eq!((outcome.code, lines(&notes, 3)), (9, vec!["ready".into(), "1".into(), "2".into()]), "{outcome:?}");
}

/// Its process group outlives it: one of the group was killed, and its parent, which is in another group, never waits for it.
const LINGERING: &str = "import os, signal, sys, time\n\
    app = os.getpid()\n\
    if os.fork() == 0:\n\
    \x20   os.setpgid(0, 0)\n\
    \x20   signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
    \x20   child = os.fork()\n\
    \x20   if child == 0:\n\
    \x20       os.setpgid(0, app)\n\
    \x20       open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\n\
    \x20       while True: signal.pause()\n\
    \x20   [os.close(fd) for fd in range(3)]\n\
    \x20   time.sleep(60)\n\
    \x20   os._exit(0)\n\
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n\
    while True: signal.pause()\n";

#[test]
fn a_signal_while_the_old_group_ends_calls_a_restart_off() {
    needs_program!("python3");
    let (directory, secret, notes) = scene();
    let run = supervised(&config(&secret, "")).app(["python3", "-c", LINGERING, notes.to_str().expect("UTF-8")]);
    let supervised = Supervised::start(run, "python3");
    let member: i32 = lines(&notes, 1)[0].parse().expect("a number");
    let keeps_it = until("its parent is another", || {
        let parent: i32 = status(member, "PPid").parse().ok()?;
        (parent != supervised.app).then_some(parent)
    });
    directory.write("secret", "new");
    // The group is killed once the app has ended, and waited for.
    until("the group is killed", || status(member, "State").starts_with('Z').then_some(()));
    supervised.signal(TERM);
    let outcome = supervised.finish();
    handfast::sys::jobs::send(keeps_it, 9).expect("it is there");
    assert_eq!((outcome.code, lines(&notes, 1).len()), (7, 1), "{outcome:?}");
    outcome.says("info: `a` has changed: the app is started anew\n");
}

#[test]
fn an_app_that_was_told_to_end_is_not_started_anew_while_it_does_its_last_work() {
    needs_program!("python3");
    let (directory, secret, notes) = scene();
    // It is done when its notes say so.
    let draining = format!(
        "import signal, sys, time\ndef stop(*_):\n    open('{0}', 'a').write('told\\n')\n    while 'done' not in open('{0}').read(): time.sleep(0.05)\n    \
         sys.exit(9)\nsignal.signal(signal.SIGTERM, stop)\nopen('{0}', 'a').write('ready\\n')\nwhile True: signal.pause()\n",
        notes.display()
    );
    let files = Directory::in_memory();
    let config =
        config(&secret, "").replace("[secrets.a]", &format!("[files]\ndir = \"{}\"\n[secrets.a]", files.text()));
    let supervised = Supervised::start(supervised(&config).app(["python3", "-c", &draining]), "python3");
    lines(&notes, 1);
    supervised.signal(TERM);
    assert_eq!(lines(&notes, 2), ["ready", "told"]);
    directory.write("secret", "new");
    until("the change is there", || (fs::read(files.path().join("a")).ok()? == b"new").then_some(()));
    directory.write("secret", "newer");
    until("what the change before asks for is over", || {
        (fs::read(files.path().join("a")).ok()? == b"newer").then_some(())
    });
    fs::write(&notes, "ready\ntold\ndone\n").expect("it is ours");
    let outcome = supervised.finish();
    assert_eq!(
        (outcome.code, lines(&notes, 3)),
        (9, ["ready", "told", "done"].map(String::from).to_vec()),
        "{outcome:?}"
    );
    outcome.says("info: `a` has changed: the app is not started anew, because it was told to end\n");
}

#[test]
fn an_app_that_ends_before_its_restart_ends_handfast() {
    let (directory, secret, notes) = scene();
    let config = config(&secret, "").replace("splay = \"0s\"", "splay = \"1h\"");
    let script = format!("until grep -q go {}; do sleep 0.05; done; exit 5", notes.display());
    let supervised = Supervised::start(supervised(&config).app(["/bin/sh", "-c", &script]), "sh");
    directory.write("secret", "new");
    fs::write(&notes, "go\n").expect("it is ours");
    let outcome = supervised.finish();
    assert_eq!(outcome.code, 5, "{outcome:?}");
}

#[test]
fn a_restart_that_fails_ends_with_its_code() {
    let (directory, secret, notes) = scene();
    let program = directory.path().join("app");
    fs::copy("/bin/sleep", &program).expect("it can be copied");
    let supervised =
        Supervised::start(supervised(&config(&secret, "")).app([program.as_os_str(), "100".as_ref()]), "app");
    fs::remove_file(&program).expect("it is ours");
    directory.write("secret", "new");
    let outcome = supervised.finish();
    outcome.refused(127, &format!("cannot execute `{}`: no such file", program.display()));
    drop(notes);
}

#[test]
fn the_supervisor_keeps_what_a_restart_needs_and_the_app_gets_none_of_it() {
    needs_root!();
    let (directory, secret, _) = scene();
    let app_table = "[app]\nuser = \"1234:4321\"\nkeep_capabilities = [\"NET_BIND_SERVICE\"]\ncore_dumps = true\n";
    let run = supervised(&format!("{app_table}{}", config(&secret, ""))).app(["/bin/sleep", "100"]);
    let supervised = Supervised::start(run.confine(&["--rlimit", "CORE=4096"]), "sleep");
    let capabilities = |pid: i32| ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"].map(|set| status(pid, set));
    // KILL, SETGID, SETUID and NET_BIND_SERVICE.
    let (none, kept, bind) = ("0000000000000000", "00000000000004e0", "0000000000000400");
    let look = |app: i32| {
        assert_eq!(capabilities(supervised.supervisor), [none, kept, kept, none, bind]);
        assert_eq!(capabilities(app), [bind; 5]);
        assert_eq!(
            (status(app, "Uid"), status(app, "Gid")),
            ("1234\t1234\t1234\t1234".into(), "4321\t4321\t4321\t4321".into())
        );
        assert_eq!(status(app, "Groups"), "");
        let limits = fs::read_to_string(format!("/proc/{app}/limits")).expect("it is there");
        let cores = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line").to_owned();
        assert_eq!(cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["4096"; 2]);
        // The program's loader still reads libraries and locales for a moment, through descriptors of its own.
        until("the app has its descriptors and no other", || {
            let open = descriptors(app);
            open.iter().map(|(number, _)| *number).eq(0..5).then_some(open)
        })
    };
    let before = look(supervised.app);
    directory.write("secret", "new");
    let new = app(&supervised, "sleep", &[supervised.app]);
    assert_eq!(look(new)[..3], before[..3], "stdin, stdout and stderr are the same");
    let nothing = status(supervised.supervisor, "Seccomp");
    assert_eq!(nothing, "0", "a filter would be the next app's too");
    end(supervised, 143);
}

#[test]
fn a_restart_is_quick_where_the_app_is() {
    let (directory, secret, notes) = scene();
    let supervised = Supervised::start(supervised(&config(&secret, "")).app(noting(&notes)), "sleep");
    lines(&notes, 1);
    let begun = Instant::now();
    directory.write("secret", "new");
    lines(&notes, 2);
    assert!(begun.elapsed() < Duration::from_secs(10), "a refresh takes 1.1 s: {:?}", begun.elapsed());
    end(supervised, 143);
}

#[test]
fn a_descriptor_cannot_be_changed_by_a_signal() {
    let (_directory, secret, _) = scene();
    let config = config(&secret, "").replace("\"restart\"", "\"signal:HUP\"");
    supervised(&config).start().refused(78, "`on_change` of `a` is \"signal:HUP\", and a descriptor is a snapshot");
    for signal in ["KILL", "STOP"] {
        let config = config.replace("signal:HUP", &format!("signal:{signal}"));
        supervised(&config).start().refused(
            78,
            &format!("`on_change` is \"signal:{signal}\", expected the name of a signal that an app can handle"),
        );
    }
    // Nobody reads it again.
    let supervised =
        Supervised::start(supervised(&config.replace("signal:HUP", "none")).app(["/bin/sleep", "100"]), "sleep");
    assert_eq!(children(supervised.supervisor), [supervised.app]);
    end(supervised, 143);
}
