//! The schema is JSON Schema, and has exactly the keys that the configuration takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::support::{Directory, Run};
use handfast::cli::Options;
use handfast::config::{self, Environment, schema};
use handfast::plan::{Purpose, make};
use handfast::sys::environment::Captured;
use handfast::sys::signals::Signals;
use handfast_core::Problems;
use serde_json::{Map, Value};

/// Every key of this version, table by table: what the contract has, less what is not built.
const KEYS: [(&str, &[&str]); 13] = [
    (
        "app",
        &[
            "allow_root",
            "core_dumps",
            "env_keep",
            "env_remove",
            "groups",
            "keep_capabilities",
            "keep_fds",
            "strict",
            "user",
        ],
    ),
    ("files", &["dir", "mode", "size", "swap"]),
    (
        "watch",
        &["max_stale", "metrics", "on_change", "on_stale", "quiet", "refresh", "splay", "stop_signal", "stop_timeout"],
    ),
    ("fetch", &["ca_file", "concurrency", "deadline", "proxy", "roots"]),
    (
        "providers.aws",
        &[
            "auth",
            "ca_file",
            "danger_plaintext",
            "endpoint",
            "external_id",
            "profile",
            "region",
            "role_arn",
            "roots",
            "session_name",
            "type",
        ],
    ),
    ("providers.aws.auth", &["method"]),
    ("providers.azure", &["auth", "authority", "ca_file", "cloud", "endpoint_suffix_check", "roots", "type", "vault"]),
    (
        "providers.azure.auth",
        &[
            "cert_file",
            "client_id",
            "client_secret_env",
            "client_secret_file",
            "key_file",
            "method",
            "object_id",
            "resource_id",
            "tenant_id",
            "token_file",
        ],
    ),
    ("providers.file", &["ca_file", "root", "roots", "type"]),
    ("providers.mock", &["ca_file", "fail", "fail_first", "latency", "roots", "rotate_every", "type", "values"]),
    (
        "providers.vault",
        &[
            "address",
            "auth",
            "ca_file",
            "danger_plaintext",
            "danger_skip_tls_verify",
            "mounts",
            "namespace",
            "revoke_on_exit",
            "roots",
            "type",
        ],
    ),
    (
        "providers.vault.auth",
        &[
            "cert_file",
            "header_value",
            "jwt_env",
            "jwt_file",
            "key_file",
            "method",
            "mount",
            "password_env",
            "password_file",
            "role",
            "role_id",
            "role_id_env",
            "role_id_file",
            "secret_id_env",
            "secret_id_file",
            "token_env",
            "token_file",
            "username",
            "wrapped",
        ],
    ),
    (
        "secrets.a",
        &["fd", "fd_env", "file", "from", "mode", "on_change", "optional", "owner", "params", "path_env", "refresh"],
    ),
];

fn read() -> Value {
    serde_json::from_slice(&schema::schema()).expect("it is JSON")
}

/// The schema of a table, by its name in [`KEYS`].
fn table<'s>(schema: &'s Value, name: &str) -> &'s Map<String, Value> {
    let properties = &schema["properties"];
    let table = match name.split_once('.') {
        None => &properties[name],
        Some(("secrets", _)) => &properties["secrets"]["additionalProperties"],
        Some((_, provider)) => {
            let (provider, below) = provider.split_once('.').unwrap_or((provider, ""));
            let kinds = properties["providers"]["additionalProperties"]["anyOf"].as_array().expect("a list");
            let kind = kinds.iter().find(|kind| kind["title"] == provider).expect("each provider has one");
            if below.is_empty() { kind } else { &kind["properties"][below] }
        }
    };
    assert_eq!((&table["type"], &table["additionalProperties"]), (&"object".into(), &false.into()), "{name}");
    table["properties"].as_object().expect("an object")
}

/// What holds for a value without variables.
fn fixed(property: &Value) -> &Value {
    if has_variables(property) { &property["anyOf"][0] } else { property }
}

