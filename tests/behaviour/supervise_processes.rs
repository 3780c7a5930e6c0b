//! `run --supervise`: orphans, exit codes, what the supervisor holds, and what it never waits for.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use handfast::sys::jobs;

use crate::supervised::{AS_PID_1, Supervised, Witness, descriptors, fill, status, until, until_within};
use crate::support::{Directory, Run, needs_program, needs_root, program};

fn supervised() -> Run {
    Run::new().arg("--supervise")
}

/// The middle process ends before its children are waited for, so that all of them are the supervisor's. It begins and ends as told.
const ORPHANS: &str = "
import os, sys, time
def told(word):
    while open(sys.argv[1]).read() != word: time.sleep(0.01)
told('begin')
if os.fork() == 0:
    for i in range(10000):
        if os.fork() == 0: os._exit(i % 256)
    os._exit(0)
os.wait()
supervisor, limit = os.getppid(), time.monotonic() + 10
def children():
    with open(f'/proc/{supervisor}/task/{supervisor}/children') as file: return file.read().split()
while len(children()) > 1 and time.monotonic() < limit: time.sleep(0.01)
print(len(children()))
with open(sys.argv[1], 'w') as file: file.write('done')
told('end')
";

#[test]
fn ten_thousand_orphans_are_reaped() {
    needs_root!();
    needs_program!("python3");
    for through in [&[][..], &AS_PID_1] {
        let directory = Directory::new();
        let word = directory.write("word", "");
        fs::set_permissions(&word, fs::Permissions::from_mode(0o666)).expect("it is ours");
        let app = ["python3", "-c", ORPHANS, word.to_str().expect("it is text")];
        let run = supervised().app(app).through(through).timeout(Duration::from_secs(90));
        let supervised = Supervised::start(run, "python3");
        let open = || descriptors(supervised.supervisor).len();
        let before = open();
        fs::write(&word, "begin").expect("it is ours");
        until_within(Duration::from_secs(60), "all of them have ended", || {
            fs::read_to_string(&word).is_ok_and(|word| word == "done").then_some(())
        });
        until("no descriptor is left of them", || (open() <= before).then_some(()));
        fs::write(&word, "end").expect("it is ours");
        let outcome = supervised.finish();
        // The app itself is the one that is left.
        assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, b"1\n".as_slice()), "{outcome:?}");
    }
}

#[test]
fn every_exit_code_is_the_apps() {
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for code in (part..256).step_by(4) {
                    let outcome = supervised().app(["/bin/sh", "-c", &format!("exit {code}")]).start();
                    assert_eq!(outcome.code, code, "{outcome:?}");
                    outcome.never_says("error:");
                }
            });
        }
    });
}

#[test]
fn an_app_that_a_signal_ends_gives_128_and_its_number() {
    let signals = (1..=64).filter(|signal| ![17, 18, 19, 20, 21, 22, 23, 28, 32, 33].contains(signal));
    for signal in signals {
        let outcome = supervised().app(["/bin/sh", "-c", &format!("kill -{signal} $$; sleep 9")]).start();
        assert_eq!(outcome.code, 128 + signal, "{outcome:?}");
    }
    needs_root!();
    needs_program!("unshare");
    for signal in [9, 15, 11, 40] {
        let run = supervised().app(["/bin/sh", "-c", &format!("kill -{signal} $$; sleep 9")]).through(&AS_PID_1);
        let outcome = run.start();
        assert_eq!(outcome.code, 128 + signal, "{outcome:?}");
    }
}

#[test]
fn an_app_that_cannot_be_started_is_told_as_without_a_supervisor() {
    let directory = Directory::new();
    // Found and executable, and its loader is not there until the exec: only the child can tell.
    let script = directory.write("script", "#!/bin/sh\nexit 9\n");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    let busy = fs::OpenOptions::new().write(true).open(&script).expect("it is ours");
    for option in [None, Some("--supervise")] {
        let run = Run::new().args(option).app([&script]);
        let outcome = run.start();
        outcome.refused(126, "text file busy (exec, exit 126)");
        assert_eq!(outcome.stderr.matches("error:").count(), 1, "{outcome:?}");
    }
    drop(busy);
    supervised().app(["/no/such"]).start().refused(127, "cannot execute `/no/such`");
    needs_root!();
    let denied = supervised().confine(&["--deny", "prctl-bounding=EPERM"]).config("[app]\nstrict = true\n").start();
    denied.refused(125, "from the bounding set");
    // The one that supervises says nothing of its own.
    assert_eq!(denied.stderr.matches("error:").count(), 1, "{denied:?}");
}

