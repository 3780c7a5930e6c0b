//! `run --supervise` on a terminal: who stands in front of it, ^C, ^Z, and shells with job control.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::supervised::AS_PID_1;
use crate::support::{Directory, Run, needs_program, needs_root, program};

/// Runs a command on a terminal of its own; what came of it.
#[track_caller]
fn on_terminal(command: &[&str], steps: Value) -> i32 {
    let words = ["/usr/bin/env", "python3", "-c", include_str!("terminal.py")];
    let outcome = Run::direct().app(words.iter().chain(command)).stdin(steps.to_string()).env("PS1", "$ ").start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    String::from_utf8_lossy(&outcome.stdout).trim().parse().expect("a number")
}

/// An app of a name that no other test uses.
struct App {
    directory: Directory,
    name: &'static str,
}

impl App {
    fn new(name: &'static str, program: &str) -> Self {
        let directory = Directory::new();
        symlink(program, directory.path().join(name)).expect("it is ours");
        Self { directory, name }
    }

    /// The command that supervises it.
    fn supervised(&self) -> String {
        format!("{} run --supervise -- {}/{}", program("handfast").display(), self.directory.text(), self.name)
    }

    fn state(&self, letter: &str) -> Value {
        json!(["state", self.name, letter])
    }
}

fn send(text: &str) -> Value {
    json!(["send", text])
}

fn expect(text: &str) -> Value {
    json!(["expect", text])
}

#[test]
fn ctrl_c_goes_to_the_app_alone() {
    needs_program!("python3");
    let handfast = program("handfast");
    let script = "trap 'echo got INT; exit 4' INT; echo ready; while :; do sleep 0.1; done";
    let command = [handfast.to_str().expect("text"), "run", "--supervise", "--", "/bin/sh", "-c", script];
    assert_eq!(on_terminal(&command, json!([expect("ready"), send("\u{3}"), expect("got INT")])), 4);
    // Without a handler it ends the app.
    let app = App::new("ttyint", "/bin/cat");
    let command = app.supervised();
    let command: Vec<&str> = command.split(' ').collect();
    assert_eq!(on_terminal(&command, json!([app.state("S"), send("a\n"), expect("a\r\na\r\n"), send("\u{3}")])), 130);
}

#[test]
fn a_new_window_size_reaches_the_app_wherever_its_stdin_comes_from() {
    needs_root!();
    needs_program!("python3");
    needs_program!("unshare");
    let handfast = program("handfast");
    let script = "trap 'stty -F /dev/tty size; exit 6' WINCH; echo ready; while :; do sleep 0.1; done";
    // With another stdin, the terminal stays with handfast's group, and handfast passes the signal on.
    for stdin in ["", "</dev/null"] {
        for option in ["--supervise", "--supervise=group"] {
            for through in [&[][..], &AS_PID_1] {
                let command = format!("exec \"$@\" {stdin}");
                let words = ["/bin/sh", "-c", &command, "sh"];
                let run = [handfast.to_str().expect("text"), "run", option, "--", "/bin/sh", "-c", script];
                let command = [&words, through, &run].concat();
                let steps = json!([expect("ready"), ["size", 33, 111], expect("33 111\r\n")]);
                assert_eq!(on_terminal(&command, steps), 6, "{command:?}");
            }
        }
    }
}

#[test]
fn a_shell_has_job_control() {
    needs_program!("python3");
    needs_program!("bash");
    let handfast = program("handfast");
    let job = App::new("ttyjob", "/bin/cat");
    let command = [handfast.to_str().expect("text"), "run", "--supervise", "--", "bash", "--norc", "--noprofile", "-i"];
    let steps = json!([
        send("echo flags=$-=\n"),
        expect("flags="),
        expect("flags="),
        expect("m"),
        send(&format!("{}/ttyjob\n", job.directory.text())),
        job.state("S"),
        send("\u{1a}"),
        expect("Stopped"),
        job.state("T"),
        expect("$ "),
        send("fg\n"),
        job.state("S"),
        send("\u{4}"),
        expect("$ "),
        send("echo 'an''swer'\n"),
        expect("answer"),
        send("exit 9\n"),
    ]);
    assert_eq!(on_terminal(&command, steps), 9);
}

#[test]
fn ctrl_z_stops_both_and_fg_lets_both_go_on() {
    needs_program!("python3");
    needs_program!("bash");
    for (name, after) in [("ttyfg1", "fg\n"), ("ttyfg2", "kill -CONT %1; fg\n")] {
        let app = App::new(name, "/bin/cat");
        let steps = json!([
            expect("$ "),
            send(&format!("{}; echo 'code='$?\n", app.supervised())),
            app.state("S"),
            send("one\n"),
            expect("one\r\none\r\n"),
            send("\u{1a}"),
            expect("Stopped"),
            app.state("T"),
            send("echo 'the sh''ell'\n"),
            expect("the shell"),
            send(after),
            app.state("S"),
            send("two\n"),
            expect("two\r\ntwo\r\n"),
            send("\u{4}"),
            send("exit 7\n"),
        ]);
        assert_eq!(on_terminal(&["bash", "--norc", "--noprofile", "-i"], steps), 7);
    }
}

#[test]
fn an_app_that_was_started_in_the_background_gets_the_terminal_with_fg() {
    needs_program!("python3");
    needs_program!("bash");
    let app = App::new("ttybg", "/bin/cat");
    let steps = json!([
        expect("$ "),
        send(&format!("{} &\n", app.supervised())),
        // It reads from the terminal, which it has not.
        app.state("T"),
        send("fg\n"),
        app.state("S"),
        send("one\n"),
        expect("one\r\none\r\n"),
        send("\u{3}"),
        expect("$ "),
        send("echo code=$?\n"),
        expect("code=130"),
        send("exit 7\n"),
    ]);
    assert_eq!(on_terminal(&["bash", "--norc", "--noprofile", "-i"], steps), 7);
}

