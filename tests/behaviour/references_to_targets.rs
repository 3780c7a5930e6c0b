//! Where a secret goes: a file or a descriptor, which one, and how the app is told.

use crate::support::{Directory, Run, needs_root};
use serde_json::{Value, json};

/// Each secret's target, by name, as `check` plans it.
fn targets(config: &str, more: &[&str]) -> Vec<(String, Value)> {
    let outcome = Run::command("check").config(config).args(["--format", "json"]).args(more).start();
    let plan: Value = serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    let secrets = plan["secrets"].as_array().expect("a list");
    secrets.iter().map(|secret| (secret["name"].as_str().expect("text").to_owned(), secret["to"].clone())).collect()
}

fn named(targets: &[(&str, Value)]) -> Vec<(String, Value)> {
    targets.iter().map(|(name, target)| ((*name).to_owned(), target.clone())).collect()
}

fn refusal(config: &str, more: &[&str]) -> String {
    let outcome = Run::new().config(config).args(more).start();
    assert_eq!(outcome.code, 78, "{outcome:?}");
    assert!(!outcome.app_ran());
    outcome.stderr
}

#[test]
fn without_a_directory_numbers_are_given_in_order_of_name() {
    let config = "[secrets.zeta]\nfrom = \"mock:z\"\n[secrets.Alpha]\nfrom = \"mock:a\"\n[secrets.beta]\nfrom = \"mock:b\"\nfd = \"auto\"\n";
    let expected = named(&[("Alpha", json!({"fd": 3})), ("beta", json!({"fd": 4})), ("zeta", json!({"fd": 5}))]);
    assert_eq!(targets(config, &[]), expected);
}

#[test]
fn a_number_that_is_asked_for_is_taken_out_of_auto() {
    let config = "[secrets.a]\nfrom = \"mock:a\"\n[secrets.b]\nfrom = \"mock:b\"\n[secrets.c]\nfrom = \"mock:c\"\nfd = 4\n[secrets.d]\nfrom = \"mock:d\"\nfd = 3\n";
    let expected =
        named(&[("a", json!({"fd": 5})), ("b", json!({"fd": 6})), ("c", json!({"fd": 4})), ("d", json!({"fd": 3}))]);
    assert_eq!(targets(config, &[]), expected);
}

#[test]
fn with_a_directory_a_secret_is_a_file_unless_it_says_otherwise() {
    needs_root!();
    let config = "[files]\nmode = \"0440\"\n[app]\nuser = \"1000:2000\"\n[secrets.a]\nfrom = \"mock:a\"\n\
        [secrets.b]\nfrom = \"mock:b\"\nfile = \"other\"\nmode = \"0444\"\nowner = \"5:6\"\n[secrets.c]\nfrom = \"mock:c\"\nfd = \"auto\"\n";
    let expected = named(&[
        ("a", json!({"file": "/dev/shm/x/a", "mode": "0440", "owner": "1000:2000"})),
        ("b", json!({"file": "/dev/shm/x/other", "mode": "0444", "owner": "5:6"})),
        ("c", json!({"fd": 3})),
    ]);
    assert_eq!(targets(config, &["--dir", "//dev/shm/./x/"]), expected);
}

#[test]
fn wrong_numbers_are_refused() {
    for number in ["0", "1", "2", "-1", "1048576", "1000000000", "4294967299", "9223372036854775807"] {
        let stderr = refusal(&format!("[secrets.a]\nfrom = \"mock:a\"\nfd = {number}\n"), &[]);
        let expected =
            format!("3:6: `fd` is {number}, expected \"auto\" or a number from 3 to 1048575 (config, exit 78)");
        assert!(stderr.contains(&expected), "{stderr}");
    }
    let twice = "[secrets.a]\nfrom = \"mock:a\"\nfd = 9\n[secrets.b]\nfrom = \"mock:b\"\nfd = 9\n";
    assert!(refusal(twice, &[]).contains("6:6: the secrets `a` and `b` both ask for the descriptor 9"));
}

