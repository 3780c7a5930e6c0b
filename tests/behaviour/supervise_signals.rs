//! `run --supervise`: which signals reach the app, and when.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::Duration;

use handfast::sys::jobs;
use handfast::sys::signals::Incoming;

use crate::supervised::{AS_PID_1, Supervised, Witness, status, until};
use crate::support::{Directory, Run, is_root, needs_program, needs_root};

const CHLD: u8 = 17;

fn supervised() -> Run {
    Run::new().arg("--supervise").arg("--secret").arg("a=mock:a")
}

#[test]
fn every_signal_that_can_be_caught_goes_to_the_app_but_chld() {
    let numbers: Vec<u8> = (1..=64).filter(|number| ![9, 19].contains(number)).collect();
    let expected: Vec<u8> = numbers.iter().copied().filter(|number| *number != CHLD).collect();
    for through in [&[][..], &AS_PID_1] {
        if !through.is_empty() && !is_root() {
            continue;
        }
        for option in ["--supervise", "--supervise=group"] {
            let witness = Witness::new();
            let run = Run::new().arg(option).app(witness.command(expected.len())).through(through);
            let supervised = Supervised::start(run, "witness");
            until("the app is ready", || witness.signals());
            for (at, number) in numbers.iter().enumerate() {
                supervised.signal(*number);
                // One after the other: CONT and the signals that stop take each other out of the queue.
                let sent = numbers[..=at].iter().filter(|number| **number != CHLD).count();
                until("the app has got it", || witness.numbers().filter(|got| got.len() == sent));
            }
            let outcome = supervised.finish();
            assert_eq!(outcome.code, 0, "{outcome:?}");
            assert_eq!(witness.numbers().as_ref(), Some(&expected), "{through:?} {option}");
        }
    }
}

#[test]
fn no_real_time_signal_is_lost_and_each_keeps_its_value() {
    needs_root!();
    const EACH: u64 = 20;
    let witness = Witness::new();
    let count = usize::try_from(EACH).expect("small") * 2;
    // The app's queue has less room than that.
    let run = supervised().app(witness.command(count + 1)).confine(&["--rlimit", "SIGPENDING=12"]);
    let supervised = Supervised::start(run, "witness");
    until("the app is ready", || witness.signals());
    jobs::send(supervised.app, 19).expect("it is there");
    for value in 0..EACH {
        for number in [36, 64] {
            let arrived = Incoming { number, sender: 1, user: 0, value: Some(value << 32 | 7) };
            if (value, number) == (10, 36) {
                jobs::send(supervised.app, 18).expect("it is there");
            }
            // The supervisor's own queue is as short, which tells its sender.
            until("there is room", || jobs::queue(supervised.supervisor, arrived).ok());
        }
    }
    let outcome = supervised.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let got = witness.signals().expect("it was ready");
    // The other one is the CONT that has let it go on.
    for number in [36, 64] {
        let values: Vec<u64> = got.iter().filter(|(got, _)| *got == number).map(|(_, value)| *value).collect();
        assert_eq!(values, (0..EACH).map(|value| value << 32 | 7).collect::<Vec<_>>(), "signal {number}");
    }
}

#[test]
fn an_app_without_room_for_real_time_signals_still_gets_the_others() {
    needs_root!();
    // Signals that wait are counted for each user.
    let run = supervised().args(["--user", "1240:1240"]).app(["/bin/sleep", "100"]);
    let run = run.confine(&["--rlimit", "SIGPENDING=12", "--block", "40"]);
    let supervised = Supervised::start(run, "sleep");
    let arrived = Incoming { number: 40, sender: 1, user: 0, value: Some(1) };
    until("both queues are full", || {
        let refused = jobs::queue(supervised.supervisor, arrived).err();
        refused.filter(|_| status(supervised.app, "SigQ").starts_with("12/"))
    });
    supervised.signal(15);
    assert_eq!(supervised.finish().code, 143);
}

#[test]
fn a_second_term_is_passed_on_as_the_first() {
    let witness = Witness::new();
    let supervised = Supervised::start(supervised().app(witness.command(3)), "witness");
    until("the app is ready", || witness.signals());
    for sent in 1..=3 {
        supervised.signal(15);
        until("the app has got it", || witness.numbers().filter(|got| got.len() == sent));
    }
    let outcome = supervised.finish();
    assert_eq!((outcome.code, witness.numbers()), (0, Some(vec![15; 3])), "{outcome:?}");
}

#[test]
fn signals_go_to_the_app_alone_or_to_its_group() {
    for (option, of_child) in [("--supervise", vec![]), ("--supervise=group", vec![10, 15])] {
        let (app, child) = (Witness::new(), Witness::new());
        let script = format!("{} 2>/dev/null & exec {}", child.script(2), app.script(1));
        let run = Run::new().arg(option).app(["/bin/sh", "-c", &script]);
        let supervised = Supervised::start(run, "witness");
        until("both are ready", || app.signals().and(child.signals()));
        supervised.signal(10);
        // Once the app has ended, its group is told to end too.
        let group = supervised.app;
        let outcome = supervised.finish();
        assert_eq!((outcome.code, app.numbers()), (0, Some(vec![10])), "{outcome:?}");
        match of_child.as_slice() {
            [] => {
                sleep(Duration::from_millis(50));
                assert_eq!(child.numbers(), Some(vec![]), "{option}");
                jobs::send(-group, 9).expect("the child is there");
            }
            expected => until("the child has got them", || child.numbers().filter(|got| got == expected)).clear(),
        }
    }
}

