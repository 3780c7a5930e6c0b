//! `run --supervise` with files that change: they are kept fresh, and the app is told, or not.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::supervised::{Supervised, children, comm, descriptors, end, status, until};
use crate::support::{Directory, Run, hits, needs_program, needs_root, scan};

const HUP: u8 = 1;
/// Writes the secret `db` down, at its start and at each HUP.
const READER: &str = "import signal, sys\n\
    def read(*_):\n\
    \x20   with open(sys.argv[1] + '/db') as source, open(sys.argv[2], 'a') as log: log.write(source.read() + '\\n')\n\
    signal.signal(signal.SIGHUP, read)\n\
    read()\n\
    while True: signal.pause()\n";

/// A secret that changes each second, and one that never does; `action` is what a change does.
fn changing(directory: &Directory, action: &str) -> String {
    format!(
        "[watch]\nrefresh = \"1s\"\nquiet = \"100ms\"\nsplay = \"0s\"\n[providers.fast]\ntype = \"mock\"\nrotate_every = \"1s\"\n\
         [files]\ndir = \"{}\"\n[secrets.db]\nfrom = \"fast:db\"\non_change = \"{action}\"\n[secrets.still]\nfrom = \"mock:still\"\n",
        directory.text()
    )
}

fn supervised(config: &str) -> Run {
    Run::new().config(config).args(["--supervise", "--log-level", "info"])
}

fn read(directory: &Directory, name: &str) -> String {
    fs::read_to_string(directory.path().join(name)).unwrap_or_default()
}

/// The files directory, and a file for the app's own notes, which any app may write.
fn scene() -> (Directory, Directory, String) {
    let (directory, notes) = (Directory::in_memory(), Directory::new());
    let file = notes.write("notes", "");
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(&file, all).expect("it is ours");
    (directory, notes, file.display().to_string())
}

#[test]
fn files_stay_fresh_and_the_app_is_left_alone() {
    let directory = Directory::in_memory();
    let run = supervised(&changing(&directory, "none")).app(["/bin/sleep", "100"]);
    let supervised = Supervised::start(run, "sleep");
    let still =
        || fs::metadata(directory.path().join("still")).map(|status| std::os::unix::fs::MetadataExt::ino(&status));
    let (before, inode) = (read(&directory, "db"), still().expect("it is there"));
    for count in 1..=2 {
        let last = read(&directory, "db");
        until("the file changes", || (read(&directory, "db") != last).then_some(count));
    }
    assert_ne!(read(&directory, "db"), before);
    assert_eq!(still().expect("it is there"), inode, "what has not changed is the same file");
    let ready = Run::command("ready").args(["--dir", directory.text()]).start();
    assert_eq!(ready.code, 0, "{ready:?}");
    let outcome = end(supervised, 143);
    outcome.says("info: changed: db\n");
    let ready = Run::command("ready").args(["--dir", directory.text()]).start();
    assert_eq!(ready.code, 69, "its keeper has ended: {ready:?}");
}

#[test]
fn an_app_with_a_handler_sees_the_new_value_after_each_signal() {
    needs_program!("python3");
    for (name, in_python) in [("HUP", "SIGHUP"), ("RTMIN+3", "SIGRTMIN + 3")] {
        let (directory, _notes, file) = scene();
        let reader = READER.replace("SIGHUP", in_python);
        let config = changing(&directory, &format!("signal:{name}"));
        let run = supervised(&config).app(["python3", "-c", &reader, directory.text(), &file]);
        let supervised = Supervised::start(run, "python3");
        let seen = until("the app has read three values", || {
            let seen: Vec<String> = fs::read_to_string(&file).ok()?.lines().map(str::to_owned).collect();
            (seen.len() >= 3).then_some(seen)
        });
        let mut distinct = seen.clone();
        distinct.dedup();
        assert_eq!(distinct, seen, "each signal came after its swap, and once");
        end(supervised, 143).says(&format!("info: sent the app SIG{name} for the change of `db`\n"));
    }
}

#[test]
fn a_hup_from_outside_is_the_apps() {
    needs_program!("python3");
    let (directory, _notes, file) = scene();
    let config = changing(&directory, "none").replace("\"1s\"\nquiet", "\"1h\"\nquiet");
    let run = supervised(&config).app(["python3", "-c", READER, directory.text(), &file]);
    let supervised = Supervised::start(run, "python3");
    let lines = |count| fs::read_to_string(&file).is_ok_and(|text| text.lines().count() >= count).then_some(());
    until("the app has read", || lines(1));
    supervised.signal(HUP);
    until("the app has read again", || lines(2));
    let outcome = end(supervised, 143);
    assert!(!outcome.stderr.contains("every secret is read again"), "{outcome:?}");
}