#[test]
fn bad_names_are_refused_for_secrets_and_for_files() {
    let long = "a".repeat(300);
    for name in ["../x", "", "..", ".", ".hidden", "a/b", "a\\nb", "a\\u0000b", "a b", "ä", "*", &long] {
        let stderr = refusal(&format!("[secrets.\"{name}\"]\nfrom = \"mock:a\"\n"), &[]);
        assert!(stderr.contains(":1:10: `") && stderr.contains("` cannot be a secret's name"), "{name}: {stderr}");
        let config = format!("[secrets.a]\nfrom = \"mock:a\"\nfile = \"{name}\"\n");
        let stderr = refusal(&config, &["--dir", "/dev/shm/x"]);
        assert!(stderr.contains(":3:8: `") && stderr.contains("` cannot be a file's name"), "{name}: {stderr}");
        assert!(stderr.contains("hint: `[A-Za-z0-9._-]`, 1 to 128, not starting with a dot"), "{stderr}");
    }
    let longest = "a".repeat(128);
    assert_eq!(targets(&format!("[secrets.{longest}]\nfrom = \"mock:a\"\n"), &[]).len(), 1);
}

#[test]
fn a_file_needs_a_directory_and_a_descriptor_needs_an_app() {
    let stderr = refusal("[secrets.a]\nfrom = \"mock:a\"\nfile = \"a\"\n", &[]);
    assert!(stderr.contains("3:8: the secret `a` has `file`, and no files directory is set"), "{stderr}");
    for fd in ["\"auto\"", "5"] {
        let config = format!("[secrets.a]\nfrom = \"mock:a\"\nfd = {fd}\n");
        let outcome = Run::command("init").config(&config).args(["--dir", "/dev/shm/x"]).start();
        assert_eq!(outcome.code, 78, "{outcome:?}");
        assert!(outcome.stderr.contains("3:6: the secret `a` is a descriptor, and `init` hands none over"));
    }
    let outcome = Run::command("init").args(["-s", "a=mock:a"]).start();
    assert_eq!(outcome.code, 78, "{outcome:?}");
}

#[test]
fn the_app_is_told_under_the_names_that_it_wants() {
    let config = "[secrets.a]\nfrom = \"mock:a\"\nfd = 9\npath_env = \"A_PATH\"\nfd_env = \"A_NUMBER\"\n\
        [secrets.b]\nfrom = \"mock:b\"\npath_env = \"OVER\"\n";
    let app = Run::new().config(config).env("OVER", "before").start().probe();
    let environment = &app["environ"];
    assert_eq!((&environment["A_PATH"], &environment["A_NUMBER"]), (&"/dev/fd/9".into(), &"9".into()));
    assert_eq!((&environment["OVER"], &environment["HANDFAST_FDS"]), (&"/dev/fd/3".into(), &"a:9,b:3".into()));
}

#[test]
fn the_variables_of_an_optional_secret_that_is_missing_are_unset() {
    needs_root!();
    let directory = Directory::tmpfs("mode=755");
    let config = "[providers.mock]\nvalues = { there = \"x\" }\n[secrets.gone]\nfrom = \"mock:gone\"\noptional = true\n\
        path_env = \"GONE_FILE\"\n[secrets.gone-fd]\nfrom = \"mock:gone-too\"\nfd = 7\noptional = true\nfd_env = \"GONE_FD\"\n";
    let run =
        || Run::new().config(config).arg("--dir").arg(directory.path()).env("GONE_FILE", "old").env("GONE_FD", "7");
    let app = run().env("CREDENTIALS_DIRECTORY", "/of/systemd").start().probe();
    let environment = app["environ"].as_object().expect("an object");
    for name in ["GONE_FILE", "GONE_FD", "HANDFAST_FDS"] {
        assert!(!environment.contains_key(name), "{name}: {environment:?}");
    }
    assert_eq!(environment["CREDENTIALS_DIRECTORY"], "/of/systemd", "no secret is a file");
    assert_eq!(app["descriptors"].as_array().map(Vec::len), Some(3));
    assert_eq!(directory.names().iter().filter(|name| !name.starts_with('.')).count(), 0);
    // A reference in the variable itself is gone too: no app gets it.
    let outcome = Run::new()
        .config("[providers.mock]\nvalues = {}\n[secrets.a]\noptional = true\n")
        .env("A_FILE", "handfast:mock:a");
    assert_eq!(outcome.start().probe()["environ"]["A_FILE"], Value::Null);
}

