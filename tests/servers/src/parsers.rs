//! Parsers of Bicep and OpenMetrics that are independent of this project.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::azure::microsofts_clients;

/// The syntax tree of a Bicep text, or the parser's error.
pub fn bicep(text: &str) -> Option<Result<Value, String>> {
    parse(concat!(env!("CARGO_MANIFEST_DIR"), "/azure/bicep.py"), text)
}

/// The families of an OpenMetrics text, or the parser's error.
pub fn openmetrics(text: &str) -> Option<Result<Value, String>> {
    parse(concat!(env!("CARGO_MANIFEST_DIR"), "/azure/openmetrics.py"), text)
}

fn parse(script: &str, text: &str) -> Option<Result<Value, String>> {
    let mut parser = Command::new(microsofts_clients()?)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    parser.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = parser.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    // A failure of Python itself has the exit code 1 too, but prints a traceback.
    assert!(!errors.contains("Traceback"), "{errors}");
    Some(match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("it is JSON")),
        false => Err(errors),
    })
}