#[test]
fn an_app_without_a_handler_is_not_killed() {
    let shell = "while :; do sleep 0.1; done";
    for (program, arguments) in [
        ("sleep", &["100"][..]),
        ("python3", &["-c", "import time\ntime.sleep(100)"]),
        ("sh", &["-c", shell]),
        ("bash", &["-c", shell]),
        // Later versions give their first thread another name.
        ("node", &["-e", "process.title = 'node'; setTimeout(() => {}, 100000)"]),
    ] {
        needs_program!(program);
        let directory = Directory::in_memory();
        let app = [program].into_iter().chain(arguments.iter().copied());
        let run = supervised(&changing(&directory, "signal:HUP")).app(app);
        let supervised = Supervised::start(run, program);
        let mut before = read(&directory, "db");
        for _ in 0..3 {
            until("the file changes", || (read(&directory, "db") != before).then_some(()));
            before = read(&directory, "db");
        }
        assert_eq!(comm(supervised.app), program);
        let outcome = end(supervised, 143);
        assert!(!outcome.stderr.contains("sent the app"), "{program}: {outcome:?}");
    }
}

/// An app without a handler, started through these words, gets no signal for the change, and this is told once.
fn is_given_up(through: &[&str], why: &str) {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let file = source.write("db", "old");
    let config = format!(
        "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[files]\ndir = \"{}\"\n[secrets.db]\nfrom = \"file:{}\"\non_change = \"signal:HUP\"\n",
        directory.text(),
        file.display()
    );
    // Its patience is half a minute.
    let run = supervised(&config).app(["/bin/sleep", "60"]).through(through).timeout(Duration::from_secs(120));
    let supervised = Supervised::start(run, "sleep");
    source.write("db", "new");
    until("the file changes", || (read(&directory, "db") == "new").then_some(()));
    let outcome = supervised.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let told = format!("error: SIGHUP for the change of `db` was not sent: {why}\n");
    assert_eq!(outcome.stderr.matches(&told).count(), 1, "{outcome:?}");
}

#[test]
fn a_signal_that_finds_no_handler_for_long_is_told_once_and_given_up() {
    let why = "the app has no handler for it, and would end\n\
               handfast: hint: `on_change = \"restart\"` starts the app anew instead";
    is_given_up(&[], why);
}

#[test]
fn that_a_signal_finds_no_handler_is_told_however_often_there_is_a_change() {
    let directory = Directory::in_memory();
    let run =
        supervised(&changing(&directory, "signal:HUP")).app(["/bin/sleep", "50"]).timeout(Duration::from_secs(120));
    let outcome = run.start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let told = "error: SIGHUP for the change of `db` was not sent: the app has no handler for it, and would end\n";
    assert_eq!(outcome.stderr.matches(told).count(), 1, "{outcome:?}");
}

#[test]
fn a_signal_is_given_up_where_nothing_shows_whether_the_app_has_a_handler() {
    needs_root!();
    needs_program!("unshare");
    // The app has another uid, and the supervisor may not trace it.
    let hide = "mount -t proc -o hidepid=ptraceable proc /proc && exec \"$@\"";
    let why = "`/proc` does not show whether the app has a handler for it: operation not permitted\n\
               handfast: hint: mount the `/proc` of this pid namespace, without `hidepid`, or let `on_change = \"restart\"` start the app anew";
    is_given_up(&["unshare", "--mount", "sh", "-c", hide, "sh"], why);
}

#[test]
fn a_signal_is_given_up_where_proc_shows_other_processes() {
    needs_root!();
    needs_program!("unshare");
    // Without `--mount-proc` it is that of the namespace around: what has the app's number there ignores every signal.
    let why = "`/proc` does not show whether the app has a handler for it: it is the `/proc` of another pid namespace\n\
               handfast: hint: mount the `/proc` of this pid namespace, without `hidepid`, or let `on_change = \"restart\"` start the app anew";
    is_given_up(&["unshare", "--pid", "--fork", "--kill-child"], why);
}

#[test]
fn a_handler_that_comes_late_still_gets_the_signal() {
    needs_program!("python3");
    let (directory, _notes, file) = scene();
    let late = format!(
        "import os, time\nwhile not os.path.exists(os.path.dirname('{file}') + '/go'): time.sleep(0.05)\n{READER}"
    );
    let run = supervised(&changing(&directory, "signal:HUP")).app(["python3", "-c", &late, directory.text(), &file]);
    let supervised = Supervised::start(run, "python3");
    let first = read(&directory, "db");
    until("the file changes", || (read(&directory, "db") != first).then_some(()));
    assert_eq!(comm(supervised.app), "python3", "it has not ended of the signal");
    fs::write(Path::new(&file).with_file_name("go"), "").expect("it is ours");
    until("the app was told", || fs::read_to_string(&file).is_ok_and(|text| text.lines().count() >= 2).then_some(()));
    end(supervised, 143);
}

