//! Values that occur nowhere else, and the search for them.

use std::fs::File;
use std::io::Read;
use std::process::Command;

use serde_json::Value;

use super::program;

/// 32 random hexadecimal digits, of which no two in a run of the tests are the same.
pub fn canary() -> String {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).expect("randomness never ends");
    hex(bytes)
}

/// Lower-case digits, two per byte: how the tools take values and print contents.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is found of these values in all that can be read of a process. Needs root for any but an own, dumpable one.
pub fn scan(pid: i32, needles: &[&str]) -> Value {
    let mut scan = Command::new(program("scan"));
    scan.arg(pid.to_string()).args(needles.iter().flat_map(|needle| ["--needle".into(), hex(needle)]));
    let output = scan.output().expect("the tools can be started");
    assert_ne!(output.status.code(), Some(99), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The hits of one report, as `raw whole in memory [heap]`: a list that a test can compare with none.
pub fn hits(report: &Value) -> Vec<String> {
    let text = |hit: &Value, name: &str| hit[name].as_str().unwrap_or_default().to_owned();
    let line = |hit: &Value| {
        let [encoding, part, place, mapping] = ["encoding", "part", "where", "mapping"].map(|name| text(hit, name));
        format!("{encoding} {part} in {place} {mapping}")
    };
    report["hits"].as_array().expect("each report has a list").iter().map(line).collect()
}
