//! What an earlier start left, or another uid planted, and what is there after an end at any moment: always a whole set.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Directory, Outcome, Run, canary, needs_program, needs_root, tree};
use nix::sys::signal::Signal;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A set whose values all are this word.
fn set(directory: &Directory, word: &str) -> Run {
    set_of(directory, &NAMES, word)
}

fn set_of(directory: &Directory, names: &[&str], word: &str) -> Run {
    let values: Vec<String> = names.iter().map(|name| format!("{name} = \"{word}\"")).collect();
    let secrets: String = names.iter().map(|name| format!("[secrets.{name}]\nfrom = \"mock:{name}\"\n")).collect();
    let toml = format!("[providers.mock]\nvalues = {{ {} }}\n{secrets}", values.join(", "));
    Run::command("init").config(&toml).args(["--dir", directory.text(), "--user", "1000:1001"])
}

/// Exactly the set, as a start in an empty directory leaves it.
fn exactly(first: &str, word: &str) -> Vec<String> {
    let mut lines = vec![first.to_owned()];
    lines.extend(["..data -> ..handfast_N 0:0", "..handfast/ 1755 0:0", "..handfast/lock 600 0:0 "].map(String::from));
    lines.extend(["..handfast_N/ 755 0:0", "..handfast_N/..handfast 400 0:0 "].map(String::from));
    lines.extend(NAMES.iter().map(|name| format!("..handfast_N/{name} 400 1000:1001 {word}")));
    lines.extend(NAMES.iter().map(|name| format!("{name} -> ..data/{name} 0:0")));
    lines
}

/// A reader finds all of one set, old or new, or (where there was no set) perhaps nothing yet.
#[track_caller]
fn assert_whole(directory: &Directory, had_one: bool) {
    let read = |name: &str| fs::read_to_string(directory.path().join("..data").join(name)).ok();
    let values: BTreeSet<Option<String>> = NAMES.iter().map(|name| read(name)).collect();
    assert_eq!(values.len(), 1, "a mixed or torn set: {:?}", tree(directory.path()));
    let there = ["old", "new", "clean"].iter().any(|word| values.contains(&Some((*word).to_owned())));
    assert!(there || (!had_one && values.contains(&None)), "{:?}", tree(directory.path()));
    for name in NAMES {
        let through = fs::read_to_string(directory.path().join(name)).ok();
        assert!(through == read(name) || (!had_one && through.is_none()), "{:?}", tree(directory.path()));
    }
}

#[track_caller]
fn clean_start(directory: &Directory, first: &str) {
    let outcome = set(directory, "clean").start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.never_says("leftover");
    assert_eq!(tree(directory.path()), exactly(first, "clean"));
}

#[test]
fn killed_at_any_moment_a_start_leaves_a_whole_set_and_the_next_one_repairs_it() {
    needs_root!();
    let directory = Directory::in_memory();
    // The median: on a busy machine the longest is longer than most starts ever take.
    let mut usual = [(); 5].map(|()| set(&directory, "old").start().elapsed);
    usual.sort();
    let usual = usual[2];
    fs::remove_dir_all(directory.path()).and_then(|()| fs::create_dir(directory.path())).expect("it is ours");
    let (mut killed, mut had_one) = (0, false);
    for round in 0..100_u32 {
        let random = u32::from_str_radix(&canary()[..6], 16).expect("digits");
        // Most of the time passes before the delivery: the second half has what is of interest.
        let pause = usual / 2 + usual.mul_f64(f64::from(random) / f64::from(0x00ff_ffff)) / 2;
        let word = if round % 2 == 0 { "old" } else { "new" };
        let running = set(&directory, word).spawn();
        let began = Instant::now();
        while began.elapsed() < pause {
            std::hint::spin_loop();
        }
        running.signal(Signal::SIGKILL);
        let outcome = running.finish();
        killed += u32::from(outcome.code == 137);
        assert!([0, 137].contains(&outcome.code), "{outcome:?}");
        assert_whole(&directory, had_one);
        had_one |= directory.names().iter().filter(|name| NAMES.contains(&name.as_str())).count() == NAMES.len();
        if round % 10 == 9 {
            clean_start(&directory, "./ 755 0:0");
            had_one = true;
        }
    }
    assert!(killed > 20, "only {killed} were killed before they were done");
}

