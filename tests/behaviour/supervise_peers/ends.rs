//! Starts that fail, exit codes, orphans, and what is left at the end.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use handfast::sys::jobs;

use super::signals::ranges;
use super::{Facts, Peer, Place, Recipient, Scenario, settle, state, yes_or_no};
use crate::supervised::{Witness, children, comm, until};
use crate::support::Directory;

pub const SCENARIOS: &[Scenario] = &[exit_codes, failed_starts, orphans, descendants, an_app_that_ignores_term, groups];

fn code(peer: &Peer, app: &[&str]) -> String {
    peer.run(app).start().code.to_string()
}

fn exit_codes(peer: &Peer) -> Facts {
    let exits = [0, 1, 2, 42, 125, 126, 127, 128, 137, 143, 255];
    let exits = exits.map(|number| code(peer, &["/bin/sh", "-c", &format!("exit {number}")]));
    let deaths = [1, 2, 6, 9, 11, 13, 15, 40, 64].map(|number| {
        let script = format!("kill -{number} $$; exec sleep 100");
        code(peer, &["/bin/sh", "-c", &script])
    });
    vec![("exit codes", exits.join(" ")), ("exit codes of deaths", deaths.join(" "))]
}

fn failed_starts(peer: &Peer) -> Facts {
    let directory = Directory::new();
    let file = |name: &str, text: &str, mode| {
        let file = directory.write(name, text);
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is ours");
        file.display().to_string()
    };
    let starts = [
        ("not in PATH", "no-such-program".into()),
        ("not there", "/no/such/program".into()),
        ("no name", String::new()),
        ("below a file", format!("{}/program", file("file", "", 0o755))),
        ("not executable", file("plain", "#!/bin/sh\nexit 9\n", 0o644)),
        ("a directory", directory.text().into()),
        ("no such interpreter", file("script", "#!/no/such\n", 0o755)),
        ("no interpreter", file("text", "exit 9\n", 0o755)),
        ("empty", file("empty", "", 0o755)),
    ];
    let codes = starts.map(|(what, program)| format!("{what} {}", code(peer, &[&program])));
    vec![("starts that fail", codes.join(", "))]
}

/// Tells who adopts an orphan, ends it, and waits until it is reaped.
const ORPHAN: &str = "orphan=$(sleep 100 >/dev/null & echo $!)
awk '/^PPid/ { print $2 }' /proc/$orphan/status; echo $PPID
kill -9 $orphan; while [ -e /proc/$orphan ]; do sleep 0.01; done; echo reaped";

fn orphans(peer: &Peer) -> Facts {
    let outcome = peer.run(&["/bin/sh", "-c", ORPHAN]).start();
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let [parent, supervisor, reaped] = lines[..] else { panic!("{outcome:?}") };
    vec![
        ("an orphan's parent is the supervisor", yes_or_no(parent == supervisor)),
        ("an orphan that ends", reaped.into()),
    ]
}

/// The app ends with 3, and leaves a process that holds its output: its child, which has a group of its own or not.
fn descendants(peer: &Peer) -> Facts {
    let mut facts = Facts::new();
    for (fact, own_group) in
        [("the child of an app that has ended", ""), ("its child in a session of its own", "setsid ")]
    {
        let directory = Directory::new();
        let (go, pid) = (directory.write("go", ""), directory.write("pid", ""));
        fs::set_permissions(&pid, fs::Permissions::from_mode(0o666)).expect("it is ours");
        let script = format!(
            "{own_group}sleep 100 & echo $! >{}; while [ -e {} ]; do sleep 0.01; done; exit 3",
            pid.display(),
            go.display()
        );
        let supervised = peer.start(peer.run(&["/bin/sh", "-c", &script]), "sh");
        // Its number in this namespace.
        let child = until("the child runs", || {
            children(supervised.app)
                .into_iter()
                .find(|_| fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')))
        });
        until("it is sleep", || (comm(child) == "sleep").then_some(()));
        fs::remove_file(go).expect("it is ours");
        until("the supervisor ends", || (state(supervised.supervisor) == '-').then_some(()));
        until("the child has an end, or nothing to do", || matches!(state(child), '-' | 'S').then_some(()));
        facts.push((fact, if state(child) == '-' { "ends".into() } else { "lives on".into() }));
        let _ = jobs::send(child, 9);
        supervised.finish();
    }
    facts
}

fn an_app_that_ignores_term(peer: &Peer) -> Facts {
    let supervised = peer.start(peer.run(&["/bin/sh", "-c", "trap '' TERM; exec sleep 100"]), "sleep");
    for _ in 0..2 {
        supervised.signal(15);
        settle(supervised.supervisor);
        settle(supervised.app);
    }
    let lives = yes_or_no(state(supervised.app) == 'S' && state(supervised.supervisor) == 'S');
    jobs::send(supervised.app, 9).expect("it is there");
    vec![("an app that ignores TERM lives on", lives), ("until it is killed", supervised.finish().code.to_string())]
}

/// What an app and its child get where signals go to the group: of a signal, and of the app's end.
fn groups(peer: &Peer) -> Facts {
    let (app, child) = (Witness::new(), Witness::new());
    let script = format!("{} & exec {}", child.script(9), app.script(2));
    let run = peer.run_for(Recipient::Group, &["/bin/sh", "-c", &script]);
    let supervised = peer.start(run, "witness");
    until("both are ready", || app.signals().and(child.signals()));
    let other = children(supervised.app)[0];
    supervised.signal(10);
    [supervised.supervisor, supervised.app, other].into_iter().for_each(settle);
    let [of_app, of_child] = [&app, &child].map(|witness| ranges(&witness.numbers().expect("it was ready")));
    jobs::send(supervised.app, 12).expect("it is there");
    until("the supervisor ends", || (state(supervised.supervisor) == '-').then_some(()));
    settle(other);
    let at_end =
        if peer.place == Place::Pid1 { "KILL".into() } else { ranges(&child.numbers().expect("it was ready")[1..]) };
    let _ = jobs::send(other, 9);
    supervised.finish();
    vec![
        ("a signal for a group, at the app", of_app),
        ("a signal for a group, at the app's child", of_child),
        ("the end of an app, at the child in its group", at_end),
    ]
}