#[test]
fn an_app_that_reads_a_blocked_signal_gets_it() {
    needs_program!("python3");
    let directory = Directory::in_memory();
    let reader = "import ctypes, os, signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])\n\
                  arrivals = ctypes.CDLL(None).signalfd(-1, (ctypes.c_ulong * 16)(1), 0)\n\
                  sys.exit(os.read(arrivals, 128)[0] + 6)\n";
    let outcome = supervised(&changing(&directory, "signal:HUP")).app(["python3", "-c", reader]).start();
    assert_eq!(outcome.code, 7, "{outcome:?}");
    outcome.says("s after SIGHUP for the change of `db`\n");
}

#[test]
fn an_app_that_waits_for_a_blocked_signal_gets_it_if_it_has_a_handler() {
    needs_program!("python3");
    let directory = Directory::in_memory();
    // While its first thread waits, the kernel shows the signal as neither blocked nor handled.
    let waiter = "import signal, sys\nsignal.signal(signal.SIGHUP, lambda *_: None)\n\
                  signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])\n\
                  sys.exit(signal.sigwait([signal.SIGHUP]) + 6)\n";
    let outcome = supervised(&changing(&directory, "signal:HUP")).app(["python3", "-c", waiter]).start();
    assert_eq!(outcome.code, 7, "{outcome:?}");
}

#[test]
fn ten_secrets_that_change_at_about_the_same_time_are_one_signal() {
    needs_program!("python3");
    let (directory, _notes, file) = scene();
    let source = Directory::in_memory();
    let names: Vec<String> = (0..9).map(|at| format!("s{at}")).chain(["db".into()]).collect();
    let write = |text: &str| names.iter().for_each(|name| drop(source.write(name, text)));
    write("old");
    let secrets: String =
        names.iter().map(|name| format!("[secrets.{name}]\nfrom = \"file:{}/{name}\"\n", source.text())).collect();
    let config = format!(
        "[watch]\nrefresh = \"1s\"\nquiet = \"2s\"\non_change = \"signal:HUP\"\n[files]\ndir = \"{}\"\n{secrets}",
        directory.text()
    );
    let run = supervised(&config).app(["python3", "-c", READER, directory.text(), &file]);
    let supervised = Supervised::start(run, "python3");
    let notes = || fs::read_to_string(&file).unwrap_or_default();
    until("the app has read", || (notes() == "old\n").then_some(()));
    write("new");
    until("the app has read again", || notes().contains("new").then_some(()));
    let outcome = end(supervised, 143);
    assert_eq!(
        (notes().as_str(), outcome.stderr.matches("sent the app SIGHUP").count()),
        ("old\nnew\n", 1),
        "{outcome:?}"
    );
}

#[test]
fn an_app_that_ends_right_after_a_signal_is_named_in_the_last_line() {
    needs_program!("python3");
    let directory = Directory::in_memory();
    let fragile =
        "import signal, sys\nsignal.signal(signal.SIGHUP, lambda *_: sys.exit(3))\nwhile True: signal.pause()\n";
    let outcome = supervised(&changing(&directory, "signal:HUP")).app(["python3", "-c", fragile]).start();
    assert_eq!(outcome.code, 3, "{outcome:?}");
    let last: Vec<&str> = outcome.stderr.lines().rev().take(2).collect();
    assert!(
        last[1].starts_with("handfast: error: the app has ended, with exit code 3, 0.")
            && last[1].ends_with(" s after SIGHUP for the change of `db`"),
        "{outcome:?}"
    );
    assert_eq!(last[0], "handfast: hint: `on_change = \"restart\"` starts the app anew instead", "{outcome:?}");
}

#[test]
fn the_end_of_the_worker_leaves_the_app_alone() {
    let directory = Directory::in_memory();
    let supervised = Supervised::start(supervised(&changing(&directory, "none")).app(["/bin/sleep", "100"]), "sleep");
    let worker = worker(&supervised);
    nix::sys::signal::kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it is there");
    let ready = until("its secrets are stale", || {
        let ready = Run::command("ready").args(["--dir", directory.text()]).start();
        (ready.code == 69).then_some(ready)
    });
    ready.says("`db` is stale");
    assert_eq!(comm(supervised.app), "sleep");
    let outcome = end(supervised, 143);
    let told = "handfast: error: the worker was killed by SIGKILL: the app runs on, and its secrets are read no more\n";
    assert_eq!(outcome.stderr.matches(told).count(), 1, "{outcome:?}");
}

