//! `run --supervise`: very many signals and ended children at once.

use std::time::Duration;

use handfast::sys::jobs;
use handfast::sys::signals::Incoming;

use crate::supervised::{Supervised, Witness, children, comm, until_within};
use crate::support::{Run, needs_program, needs_root};

const STOP: u8 = 19;
const CONT: u8 = 18;
const USR1: u8 = 10;
const KILL: u8 = 9;
/// One of the real-time signals.
const REAL_TIME: u8 = 36;
const MANY: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(90);

/// Ten thousand processes that end, all of them the supervisor's: their parent has ended before.
const ORPHANS: &str = "import os\nfor _ in range(10000):\n    if os.fork() == 0: os._exit(0)\n";

#[test]
fn ten_thousand_real_time_signals_arrive_in_order_among_orphans_and_other_signals() {
    needs_root!();
    needs_program!("python3");
    let witness = Witness::new();
    // The orphans' parent is no child of the app's, which would get a signal for its end.
    let script = format!("(python3 -c '{ORPHANS}' &); exec {}", witness.script(1_000_000));
    let run = Run::new().args(["--supervise", "--log-level", "error"]).app(["/bin/sh", "-c", &script]);
    let run = run.confine(&["--rlimit", "SIGPENDING=30000"]).timeout(PATIENCE * 2);
    let supervised = Supervised::start(run, "witness");
    until_within(PATIENCE, "the app is ready", || witness.signals());
    // All of them wait when it goes on.
    jobs::send(supervised.supervisor, STOP).expect("it is there");
    for value in 0..MANY {
        let arrived = Incoming { number: REAL_TIME, sender: 1, user: 0, value: Some(value) };
        jobs::queue(supervised.supervisor, arrived).expect("there is room");
        if value % 10 == 0 {
            supervised.signal(USR1);
        }
    }
    jobs::send(supervised.supervisor, CONT).expect("it is there");
    // More of them while it works.
    for value in MANY..MANY + 1000 {
        let arrived = Incoming { number: REAL_TIME, sender: 1, user: 0, value: Some(value) };
        until_within(PATIENCE, "there is room", || jobs::queue(supervised.supervisor, arrived).ok());
        supervised.signal(USR1);
    }
    let got = until_within(PATIENCE, "all have arrived", || {
        std::thread::sleep(Duration::from_millis(100));
        let got = witness.signals()?;
        (got.iter().filter(|(number, _)| *number == REAL_TIME).count() as u64 >= MANY + 1000).then_some(got)
    });
    let values: Vec<u64> = got.iter().filter(|(number, _)| *number == REAL_TIME).map(|(_, value)| *value).collect();
    assert!(values.iter().copied().eq(0..MANY + 1000), "each once, and in order");
    let standard = got.iter().filter(|(number, _)| *number == USR1).count();
    assert!((1..=2000).contains(&standard), "{standard}");
    assert!(got.iter().all(|(number, _)| [REAL_TIME, USR1, CONT].contains(number)), "nothing else");
    until_within(PATIENCE, "all orphans are reaped", || {
        (children(supervised.supervisor) == [supervised.app]).then_some(())
    });
    assert_eq!(comm(supervised.app), "witness");
    jobs::send(supervised.app, KILL).expect("it is there");
    let outcome = supervised.finish();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (137, ""), "{outcome:?}");
}
