//! The main job in one line: a secret by descriptor, privileges dropped, and the app.

use crate::support::{Directory, Run, canary, hex, hits, needs_root};
use serde_json::json;

/// Grow, shrink, write, seal and exec.
const ALL_SEALS: u64 = 0x2f;
const TMPFS: &str = "1021994";

#[test]
fn a_secret_arrives_as_a_sealed_descriptor_and_root_is_gone() {
    needs_root!();
    let outcome = Run::new().env("DB_PASSWORD_FILE", "handfast:mock:db").env("OTHER", "as it was").start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let app = outcome.probe();

    assert_eq!(app["environ"]["DB_PASSWORD_FILE"], "/dev/fd/3");
    assert_eq!(app["environ"]["OTHER"], "as it was");
    assert_eq!(app["HANDFAST_FDS"], "db-password:3");

    let descriptors = app["descriptors"].as_array().expect("a list");
    let numbers: Vec<_> = descriptors.iter().map(|descriptor| descriptor["fd"].clone()).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    let secret = &descriptors[3];
    assert_eq!(secret["content"], hex("mock-db"));
    assert_eq!(secret["seals"], ALL_SEALS);
    assert_eq!(secret["filesystem"], TMPFS);
    assert_eq!((&secret["mode"], &secret["uid"], &secret["gid"]), (&json!("100440"), &json!(0), &json!(65532)));
    assert_eq!((&secret["access"], &secret["offset"], &secret["cloexec"]), (&json!("r"), &json!(0), &json!(false)));
    assert_eq!((&secret["open_read"], &secret["open_write"]), (&json!("ok"), &json!("EACCES")));
    assert_eq!(secret["write"], "EBADF");

    let status = &app["status"];
    assert_eq!(status["uids"], json!([65532, 65532, 65532, 65532]));
    assert_eq!(status["gids"], json!([65532, 65532, 65532, 65532]));
    assert_eq!(status["groups"], json!([]));
    assert_eq!(status["NoNewPrivs"], 1);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!(status["rlimits"]["CORE"], json!([0, 0]));
    assert_eq!(app["attempts"]["setresuid"], "EPERM");
    assert_eq!(app["attempts"]["setresgid"], "EPERM");
    assert_eq!(app["attempts"]["stdout"], "ok");
}

#[test]
fn the_app_ends_as_it_likes() {
    let outcome = Run::new().env("DB_PASSWORD_FILE", "handfast:mock:db").app_arg("--exit").app_arg("42").start();
    assert_eq!(outcome.code, 42, "{outcome:?}");
    let killed = Run::new().arg("--secret").arg("db=mock:db").app(["/bin/sh", "-c", "kill -TERM $$"]).start();
    assert_eq!(killed.code, 143, "{killed:?}");
}

#[test]
fn neither_process_still_holds_the_secret_when_it_is_done() {
    needs_root!();
    let (secret, planted) = (canary(), canary());
    let source = Directory::in_memory();
    let reference = format!("handfast:file:{}", source.write("secret", &secret).display());
    let run = || Run::new().env("DB_PASSWORD_FILE", &reference).traced(&[&secret, &planted]);

    let clean = run().start();
    // The control: a value that nobody is told to forget is found wherever it is looked for.
    let leaking = run().env("PLANTED", &planted).start();
    for (outcome, leaks) in [(clean, false), (leaking, true)] {
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let reports = outcome.memory().as_array().expect("a list");
        let seen: Vec<_> = reports.iter().map(|report| report["process"].as_str().expect("text")).collect();
        assert_eq!(seen, ["worker", "privileged", "app"]);
        for report in reports {
            assert_eq!(!hits(report).is_empty(), leaks, "{report}");
            assert!(
                report["hits"].as_array().is_some_and(|hits| hits.iter().all(|hit| hit["needle"] == 1)),
                "{report}"
            );
        }
    }
}
