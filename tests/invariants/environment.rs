//! Invariant 1: there is no way to deliver a secret into an environment variable. What goes into the app's environment is a
//! path or the number of a descriptor.

use crate::support::{Directory, Ledger, Run};
use serde_json::Value;

/// Variables by name, sorted, less those that the run was started with.
fn added(app: &Value) -> Vec<(String, String)> {
    let environment = app["environ"].as_object().expect("an object");
    let mut all: Vec<(String, String)> = environment
        .iter()
        .filter(|(name, _)| !["PATH", "HOME", "OTHER"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned()))
        .collect();
    all.sort();
    all
}

#[test]
fn the_apps_environment_holds_paths_and_numbers_and_no_value() {
    let mut ledger = Ledger::default();
    let (target, source) = (Directory::in_memory(), Directory::in_memory());
    let plain = source.write("plain", ledger.add("plain"));
    let object = source.write("object", format!(r#"{{"a":"{}","b":{{"c":"{}"}}}}"#, ledger.add("a"), ledger.add("c")));
    let every = source.write("every", format!(r#"{{"x":"{}","y":"{}"}}"#, ledger.add("x"), ledger.add("y")));
    let encoded = source.write("encoded", base64(ledger.add("encoded").as_bytes()));
    let config = format!(
        r##"
        [files]
        dir = "{directory}"
        [secrets.plain]
        from = "file:{plain}"
        path_env = "PLAIN"
        [secrets.a]
        from = "file:{object}#a"
        fd = "auto"
        path_env = "A_PATH"
        fd_env = "A_FD"
        [secrets.c]
        from = "file:{object}#/b/c"
        fd = 9
        [secrets.every]
        from = "file:{every}#*"
        file = "every-*"
        [secrets.encoded]
        from = "file:{encoded}?decode=base64"
        fd = "auto"
        fd_env = "ENCODED"
        "##,
        directory = target.text(),
        plain = plain.display(),
        object = object.display(),
        every = every.display(),
        encoded = encoded.display(),
    );
    let run = Run::new()
        .config(&config)
        .env("OTHER", "as it was")
        .env("OBJECT_FILE", format!("handfast:file:{}", object.display()));
    // The values inverted: the probe's own arguments must not be what it finds.
    let inverted = |value: &str| value.bytes().map(|byte| format!("{:02x}", !byte)).collect::<String>();
    let arguments = ledger.values().into_iter().flat_map(|value| ["--canary-scan".to_owned(), inverted(value)]);
    let outcome = arguments.fold(run, Run::app_arg).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let app = outcome.probe();

    // All of its memory, in which the environment is too: nothing is in it before the app opens a file or a descriptor.
    assert_eq!(app["canaries"]["hits"], Value::Array(vec![]));
    assert!(app["canaries"]["bytes_scanned"].as_u64().is_some_and(|bytes| bytes > 100_000), "{}", app["canaries"]);
    let expected = [
        ("A_FD", "3".to_owned()),
        ("A_PATH", "/dev/fd/3".to_owned()),
        ("CREDENTIALS_DIRECTORY", target.text().to_owned()),
        ("ENCODED", "4".to_owned()),
        ("HANDFAST_FDS", "a:3,c:9,encoded:4".to_owned()),
        ("OBJECT_FILE", format!("{}/object", target.text())),
        ("PLAIN", format!("{}/plain", target.text())),
    ];
    assert_eq!(added(&app), expected.map(|(name, value)| (name.to_owned(), value)));
    // And the secrets are there: a run that delivers nothing would prove nothing.
    let content = |number: u64| {
        let all = app["descriptors"].as_array().expect("a list");
        all.iter().find(|one| one["fd"] == number).map(|one| one["content"].clone())
    };
    assert_eq!(content(4), Some(crate::support::hex(ledger.get("encoded")).into()));
    assert_eq!(content(9), Some(crate::support::hex(ledger.get("c")).into()));
}

#[test]
fn a_reference_under_a_name_without_suffix_is_refused() {
    for name in ["DB_PASSWORD", "DB_FILES", "DB_file", "FILE", "_FILE", "PATH", "DB_FD_", "HANDFAST_DIR", "LD_PRELOAD"]
    {
        let outcome = Run::new().env(name, "handfast:mock:db").start();
        assert_eq!((outcome.code, outcome.app_ran()), (78, false), "{name}: {outcome:?}");
        assert!(!outcome.stderr.contains("mock-db"), "{name}: {outcome:?}");
    }
    let outcome = Run::new().env("DB_PASSWORD", "handfast:mock:db").start();
    assert!(outcome.stderr.contains("DB_PASSWORD_FILE"), "it says which name to use: {outcome:?}");
}

#[test]
fn no_key_names_a_variable_that_gets_a_value() {
    let schema = Run::command("schema").start();
    assert_eq!(schema.code, 0, "{schema:?}");
    let schema: Value = serde_json::from_slice(&schema.stdout).expect("the schema is JSON");
    let mut keys = Vec::new();
    collect_keys(&schema, &mut keys);
    keys.retain(|key| key.contains("env"));
    keys.sort();
    keys.dedup();
    // Lists of names: what the app keeps of its own, and what is taken from it.
    keys.retain(|key| !["env_keep", "env_remove"].contains(&key.as_str()));
    // Where handfast finds what it logs in with itself: these it reads, and the app gets none of them but the role id's.
    keys.retain(|key| {
        !["client_secret_env", "jwt_env", "password_env", "role_id_env", "secret_id_env", "token_env"]
            .contains(&key.as_str())
    });
    assert_eq!(keys, ["fd_env", "path_env"]);
    for key in ["env", "value_env", "variable", "export", "environment", "env_name", "to_env"] {
        let config = format!("[secrets.db]\nfrom = \"mock:db\"\n{key} = \"DB_PASSWORD\"\n");
        let outcome = Run::new().config(&config).start();
        assert_eq!((outcome.code, outcome.app_ran()), (78, false), "{key}: {outcome:?}");
    }
    // env_keep is for credentials of the app's own, not for secrets.
    let config = "[app]\nenv_keep = [\"db\", \"DB\"]\n[secrets.db]\nfrom = \"mock:db\"\n";
    let outcome = Run::new().config(config).start();
    let leaked = outcome.app_ran() && outcome.probe()["environ"].to_string().contains("mock-db");
    assert!(!leaked, "{outcome:?}");
}

#[test]
fn a_variable_that_names_no_delivered_secret_is_unset() {
    let config = "[providers.mock]\nvalues = { here = \"1\" }\n\
        [secrets.gone]\nfrom = \"mock:gone\"\noptional = true\npath_env = \"GONE_FILE\"\nfd_env = \"GONE_FD\"\n\
        [secrets.here]\nfrom = \"mock:here\"\n";
    let stale = [("GONE_FILE", "/old/path"), ("GONE_FD", "7"), ("HANDFAST_FDS", "gone:7")];
    let run = stale.iter().fold(Run::new().config(config), |run, (name, value)| run.env(name, value));
    let outcome = run.start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let app = outcome.probe();
    assert_eq!(added(&app), [("HANDFAST_FDS".to_owned(), "here:4".to_owned())], "{app}");
}

/// The names of all properties, anywhere in a JSON schema.
fn collect_keys(schema: &Value, keys: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                keys.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| collect_keys(value, keys));
        }
        Value::Array(list) => list.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn the_app_finds_the_rest_of_the_environment_as_handfast_found_it() {
    let cat = crate::support::needs_program!("cat");
    // No shell and no library makes such an environment; an odd runtime may.
    let python = crate::support::needs_program!("python3");
    let entries = [
        "FIRST=1",
        "ALONE",
        "=odd",
        "=C:=dir",
        "TWICE=a",
        "",
        "EMPTY=",
        "TWICE=b",
        "A=b=c",
        "DB_FILE",
        "VAULT_TOKEN",
        "LEGACY_X",
        "LEGACY_Y=z",
        "LAST=\u{e4}\\xff",
    ];
    let script = "import ctypes, os, sys\n\
        c = ctypes.CDLL(None)\n\
        split = sys.argv.index('--run')\n\
        array = lambda words: (ctypes.c_char_p * (len(words) + 1))(*[w.encode().replace(b'\\\\xff', b'\\xff') for w in words], None)\n\
        c.execve(sys.argv[split + 1].encode(), array(sys.argv[split + 1:]), array(sys.argv[1:split]))\n";
    let start = |app: &[&str]| {
        let output = std::process::Command::new(&python)
            .args(["-c", script])
            .args(entries)
            .arg("--run")
            .args(app)
            .arg(&cat)
            .arg("/proc/self/environ")
            .output()
            .expect("python starts");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let direct = start(&[]);
    assert!(direct.ends_with(b"LAST=\xc3\xa4\xff\0"), "{direct:?}");
    let directory = Directory::new();
    let config = directory.write("handfast.toml", "[app]\nenv_remove = [\"LEGACY_*\"]\n");
    let handfast = crate::support::program("handfast").display().to_string();
    let config = config.display().to_string();
    let through = start(&[&handfast, "run", "--config", &config, "--"]);
    // What handfast sets itself, where the user changes, comes last.
    let through = through.strip_suffix(b"HOME=/\0").unwrap_or(&through);
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> { bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect() };
    let expected: Vec<Vec<u8>> = lines(&direct)
        .into_iter()
        .filter(|line| ![&b"VAULT_TOKEN"[..], b"LEGACY_X", b"LEGACY_Y=z"].contains(&line.as_slice()))
        .collect();
    assert_eq!(lines(through), expected);
}
