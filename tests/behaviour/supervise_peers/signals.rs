//! Which signals reach the app, and how.

use std::fmt::Write;
use std::thread::sleep;
use std::time::Duration;

use handfast::sys::jobs;
use handfast::sys::signals::Incoming;

use super::{Facts, Peer, Scenario, settle, state, yes_or_no};
use crate::supervised::{Supervised, Witness, until};

pub const SCENARIOS: &[Scenario] = &[each_signal, many_signals, stopped_apps];

/// An app that notes its signals, under a supervisor.
struct Life {
    witness: Witness,
    supervised: Supervised,
}

impl Life {
    fn new(peer: &Peer) -> Self {
        let witness = Witness::new();
        let supervised = peer.start(peer.run(&witness.command(1000)), "witness");
        until("the app is ready", || witness.signals());
        settle(supervised.supervisor);
        Self { witness, supervised }
    }

    /// Waits until both have handled what was sent; what the app has noted by then.
    fn settled(&self) -> Vec<(u8, u64)> {
        settle(self.supervised.supervisor);
        settle(self.supervised.app);
        self.witness.signals().expect("it was ready")
    }

    fn end(self) {
        let _ = jobs::send(self.supervised.app, 9);
        let _ = jobs::send(self.supervised.supervisor, 9);
        self.supervised.finish();
    }
}

/// What becomes of each signal that a supervisor gets.
fn each_signal(peer: &Peer) -> Facts {
    let (mut passed, mut stops, mut ends) = (vec![], vec![], vec![]);
    let mut life = Life::new(peer);
    for number in (1..=64).filter(|number| ![9, 19].contains(number)) {
        let before = life.settled().len();
        life.supervised.signal(number);
        let got: Vec<u8> = life.settled()[before..].iter().map(|(number, _)| *number).collect();
        match state(life.supervised.supervisor) {
            '-' => {
                ends.push(number);
                life.end();
                life = Life::new(peer);
            }
            'T' => {
                stops.push(number);
                life.supervised.signal(18);
                until("it goes on", || (state(life.supervised.supervisor) != 'T').then_some(()));
            }
            _ if got == [number] => passed.push(number),
            _ => assert!(got.is_empty(), "{number} became {got:?}"),
        }
    }
    life.end();
    vec![
        ("signals that are passed on", ranges(&passed)),
        ("signals that stop the supervisor", ranges(&stops)),
        ("signals that end the supervisor", ranges(&ends)),
    ]
}

/// Signals that arrive while the supervisor is stopped.
fn many_signals(peer: &Peer) -> Facts {
    let life = Life::new(peer);
    let supervisor = life.supervised.supervisor;
    jobs::send(supervisor, 19).expect("it is there");
    until("it is stopped", || (state(supervisor) == 'T').then_some(()));
    for value in 1..=5 {
        jobs::send(supervisor, 10).expect("it is there");
        jobs::queue(supervisor, Incoming { number: 40, sender: 1, user: 0, value: Some(value) })
            .expect("there is room");
    }
    jobs::send(supervisor, 18).expect("it is there");
    until("it goes on", || (state(supervisor) != 'T').then_some(()));
    let got = life.settled();
    let values = |number: u8| got.iter().filter(move |(got, _)| *got == number).map(|(_, value)| *value);
    let facts = vec![
        ("one signal five times", values(10).count().to_string()),
        ("a real-time signal five times", values(40).count().to_string()),
        ("real-time signals keep their values", yes_or_no(values(40).eq(1..=5))),
    ];
    life.end();
    facts
}

/// Who is stopped with an app, and whether CONT to the supervisor lets the app go on.
fn stopped_apps(peer: &Peer) -> Facts {
    let facts = [(19, "an app that STOP stops"), (20, "an app that TSTP stops"), (21, "an app that TTIN stops")];
    let mut found = Facts::new();
    for (number, fact) in facts {
        let supervised = peer.start(peer.run(&["/bin/sleep", "100"]), "sleep");
        let at_rest = || {
            settle(supervised.app);
            // The kernel shows that a process is stopped a moment before it tells its parent, which may do something about it.
            sleep(Duration::from_millis(20));
            [supervised.supervisor, supervised.app].map(|pid| {
                settle(pid);
                state(pid)
            })
        };
        at_rest();
        jobs::send(supervised.app, number).expect("it is there");
        let [supervisor, app] = at_rest();
        supervised.signal(18);
        let [_, after] = at_rest();
        found.push((fact, format!("app {app}, supervisor {supervisor}; after CONT app {after}")));
        jobs::send(supervised.app, 9).expect("it is there");
        supervised.finish();
    }
    found
}

/// Numbers in ascending order as text: `1-3 5`.
pub fn ranges(numbers: &[u8]) -> String {
    let mut text = String::new();
    for (at, number) in numbers.iter().enumerate() {
        let follows = |one: usize, other: usize| numbers.get(other).is_some_and(|other| numbers[one] + 1 == *other);
        let (begins, ends) = (at == 0 || !follows(at - 1, at), !follows(at, at + 1));
        match (begins, ends) {
            (true, _) => write!(text, " {number}").expect("it is a string"),
            (false, true) => write!(text, "-{number}").expect("it is a string"),
            (false, false) => {}
        }
    }
    text.trim_start().into()
}
