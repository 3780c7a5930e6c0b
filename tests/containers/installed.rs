//! Ways of handfast into an app's container: copied into its image, or installed into a volume by a container before it.

use crate::container::{Detached, Shared, run};
use crate::images::{BUSYBOX, HANDFAST, SCRATCH, engine};
use crate::support::hex;

/// What a container for nothing but this may be limited to: less than twice the binary's size.
const MEMORY: &str = "8m";

/// As strictly as init containers are run.
const CONFINED: [&str; 7] =
    ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", MEMORY];

#[test]
fn an_init_container_installs_it_for_an_image_that_has_nothing() {
    let Some(docker) = engine() else { return };
    let shared = Shared::new();
    shared.source("db", "value");
    let mounts = shared.words();
    // An emptyDir is a directory on the node's disk, or a tmpfs, which must hold two: what is there is replaced at once.
    let options: [&[&str]; 2] = [&[], &["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=16m"]];
    for (volume, options) in ["on-disk", "in-memory"].into_iter().zip(options) {
        docker.must(&[&["volume", "create"], options, &[volume]].concat());
        let mount = format!("{volume}:/shared");
        // A tmpfs lives as long as a container has it.
        let pod = Detached::start(docker, &["--volume", &mount, "--entrypoint", "/probe", SCRATCH, "--sleep", "1000"]);
        for attempt in ["the first", "again, over what is there"] {
            let name = format!("install-{volume}");
            let init = ["--name", &name, "--volume", &mount];
            let outcome = run(docker, &[&init, &CONFINED[..], &[HANDFAST, "install", "/shared/handfast"]].concat());
            assert_eq!((outcome.code, &*outcome.stderr), (0, ""), "{volume}, {attempt}: {outcome:?}");
            assert_eq!(docker.must(&["inspect", "--format", "{{.State.OOMKilled}}", &name]), "false");
            docker.must(&["rm", &name]);
        }
        let app = ["--volume", &mount, "--user", "10001:10001", "--env", "DB_FILE=handfast:file:/run/source/db"];
        let mounts: Vec<&str> = mounts.iter().map(String::as_str).collect();
        let command = ["--entrypoint", "/shared/handfast", SCRATCH, "run", "--", "/probe", "--read", "/shared"];
        let report = run(docker, &[&app, &mounts[..], &CONFINED[..5], &command].concat()).ran();
        assert_eq!(report["descriptors"][3]["content"], hex("value"), "{volume}");
        let entries = &report["read"]["/shared"]["entries"];
        assert_eq!(
            entries.as_object().map(|entries| entries.len()),
            Some(2),
            "nothing but the directory and it: {entries}"
        );
        assert_eq!(entries["handfast"]["mode"], "755");
        drop(pod);
        docker.must(&["volume", "rm", volume]);
    }
}

/// The limit is one: a program that takes more is killed. By its end, since the engine may hear too late why it was.
#[test]
fn a_program_that_takes_more_than_the_limit_is_killed() {
    let Some(docker) = engine() else { return };
    let script = "head -c 20000000 /dev/zero | tail";
    let outcome = run(docker, &["--entrypoint", "/bin/sh", "--memory", MEMORY, BUSYBOX, "-c", script]);
    assert_eq!(outcome.code, 128 + 9, "{outcome:?}");
}

#[test]
fn an_installation_that_fails_leaves_nothing_and_says_why() {
    let Some(docker) = engine() else { return };
    let small = ["--tmpfs", "/shared:size=1m", HANDFAST, "install", "/shared/handfast"];
    run(docker, &small).refused(73, "cannot install to `/shared/handfast`: no space left on device");
    let read_only = ["--read-only", HANDFAST, "install", "/handfast-2"];
    run(docker, &read_only).refused(73, "read-only file system");
    let nobody = ["--user", "10001", "--volume", "/shared", HANDFAST, "install", "/shared/handfast"];
    run(docker, &nobody).refused(73, "permission denied");
}

/// Engines from 28 on mount images; those before say that they do not know the type.
#[test]
fn an_image_volume_where_the_engine_has_it() {
    let Some(docker) = engine() else { return };
    let mount = format!("type=image,source={HANDFAST},target=/image");
    let words = ["--mount", &mount, "--env", "DB_FILE=handfast:mock:db", "--entrypoint", "/image/handfast"];
    let outcome = run(docker, &[&words[..], &[SCRATCH, "run", "--", "/probe"]].concat());
    if outcome.stderr.contains("mount type unknown") || outcome.stderr.contains("invalid mount type") {
        assert_eq!(outcome.code, 125, "{outcome:?}");
    } else {
        assert_eq!(outcome.ran()["descriptors"][3]["content"], hex("mock-db"));
    }
}
