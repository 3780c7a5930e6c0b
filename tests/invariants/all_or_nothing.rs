//! Invariant 2: nothing is delivered before every required fetch has succeeded; the app starts exactly right or not at all.

use std::fs;
use std::path::Path;

use crate::support::{Directory, Outcome, Run, Trace, hex, needs_program, needs_root};

/// Ten secrets, half of them files and half descriptors; `values` are those that the provider has.
fn ten(directory: &Directory, values: impl Iterator<Item = usize>) -> String {
    let values: Vec<String> = values.map(|number| format!("s{number} = \"value-{number}\"")).collect();
    let mut config =
        format!("[files]\ndir = \"{}\"\n[providers.mock]\nvalues = {{ {} }}\n", directory.text(), values.join(", "));
    for number in 0..10 {
        let target = if number % 2 == 0 { "" } else { "fd = \"auto\"\n" };
        config.push_str(&format!("[secrets.s{number}]\nfrom = \"mock:s{number}\"\n{target}"));
    }
    config
}

fn assert_nothing(outcome: &Outcome, code: i32, directory: &Directory) {
    assert_eq!((outcome.code, outcome.app_ran()), (code, false), "{outcome:?}");
    assert_eq!(directory.names(), Vec::<String>::new(), "{outcome:?}");
}

#[test]
fn one_missing_secret_of_ten_delivers_nothing() {
    for missing in 0..10 {
        let directory = Directory::in_memory();
        let config = ten(&directory, (0..10).filter(|number| *number != missing));
        let outcome = Run::new().config(&config).start();
        assert_nothing(&outcome, 66, &directory);
        assert!(outcome.stderr.contains(&format!("mock:s{missing}")), "{outcome:?}");
    }
    let directory = Directory::in_memory();
    let outcome = Run::new().config(&ten(&directory, 0..10)).start();
    assert_eq!((outcome.code, outcome.app_ran()), (0, true), "{outcome:?}");
    let names = directory.names();
    assert_eq!(names.iter().filter(|name| name.starts_with('s')).count(), 5, "{names:?}");
}

#[test]
fn the_old_set_stays_whole_where_the_new_one_fails() {
    let directory = Directory::in_memory();
    let before = Run::new().config(&ten(&directory, 0..10)).start();
    assert_eq!(before.code, 0, "{before:?}");
    let listing = |directory: &Directory| {
        let read = |name: String| (name.clone(), fs::read_link(directory.path().join(&name)).ok());
        directory.names().into_iter().map(read).collect::<Vec<_>>()
    };
    let found = listing(&directory);
    let after = Run::new().config(&ten(&directory, 0..9)).start();
    assert_eq!((after.code, after.app_ran()), (66, false), "{after:?}");
    assert_eq!(listing(&directory), found);
}

#[test]
fn a_descriptor_that_cannot_be_made_takes_the_files_with_it() {
    needs_root!();
    let program = needs_program!("strace");
    // The memfd that is made before the fetch to see whether it works, then each of the five, as it is made and as it is read back:
    // both are after the files are written.
    let calls = (1..=6).map(|nth| ("memfd_create", nth)).chain((1..=5).map(|nth| ("lseek", nth)));
    for (call, number) in calls {
        let directory = Directory::in_memory();
        let inject = format!("inject={call}:error=ENOMEM:when={number}");
        let run = Run::new().config(&ten(&directory, 0..10));
        let outcome =
            run.through(&[program.to_str().expect("text"), "-f", "-qq", "-o", "/dev/null", "-e", &inject]).start();
        assert!(!outcome.app_ran(), "{outcome:?}");
        assert!([71, 73].contains(&outcome.code), "{outcome:?}");
        assert_eq!(directory.names(), Vec::<String>::new(), "{outcome:?}");
    }
}