#[test]
fn a_group_gets_each_real_time_signal_without_its_value() {
    let (app, child) = (Witness::new(), Witness::new());
    let script = format!("{} & exec {}", child.script(9), app.script(9));
    let run = Run::new().arg("--supervise=group").app(["/bin/sh", "-c", &script]);
    let supervised = Supervised::start(run, "witness");
    until("both are ready", || app.signals().and(child.signals()));
    for value in 1..=5 {
        let arrived = Incoming { number: 40, sender: 1, user: 0, value: Some(value) };
        jobs::queue(supervised.supervisor, arrived).expect("there is room");
    }
    for witness in [app, child] {
        let got = until("it has got them", || witness.signals().filter(|got| got.len() >= 5));
        assert_eq!(got, [(40, 0); 5]);
    }
    jobs::send(-supervised.app, 9).expect("it is there");
    assert_eq!(supervised.finish().code, 137);
}

#[test]
fn a_signal_for_a_change_goes_to_the_app_alone_also_where_the_group_gets_the_others() {
    let (files, notes, child) = (Directory::in_memory(), Directory::new(), Witness::new());
    let app = notes.write("app", "");
    fs::set_permissions(&app, fs::Permissions::from_mode(0o666)).expect("it is ours");
    let config = format!(
        "[watch]\nrefresh = \"1s\"\nquiet = \"0s\"\n[providers.fast]\ntype = \"mock\"\nrotate_every = \"1s\"\n\
         [files]\ndir = \"{}\"\n[secrets.db]\nfrom = \"fast:db\"\non_change = \"signal:HUP\"\n",
        files.text()
    );
    let script = format!(
        "{} & for name in HUP USR1; do trap \"echo $name >> {}\" $name; done; while :; do sleep 0.1; done",
        child.script(9),
        app.display()
    );
    let run = Run::new().arg("--supervise=group").config(&config).app(["/bin/sh", "-c", &script]);
    let supervised = Supervised::start(run, "sh");
    let got = |name: &str| fs::read_to_string(&app).expect("it is ours").lines().filter(|line| *line == name).count();
    until("the app was told of two changes", || (got("HUP") >= 2 && child.signals().is_some()).then_some(()));
    supervised.signal(10);
    until("both have got what was sent", || {
        (got("USR1") == 1 && child.numbers().is_some_and(|numbers| numbers.contains(&10))).then_some(())
    });
    assert_eq!(child.numbers(), Some(vec![10]));
    jobs::send(-supervised.app, 9).expect("it is there");
    assert_eq!(supervised.finish().code, 137);
}

#[test]
fn a_signal_at_any_moment_of_the_start_reaches_somebody() {
    // Before the fork it ends the start, between fork and exec the child, and then the app: always with its own code.
    for delay in 0..60 {
        let running = supervised().app(["/bin/sleep", "100"]).spawn();
        sleep(Duration::from_micros(700 * delay));
        if std::fs::read_to_string(format!("/proc/{}/comm", running.pid())).is_ok_and(|comm| comm != "handfast\n") {
            // The tools are not done yet: it would end those.
            until("handfast is there", || (crate::supervised::comm(running.pid()) == "handfast").then_some(()));
        }
        jobs::send(running.pid(), 15).expect("it is there");
        let outcome = running.finish();
        assert_eq!(outcome.code, 143, "after {delay}: {outcome:?}");
    }
}

#[test]
fn a_signal_between_fork_and_exec_is_not_lost() {
    needs_root!();
    needs_program!("strace");
    // The child is held up before it puts the mask back (it asks for pending signals right before), and before its exec.
    for (call, code) in [("rt_sigpending:delay_enter=300000", 143), ("rt_sigpending:delay_exit=300000", 143)] {
        for (signal, code) in [(15, code), (40, 168), (12, 140)] {
            let inject = format!("inject={call}");
            let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rt_sigpending,execve", "-e", &inject];
            let running = supervised().app(["/bin/sleep", "100"]).through(&words).spawn();
            // The supervisor is strace's child, and its child is the app to be.
            let supervisor = until("the app is forked", || {
                let supervisor = crate::supervised::children(running.pid())
                    .into_iter()
                    .find(|pid| crate::supervised::comm(*pid) == "handfast")?;
                let locked = status(supervisor, "CapPrm") == "0000000000000020";
                locked.then_some(supervisor)
            });
            sleep(Duration::from_millis(100));
            jobs::send(supervisor, signal).expect("it is there");
            let outcome = running.finish();
            assert_eq!(outcome.code, code, "{call}: {outcome:?}");
        }
    }
}

#[test]
fn the_app_has_mask_and_dispositions_as_found() {
    for options in [
        ["--ignore", "INT,SEGV,TTOU,PIPE,HUP,CHLD,36", "--block", "TERM,ILL,TTIN,CONT,TSTP,40"],
        ["--ignore", "TERM", "--block", "PIPE,CHLD"],
    ] {
        let status = |run: Run| {
            let app = run.confine(&options).start().ran();
            ["SigIgn", "SigBlk", "SigCgt", "SigPnd", "ShdPnd"].map(|line| app["status"][line].clone())
        };
        assert_eq!(status(supervised()), status(Run::direct()), "{options:?}");
    }
}
