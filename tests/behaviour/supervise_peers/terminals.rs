//! On a terminal: who is in front of it, what its keys do, and who is stopped.

use serde_json::{Value, json};

use super::{Facts, Peer, Place, Scenario, USER};
use crate::supervised::{AS_PID_1, Witness};
use crate::support::{Directory, Run, program};

pub const SCENARIOS: &[Scenario] = &[keys, stops];

/// Takes the steps with a command on a terminal, and returns what it has noted.
fn notes(command: &[&str], steps: Value) -> Vec<String> {
    let words = ["/usr/bin/env", "python3", "-c", include_str!("../terminal.py")];
    let outcome = Run::direct().app(words.iter().chain(command)).stdin(steps.to_string()).env("PS1", "$ ").start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let mut lines: Vec<String> = String::from_utf8_lossy(&outcome.stdout).lines().map(str::to_owned).collect();
    lines.pop();
    lines
}

/// The shell's words for the peer with this app.
fn script(peer: &Peer, app: &str) -> String {
    let quote = |word: String| format!("'{word}'");
    let user = USER.to_string();
    let confine = program("confine").display().to_string();
    let before = if peer.place == Place::Pid1 { &AS_PID_1[..] } else { &[] };
    let before =
        before.iter().copied().chain([&*confine, "--clean", "--uid", &user, "--gid", &user, "--groups", "none", "--"]);
    let words = before.map(str::to_owned).chain(peer.words(super::Recipient::App)).map(quote);
    format!("{} {app}", words.collect::<Vec<_>>().join(" "))
}

/// Which signals the app gets of the keys, of a new window size, and where the terminal hangs up.
fn keys(peer: &Peer) -> Facts {
    let witness = Witness::new();
    let file = witness.file().display().to_string();
    let start = script(peer, &format!("/bin/sh -c 'exec {}'", witness.script(1000)));
    // As a child, the supervisor leads the session. In a namespace `unshare` does, which shall not end of the keys.
    let start = match peer.place {
        Place::Child => format!("exec {start}"),
        Place::Pid1 => format!("trap '' HUP INT QUIT TSTP; {start}; exit 0"),
    };
    let supervisor = json!(["note", peer.program()]);
    let app = json!(["note", "witness"]);
    let mut steps = vec![json!(["file", file]), app.clone()];
    for (key, shown) in [("\u{3}", "^C"), ("\u{1c}", "^\\"), ("\u{1a}", "^Z")] {
        steps.extend([json!(["send", key]), json!(["expect", shown]), supervisor.clone(), app.clone()]);
    }
    steps.extend([json!(["size", 33, 111]), supervisor.clone(), app.clone()]);
    steps.extend([json!(["hang up"]), supervisor, app, json!(["end"])]);
    let notes = notes(&["/bin/sh", "-c", &start], json!(steps));
    let mut numbers = witness.numbers().expect("it was ready");
    numbers.sort_unstable();
    if peer.name == "dumb-init" {
        // Its app gets most of them twice, of the terminal and of dumb-init, but where the second finds the first still waiting.
        numbers.dedup();
    }
    let numbers: Vec<String> = numbers.iter().map(u8::to_string).collect();
    vec![("an app on a terminal", notes[0].clone()), ("signals of a terminal", numbers.join(" "))]
}

/// Who is stopped with an app that does not handle the signals of job control: by its key, and as a reader in the background.
fn stops(peer: &Peer) -> Facts {
    let in_front = job(peer, "", json!([["note", "cat"], ["send", "\u{1a}"], ["expect", "^Z"]]));
    let in_background = job(peer, " &", json!([]));
    vec![("an app that ^Z stops", in_front), ("an app that reads in the background", in_background)]
}

/// Starts `cat` as a job of an interactive shell, takes the steps, and tells how it and its supervisor stand then.
fn job(peer: &Peer, how: &str, steps: Value) -> String {
    let directory = Directory::new();
    let go = directory.path().join("go").display().to_string();
    // Not before the shell is done with its part.
    let wait = format!("echo started; while [ ! -e {go} ]; do sleep 0.01; done; exec {}", script(peer, "cat"));
    let start = json!(["send", format!("sh {}{how}\n", directory.write("job", wait).display())]);
    let mut all = vec![
        json!(["expect", "$ "]),
        start,
        json!(["expect", "started"]),
        json!(["note", "bash"]),
        json!(["write", go, ""]),
    ];
    all.extend(steps.as_array().expect("a list").iter().cloned());
    // Once the app has come to rest, the supervisor may still do something about it.
    let (app, supervisor) = (json!(["note", "cat"]), json!(["note", peer.program()]));
    all.extend([app.clone(), supervisor, app, json!(["end"])]);
    let notes = notes(&["bash", "--norc", "--noprofile", "-i"], json!(all));
    let [.., supervisor, app] = &notes[..] else { panic!("{notes:?}") };
    format!("app {app}, supervisor {supervisor}")
}
