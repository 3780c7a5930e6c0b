//! Who owns a delivered file, with each set of rights that handfast may have been started with.

use crate::support::{Directory, Run, hex, needs_root, tree};

/// Delivers as root for 1000:1001 unless told; without what the app sees.
fn init(directory: &Directory, toml: &str) -> Run {
    Run::command("init").config(toml).args(["--dir", directory.text(), "--user", "1000:1001"])
}

fn secrets(names: &[&str], keys: &str) -> String {
    names.iter().map(|name| format!("[secrets.{name}]\nfrom = \"mock:{name}\"\n{keys}\n")).collect()
}

/// The lines of a tree that are about one name.
fn about(directory: &Directory, name: &str) -> Vec<String> {
    let lines = tree(directory.path()).into_iter();
    lines.filter(|line| line.split([' ', '/']).any(|word| word == name)).collect()
}

#[test]
fn the_file_is_the_apps_by_whatever_right_there_is() {
    needs_root!();
    let all = "CHOWN,DAC_OVERRIDE,FOWNER,SETGID,SETUID,SETPCAP,SYS_ADMIN";
    let toml = secrets(&["db"], "");
    let ours = ["..handfast_N/db 440 0:1001 mock-db", "db -> ..data/db 0:0"];
    let theirs = ["..handfast_N/db 400 1000:1001 mock-db", "db -> ..data/db 0:0"];
    for (missing, expected) in [
        ("", Some(theirs)),
        ("SYS_ADMIN", Some(theirs)),
        ("FOWNER", Some(theirs)),
        ("DAC_OVERRIDE", Some(theirs)),
        ("SETGID", Some(theirs)),
        ("CHOWN", Some(ours)),
        ("CHOWN,FOWNER,DAC_OVERRIDE,SYS_ADMIN", Some(ours)),
        ("CHOWN,SETGID", None),
    ] {
        let caps: Vec<&str> = all.split(',').filter(|one| !missing.split(',').any(|other| other == *one)).collect();
        let directory = Directory::in_memory();
        let outcome = init(&directory, &toml).confine(&["--caps", &caps.join(",")]).start();
        match expected {
            Some(expected) => {
                assert_eq!(outcome.code, 0, "{missing}: {outcome:?}");
                assert_eq!(about(&directory, "db"), expected, "{missing}");
                let warned = outcome.stderr.contains("`db` stays owned by uid 0 and is readable through its group");
                assert_eq!(warned, expected == ours, "{missing}: {outcome:?}");
            }
            None => {
                outcome.refused(
                    73,
                    "cannot make `db` readable for 1000:1001: handfast is 0:0 without CAP_CHOWN and CAP_SETGID",
                );
                outcome.says("hint: add the capability CHOWN");
                assert!(directory.names().is_empty());
            }
        }
    }
    // With none at all, fsGroup's directory is enough for `init`.
    let directory = Directory::tmpfs("mode=3777,gid=2000");
    assert_eq!(init(&directory, &toml).confine(&["--caps", "none"]).start().code, 0);
    assert_eq!(about(&directory, "db")[0], "..handfast_N/db 440 0:2000 mock-db");
    // A directory that root may not write without DAC_OVERRIDE.
    let directory = Directory::tmpfs("mode=755,uid=1000");
    init(&directory, &toml).confine(&["--caps", "CHOWN,SETGID"]).start().refused(73, "cannot write into");
    assert_eq!(init(&directory, &toml).confine(&["--caps", "CHOWN,DAC_OVERRIDE"]).start().code, 0);
}

#[test]
fn under_run_the_app_reads_what_it_was_given_with_few_rights_too() {
    needs_root!();
    for caps in ["SETUID,SETGID", "SETUID,SETGID,CHOWN", "SETUID,SETGID,SETPCAP,FOWNER,DAC_OVERRIDE"] {
        let directory = Directory::tmpfs("mode=1777");
        let run = Run::new().config(&secrets(&["db"], "")).args(["--dir", directory.text(), "--user", "1000:1001"]);
        let app = run.confine(&["--caps", caps]).start().ran();
        let entries = &app["CREDENTIALS_DIRECTORY"]["entries"];
        assert_eq!(entries["db"]["content"], hex("mock-db"), "{caps}");
        let owner = if caps.contains("CHOWN") { 1000 } else { 0 };
        let found = entries.as_object().expect("an object").iter().find(|(name, _)| name.ends_with("/db"));
        assert_eq!(found.expect("it is there").1["uid"], owner, "{caps}");
    }
}
