//! The selection of fields, end to end with each provider: what is stored, the reference, what the app gets.
//!
//! Selection is the scheduler's, not the providers': their conformance suite holds them to the stored bytes, and this holds
//! the program to the rest. A new provider is one more `Source`.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "what is not there fails its test")]

use std::fs;
use std::process::{Command, Output};

use handfast_testkit::Scratch;
use handfast_testservers::{Vault, random};
use serde_json::{Value, json};

const DOCUMENT: &str =
    r#"{ "password": "a\nb\u00e9", "n": 1.0, "o": { "x" : [1, " y "] }, "key": "aGVs\nbG8=", "": "e" }"#;

/// Puts a document where a provider finds it; nothing where its store takes no such document.
type Source = fn(&Scratch, &str) -> Option<Stored>;

/// A document in a store.
struct Stored {
    configuration: String,
    /// The reference to the whole.
    reference: String,
    /// The provider's credential.
    credential: Option<(&'static str, String)>,
    /// The whole, as the store gives it, and of that the field `n`.
    whole: String,
    number: &'static str,
}

const SOURCES: [Source; 3] = [in_file, in_mock, in_vault];

fn in_file(scratch: &Scratch, document: &str) -> Option<Stored> {
    let path = scratch.join("document");
    fs::write(&path, document).unwrap();
    let configuration = format!("[providers.file]\nroot = '{}'\n", scratch.path().display());
    let reference = format!("file:{}", path.display());
    Some(Stored { configuration, reference, credential: None, whole: document.to_owned(), number: "1.0" })
}

fn in_mock(_: &Scratch, document: &str) -> Option<Stored> {
    let configuration = format!("[providers.mock]\nvalues = {{ document = '''{document}''' }}\n");
    Some(Stored {
        configuration,
        reference: "mock:document".to_owned(),
        credential: None,
        whole: document.to_owned(),
        number: "1.0",
    })
}

/// Vault keeps objects alone, reads them when they are put, and gives them sorted, without white space, and with
/// numbers as it has understood them.
fn in_vault(_: &Scratch, document: &str) -> Option<Stored> {
    // What is no object, or has a key twice, is not what it keeps.
    let data: Value = serde_json::from_str(document).ok().filter(|_| document == DOCUMENT)?;
    let vault = Vault::shared()?;
    let name = random("document-");
    vault.must("POST", &format!("secret/data/{name}"), json!({ "data": data }));
    let (address, authority) = (vault.address(), vault.ca_file().display());
    Some(Stored {
        configuration: format!("[providers.vault]\naddress = '{address}'\nca_file = '{authority}'\nroots = \"none\"\n"),
        reference: format!("vault:secret/{name}"),
        credential: Some(("VAULT_TOKEN", vault.root_token().to_owned())),
        whole: data.to_string().replace("1.0", "1"),
        number: "1",
    })
}

/// Starts `cat` with the secret as descriptor 3.
fn run(scratch: &Scratch, stored: &Stored, selection: &str) -> Output {
    let file = scratch.join("handfast.toml");
    fs::write(&file, &stored.configuration).unwrap();
    Command::new(env!("CARGO_BIN_EXE_handfast"))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(stored.credential.clone())
        .args(["run", "--config", file.to_str().unwrap()])
        .args(["--secret", &format!("s={}{selection}", stored.reference), "--", "cat", "/dev/fd/3"])
        .output()
        .unwrap()
}

#[test]
fn each_provider_gives_the_whole_value_and_its_fields() {
    let scratch = Scratch::new();
    for stored in SOURCES.iter().filter_map(|source| source(&scratch, DOCUMENT)) {
        for (selection, expected) in [
            ("", &*stored.whole),
            ("#password", "a\nbé"),
            ("#n", stored.number),
            ("#o", r#"{"x":[1," y "]}"#),
            ("#/o/x/1", " y "),
            ("#/", "e"),
            ("?decode=base64#key", "hello"),
        ] {
            let output = run(&scratch, &stored, selection);
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
            let scratch = Scratch::new();
            let Some(stored) = source(&scratch, document) else { continue };
            let output = run(&scratch, &stored, selection);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{selection}: {said}");
            assert!(output.stdout.is_empty(), "the app ran");
            assert!(!said.contains("canary-7f3a"), "{said}");
        }
    }
}
