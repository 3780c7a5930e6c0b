//! handfast as the entrypoint of an app's image: what the matrix has no column for.

use handfast_testservers::Docker;
use serde_json::json;

use crate::container::run;
use crate::images::{DEBIAN, SCRATCH, engine};
use crate::support::{Directory, Outcome, hex};

const REFERENCE: [&str; 2] = ["--env", "DB_PASSWORD_FILE=handfast:mock:db"];

/// A tmpfs as the files directory.
const FILES: [&str; 4] = ["--tmpfs", "/run/secrets", "--env", "HANDFAST_DIR=/run/secrets"];

#[test]
fn an_app_in_an_image_of_its_own_gets_its_secret() {
    let Some(docker) = engine() else { return };
    let app = run(docker, &[&FILES[..], &REFERENCE, &[SCRATCH]].concat()).ran();
    assert_eq!(app["environ"]["DB_PASSWORD_FILE"], "/run/secrets/db-password");
    assert_eq!(app["CREDENTIALS_DIRECTORY"]["entries"]["db-password"]["content"], hex("mock-db"));
    assert_eq!(app["status"]["pid"], 1);
    // Without a directory, the same image delivers the same secret as a descriptor.
    let app = run(docker, &[&REFERENCE[..], &[SCRATCH]].concat()).ran();
    assert_eq!(app["environ"]["DB_PASSWORD_FILE"], "/dev/fd/3");
    assert_eq!(app["descriptors"][3]["content"], hex("mock-db"));
}

#[test]
fn a_user_by_name_brings_what_the_image_says_of_it() {
    let Some(docker) = engine() else { return };
    let app = ["--env", "HANDFAST_USER=app"];
    let report = run(docker, &[&app, &REFERENCE[..], &[DEBIAN]].concat()).ran();
    assert_eq!(report["status"]["uids"], json!([10001, 10001, 10001, 10001]));
    assert_eq!(report["status"]["gids"], json!([10001, 10001, 10001, 10001]));
    assert_eq!(report["status"]["groups"], json!([10002]));
    assert_eq!(report["environ"]["HOME"], "/home/app");
    // Where the image knows nobody, only numbers do.
    run(docker, &[&app, &REFERENCE[..], &[SCRATCH]].concat()).refused(78, "app");
    let report = run(docker, &[&["--env", "HANDFAST_USER=10001:10002"], &REFERENCE[..], &[SCRATCH]].concat()).ran();
    assert_eq!(report["status"]["gids"], json!([10002, 10002, 10002, 10002]));
    assert_eq!(report["environ"]["HOME"], "/");
}

#[test]
fn another_user_is_not_to_be_had_without_root() {
    let Some(docker) = engine() else { return };
    let words = ["--user", "10001:10001", "--env", "HANDFAST_USER=4242"];
    let outcome = run(docker, &[&words, &REFERENCE[..], &[DEBIAN]].concat());
    outcome.refused(125, "the capability SETUID is missing");
    outcome.says("hint: add the capabilities SETUID and SETGID to the container, or start it as that user and group");
}

#[test]
fn an_app_that_has_to_be_root_has_nothing_else_of_it() {
    let Some(docker) = engine() else { return };
    let config = "[app]\nuser = \"0:0\"\nallow_root = true\n";
    for drop in [&["--cap-drop", "ALL"][..], &[]] {
        let app = configured(docker, config, &[drop, &FILES, &REFERENCE].concat()).ran();
        assert_eq!(app["status"]["uids"], json!([0, 0, 0, 0]));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(app["status"][set], "0000000000000000", "{set}");
        }
        assert_eq!(app["status"]["NoNewPrivs"], 1);
    }
}

