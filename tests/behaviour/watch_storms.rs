//! `watch`: very many HUPs.

use std::time::Duration;

use handfast::sys::jobs;
use nix::sys::signal::Signal;

use crate::support::Directory;
use crate::watch::{changed, watch};

const STOP: u8 = 19;
const CONT: u8 = 18;

/// A worker that cannot answer for a while has more of them waiting than its socket has room for.
#[test]
fn a_thousand_hups_that_its_worker_cannot_hear_end_no_keeper() {
    let (source, directory) = (Directory::in_memory(), Directory::in_memory());
    let file = source.write("db", "old");
    let config =
        format!("[watch]\nrefresh = \"1h\"\nquiet = \"0s\"\n[secrets.db]\nfrom = \"file:{}\"\n", file.display());
    let mut keeper = watch(&config, &directory);
    let worker = keeper.worker();
    jobs::send(worker, STOP).expect("it is there");
    for _ in 0..1000 {
        keeper.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(1));
    }
    source.write("db", "new");
    jobs::send(worker, CONT).expect("it is there");
    assert_eq!(changed(&directory, "db", "old", Duration::from_secs(20)), "new");
    source.write("db", "newer");
    keeper.signal(Signal::SIGHUP);
    assert_eq!(changed(&directory, "db", "new", Duration::from_secs(20)), "newer");
    keeper.signal(Signal::SIGTERM);
    let outcome = keeper.finish();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}