/// Whether a string with a variable fits, whatever other strings do.
fn has_variables(property: &Value) -> bool {
    property["anyOf"][1]["pattern"] == "\\$\\{"
}

#[test]
fn a_string_with_a_variable_fits_where_variables_are_replaced() {
    let schema = read();
    for (name, keys) in KEYS {
        let replaced = name == "files" || name.starts_with("providers.");
        for key in keys {
            let property = &table(&schema, name)[*key];
            let is_fixed = ["enum", "const", "pattern"].iter().any(|rule| fixed(property).get(rule).is_some());
            assert_eq!(has_variables(property), replaced && is_fixed, "{name}.{key}");
        }
    }
    let config = "[files]\ndir = \"/dev/shm/${NO:-x}\"\nmode = \"${NO:-0440}\"\nswap = \"${NO:-warn}\"\n\
                  [providers.mock]\ntype = \"${NO:-mock}\"\nroots = \"${NO:-builtin}\"\nfail = \"${NO:-denied}\"\n";
    let outcome = Run::command("check").config(config).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn the_schema_has_every_key_and_no_other() {
    let schema = read();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!((&schema["type"], &schema["additionalProperties"]), (&"object".into(), &false.into()));
    let tables: Vec<_> = schema["properties"].as_object().expect("an object").keys().collect();
    assert_eq!(tables, ["app", "fetch", "files", "providers", "secrets", "watch"]);
    for (name, keys) in KEYS {
        let properties = table(&schema, name);
        assert_eq!(properties.keys().collect::<Vec<_>>(), keys, "{name}");
        for (key, property) in properties {
            let description = property["description"].as_str().expect("text");
            assert!(description.ends_with('.'), "{name}.{key}: {description}");
        }
    }
}

#[test]
fn each_key_takes_what_its_schema_says_and_nothing_else() {
    let schema = read();
    let directory = Directory::new();
    for (name, keys) in KEYS {
        for key in keys {
            let property = &table(&schema, name)[*key];
            // Of AWS and Azure a key may need another one: what they take together, their own tests say.
            let alone = !name.starts_with("providers.a");
            for example in right(fixed(property)).into_iter().filter(|_| alone) {
                let found = problems(&directory, name, key, &example);
                let about = found.iter().find(|problem| {
                    problem.contains("unknown key")
                        // Alone, `roots = "none"` lacks a `ca_file`.
                        || problem.contains(&format!("`{key}` is ")) && !problem.contains("there is no `ca_file`")
                        || problem.contains("TOML")
                });
                assert_eq!(about, None, "{name}.{key} = {example}");
            }
            for example in wrong(fixed(property)) {
                let found = problems(&directory, name, key, &example);
                // A login of one key lacks others too: the problem must be about this one.
                let is_about =
                    |problem: &String| !name.ends_with(".auth") || problem.starts_with(&format!("`{key}` is "));
                assert!(found.iter().any(is_about), "{name}.{key} = {example} is accepted");
            }
        }
        let found = problems(&directory, name, "no_such_key", "1");
        assert!(found.iter().any(|problem| problem.contains("unknown key `no_such_key`")), "{name}: {found:?}");
    }
}

/// What starts would say to this one key.
fn problems(directory: &Directory, table: &str, key: &str, value: &str) -> Vec<String> {
    let from = if table.starts_with("secrets") && key != "from" { "from = \"mock:a\"\n" } else { "" };
    let path: PathBuf = directory.path().join("handfast.toml");
    fs::write(&path, format!("[{table}]\n{key} = {value}\n{from}")).expect("it is ours");
    let mut environment = Environment::from(Captured::default());
    let options = Options { config: vec![path], directory: Some(Path::new("/x").into()), ..Options::default() };
    let mut problems = Problems::default();
    let config = config::read(&options, &mut environment, Signals::NONE, Instant::now(), &mut problems)
        .expect("nothing ends it");
    make::make(config, &environment, Purpose::Run, Instant::now(), &mut problems);
    problems.into_sorted().into_iter().map(|problem| problem.message).collect()
}

/// The names of variables.
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// Values, as TOML, that a schema allows; JSON's are TOML's too.
fn right(property: &Value) -> Vec<String> {
    let mut values: Vec<String> = ["examples", "enum"]
        .iter()
        .filter_map(|list| property[*list].as_array())
        .flatten()
        .chain([&property["default"], &property["const"], &property["minimum"], &property["maximum"]])
        .filter(|value| !value.is_null())
        .map(Value::to_string)
        .collect();
    for alternative in property["anyOf"].as_array().into_iter().flatten() {
        values.extend(right(alternative));
    }
    if property["pattern"] == VARIABLE {
        values.extend(["\"MY_TOKEN\"", "\"_1\"", "\"a\""].map(str::to_owned));
    } else if let Some(pattern) = property["pattern"].as_str() {
        assert_eq!(pattern, "^0?([46][0246][04]|[02][46][04]|[02][02]4)$", "there is no other pattern");
        values.extend(
            ["0400", "440", "0444", "0600", "0664", "0024", "0260", "0004", "0040", "044", "0044", "0404"]
                .map(|mode| format!("\"{mode}\"")),
        );
    } else if values.is_empty() {
        let value = match property["type"].as_str() {
            // A path, a name, a reference: what else is wrong with it, the schema cannot say.
            Some("string") if property["description"].as_str().is_some_and(|text| text.contains("uid:gid")) => {
                "\"1:2\""
            }
            Some("string")
                if property["description"].as_str().is_some_and(|text| text.starts_with("How to log in")) =>
            {
                "\"token\""
            }
            Some("string")
                if property["description"].as_str().is_some_and(|text| text.starts_with("What a change does")) =>
            {
                "\"restart\""
            }
            Some("string") => "\"/dev/shm\"",
            Some("boolean") => "true",
            Some("array") => "[]",
            Some("object") if property.get("properties").is_some() => "{}",
            Some("object") => "{ a = \"b\" }",
            other => panic!("no example for {other:?}"),
        };
        values.push(value.to_owned());
    }
    values
}

/// Values that it does not allow.
fn wrong(property: &Value) -> Vec<String> {
    let mut values = vec!["1979-05-27".to_owned(), "1.5".into(), "[[1]]".into()];
    let is = |kind: &str| property["type"] == kind;
    if is("boolean") || is("array") || is("object") {
        values.push("\"text\"".into());
    }
    if is("array") {
        values.push("[1]".into());
    }
    if is("object") {
        values.push("[]".into());
        // A table of anything that JSON has takes it; others are of strings, or have keys of their own.
        values.push(if property.get("additionalProperties").is_some() { "{ a = 1 }" } else { "{ a = 1.5 }" }.into());
    }
    if property["pattern"] == VARIABLE {
        values.extend(["\"\"", "\"1A\"", "\"A=B\"", "\"hvs.CAESIJ\"", "3"].map(str::to_owned));
        return values;
    }
    if property.get("enum").is_some() || property.get("pattern").is_some() || property.get("examples").is_some() {
        values.push("\"no such thing\"".into());
    }
    if property.get("pattern").is_some() {
        values.extend(["\"0666\"", "\"0000\"", "\"4400\"", "\"0o400\"", "400"].map(str::to_owned));
    }
    if let (Some(least), Some(most)) = (property["minimum"].as_i64(), property["maximum"].as_i64()) {
        values.extend([(least - 1).to_string(), (most + 1).to_string()]);
    }
    for alternative in property["anyOf"].as_array().into_iter().flatten().filter(|kind| kind["minimum"].is_i64()) {
        values.extend(
            [(alternative["minimum"].as_i64(), -1), (alternative["maximum"].as_i64(), 1)]
                .map(|(end, step)| (end.expect("both ends are said") + step).to_string()),
        );
    }
    values
}