#[test]
fn an_app_that_runs_in_the_background_gets_the_terminal_with_fg_once_it_asks_for_it() {
    needs_program!("python3");
    needs_program!("bash");
    let app = App::new("ttyturn", "/bin/sh");
    // By then the shell has put handfast in front, and has had no cause to let anybody go on.
    let is_in_front = "[ \"$(cut -d' ' -f8 /proc/$PPID/stat)\" = \"$(cut -d' ' -f5 /proc/$PPID/stat)\" ]";
    let script = format!("until {is_in_front}; do sleep 0.1; done; $1; read -r line; echo got $line; exit 5");
    let script = app.directory.write("script", script);
    // It reads from the terminal, or changes its settings.
    for first in [":", "stty -echo"] {
        let steps = json!([
            expect("$ "),
            send(&format!("{} {} '{first}' &\n", app.supervised(), script.display())),
            app.state("S"),
            send("fg\n"),
            expect("fg\r\n"),
            send("one\n"),
            expect("got one"),
            expect("$ "),
            send("echo code=$?\n"),
            expect("code=5"),
            send("exit 7\n"),
        ]);
        assert_eq!(on_terminal(&["bash", "--norc", "--noprofile", "-i"], steps), 7, "{first}");
    }
}

#[test]
fn the_program_that_has_started_handfast_gets_its_terminal_back() {
    needs_program!("python3");
    let script = format!(
        "{} run --supervise -- /bin/sh -c 'read a; echo app=$a'; read b; echo script=$b; exit 3",
        program("handfast").display()
    );
    let steps = json!([send("x\n"), expect("app=x"), send("y\n"), expect("script=y")]);
    assert_eq!(on_terminal(&["/bin/sh", "-c", &script], steps), 3);
    // Also where its start fails.
    let script = script.replace("--supervise", "--supervise -u 1:1 --config /no/such");
    assert_eq!(on_terminal(&["/bin/sh", "-c", &script], json!([send("y\n"), expect("script=y")])), 3);
}

#[test]
fn where_nobody_could_let_it_go_on_an_app_stopped_by_ctrl_z_does() {
    needs_root!();
    needs_program!("python3");
    needs_program!("unshare");
    // As the leader of a session too: no shell is there that could say `fg`.
    for (name, through) in [("ttypid1", &AS_PID_1[..]), ("ttyleader", &[])] {
        let app = App::new(name, "/bin/cat");
        let command = app.supervised();
        let command: Vec<&str> = through.iter().copied().chain(command.split(' ')).collect();
        let steps = json!([
            app.state("S"),
            send("one\n"),
            expect("one\r\none\r\n"),
            send("\u{1a}"),
            expect("^Z"),
            send("two\n"),
            expect("two\r\ntwo\r\n"),
            send("\u{4}"),
        ]);
        assert_eq!(on_terminal(&command, steps), 0, "{name}");
    }
}

#[test]
fn an_app_that_somebody_stops_on_purpose_stays_so() {
    use crate::supervised::{Supervised, status, until};
    use handfast::sys::jobs::send;
    let supervised = Supervised::start(Run::new().arg("--supervise").app(["/bin/sleep", "100"]), "sleep");
    let state = |pid: i32| status(pid, "State").chars().next();
    send(supervised.app, 19).expect("it is there");
    until("the app is stopped", || (state(supervised.app) == Some('T')).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!((state(supervised.app), state(supervised.supervisor)), (Some('T'), Some('S')));
    send(supervised.app, 18).expect("it is there");
    until("the app goes on", || (state(supervised.app) == Some('S')).then_some(()));
    // TSTP to the supervisor stops both, as ^Z does, and CONT lets both go on.
    supervised.signal(20);
    until("both are stopped", || {
        [supervised.app, supervised.supervisor].iter().all(|pid| state(*pid) == Some('T')).then_some(())
    });
    supervised.signal(18);
    until("both go on", || {
        [supervised.app, supervised.supervisor].iter().all(|pid| state(*pid) == Some('S')).then_some(())
    });
    supervised.signal(15);
    assert_eq!(supervised.finish().code, 143);
}

#[test]
fn the_next_app_is_in_front_as_the_one_before() {
    needs_root!();
    needs_program!("python3");
    needs_program!("unshare");
    // In a namespace, handfast's own group may be one outside.
    for through in [&[][..], &AS_PID_1] {
        let directory = Directory::new();
        let secret = directory.write("secret", "old").display().to_string();
        let config = format!(
            "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\nsplay = \"0s\"\n[secrets.a]\nfrom = \"file:{secret}\"\non_change = \"restart\"\n"
        );
        let config = directory.write("handfast.toml", config).display().to_string();
        let handfast = program("handfast").display().to_string();
        let run = [&handfast, "run", "--supervise", "--log-level", "info", "--config", &config, "--", "/bin/cat"];
        let steps = json!([
            expect("the app is process"),
            send("one\n"),
            expect("one\r\none\r\n"),
            ["write", secret, "new"],
            expect("the app is process"),
            send("two\n"),
            expect("two\r\ntwo\r\n"),
            send("\u{4}"),
        ]);
        assert_eq!(on_terminal(&[through, &run].concat(), steps), 0, "{through:?}");
    }
}