#[test]
fn handfast_ends_with_the_app_whoever_holds_its_output() {
    let mut command = Command::new(program("handfast"));
    command.args(["run", "--supervise", "--", "/bin/sh", "-c", "sleep 5 & exit 3"]);
    let began = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let code = child.wait().expect("it is ours").code();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(code, Some(3));
}

#[test]
fn the_supervisor_holds_nothing_of_the_apps_but_stderr() {
    needs_root!();
    let target = Directory::in_memory();
    let config = "[app]\nkeep_fds = [9]\n[secrets.b]\nfrom = \"mock:b\"\nfd = 7\n";
    let file = target.write("handfast.toml", config);
    let script = format!(
        "cd /usr; exec {} run --supervise -c {} -- sleep 100 9</dev/zero",
        program("handfast").display(),
        file.display()
    );
    let supervised = Supervised::start(Run::direct().app(["/bin/sh", "-c", &script]), "sleep");
    // The supervisor closes the pipe between the two only after the child has become the app.
    let links = until("the supervisor has four descriptors", || {
        let open = descriptors(supervised.supervisor);
        let links: Vec<String> = open.iter().map(|(number, link)| format!("{number} {}", link.display())).collect();
        (links.len() == 4).then_some(links)
    });
    assert_eq!(links[..2], ["0 /dev/null", "1 /dev/null"]);
    assert!(links[2].starts_with("2 pipe:") && links[3].ends_with("anon_inode:[signalfd]"), "{links:?}");
    // The program's loader still reads libraries and locales for a moment, through descriptors of its own.
    until("the app has its descriptors and no other", || {
        let app: Vec<i32> = descriptors(supervised.app).into_iter().map(|(number, _)| number).collect();
        (app == [0, 1, 2, 7, 9]).then_some(())
    });
    let directory = |pid: i32| fs::read_link(format!("/proc/{pid}/cwd")).expect("root sees it");
    assert_eq!(directory(supervised.supervisor), *"/");
    assert_eq!(directory(supervised.app), *"/usr");
    supervised.signal(15);
    assert_eq!(supervised.finish().code, 143);
}