/// Starts with the n-th of these system calls, of handfast itself and not of its worker, replaced by `what`.
fn injected(run: Run, calls: &str, nth: u32, what: &str) -> Outcome {
    let inject = format!("inject={calls}:{what}:when={nth}");
    run.through(&["strace", "--quiet=all", "-o", "/dev/null", "-e", &inject]).start()
}

/// All calls that change something in the files directory, and are made for nothing else.
const CALLS: [&str; 6] = ["/^mkdir", "/^symlink", "fchmod", "fchown", "/^rename", "unlinkat"];

#[test]
fn killed_before_any_change_a_start_leaves_a_whole_set() {
    needs_root!();
    needs_program!("strace");
    let directory = Directory::in_memory();
    let mut killed = 0;
    for had_one in [false, true] {
        for calls in CALLS {
            for nth in 1.. {
                if had_one {
                    clean_start(&directory, "./ 755 0:0");
                } else {
                    fs::remove_dir_all(directory.path()).and_then(|()| fs::create_dir(directory.path())).expect("ours");
                }
                let outcome = injected(set(&directory, "new"), calls, nth, "signal=KILL");
                assert!([0, 137].contains(&outcome.code), "{calls} {nth}: {outcome:?}");
                assert_whole(&directory, had_one);
                if outcome.code == 0 {
                    break;
                }
                killed += 1;
            }
        }
    }
    clean_start(&directory, "./ 755 0:0");
    assert!(killed > 30, "only {killed}");
}

#[test]
fn a_call_that_fails_leaves_the_old_set_or_the_new_one() {
    needs_root!();
    needs_program!("strace");
    let directory = Directory::in_memory();
    for (calls, error) in
        [("/^mkdir", "ENOSPC"), ("/^symlink", "ENOSPC"), ("fchmod", "EPERM"), ("fchown", "EPERM"), ("/^rename", "EIO")]
    {
        for nth in 1.. {
            clean_start(&directory, "./ 755 0:0");
            let outcome = injected(set(&directory, "new"), calls, nth, &format!("error={error}"));
            // What cannot be removed afterwards is told, and no failure: the new set counts by then.
            if outcome.code == 0 && outcome.stderr.contains("warn: cannot remove the leftover `..handfast_") {
                continue;
            }
            if outcome.code == 0 {
                assert_eq!(tree(directory.path()), exactly("./ 755 0:0", "new"));
                break;
            }
            outcome.refused(73, "cannot write");
            assert_eq!(tree(directory.path()), exactly("./ 755 0:0", "clean"), "{calls} {nth}");
        }
    }
    // What an earlier keeper has told must go first.
    clean_start(&directory, "./ 755 0:0");
    injected(set(&directory, "new"), "unlinkat", 1, "error=EPERM").refused(73, "cannot remove `status.json` in `");
    assert_eq!(tree(directory.path()), exactly("./ 755 0:0", "clean"));
    for (nth, leftover) in [(2, "..data"), (3, "..handfast_")] {
        let outcome = injected(set(&directory, "new"), "unlinkat", nth, "error=EPERM");
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.says(&format!("warn: cannot remove the leftover `{leftover}"));
        clean_start(&directory, "./ 755 0:0");
    }
}

