//! Invariant 7: handfast never starts a shell, and has no TCP listener unless the user asks for metrics.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Call, Directory, Run, Trace, needs_program, needs_root, sources};

/// Ways to start, and to fail, that differ in what they touch.
fn runs() -> Vec<(&'static str, Run)> {
    let many = "[secrets.a]\nfrom = \"mock:a\"\n[secrets.b]\nfrom = \"mock:b\"\n";
    let failing = "[providers.mock]\nfail = \"denied\"\n[secrets.a]\nfrom = \"mock:a\"\n";
    let retried = "[providers.mock]\nfail_first = 2\n[secrets.a]\nfrom = \"mock:a\"\n";
    vec![
        ("a run", Run::new().config(many)),
        ("a run with a user by name", Run::new().config(many).arg("--user").arg("nobody:nogroup")),
        ("a run with retries", Run::new().config(retried)),
        ("a failing run", Run::new().config(failing)),
        ("a command that is not there", Run::new().config(many).app(["no-such-command"])),
        ("init", Run::command("init").config(many).arg("--dir").arg("/dev/shm")),
        ("check", Run::command("check").config(many)),
    ]
}

#[test]
fn handfast_executes_nothing_but_the_app() {
    needs_root!();
    needs_program!("strace");
    for (name, run) in runs() {
        let (outcome, trace) = Trace::of(run);
        let executed: Vec<&Call> = trace.calls.iter().filter(|call| call.name.starts_with("execve")).collect();
        let (handfast, app) = executed.split_first().expect("handfast");
        assert!(handfast.path().ends_with("/handfast"), "{name}: {handfast:?}");
        assert_eq!(app.len(), usize::from(outcome.app_ran() && name.contains("run")), "{name}: {app:#?}");
        assert!(
            app.iter().all(|call| call.path().ends_with("/probe") && call.process == trace.privileged),
            "{name}: {app:#?}"
        );
    }
}

#[test]
fn handfast_never_listens() {
    needs_root!();
    needs_program!("strace");
    for (name, run) in runs() {
        let (_, trace) = Trace::of(run);
        let listening = ["bind", "listen", "accept", "accept4"];
        let found: Vec<&Call> = trace.calls.iter().filter(|call| listening.contains(&call.name.as_str())).collect();
        assert!(found.is_empty(), "{name}: {found:#?}");
        // `mock` needs no network either: whatever else is made must be the socketpair.
        let sockets: Vec<&Call> = trace.calls.iter().filter(|call| call.name == "socket").collect();
        assert!(sockets.is_empty(), "{name}: {sockets:#?}");
    }
}

#[test]
fn nothing_in_the_source_starts_a_program_or_listens() {
    let words = [
        "process::Command",
        "posix_spawn",
        "popen",
        "libc::system",
        "/bin/sh",
        "TcpListener",
        "UnixListener",
        "UdpSocket",
        ".listen(",
    ];
    let all = sources(&["src", "providers/core", "providers/file", "providers/http", "providers/mock"]);
    for source in &all {
        for word in words {
            // Where the user asks for metrics, the worker listens.
            let may = source.path == "src/worker/inside/metrics/mod.rs" && word == "TcpListener";
            assert!(may || !source.code.contains(word), "{word} in {}", source.path);
        }
        let executes =
            source.code.contains("execve") || source.code.contains("execvp") || source.code.contains("fexecve");
        let may =
            ["src/launch/mod.rs", "src/launch/handlers.rs", "src/cage/seccomp.rs"].contains(&source.path.as_str());
        assert!(!executes || may, "{}", source.path);
    }
    assert!(all.len() > 60, "{}", all.len());
}

#[test]
fn what_is_no_program_is_given_to_no_shell() {
    let directory = Directory::new();
    let script = directory.write("script", "echo a shell has run this\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let outcome = Run::new().arg("--secret").arg("db=mock:db").app([&script]).start();
    assert_eq!((outcome.code, outcome.app_ran()), (126, false), "{outcome:?}");
    // Nor is anything in a command expanded.
    let words = ["$(id)", "`id`", "$HOME", "a;b", "*", "~", "a b", ""];
    let outcome =
        words.iter().fold(Run::new().arg("--secret").arg("db=mock:db"), |run, word| run.app_arg(word)).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let argv = outcome.probe()["argv"].clone();
    assert_eq!(
        argv.as_array().expect("a list")[1..].iter().map(|word| word.as_str().expect("text")).collect::<Vec<_>>(),
        words
    );
}
