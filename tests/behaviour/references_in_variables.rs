//! References in the app's environment: `NAME_FILE=handfast:…`.

use crate::support::{Directory, Run, needs_root};
use serde_json::Value;

fn plan(run: Run) -> Value {
    let outcome = run.args(["--format", "json"]).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    serde_json::from_slice(&outcome.stdout).expect("check prints JSON")
}

fn check() -> Run {
    Run::command("check")
}

#[test]
fn the_secret_is_named_after_its_variable() {
    for (variable, name) in [
        ("DB_PASSWORD_FILE", "db-password"),
        ("API_KEY_PATH", "api-key"),
        ("TLS_FD", "tls"),
        ("A__B_FILE", "a--b"),
        ("x9.y_FILE", "x9.y"),
        ("A_FILE_FILE", "a-file"),
        ("KEY_FD_PATH", "key-fd"),
    ] {
        let plan = plan(check().env(variable, "handfast:mock:db"));
        assert_eq!((&plan["secrets"][0]["name"], &plan["secrets"][0]["from"]), (&name.into(), &"mock:db".into()));
    }
}

#[test]
fn the_variable_gets_the_path_or_the_number() {
    let outcome = Run::new()
        .env("A_FILE", "handfast:mock:a")
        .env("B_PATH", "handfast:mock:b")
        .env("C_FD", "handfast:mock:c")
        .env("HANDFAST_FDS", "of an outer start")
        .start();
    let app = outcome.probe();
    let environment = &app["environ"];
    assert_eq!(
        (&environment["A_FILE"], &environment["B_PATH"], &environment["C_FD"]),
        (&"/dev/fd/3".into(), &"/dev/fd/4".into(), &"5".into())
    );
    assert_eq!(environment["HANDFAST_FDS"], "a:3,b:4,c:5");
    assert_eq!(environment["CREDENTIALS_DIRECTORY"], Value::Null);
}

#[test]
fn with_a_directory_a_path_is_a_files_and_a_number_still_a_descriptors() {
    needs_root!();
    let directory = Directory::tmpfs("mode=755");
    let outcome = Run::new()
        .arg("--dir")
        .arg(directory.path())
        .env("A_FILE", "handfast:mock:a")
        .env("C_FD", "handfast:mock:c")
        .start();
    let environment = &outcome.probe()["environ"];
    assert_eq!(environment["A_FILE"], format!("{}/a", directory.text()));
    assert_eq!((&environment["C_FD"], &environment["HANDFAST_FDS"]), (&"3".into(), &"c:3".into()));
    assert_eq!(environment["CREDENTIALS_DIRECTORY"], directory.text());
}

#[test]
fn what_belongs_to_the_app_is_not_touched() {
    let values = [
        ("DATABASE_URL", "file:./app.db?mode=rwc"),
        ("A_FILE", "/etc/app.conf"),
        ("B_FILE", "mock:db"),
        ("C_FILE", " handfast:mock:db"),
        ("D_FILE", "Handfast:mock:db"),
        ("E_FD", "7"),
        ("EMPTY_FILE", ""),
        ("NOTE", "see handfast:mock:db"),
    ];
    let outcome = values.iter().fold(Run::new(), |run, (name, value)| run.env(name, value)).start();
    let app = outcome.probe();
    for (name, value) in values {
        assert_eq!(app["environ"][name], value, "{name}");
    }
    assert!(!outcome.stderr.contains("reference"), "{outcome:?}");
}

#[test]
fn a_reference_under_another_name_is_refused_with_the_right_name() {
    let outcome = Run::new().env("DB_PASSWORD", "handfast:mock:db").env("file", "handfast:mock:db").start();
    assert_eq!(outcome.code, 78, "{outcome:?}");
    for expected in [
        "environment: `DB_PASSWORD` holds a reference",
        "name it `DB_PASSWORD_FILE` (or `DB_PASSWORD_PATH`) to get a path, `DB_PASSWORD_FD`",
        "environment: `file` holds a reference",
    ] {
        assert!(outcome.stderr.contains(expected), "{expected}: {outcome:?}");
    }
    assert!(!outcome.app_ran());
}