#[test]
fn a_rename_that_fails_leaves_the_directory_as_it_was() {
    needs_root!();
    needs_program!("strace");
    // Before: nothing, or another set that shares two names with the new one.
    for (before, renames) in [(&[][..], 7), (&["a", "b", "z"], 5)] {
        let directory = Directory::in_memory();
        if !before.is_empty() {
            assert_eq!(set_of(&directory, before, "old").start().code, 0);
        }
        let found = tree(directory.path());
        for nth in 1..=renames {
            let outcome = injected(set(&directory, "new"), "/^rename", nth, "error=EIO");
            outcome.refused(73, "cannot write `");
            assert_eq!(tree(directory.path()), found, "{nth}");
        }
        let outcome = injected(set(&directory, "new"), "/^rename", renames + 1, "error=EIO");
        assert_eq!(outcome.code, 0, "there are no more but those that remove: {outcome:?}");
    }
}

#[test]
fn a_full_tmpfs_is_73_and_the_old_set_stays() {
    needs_root!();
    for (options, hold) in
        [("size=64k", "head -c 60000 /dev/zero 2>/dev/null >fill || true"), ("size=1m,nr_inodes=16", "true")]
    {
        let directory = Directory::tmpfs(&format!("mode=755,{options}"));
        assert_eq!(set(&directory, "old").start().code, 0);
        directory.shell(None, hold);
        let large = "x".repeat(9000);
        let outcome = set(&directory, &large).start();
        outcome.refused(73, "no space left on device");
        outcome.says("hint: make the tmpfs larger (its options `size` and `nr_inodes`; Kubernetes: `sizeLimit`)");
        let lines: Vec<String> = tree(directory.path()).into_iter().filter(|line| !line.starts_with("fill ")).collect();
        assert_eq!(lines, exactly("./ 755 0:0", "old"), "{options}");
    }
}

#[test]
fn a_killed_starts_leftovers_are_repaired_in_every_shape() {
    needs_root!();
    // A directory that was not marked yet can stand only in the one that nobody else writes.
    let leftovers = "mkdir -m 1755 ..handfast; mkdir ..handfast/..handfast_0_0
        for name in ..handfast_1_0 ..handfast_2_0 ..handfast_3_0 ..handfast/..handfast_4_0
            do mkdir $name; : >$name/..handfast; done
        echo half >..handfast_1_0/a; chmod 700 ..handfast_1_0; echo half >..handfast/..handfast_4_0/a
        ln -s ..data/b ..handfast_2_0/..link_1; ln -s ..handfast_2_0 ..handfast_2_0/..data; ln -s ..data/b ..handfast_2_0/..taken_0
        ln -s ..handfast_gone ..data; ln -s ..data/a a; ln -s ..data/stale stale
        chmod 000 ..handfast_3_0; : >..handfast/lock; chmod 600 ..handfast/lock";
    let directory = Directory::in_memory();
    directory.shell(None, leftovers);
    clean_start(&directory, "./ 755 0:0");
}

