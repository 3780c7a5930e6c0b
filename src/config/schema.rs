//! The configuration's JSON schema, made from the same tables of keys as the checks.
#![forbid(unsafe_code)]

use handfast_core::keys::{Key, Kind};
use serde_json::{Map, Value, json};

use super::keys;
use crate::registry;

/// The schema (JSON Schema, draft 2020-12), as text.
pub fn schema() -> Vec<u8> {
    let providers: Vec<Value> = registry::DEFINITIONS
        .iter()
        .map(|definition| {
            let mut schema = object(&[keys::PROVIDER, definition.keys]);
            schema["title"] = json!(definition.name);
            schema["properties"]["type"]["const"] = json!(definition.name);
            with_variables(schema)
        })
        .collect();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "handfast configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "app": described("What the app is and may do.", object(&[keys::APP])),
            "files": described("Where files go.", with_variables(object(&[keys::FILES]))),
            "fetch": described("How secrets are fetched.", object(&[keys::FETCH])),
            "watch": described("How secrets are kept fresh.", object(&[keys::WATCH])),
            "providers": {
                "description": "The providers by the first part of a reference; one that needs no setting needs no table.",
                "type": "object",
                "additionalProperties": { "anyOf": providers },
            },
            "secrets": {
                "description": "The secrets by name; those in variables and on the command line need no table.",
                "type": "object",
                "propertyNames": { "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$" },
                "additionalProperties": object(&[keys::SECRET]),
            },
        },
    });
    let mut text = serde_json::to_vec_pretty(&schema).unwrap_or_default();
    text.push(b'\n');
    text
}

/// The schema of a table in whose strings variables are replaced: a string that has one fits wherever another string can.
fn with_variables(mut table: Value) -> Value {
    for schema in table["properties"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        if schema["properties"].is_object() {
            *schema = with_variables(schema.take());
        }
        let Some(rules) = schema.as_object_mut() else { continue };
        if !["enum", "const", "pattern"].iter().any(|rule| rules.contains_key(*rule)) {
            continue;
        }
        let take = |rule: &str| Some((rule.to_owned(), rules.remove(rule)?));
        let fixed: Map<String, Value> = ["type", "enum", "const", "pattern"].into_iter().filter_map(take).collect();
        schema["anyOf"] = json!([fixed, { "type": "string", "pattern": "\\$\\{" }]);
    }
    table
}

fn described(description: &str, mut schema: Value) -> Value {
    schema["description"] = json!(description);
    schema
}

fn object(groups: &[&[Key]]) -> Value {
    let built = |key: &&Key| !matches!(key.kind, Kind::NotInThisVersion);
    let properties: Map<String, Value> =
        groups.iter().copied().flatten().filter(built).map(|key| (key.name.to_owned(), property(key))).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn property(key: &Key) -> Value {
    let mut schema = match key.kind {
        Kind::String => json!({ "type": "string" }),
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Duration => json!({ "type": "string", "examples": ["500ms", "10s", "1m 30s"] }),
        Kind::Size => json!({ "type": ["string", "integer"], "examples": ["64KiB", "1MiB"] }),
        Kind::Mode => json!({ "type": "string", "pattern": "^0?([46][0246][04]|[02][46][04]|[02][02]4)$" }),
        Kind::Choice(choices) => json!({ "enum": choices }),
        Kind::Strings => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Integers(least, most) => {
            json!({ "type": "array", "items": { "type": "integer", "minimum": least, "maximum": most } })
        }
        Kind::StringTable => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Table(keys) => object(&[keys]),
        Kind::Json => json!({ "type": "object" }),
        Kind::CredentialVariable => json!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" }),
        Kind::Descriptor => {
            json!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 3, "maximum": 1_048_575 }] })
        }
        Kind::NotInThisVersion => json!({}),
    };
    schema["description"] = json!(key.doc);
    // Defaults are written in TOML, which equals JSON for these kinds.
    if let Some(default) = key.default.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        schema["default"] = default;
    }
    schema
}
