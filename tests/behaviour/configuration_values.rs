//! What is in a configuration: variables in strings, which of the environment the app gets, and what is not built yet.

use crate::support::{Directory, Run};
use serde_json::Value;

fn reference(run: Run) -> String {
    let outcome = run.args(["--format", "json"]).start();
    let plan: Value = serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    plan["secrets"][0]["from"].as_str().expect("text").to_owned()
}

fn from(text: &str) -> Run {
    Run::command("check").config(&format!("[secrets.a]\nfrom = \"mock:{text}\"\n"))
}

fn refusal(run: Run) -> String {
    let outcome = run.start();
    assert_eq!(outcome.code, 78, "{outcome:?}");
    outcome.stderr
}

#[test]
fn variables_are_replaced_in_references() {
    for (written, expected) in [
        ("${A}/db", "value/db"),
        ("${A}${A}", "valuevalue"),
        ("${NOT_SET:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${A:-default}", "value"),
        ("x${NOT_SET:-}", "x"),
        ("${NOT_SET:-a:-b}", "a:-b"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$value"),
        ("$A $ a$", "$A $ a$"),
        // What a variable holds is not read again.
        ("${DOLLARS}", "${A}"),
    ] {
        let run = from(written).env("A", "value").env("EMPTY", "").env("DOLLARS", "${A}");
        assert_eq!(reference(run), format!("mock:{expected}"), "{written}");
    }
}

#[test]
fn variables_are_replaced_in_providers_and_files_and_nowhere_else() {
    let source = Directory::in_memory();
    source.write("secret", "from the file");
    let config = "[providers.files]\ntype = \"${KIND:-file}\"\nroot = \"${ROOT}\"\n[providers.mock]\nvalues = { a = \"$$ and ${KEY:-x}\" }\n\
        [files]\ndir = \"${ROOT}/${SUB:-sub}\"\n[secrets.a]\nfrom = \"mock:a\"\nfd = 3\npath_env = \"${NAME}\"\n\
        [secrets.b]\nfrom = \"files:${ROOT}/secret\"\nfd = 4\n";
    let run = Run::new().config(config).env("ROOT", source.path());
    let app = run.start().probe();
    assert_eq!(app["descriptors"][3]["content"], crate::support::hex("$ and x"));
    assert_eq!(app["descriptors"][4]["content"], crate::support::hex("from the file"));
    assert_eq!(app["environ"]["${NAME}"], "/dev/fd/3", "the app's names are as written");
}

#[test]
fn what_cannot_be_replaced_is_refused_once_with_its_place() {
    let hint = "hint: set it, or write `${NOT_SET:-default}`";
    let stderr = refusal(from("${NOT_SET}"));
    assert!(stderr.contains("2:8: the variable `NOT_SET` is not set, and has no default") && stderr.contains(hint));
    assert!(refusal(from("${EMPTY}").env("EMPTY", "")).contains("`EMPTY` is not set"));
    assert!(refusal(from("${A")).contains("2:8: `${` without `}`"));
    for expression in ["${}", "${1A}", "${A B}", "${A-x}", "${:-x}", "${A.B}", "${Ä}"] {
        let stderr = refusal(from(expression));
        assert!(stderr.contains("2:8: what stands between `${` and `}` is no variable's name"), "{stderr}");
        assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
    }
    // A directory that cannot be read is still one: nothing follows from it.
    let config = "[files]\ndir = \"${NOT_SET}\"\n[secrets.a]\nfrom = \"mock:a\"\nfile = \"a\"\n";
    let outcome = Run::command("init").config(config).start();
    assert_eq!((outcome.code, outcome.stderr.matches("error: ").count()), (78, 1), "{outcome:?}");
}

#[test]
fn no_bootstrap_credential_is_put_into_a_setting() {
    for name in ["VAULT_TOKEN", "VAULT_SECRET_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET"]
    {
        for default in ["", ":-default"] {
            let run = from(&format!("${{{name}{default}}}")).env(name, "hunter2");
            let stderr = refusal(run);
            assert!(stderr.contains(&format!("2:8: `${{{name}}}` is a bootstrap credential")), "{stderr}");
            assert!(!stderr.contains("hunter2"));
        }
    }
    assert_eq!(reference(from("${VAULT_ADDR}").env("VAULT_ADDR", "https://vault")), "mock:https://vault");
}

/// The app's environment, by name.
fn environment(run: Run) -> serde_json::Map<String, Value> {
    run.start().probe()["environ"].as_object().expect("an object").clone()
}

const CREDENTIALS: [&str; 10] = [
    "VAULT_TOKEN",
    "VAULT_SECRET_ID",
    "VAULT_JWT",
    "BAO_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
];

#[test]
fn the_app_gets_no_bootstrap_credential_and_every_address() {
    let run = CREDENTIALS.iter().fold(Run::new(), |run, name| run.env(name, "hunter2"));
    let kept = [("VAULT_ADDR", "a"), ("AWS_REGION", "b"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "c"), ("VAULT_ROLE_ID", "d")];
    let run = kept.iter().fold(run, |run, (name, value)| run.env(name, value)).args(["--log-level", "info"]);
    let outcome = run.start();
    let app = outcome.probe();
    let environment = app["environ"].as_object().expect("an object");
    assert!(environment.values().all(|value| value != "hunter2"), "{environment:?}");
    assert!(kept.iter().all(|(name, value)| environment[*name] == *value), "{environment:?}");
    for name in CREDENTIALS {
        let line = format!("handfast: info: the variable `{name}` is not handed on to the app\n");
        assert_eq!(outcome.stderr.matches(&line).count(), 1, "{outcome:?}");
    }
    assert!(!outcome.stderr.contains("hunter2"));
}

#[test]
fn env_keep_and_env_remove_say_what_else_the_app_gets() {
    let config = "[app]\nenv_keep = [\"VAULT_TOKEN\", \"BAO_TOKEN\"]\nenv_remove = [\"LEGACY_*\", \"*_KEY\", \"BAO_*\", \"EXACT\"]\n";
    let variables = [
        "VAULT_TOKEN",
        "BAO_TOKEN",
        "VAULT_JWT",
        "LEGACY_A",
        "LEGACY_",
        "A_LEGACY_B",
        "MY_KEY",
        "KEYS",
        "EXACT",
        "EXACTLY",
    ];
    let run = || variables.iter().fold(Run::new().config(config), |run, name| run.env(name, "x"));
    let left: Vec<String> = environment(run()).into_iter().map(|(name, _)| name).collect();
    for name in variables {
        let expected = ["VAULT_TOKEN", "A_LEGACY_B", "KEYS", "EXACTLY"].contains(&name);
        assert_eq!(left.iter().any(|left| left == name), expected, "{name}: {left:?}");
    }
    let stderr = run().args(["--log-level", "info"]).start().stderr;
    for name in ["BAO_TOKEN", "VAULT_JWT", "LEGACY_A", "LEGACY_", "MY_KEY", "EXACT"] {
        assert!(stderr.contains(&format!("info: the variable `{name}` is not handed on to the app\n")), "{stderr}");
    }
}

#[test]
fn a_wrong_value_of_an_option_is_told_with_all_others() {
    let wrong = "[app]\nuser = 1\n[secrets.a]\nfrom = \"mok:a\"\n";
    let told = |run: Run, outside: &[&str]| {
        let stderr = refusal(run.config(wrong));
        for problem in ["`user` is 1, expected a string", "unknown provider `mok`"].iter().chain(outside) {
            assert!(stderr.contains(problem), "{problem}: {stderr}");
        }
        assert!(stderr.contains(&format!("has {} problems", 2 + outside.len())), "{stderr}");
    };
    let logs = ["command line: the log format is \"xml\"", "environment: the log level is \"loud\""];
    let outside = |run: Run| run.args(["--log-format", "xml"]).env("HANDFAST_LOG_LEVEL", "loud");
    for command in ["init", "watch"] {
        let missing = format!("`{command}` delivers files, and no files directory is set");
        told(outside(Run::command(command)), &[&logs[..], &[&missing]].concat());
    }
    told(outside(Run::new()), &logs);
    told(outside(Run::command("policy")), &logs);
    told(Run::new().arg("--supervise=all"), &["command line: `--supervise` is \"all\", expected group"]);
    let check = Run::command("check").args(["--for", "init container", "--format", "yaml"]);
    told(check, &["`--for` is \"init container\"", "`--format` is \"yaml\""]);
    let ready = refusal(outside(Run::command("ready")).args(["--wait", "long"]));
    for problem in logs.iter().chain(&["`--wait` is \"long\"", "`ready` looks at files, and no files directory is set"])
    {
        assert!(ready.contains(problem), "{problem}: {ready}");
    }
    for (directory, problem) in
        [("relative", "`dir` is \"relative\", expected an absolute path"), ("", "`dir` is \"\"")]
    {
        assert!(refusal(Run::command("ready").args(["--dir", directory])).contains(problem));
    }
}

#[test]
fn what_is_not_in_this_version_is_named_and_nothing_follows_from_it() {
    for (config, place) in [
        ("[templates.x]\ntemplate = \"\"\n", "1:2: [templates]"),
        ("templates = 3\n", "1:13: [templates]"),
        ("[providers.eu]\ntype = \"exec\"\n", "2:8: the provider `exec`"),
        ("[providers.exec]\ncommand = \"x\"\n", "1:12: the provider `exec`"),
        ("[secrets.a]\nfrom = \"exec:a\"\n", "2:8: `exec:a`: the provider `exec`"),
        ("[secrets.a]\nfrom = \"mock:a\"\ndeliver = false\n", "3:11: `deliver`"),
    ] {
        let stderr = refusal(Run::new().config(config));
        assert!(stderr.ends_with(&format!(":{place} is not in this version (config, exit 78)\n")), "{place}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    let stderr = refusal(Run::new().env("A_FD", "handfast:exec:a"));
    assert!(stderr.contains("environment: `exec:a`: the provider `exec` is not in this version"), "{stderr}");
    let stderr = refusal(Run::new().args(["-s", "a=exec:a"]));
    assert!(stderr.contains("command line: `exec:a`: the provider `exec` is not in this version"), "{stderr}");
}

#[test]
fn a_table_of_that_name_makes_a_provider_of_another_type() {
    let config =
        "[providers.vault]\ntype = \"mock\"\nvalues = { \"kv/a\" = \"x\" }\n[secrets.a]\nfrom = \"vault:kv/a\"\n";
    let outcome = Run::new().config(config).app(["/bin/sh", "-c", "cat /dev/fd/3"]).start();
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, b"x".as_slice()), "{outcome:?}");
}