#[test]
fn a_full_tmpfs_keeps_nothing_of_the_set() {
    needs_root!();
    let directory = Directory::tmpfs("mode=1777,size=8k,nr_inodes=30");
    let source = Directory::in_memory();
    let large = source.write("large", vec![b'x'; 6000]);
    let config = format!(
        "[files]\ndir = \"{}\"\n[secrets.a]\nfrom = \"file:{path}\"\n[secrets.b]\nfrom = \"file:{path}\"\n",
        directory.text(),
        path = large.display()
    );
    let outcome = Run::new().config(&config).start();
    assert_nothing(&outcome, 73, &directory);
}

/// What a reader finds of the two secrets: the generation that each is of.
fn generations(directory: &Path) -> [Option<String>; 2] {
    ["a", "b"].map(|name| fs::read_to_string(directory.join(name)).ok())
}

#[test]
fn a_start_that_is_killed_at_any_stage_leaves_no_set_behind() {
    needs_root!();
    needs_program!("strace");
    let config = |directory: &Directory, value: &str| {
        format!(
            "[files]\ndir = \"{}\"\n[providers.mock]\nvalues = {{ v = \"{value}\" }}\n\
            [secrets.a]\nfrom = \"mock:v\"\n[secrets.b]\nfrom = \"mock:v\"\n",
            directory.text()
        )
    };
    // Every call after the fetch that changes anything, killed at its entry: strace counts each process' calls by name.
    let stages = [
        ("wait4", 1),
        ("mkdirat", 1),
        ("mkdirat", 2),
        ("fcntl", 1),
        ("fchmod", 1),
        ("fchmod", 2),
        ("fchown", 1),
        ("fchown", 2),
        ("symlinkat", 1),
        ("symlinkat", 2),
        ("symlinkat", 3),
        ("fchmod", 3),
        ("renameat2", 1),
        ("renameat2", 2),
        ("renameat2", 3),
        ("renameat2", 4),
        ("renameat", 1),
        ("setresuid", 1),
        ("execve", 2),
    ];
    for (call, number) in stages {
        for fresh in [true, false] {
            let directory = Directory::in_memory();
            if !fresh {
                assert_eq!(Run::new().config(&config(&directory, "old")).start().code, 0);
            }
            let inject = format!("inject={call}:signal=KILL:when={number}");
            let (outcome, _) = Trace::with(Run::new().config(&config(&directory, "new")), &["-e", &inject]);
            // With the names there already, there is one link to make and to move, besides the set itself; without, there is no
            // older set to move away.
            let most = match (call, fresh) {
                ("mkdirat" | "symlinkat", false) => 1,
                ("renameat2", false) => 2,
                ("renameat", true) => 0,
                _ => u32::MAX,
            };
            let never = number > most;
            let killed = outcome.code == 137 && !outcome.app_ran();
            assert!(killed || never, "{call} {number}: {outcome:?}");
            let [a, b] = generations(directory.path());
            if !fresh {
                assert!(a.is_some() && a == b, "{call} {number}: {a:?} {b:?}");
            }
            assert!(
                [&a, &b].into_iter().flatten().all(|value| ["old", "new"].contains(&value.as_str())),
                "{call} {number}: {a:?} {b:?}: a value is there whole or not at all"
            );
            // And the next start makes it good, with nothing left of what was there before.
            let next =
                Run::new().config(&config(&directory, "next")).app_arg("--read").app_arg(directory.path()).start();
            assert_eq!(next.code, 0, "{call} {number}: {next:?}");
            let listing = &next.probe()["read"][directory.text()]["entries"];
            let names: Vec<&String> = listing.as_object().expect("a listing").keys().collect();
            let made = |name: &&&String| name.starts_with("..handfast_") && !name.contains('/');
            assert_eq!(names.iter().filter(made).count(), 1, "{call} {number}: {names:?}");
            for name in ["a", "b"] {
                assert_eq!(listing[name]["content"], hex("next"), "{call} {number}: {listing}");
            }
        }
    }
}