#[test]
fn a_pipe_that_the_app_closes_is_closed() {
    let mut command = Command::new(program("handfast"));
    command.args(["run", "--supervise", "--", "/bin/sh", "-c", "exec >&- <&-; exec sleep 100"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started");
    let mut text = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut text).expect("it can be read");
    assert!(child.try_wait().expect("it is ours").is_none(), "the app still runs");
    // Nobody reads any more.
    let mut input = child.stdin.take().expect("piped");
    until("the other pipe is closed", || input.write_all(b"x").err());
    jobs::send(child.id().cast_signed(), 15).expect("it is there");
    assert_eq!(child.wait().expect("it is ours").code(), Some(143));
}

#[test]
fn secrets_arrive_as_without_a_supervisor() {
    needs_root!();
    // On a disk: only a mount of the start's own can be there.
    let disk = Directory::on_disk();
    let memory = Directory::in_memory();
    for directory in [&disk, &memory] {
        let text = directory.path().join("secrets");
        if directory.path() == disk.path() {
            fs::create_dir(&text).expect("it is ours");
        }
        let run = || {
            let config = "[secrets.a]\nfrom = \"mock:a\"\n[secrets.b]\nfrom = \"mock:b\"\nfd = \"auto\"\npath_env = \"B_FILE\"\n";
            Run::new().config(config).arg("--dir").arg(&text).env("A_FILE", "handfast:mock:a")
        };
        let script = "cat $A_FILE $B_FILE; stat -c %a-%u $A_FILE; echo $HANDFAST_FDS $CREDENTIALS_DIRECTORY";
        let plain = run().app(["/bin/sh", "-c", script]).start();
        let supervised = run().arg("--supervise").app(["/bin/sh", "-c", script]).start();
        assert_eq!((plain.code, supervised.code), (0, 0), "{supervised:?}");
        assert!(String::from_utf8_lossy(&plain.stdout).starts_with("mock-amock-b"), "{plain:?}");
        assert_eq!(plain.stdout, supervised.stdout, "{supervised:?}");
    }
}

#[test]
fn variables_that_name_a_process_name_the_app() {
    needs_program!("python3");
    let script = format!(
        "export LISTEN_PID=$$ WATCHDOG_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_PIDFDID=5; \
         exec {} run --supervise -- /usr/bin/env python3 -c \
         'import os; e = os.environ; print(*(int(e[n]) == os.getpid() for n in (\"LISTEN_PID\", \"WATCHDOG_PID\")), e[\"LISTEN_FDS\"], e[\"LISTEN_FDNAMES\"], \"LISTEN_PIDFDID\" in e, os.readlink(\"/proc/self/fd/3\"))' 3</dev/zero",
        program("handfast").display()
    );
    let outcome = Run::direct().app(["/bin/sh", "-c", &script]).start();
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "True True 1 web False /dev/zero\n", "{outcome:?}");
    // What names another process stays as it is.
    let script = script.replace("WATCHDOG_PID=$$", "WATCHDOG_PID=1");
    let outcome = Run::direct().app(["/bin/sh", "-c", &script]).start();
    assert!(String::from_utf8_lossy(&outcome.stdout).starts_with("True False 1"), "{outcome:?}");
}

/// handfast says one line at least while it supervises: at `info`, the app's process.
fn supervises_without_a_reader(stderr: Stdio) {
    let witness = Witness::new();
    let mut command = Command::new(program("handfast"));
    command.args(["run", "--supervise", "-u", "1234:1234", "--log-level", "info", "--"]).args(witness.command(2));
    let mut child = command.stderr(stderr).spawn().expect("it can be started");
    until("the app is ready", || witness.signals());
    for sent in 1..=2 {
        jobs::send(child.id().cast_signed(), 10).expect("it is there");
        until("the app has got it", || witness.numbers().filter(|got| got.len() == sent));
    }
    assert_eq!(child.wait().expect("it is ours").code(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting() {
    // The privileged app's lines of the start would wait for their reader, as they do without a supervisor.
    needs_root!();
    let (_reader, writer) = std::io::pipe().expect("there are pipes");
    fill(&writer, &mut &writer);
    supervises_without_a_reader(writer.into());
    let (_reader, writer) = UnixStream::pair().expect("there are sockets");
    fill(&writer, &mut &writer);
    supervises_without_a_reader(std::os::fd::OwnedFd::from(writer).into());
    // Nor does a reader that is gone end anybody.
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    drop(reader);
    supervises_without_a_reader(writer.into());
}

#[test]
fn the_supervisor_sleeps_while_nothing_happens() {
    let supervised = Supervised::start(supervised().app(["/bin/sleep", "100"]), "sleep");
    let switches = || status(supervised.supervisor, "voluntary_ctxt_switches");
    // It may have something to do at first.
    until("it sleeps for two seconds", || {
        let before = switches();
        std::thread::sleep(Duration::from_secs(2));
        (switches() == before).then_some(())
    });
    supervised.signal(15);
    assert_eq!(supervised.finish().code, 143);
}

/// Of the program, too: what the start has used of it is mapped no more.
#[test]
fn the_supervisor_keeps_little_of_what_its_start_needed() {
    let supervised = Supervised::start(supervised().app(["/bin/sleep", "100"]), "sleep");
    let kibibytes =
        |line: &str| status(supervised.supervisor, line).trim_end_matches(" kB").parse::<u64>().expect("a number");
    until("it has little memory", || (kibibytes("VmRSS") < kibibytes("VmHWM") * 2 / 3).then_some(()));
    supervised.signal(15);
    assert_eq!(supervised.finish().code, 143);
}
