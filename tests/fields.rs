//! The selection of fields, end to end with each provider: what is stored, the reference, what the app gets.
//!
//! Selection is the scheduler's, not the providers': their conformance suite holds them to the stored bytes, and this holds
//! the program to the rest. A new provider is one more `Source`.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "what is not there fails its test")]

use std::fs;
use std::process::{Command, Output};

use handfast_testkit::Scratch;

const DOCUMENT: &str =
    r#"{ "password": "a\nb\u00e9", "n": 1.0, "o": { "x" : [1, " y "] }, "key": "aGVs\nbG8=", "": "e" }"#;

/// Puts a document where a provider finds it: a configuration, and the reference to the whole.
type Source = fn(&Scratch, &str) -> (String, String);

const SOURCES: [Source; 2] = [in_file, in_mock];

fn in_file(scratch: &Scratch, document: &str) -> (String, String) {
    let path = scratch.join("document");
    fs::write(&path, document).unwrap();
    (format!("[providers.file]\nroot = '{}'\n", scratch.path().display()), format!("file:{}", path.display()))
}

fn in_mock(_: &Scratch, document: &str) -> (String, String) {
    (format!("[providers.mock]\nvalues = {{ document = '''{document}''' }}\n"), "mock:document".to_owned())
}

/// Starts `cat` with the secret as descriptor 3.
fn run(source: Source, document: &str, selection: &str) -> Output {
    let scratch = Scratch::new();
    let (configuration, reference) = source(&scratch, document);
    let file = scratch.join("handfast.toml");
    fs::write(&file, configuration).unwrap();
    Command::new(env!("CARGO_BIN_EXE_handfast"))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .args(["run", "--config", file.to_str().unwrap()])
        .args(["--secret", &format!("s={reference}{selection}"), "--", "cat", "/dev/fd/3"])
        .output()
        .unwrap()
}

#[test]
fn each_provider_gives_the_whole_value_and_its_fields() {
    for source in SOURCES {
        for (selection, expected) in [
            ("", DOCUMENT),
            ("#password", "a\nbé"),
            ("#n", "1.0"),
            ("#o", r#"{"x":[1," y "]}"#),
            ("#/o/x/1", " y "),
            ("#/", "e"),
            ("?decode=base64#key", "hello"),
        ] {
            let output = run(source, DOCUMENT, selection);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{selection}: {said}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{selection}");
        }
    }
}

#[test]
fn each_provider_fails_alike_where_a_field_cannot_be_had() {
    for source in SOURCES {
        for (document, selection, code) in [
            (DOCUMENT, "#passwrod", 66),
            (DOCUMENT, "#/o/x/2", 66),
            (DOCUMENT, "?decode=base64#password", 65),
            ("canary-7f3a", "#password", 65),
            (r#"{"password":"canary-7f3a","password":""}"#, "#password", 65),
            (r#"["canary-7f3a"]"#, "#password", 65),
        ] {
            let output = run(source, document, selection);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{selection}: {said}");
            assert!(output.stdout.is_empty(), "the app ran");
            assert!(!said.contains("canary-7f3a"), "{said}");
        }
    }
}