#[test]
fn a_stale_secret_stops_the_app_first_where_that_is_asked_for() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let file = source.write("db", "value");
    let config = format!(
        "[watch]\nrefresh = \"1s\"\nmax_stale = \"1s\"\non_stale = \"exit\"\n[files]\ndir = \"{}\"\n[secrets.db]\nfrom = \"file:{}\"\n",
        directory.text(),
        file.display()
    );
    let supervised = Supervised::start(supervised(&config).app(["/bin/sleep", "100"]), "sleep");
    fs::remove_file(&file).expect("it is ours");
    let app = supervised.app;
    let outcome = supervised.finish();
    outcome.refused(69, "`db` is stale, and `on_stale` is \"exit\" (unavailable, exit 69)");
    assert!(!Path::new(&format!("/proc/{app}")).exists(), "the app has ended before");
}

#[test]
fn the_supervisor_writes_files_with_little() {
    needs_root!();
    let directory = Directory::in_memory();
    let config = format!("[app]\nuser = \"1234:4321\"\n{}", changing(&directory, "signal:HUP"));
    let supervised = Supervised::start(supervised(&config).app(["/bin/sleep", "100"]), "sleep");
    let capabilities = ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"].map(|set| status(supervised.supervisor, set));
    // CHOWN, FOWNER and KILL.
    let (none, some) = ("0000000000000000", "0000000000000029");
    assert_eq!(capabilities, [none, some, some, none, none]);
    assert_eq!(
        (status(supervised.supervisor, "NoNewPrivs"), status(supervised.supervisor, "Seccomp")),
        ("1".into(), "2".into())
    );
    let open = descriptors(supervised.supervisor);
    for (number, target) in &open {
        let target = target.display().to_string();
        let is_known = ["/dev/null", "socket:", "pipe:", "anon_inode:", directory.text()]
            .iter()
            .any(|start| target.starts_with(start));
        assert!(is_known, "{number} is {target}: {open:?}");
    }
    let before = read(&directory, "db");
    until("the file changes", || (read(&directory, "db") != before).then_some(()));
    end(supervised, 143);
}

#[test]
fn an_ordinary_users_files_stay_fresh_without_any_right() {
    needs_root!();
    let directory = Directory::in_memory();
    std::os::unix::fs::chown(directory.path(), Some(1234), Some(1234)).expect("root may");
    let run = supervised(&changing(&directory, "none")).app(["/bin/sleep", "100"]);
    let supervised = Supervised::start(run.confine(&["--uid", "1234", "--gid", "1234", "--groups", "none"]), "sleep");
    assert_eq!(status(supervised.supervisor, "CapPrm"), "0000000000000000");
    let before = read(&directory, "db");
    until("the file changes", || (read(&directory, "db") != before).then_some(()));
    end(supervised, 143);
}

#[test]
fn a_directory_that_could_not_be_written_later_is_refused_before_the_fetch() {
    needs_root!();
    let directory = Directory::tmpfs("mode=0700,uid=1234,gid=1234");
    let config = format!("[app]\nuser = \"1234:1234\"\n{}", changing(&directory, "none"));
    let outcome = supervised(&config).start();
    outcome.refused(73, &format!("cannot write into `{}`: permission denied", directory.text()));
    // Where nothing is written later, DAC_OVERRIDE is there for as long as it is needed.
    Run::new().config(&config).start().ran();
}

#[test]
fn neither_process_holds_a_value_of_an_older_set() {
    needs_root!();
    let directory = Directory::in_memory();
    let config = changing(&directory, "none").replace("fast:db", "fast:canary-of-the-supervisor");
    let supervised = Supervised::start(supervised(&config).app(["/bin/sleep", "100"]), "sleep");
    let number = || read(&directory, "db").rsplit('-').next().and_then(|number| number.parse::<u32>().ok());
    let first = number().expect("a number");
    until("it has changed often", || number().filter(|number| *number >= first + 4));
    let old: Vec<String> = (0..2).map(|at| format!("mock-canary-of-the-supervisor-{}", first + at)).collect();
    let needles: Vec<&str> = old.iter().map(String::as_str).collect();
    for pid in [supervised.supervisor, worker(&supervised)] {
        assert_eq!(hits(&scan(pid, &needles)), Vec::<String>::new(), "process {pid}");
    }
    end(supervised, 143);
}

fn worker(supervised: &Supervised) -> i32 {
    let others = children(supervised.supervisor).into_iter().filter(|child| *child != supervised.app);
    others.into_iter().find(|child| comm(*child) == "handfast").expect("a worker")
}
