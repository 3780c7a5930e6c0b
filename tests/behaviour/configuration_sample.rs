//! The contract's sample configuration, word for word: what is not built yet is named, and nothing else.

use crate::support::{Directory, Run, needs_root};

const SAMPLE: &str = include_str!("../data/contract-sample.toml");

/// What this version does not have, with the place of each.
const LATER: [&str; 2] =
    ["45:8: the provider `exec` is not in this version", "58:2: [templates] is not in this version"];

#[test]
fn of_the_sample_exactly_the_parts_that_are_not_built_are_refused() {
    needs_root!();
    let directory = Directory::new();
    let file = directory.write("sample.toml", SAMPLE);
    directory.write("passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/srv:/bin/false\n");
    directory.write("group", "root:x:0:\napp:x:1000:\n");
    directory.write("corp.pem", "");
    // /etc of a made-up image, for these starts alone.
    let etc = directory.path().join("etc");
    std::fs::create_dir_all(etc.join("ssl")).expect("it is ours");
    for (from, to) in [("passwd", "passwd"), ("group", "group"), ("corp.pem", "ssl/corp.pem")] {
        std::fs::copy(directory.path().join(from), etc.join(to)).expect("it is ours");
    }
    let bind = format!("{}:/etc", etc.display());
    let check = Run::command("check");
    let run = Run::new();
    let init = Run::command("init");
    for run in [check, run, init] {
        let outcome = run.confine(&["--bind", &bind]).arg("--config").arg(&file).start();
        assert_eq!(outcome.code, 78, "{outcome:?}");
        let expected = LATER.map(|problem| format!("handfast: error: {}:{problem}", file.display()));
        let said: Vec<_> = outcome.stderr.lines().filter(|line| !line.starts_with("handfast: hint: ")).collect();
        assert_eq!(said[..2], expected);
        let last = "handfast: error: the configuration has 2 problems; nothing was fetched; the first: ";
        assert!(said.len() == 3 && said[2].starts_with(last), "{outcome:?}");
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
    }
}

#[test]
fn the_rest_of_the_sample_starts() {
    needs_root!();
    // Without the parts that are not built, and with what the test's own image has.
    let later = [
        "[templates",
        "template =",
        "[providers",
        "address =",
        "namespace =",
        "auth =",
        "type =",
        "command =",
        "protocol =",
    ];
    let rest: String = SAMPLE
        .lines()
        .filter(|line| !later.iter().chain(&["region =", "ca_file ="]).any(|start| line.starts_with(start)))
        .map(|line| format!("{line}\n"))
        .collect();
    let rest = rest.replace("user = \"app\"", "user = \"1000:1000\"").replace("\"vault:kv/", "\"mock:kv/");
    let directory = Directory::new();
    let place = format!("{}:mode=0755", directory.text());
    let outcome = Run::new()
        .config(&rest.replace("/run/secrets", directory.text()).replace("#password", ""))
        .confine(&["--tmpfs", &place])
        .env("LEGACY_TOKEN", "x")
        .app(["/bin/sh", "-c", "cat \"$DB_PASSWORD_FILE\"; echo \" ${LEGACY_TOKEN-gone} $CREDENTIALS_DIRECTORY\""])
        .start();
    let expected = format!("mock-kv/dev/db gone {}\n", directory.text());
    assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stdout)), (0, expected.into()), "{}", outcome.stderr);
}
