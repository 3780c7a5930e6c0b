//! `run --supervise` beside the programs that do the same work: tini, dumb-init and catatonit. Each scenario makes facts with all of them,
//! and every fact is the same for all, but for the differences that one list explains.

mod differences;
mod ends;
mod inheritance;
mod signals;
mod terminals;

use std::os::unix::fs::chown;
use std::thread;

use differences::DIFFERENCES;

use crate::supervised::{AS_PID_1, Supervised, status, until};
use crate::support::{Directory, Run, needs_program, needs_root, program};

/// What a scenario has found out: the name of each fact, and its value.
type Facts = Vec<(&'static str, String)>;

/// Makes its facts with this supervisor.
type Scenario = fn(&Peer) -> Facts;

/// The user of all, so that no difference comes from another identity.
const USER: u32 = 54_322;

#[test]
fn every_difference_from_other_supervisors_is_explained() {
    needs_root!();
    for program in ["tini", "dumb-init", "catatonit", "python3", "bash", "unshare"] {
        needs_program!(program);
    }
    let scenarios = [ends::SCENARIOS, inheritance::SCENARIOS, signals::SCENARIOS, terminals::SCENARIOS].concat();
    let results = thread::scope(|scope| {
        let threads: Vec<_> = scenarios.into_iter().map(|scenario| scope.spawn(move || compare(scenario))).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let failed = results.iter().filter(|result| result.is_err()).map(|_| "a scenario has failed, see above".to_owned());
    let mut wrong: Vec<String> = failed.collect();
    let found: Vec<Found> = results.into_iter().flatten().flatten().collect();
    let unexplained = found.iter().filter(|found| !DIFFERENCES.iter().any(|listed| listed.explains(found)));
    wrong.extend(unexplained.map(|found| format!("found, and not listed: {found:?}")));
    wrong.extend(DIFFERENCES.iter().flat_map(|listed| listed.without(&found)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A fact in which a peer is not as handfast is.
#[derive(Debug)]
struct Found {
    fact: &'static str,
    place: Place,
    peer: &'static str,
    theirs: String,
    ours: String,
}

/// An explained difference.
struct Difference {
    fact: &'static str,
    /// Where it is seen.
    places: &'static [Place],
    ours: &'static str,
    /// Each peer that differs, and its value.
    theirs: &'static [(&'static str, &'static str)],
    #[expect(dead_code, reason = "for the reader")]
    why: &'static str,
}

impl Difference {
    fn explains(&self, found: &Found) -> bool {
        (self.fact, self.ours) == (found.fact, &found.ours)
            && self.places.contains(&found.place)
            && self.theirs.contains(&(found.peer, &found.theirs))
    }

    /// A line for each place and peer where it is not found any more.
    fn without(&self, found: &[Found]) -> Vec<String> {
        let all = self.places.iter().flat_map(|place| self.theirs.iter().map(move |(peer, _)| (*place, *peer)));
        let is_there = |(place, peer): &(Place, &str)| {
            found.iter().any(|found| (found.place, found.peer) == (*place, *peer) && self.explains(found))
        };
        all.filter(|at| !is_there(at)).map(|at| format!("listed, and not found: `{}` at {at:?}", self.fact)).collect()
    }
}

/// Makes the facts of a scenario with handfast and with each peer.
fn compare(scenario: Scenario) -> Vec<Found> {
    let mut found = Vec::new();
    for place in [Place::Child, Place::Pid1] {
        let ours = scenario(&Peer::new("handfast", place));
        for peer in [FRESH, "tini", "dumb-init", "catatonit"] {
            let theirs = scenario(&Peer::new(peer, place));
            for ((fact, ours), (same, theirs)) in ours.iter().cloned().zip(theirs) {
                assert_eq!(fact, same, "a scenario's facts are the same for all");
                if ours != theirs {
                    found.push(Found { fact, place, peer, theirs, ours });
                }
            }
        }
    }
    found
}

/// Where a supervisor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As a child among others: then it is a subreaper.
    Child,
    /// In a pid namespace of its own.
    Pid1,
}

/// handfast with a secret that changes each second. It has a worker, and another loop.
const FRESH: &str = "handfast with a secret";

/// Whom a supervisor passes signals on to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recipient {
    App,
    Group,
}

/// A supervisor at a place.
struct Peer {
    name: &'static str,
    place: Place,
    files: Directory,
}

impl Peer {
    fn new(name: &'static str, place: Place) -> Self {
        let files = Directory::in_memory();
        chown(files.path(), Some(USER), Some(USER)).expect("root may");
        Self { name, place, files }
    }

    /// The name of its program.
    fn program(&self) -> &'static str {
        if self.name == FRESH { "handfast" } else { self.name }
    }

    /// The words before the app's.
    fn words(&self, recipient: Recipient) -> Vec<String> {
        let group = recipient == Recipient::Group;
        let handfast = program("handfast").display().to_string();
        let words: &[&str] = match self.name {
            "tini" => &["tini", "-s", if group { "-g" } else { "-s" }, "--"],
            "dumb-init" if group => &["dumb-init", "--"],
            "dumb-init" => &["dumb-init", "--single-child", "--"],
            "catatonit" if group => &["catatonit", "-g", "--"],
            "catatonit" => &["catatonit", "--"],
            _ => &[&handfast, "run", if group { "--supervise=group" } else { "--supervise" }],
        };
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        if self.name == FRESH {
            let config = format!(
                "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[providers.fast]\ntype = \"mock\"\nrotate_every = \"1s\"\n\
                 [files]\ndir = \"{}\"\n[secrets.db]\nfrom = \"fast:db\"\n",
                self.files.text()
            );
            // Beside the files, where no other test looks for a configuration.
            let file = self.files.write("handfast.toml", config);
            words.extend(["--config".into(), file.display().to_string()]);
        }
        if self.program() == "handfast" {
            words.push("--".into());
        }
        words
    }

    /// It with this app, neither started yet.
    fn run<S: AsRef<str>>(&self, app: &[S]) -> Run {
        self.run_for(Recipient::App, app)
    }

    /// The same, for this recipient of signals.
    fn run_for<S: AsRef<str>>(&self, recipient: Recipient, app: &[S]) -> Run {
        let app = app.iter().map(|word| word.as_ref().to_owned());
        let user = USER.to_string();
        let identity = ["--uid", &user, "--gid", &user, "--groups", "none"];
        let run = Run::direct().app(self.words(recipient).into_iter().chain(app)).confine(&identity);
        if self.place == Place::Pid1 { run.through(&AS_PID_1) } else { run }
    }

    /// Waits until the app is this program.
    fn start(&self, run: Run, name: &str) -> Supervised {
        Supervised::start_under(run, self.program(), name)
    }
}

/// Waits until a process has handled all that has arrived and sleeps again, is stopped, or has ended. Who waits for a signal is woken by
/// the one who sends it, and the kernel then shows the signal as not blocked.
fn settle(pid: i32) {
    let mask = |name: &str| u64::from_str_radix(&status(pid, name), 16).unwrap_or_default();
    until("it has nothing to do", || match state(pid) {
        'R' | 'D' => None,
        'S' => ((mask("SigPnd") | mask("ShdPnd")) & !mask("SigBlk") == 0).then_some(()),
        _ => Some(()),
    });
}

/// The letter of its state; `-` where it is gone or not reaped yet.
fn state(pid: i32) -> char {
    match status(pid, "State").chars().next() {
        None | Some('Z' | 'X') => '-',
        Some(letter) => letter,
    }
}

fn yes_or_no(is: bool) -> String {
    if is { "yes".into() } else { "no".into() }
}