#[test]
fn capabilities_that_stay_are_the_apps_in_all_five_sets() {
    let Some(docker) = engine() else { return };
    let config = "[app]\nuser = \"10001:10001\"\nkeep_capabilities = [\"NET_BIND_SERVICE\"]\n";
    let app = configured(docker, config, &REFERENCE).ran();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(app["status"][set], "0000000000000400", "{set}");
    }
    configured(docker, config, &[&["--cap-drop", "NET_BIND_SERVICE"], &REFERENCE[..]].concat())
        .refused(125, "cannot keep the capabilities NET_BIND_SERVICE");
}

#[test]
fn with_chown_besides_nothing_falls_short() {
    let Some(docker) = engine() else { return };
    let config = "[app]\nuser = \"10001:10001\"\n";
    let capabilities = ["--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add"];
    let outcome = configured(docker, config, &[&capabilities[..], &["CHOWN"], &FILES, &REFERENCE].concat());
    outcome.never_says("stays");
    let app = outcome.ran();
    let entries = app["CREDENTIALS_DIRECTORY"]["entries"].as_object().expect("it has some");
    let file = entries.iter().find(|(name, _)| name.ends_with("/db-password")).expect("there is one").1;
    assert_eq!(json!([file["mode"], file["uid"], file["gid"]]), json!(["400", 10001, 10001]));
    assert_eq!(app["attempts"]["stdout"], "ok");
    // `strict` takes no less: the bounding set needs one more.
    let strict = format!("{config}strict = true\n");
    configured(docker, &strict, &[&capabilities[..], &["CHOWN"], &FILES, &REFERENCE].concat())
        .refused(125, "the capability bounding set stays as found");
    let all = [&capabilities[..], &["CHOWN", "--cap-add", "SETPCAP"], &FILES, &REFERENCE].concat();
    assert_eq!(configured(docker, &strict, &all).ran()["status"]["CapBnd"], "0000000000000000");
}

#[test]
fn a_directory_is_taken_as_it_is_or_not_at_all() {
    let Some(docker) = engine() else { return };
    let start = |options: &[&str]| run(docker, &[options, &FILES[2..], &REFERENCE, &[DEBIAN]].concat());
    // Nothing is covered that somebody may need.
    let covering = ["--privileged", "--env", "HANDFAST_DIR=/bin"];
    run(docker, &[&covering, &REFERENCE[..], &[DEBIAN]].concat())
        .refused(73, "a tmpfs of handfast's own would cover what is in it");
    // A tmpfs of the user's own is as good as one for everybody; one that it may not write to is none.
    let own = start(&["--user", "10001:10001", "--tmpfs", "/run/secrets:uid=10001,mode=700"]).ran();
    assert_eq!(own["CREDENTIALS_DIRECTORY"]["entries"]["."]["mode"], "700");
    start(&["--user", "10001:10001", "--tmpfs", "/run/secrets:mode=755"])
        .refused(73, "cannot write into `/run/secrets`");
    start(&["--tmpfs", "/run/secrets:ro"]).refused(73, "its tmpfs is read-only");
}

#[test]
fn what_the_engine_gives_and_the_app_must_not_have() {
    let Some(docker) = engine() else { return };
    let words =
        ["--ulimit", "core=-1", "--env", "VAULT_TOKEN=hvs.not-for-the-app", "--env", "VAULT_ADDR=https://vault"];
    let app = run(docker, &[&words, &REFERENCE[..], &[SCRATCH]].concat()).ran();
    assert_eq!(app["status"]["rlimits"]["CORE"], json!([0, 0]));
    assert_eq!(app["environ"]["VAULT_ADDR"], "https://vault");
    assert!(!app["environ_list"].to_string().contains("VAULT_TOKEN"), "{}", app["environ_list"]);
    assert!(!app["environ_list"].to_string().contains("handfast:"), "{}", app["environ_list"]);
}

/// With a configuration file where handfast looks for it, in the Debian-like image.
fn configured(docker: &Docker, config: &str, options: &[&str]) -> Outcome {
    let directory = Directory::new();
    let volume = format!("{}:/etc/handfast.toml:ro", directory.write("handfast.toml", config).display());
    run(docker, &[&["--volume", &volume], options, &[DEBIAN]].concat())
}