#[test]
fn every_field_is_a_file_of_its_own() {
    needs_root!();
    let directory = Directory::tmpfs("mode=755");
    let source = Directory::in_memory();
    let json = source.write("json", r#"{"user":"app","password":"hunter2","port":5432}"#);
    let config = format!(
        "[providers.mock]\nvalues = {{ db = '{{\"a\":\"eA==\",\"b\":\"eQ==\"}}' }}\n\
         [secrets.db]\nfrom = \"file:{}#*\"\nfile = \"db-*\"\n[secrets.coded]\nfrom = \"mock:db?decode=base64#*\"\n",
        json.display()
    );
    let script = "cd $CREDENTIALS_DIRECTORY && for f in *; do echo $f=$(cat $f); done";
    let outcome = Run::new().config(&config).arg("--dir").arg(directory.path()).app(["/bin/sh", "-c", script]).start();
    let expected = "a=x\nb=y\ndb-password=hunter2\ndb-port=5432\ndb-user=app\n";
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), expected, "{outcome:?}");
}

#[test]
fn every_field_goes_to_files_only_and_needs_a_star() {
    let star = |more: &str| format!("[secrets.a]\nfrom = \"mock:a#*\"\n{more}");
    for (config, directory, expected) in [
        (star(""), "", "2:8: the secret `a` has several values, which can only be files"),
        (star("fd = 3\n"), "/dev/shm/x", "which can only be files"),
        (star("file = \"all\"\n"), "/dev/shm/x", "3:8: `file` is \"all\", expected one `*` in it"),
        (star("file = \"*-*\"\n"), "/dev/shm/x", "expected one `*` in it"),
        (
            star("path_env = \"A\"\n"),
            "/dev/shm/x",
            "3:12: `A` asks for one path, and `a` has several values, a file each",
        ),
    ] {
        let more: &[&str] = if directory.is_empty() { &[] } else { &["--dir", directory] };
        assert!(refusal(&config, more).contains(expected), "{config}");
    }
}

#[test]
fn base64_is_decoded_before_delivery() {
    let directory = Directory::in_memory();
    let file = directory.write("b64", "aGVs\nbG8=\n");
    let reference = format!("handfast:file:{}?decode=base64", file.display());
    let outcome = Run::new().env("A_FILE", reference).app(["/bin/sh", "-c", "cat $A_FILE"]).start();
    assert_eq!(outcome.stdout, b"hello", "{outcome:?}");
}

#[test]
fn the_same_target_twice_is_refused() {
    let config = "[secrets.a]\nfrom = \"mock:a\"\nfile = \"b\"\npath_env = \"X\"\n[secrets.b]\nfrom = \"mock:b\"\nfd_env = \"X\"\n";
    let stderr = refusal(config, &["--dir", "/dev/shm/x"]);
    assert!(stderr.contains("the secrets `a` and `b` both ask for the file `b`"), "{stderr}");
    assert!(stderr.contains("7:10: the variable `X` is set twice, by `a` and by `b`"), "{stderr}");
    for name in ["", "A=B", "A\\u0000B", "HANDFAST_FDS", "CREDENTIALS_DIRECTORY"] {
        let stderr = refusal(&format!("[secrets.a]\nfrom = \"mock:a\"\nfd_env = \"{name}\"\n"), &[]);
        assert!(stderr.contains("` cannot be the name of the app's variable"), "{stderr}");
    }
}