#[test]
fn names_that_no_secret_can_have_are_refused_with_the_variable() {
    for variable in ["_FILE", "._FILE", "A B_FD", "Ä_PATH", &format!("{}_FILE", "A".repeat(300))] {
        let outcome = Run::new().env(variable, "handfast:mock:db").start();
        assert_eq!(outcome.code, 78, "{variable}: {outcome:?}");
        // Of a long one the start is told.
        let told: String = variable.chars().take(200).collect();
        let end = if told == variable { "" } else { "…" };
        assert!(outcome.stderr.contains(&format!("environment: `{told}{end}` gives the name")), "{outcome:?}");
    }
}

#[test]
fn two_variables_cannot_give_one_name() {
    for (first, second) in [("A_FILE", "A_PATH"), ("A_FILE", "A_FD"), ("A_FILE", "a_FILE"), ("A_B_FD", "A-B_FD")] {
        let outcome = Run::new().env(first, "handfast:mock:a").env(second, "handfast:mock:a").start();
        assert_eq!(outcome.code, 78, "{outcome:?}");
        assert!(outcome.stderr.contains("both name the secret `a"), "{outcome:?}");
    }
}

#[test]
fn a_variable_replaces_the_reference_of_the_file_and_keeps_the_rest() {
    let file = "[secrets.db-password]\nfrom = \"mock:${NOT_SET}\"\nfd = 9\npath_env = \"DB_PASSWORD_FILE\"\n\
        fd_env = \"NUMBER\"\noptional = true\n";
    let plan = plan(check().config(file).env("DB_PASSWORD_FILE", "handfast:mock:other"));
    let secret = &plan["secrets"][0];
    assert_eq!((&secret["from"], &secret["to"]["fd"]), (&"mock:other".into(), &9.into()));
    assert_eq!(secret["path_env"], serde_json::json!(["DB_PASSWORD_FILE"]), "the same name twice is one variable");
    assert_eq!((&secret["fd_env"][0], &secret["optional"]), (&"NUMBER".into(), &true.into()));
    // And an option replaces both: any configuration can be tried locally.
    let run = check().config(file).env("DB_PASSWORD_FILE", "handfast:vault:kv/x").args(["-s", "db-password=mock:db"]);
    let secret = &self::plan(run)["secrets"][0];
    assert_eq!((&secret["from"], &secret["path_env"][0]), (&"mock:db".into(), &"DB_PASSWORD_FILE".into()));
}

#[test]
fn rivals_references_are_warned_of_once_without_any_part_of_the_value() {
    let rivals = [
        ("A", "vault:hunter2#x", "A_FILE=handfast:vault:<path>#<field>"),
        ("B", ">>vault:hunter2", "B_FILE=handfast:vault:<path>#<field>"),
        ("C", "ssm://hunter2", "C_FILE=handfast:aws:ssm/<parameter>"),
        ("D_FILE", "azure:keyvault:hunter2", "D_FILE=handfast:azure:<vault>/<secret>"),
        ("E", "arn:aws:secretsmanager:eu-west-1:1:secret:hunter2", "E_FILE=handfast:aws:sm/<ARN>"),
        ("F", "arn:aws-cn:secretsmanager:cn-north-1:1:secret:hunter2", "F_FILE=handfast:aws:sm/<ARN>"),
    ];
    let run = rivals.iter().fold(Run::new(), |run, (name, value, _)| run.env(name, value));
    let outcome = run.start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for (name, value, shape) in rivals {
        let lines: Vec<_> =
            outcome.stderr.lines().filter(|line| line.contains(&format!("variable `{name}`"))).collect();
        assert_eq!(lines.len(), 1, "{outcome:?}");
        assert!(
            lines[0].starts_with("handfast: warn: ") && lines[0].ends_with(&format!("write `{shape}`")),
            "{lines:?}"
        );
        assert_eq!(outcome.probe()["environ"][name], value, "the value itself stays the app's");
    }
    assert!(!outcome.stderr.contains("hunter2"));
}

#[test]
fn a_credential_of_a_provider_cannot_be_a_reference() {
    let outcome = Run::new().env("VAULT_TOKEN", "handfast:mock:token").start();
    assert_eq!(outcome.code, 78, "{outcome:?}");
    assert!(outcome.stderr.contains("`VAULT_TOKEN` holds a reference, but it is read as a bootstrap credential"));
}
