//! What others have planted in a files directory that they can write, and what stays there, costs a start nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::support::{Directory, Outcome, Run, needs_root};

const STRANGER: u32 = 1001;

/// Delivers `db` for a reader of uid 1000.
fn init(directory: &Path) -> Run {
    Run::command("init").args(["-s", "db=mock:db", "--user", "1000:1000", "--dir"]).arg(directory)
}

#[track_caller]
fn delivers(run: Run) -> Outcome {
    let outcome = run.start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome
}

#[test]
fn hard_links_that_others_have_planted_cost_no_time() {
    needs_root!();
    let volume = Directory::tmpfs("mode=1777,nr_inodes=100k");
    let first = volume.path().join("planted");
    fs::write(&first, "").expect("it is ours");
    std::os::unix::fs::chown(&first, Some(STRANGER), Some(STRANGER)).expect("this is root");
    (0..20_000).for_each(|nth| fs::hard_link(&first, volume.path().join(format!("planted-{nth}"))).expect("a link"));
    for _ in 0..2 {
        let outcome = delivers(init(volume.path()));
        assert!(outcome.elapsed < Duration::from_secs(3), "{:?}", outcome.elapsed);
    }
    assert_eq!(fs::metadata(&first).expect("it stays").nlink(), 20_001);
}

#[test]
fn of_many_leftovers_that_stay_a_few_are_told() {
    needs_root!();
    let volume = Directory::tmpfs("mode=1777");
    for nth in 0..30 {
        let planted = volume.path().join(format!("..handfast_{nth}"));
        fs::create_dir(&planted).expect("it is ours");
        std::os::unix::fs::chown(&planted, Some(STRANGER), Some(STRANGER)).expect("this is root");
    }
    let outcome = delivers(init(volume.path()));
    outcome.says("cannot remove 22 more leftovers in `");
    assert_eq!(outcome.stderr.matches("cannot remove the leftover").count(), 8, "{outcome:?}");
}

#[test]
fn what_cannot_be_replaced_in_a_sticky_directory_is_said_before_the_fetch() {
    needs_root!();
    let (volume, machine) = (Directory::tmpfs("mode=1777,uid=1000"), Directory::new());
    let protected = machine.write("protected_symlinks", "1\n");
    let bind = format!("{}:/proc/sys/fs/protected_symlinks", protected.display());
    let start = |capabilities: &str| {
        init(volume.path()).confine(&["--caps", capabilities, "--mountns", "--bind", &bind]).start()
    };
    let (without, with) = ("CHOWN,SETGID,SETUID,SETPCAP", "CHOWN,FOWNER,SETGID,SETUID,SETPCAP");
    // The links belong to the directory's owner, so that the app can follow them; only with FOWNER they are replaced.
    assert_eq!(start(without).code, 0);
    let refused = start(without);
    refused.refused(73, "cannot replace `..data`");
    refused.says("as root with CAP_FOWNER");
    for _ in 0..2 {
        let outcome = start(with);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
}