#[test]
fn what_another_uid_planted_leads_nowhere() {
    needs_root!();
    let outside = Directory::new();
    let canary = outside.write("canary", "untouched");
    let plant = format!(
        "ln -s ..handfast_evil ..data; ln -s {outside} ..handfast_evil; ln -s ..data/a a
        mkdir ..handfast_5_5; ln -s {canary} ..handfast_5_5/a; ln -s {outside} ..handfast_5_5/b; mkdir ..handfast_5_5/deep
        printf mine >..handfast_5_5/deep/file; chmod 777 ..handfast_5_5; ln -s ..data/canary canary",
        outside = outside.text(),
        canary = canary.display()
    );
    for mode in ["mode=1777", "mode=777"] {
        let directory = Directory::tmpfs(mode);
        directory.shell(Some(4242), &plant);
        let outcome = set(&directory, "new").start();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let lines = tree(directory.path());
        for line in exactly(&format!("./ {} 0:0", &mode[5..]), "new") {
            assert!(lines.contains(&line), "no {line}: {lines:?}");
        }
        // A directory inside a generation is nobody's of ours: it is neither entered nor removed, and told.
        outcome.says("warn: cannot remove the leftover `..handfast_5_5`");
        assert!(lines.contains(&"..handfast_5_5/deep/file 644 4242:4242 mine".to_owned()), "{lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("canary ->")), "a link of our shape: {lines:?}");
        assert_eq!(tree(outside.path()), ["./ 755 0:0", "canary 644 0:0 untouched"]);
    }
}

#[test]
fn what_another_uid_planted_is_73_where_it_cannot_be_removed() {
    needs_root!();
    let directory = Directory::tmpfs("mode=1777,uid=4243");
    directory.shell(Some(4242), "ln -s ..data/a a");
    let outcome = set(&directory, "new").confine(&["--caps", "CHOWN,DAC_OVERRIDE,SETGID"]).start();
    outcome.refused(73, "cannot replace `a`");
    outcome.says("it belongs to uid 4242, and the directory is sticky and not ours");
    assert_eq!(directory.names(), ["a"]);
    assert_eq!(set(&directory, "new").start().code, 0);
}

#[test]
fn a_start_that_fails_in_delivery_leaves_no_file_when_a_descriptor_cannot_be_made() {
    needs_root!();
    needs_program!("strace");
    let directory = Directory::in_memory();
    let run = || {
        let toml = "[secrets.a]\nfrom = \"mock:a\"\n[secrets.b]\nfrom = \"mock:b\"\nfd = 9\n\
                    [secrets.c]\nfrom = \"mock:c\"\nfd = 10\n";
        Run::new().config(toml).args(["--dir", directory.text()])
    };
    // The first is made before the fetch, to see whether it works. The secrets' are made and read back after the files are written.
    for (call, nth, message) in [
        ("memfd_create", 1, "cannot create a memfd: operation not permitted"),
        ("memfd_create", 2, "cannot create a memfd: operation not permitted"),
        ("memfd_create", 3, "cannot create a memfd: operation not permitted"),
        ("lseek", 1, "cannot read back the memfd for descriptor 9: operation not permitted"),
        ("lseek", 2, "cannot read back the memfd for descriptor 10: operation not permitted"),
    ] {
        let outcome = injected(run(), call, nth, "error=EPERM");
        outcome.refused(73, message);
        assert!(directory.names().is_empty(), "{:?}", directory.names());
    }
    run().timeout(Duration::from_secs(20)).start().ran();
    assert_eq!(directory.names().len(), 4);
}

#[test]
fn a_start_killed_after_it_exchanged_hard_links_leaves_no_older_value() {
    needs_root!();
    needs_program!("strace");
    let machine = Directory::new();
    let setting = machine.write("protected_symlinks", "1\n");
    let bind = format!("{}:/proc/sys/fs/protected_symlinks", setting.display());
    // The first two remove what the links of the older set were exchanged for, the others what is left of that set.
    for nth in 1..=5 {
        let directory = Directory::tmpfs("mode=1777");
        let start = |word: &str| {
            let toml = format!(
                "[providers.mock]\nvalues = {{ a = \"{word}\", b = \"{word}\" }}\n[secrets.a]\nfrom = \"mock:a\"\n[secrets.b]\nfrom = \"mock:b\"\n"
            );
            let run = Run::command("init").config(&toml).args(["--dir", directory.text(), "--user", "2005:2005"]);
            run.confine(&["--uid", "1000", "--gid", "1000", "--groups", "2005", "--bind", &bind])
        };
        assert_eq!(start("old").start().code, 0);
        let killed = injected(start("new"), "unlinkat", nth, "signal=KILL");
        assert_eq!(killed.code, 137, "{nth}: {killed:?}");
        let outcome = start("clean").start();
        assert_eq!(outcome.code, 0, "{nth}: {outcome:?}");
        outcome.never_says("leftover");
        let lines = tree(directory.path());
        assert!(!lines.iter().any(|line| line.contains("old") || line.contains("new")), "{nth}: {lines:?}");
        let private = fs::read_dir(directory.path().join("..handfast")).expect("it is there").count();
        assert_eq!(private, 1, "{nth}: {lines:?}");
    }
}
