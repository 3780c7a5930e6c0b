//! The tables of docs/configuration.md are what the schema says.

use std::collections::BTreeSet;

use handfast::registry::DEFINITIONS;
use serde_json::{Map, Value};

use crate::pages::{is_update, page, rewrite};

const PAGE: &str = "docs/configuration.md";

/// What starts and ends a table that is made of the schema.
const START: &str = "<!-- keys of ";
const END: &str = "<!-- end of keys -->";

#[test]
fn the_tables_of_the_configuration_page_are_the_schemas() {
    if is_update() {
        rewrite(PAGE, with_tables);
    }
    let found = page(PAGE).text;
    let now = with_tables(&found);
    if now != found {
        let (line, (now, found)) = (1..).zip(now.lines().zip(found.lines())).find(|(_, (a, b))| a != b).expect("one");
        panic!("{PAGE}:{line} is stale; HANDFAST_UPDATE=1 writes it anew\n--- schema\n{now}\n--- page\n{found}");
    }
}

#[test]
fn each_provider_and_each_option_of_a_reference_is_on_the_page() {
    let page = page(PAGE);
    for definition in DEFINITIONS {
        let heading = format!("`{}`", definition.name);
        let Some((_, section)) = page.text.split_once(&format!("\n### {heading}\n")) else {
            panic!("{PAGE} has no section {heading}");
        };
        let section = section.split("\n### ").next().expect("there is a first");
        assert!(section.contains(&format!("`{}:", definition.name)), "{heading} shows no reference");
        for parameter in definition.parameters {
            assert!(section.contains(&format!("?{parameter}=")), "{heading} says nothing of `?{parameter}=`");
        }
        let readme = format!("../providers/{}/README.md", definition.name);
        assert!(section.contains(&readme), "{heading} has no link to {readme}");
    }
}

/// The page with the tables as the schema says them.
fn with_tables(found: &str) -> String {
    let tables = tables();
    let (mut now, mut written) = (String::new(), BTreeSet::new());
    let mut lines = found.lines();
    while let Some(line) = lines.next() {
        now += &format!("{line}\n");
        let Some(name) = line.strip_prefix(START).and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        let (_, table) = tables.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no table `{name}`"));
        assert!(written.insert(name), "{name} is there twice");
        lines.by_ref().find(|line| *line == END).unwrap_or_else(|| panic!("the table of {name} has no end"));
        now += &format!("\n{}\n{END}\n", rows(table));
    }
    let missing: Vec<_> =
        tables.iter().filter(|(name, _)| !written.contains(name.as_str())).map(|one| &one.0).collect();
    assert!(missing.is_empty(), "tables of the schema that are not on the page: {missing:?}");
    now
}

/// The schema's tables by the names that the page has for them.
fn tables() -> Vec<(String, Map<String, Value>)> {
    let schema: Value = serde_json::from_slice(&handfast::config::schema::schema()).expect("it is JSON");
    let of = |value: &Value| value["properties"].as_object().expect("a table").clone();
    let mut tables: Vec<(String, Map<String, Value>)> =
        ["app", "files", "fetch", "watch"].map(|name| (name.to_owned(), of(&schema["properties"][name]))).into();
    tables.push(("secrets.NAME".into(), of(&schema["properties"]["secrets"]["additionalProperties"])));
    let providers = schema["properties"]["providers"]["additionalProperties"]["anyOf"].as_array().expect("a list");
    // What each of them takes is told once.
    let is_shared = |key: &str| providers.iter().all(|one| of(one).contains_key(key));
    let (mut shared, _) = split(of(&providers[0]), &is_shared);
    let mut kinds = shared["type"].clone();
    kinds["anyOf"] = Value::Null;
    kinds["enum"] = providers.iter().map(|one| one["title"].clone()).collect();
    shared.insert("type".into(), kinds);
    tables.push(("providers.NAME".into(), shared));
    for provider in providers {
        let name = format!("providers.{}", provider["title"].as_str().expect("a name"));
        let (_, own) = split(of(provider), &is_shared);
        let below: Vec<_> = own.iter().filter(|(_, key)| key.get("properties").is_some()).collect();
        let below: Vec<_> = below.into_iter().map(|(key, value)| (format!("{name}.{key}"), of(value))).collect();
        tables.push((name, own));
        tables.extend(below);
    }
    tables
}

type Table = Map<String, Value>;

fn split(table: Table, is_first: &dyn Fn(&str) -> bool) -> (Table, Table) {
    table.into_iter().partition(|(key, _)| is_first(key))
}

fn rows(table: &Table) -> String {
    let mut text = String::from("| key | takes | default | meaning |\n|---|---|---|---|\n");
    for (key, property) in table {
        let description = property["description"].as_str().expect("each key has one").trim_end_matches('.');
        let (meaning, default) = description.split_once("; default: ").unwrap_or((description, ""));
        let default = match &property["default"] {
            Value::Null => default.to_owned(),
            value => format!("`{value}`"),
        };
        text += &format!("| `{key}` | {} | {} | {meaning} |\n", takes(property), default.replace('|', "\\|"));
    }
    text
}

/// What a key takes, in words.
fn takes(property: &Value) -> String {
    let literals = |values: &Value| {
        let values: Vec<String> = values.as_array().into_iter().flatten().map(|one| format!("`{one}`")).collect();
        values.join(", ")
    };
    if let Some(alternatives) = property["anyOf"].as_array() {
        // That variables are replaced is said once, for the whole table.
        let others = alternatives.iter().filter(|one| one["pattern"] != "\\$\\{");
        return others.map(takes).collect::<Vec<_>>().join(" or ");
    }
    match property["type"].as_str() {
        _ if !property["enum"].is_null() => literals(&property["enum"]),
        _ if !property["const"].is_null() => format!("`{}`", property["const"]),
        Some("integer") => format!("integer, {} to {}", property["minimum"], property["maximum"]),
        Some("boolean") => "boolean".into(),
        Some("array") => "array of strings".into(),
        Some("object") if property.get("properties").is_some() => "table, below".into(),
        Some("object") if property["additionalProperties"]["type"] == "string" => "table of strings".into(),
        Some("object") => "table".into(),
        Some("string") if property["pattern"] == "^[A-Za-z_][A-Za-z0-9_]*$" => "a variable's name".into(),
        Some("string") if !property["pattern"].is_null() => "a file mode, octal, as a string".into(),
        Some("string") if !property["examples"].is_null() => format!("duration: {}", literals(&property["examples"])),
        Some("string") => "string".into(),
        _ if property["type"].is_array() => format!("size: {}, or bytes", literals(&property["examples"])),
        other => panic!("a kind without a word: {other:?}"),
    }
}
