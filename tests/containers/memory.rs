//! What handfast leaves of itself in a container's memory, by what the kernel charges.

use std::time::Duration;

use handfast_testservers::{Docker, Memory};

use crate::container::Detached;
use crate::images::{SCRATCH, engine};

/// Counters lie by this much: each processor keeps a few pages to itself before it tells the group.
const NOISE: u64 = 32 << 10;

const PAGE: u64 = 4 << 10;

#[test]
fn an_app_after_handfast_has_no_memory_of_ours_but_its_secrets() {
    let Some(docker) = engine() else { return };
    let sleep = ["--sleep", "1000"];
    let files: &[&str] = &["--tmpfs", "/secrets", "--env", "HANDFAST_DIR=/secrets"];
    for (options, secrets) in [(&[][..], 2 * PAGE), (files, 2 * PAGE)] {
        let secret = ["--env", "DB_FILE=handfast:mock:db", "--env", "API_KEY_FILE=handfast:mock:key"];
        let alone = settled(docker, &[&secret, options, &["--entrypoint", "/probe", SCRATCH], &sleep].concat());
        let after = settled(docker, &[&secret, options, &[SCRATCH, "/probe"], &sleep].concat());
        assert!(after.anonymous <= alone.anonymous + NOISE, "{after:?} and without handfast {alone:?}");
        assert!(after.kernel <= alone.kernel + 8 * NOISE, "{after:?} and without handfast {alone:?}");
        assert!(after.shared <= alone.shared + secrets, "{after:?} and without handfast {alone:?}");
    }
}

/// Of a container that has become the probe a while ago: the kernel adds its counters up every two seconds.
fn settled(docker: &Docker, words: &[&str]) -> Memory {
    let app = Detached::start(docker, words);
    app.until_it_runs("/probe");
    std::thread::sleep(Duration::from_millis(2500));
    docker.memory(app.id())
}
