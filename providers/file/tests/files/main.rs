//! `file` with real files: the files that it reads, those that it refuses, and its error messages.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a file that cannot be made fails its test")]

mod limits;
mod links;
mod permissions;
mod special;

use std::path::Path;

use handfast_core::{ErrorKind, ProviderError, Table};
use handfast_file::DEFINITION;
use handfast_testkit::{Instance, Outside, table, text};

/// Reads a file as an instance without a `root` does.
fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, ProviderError> {
    fetch(Table::default(), path.as_ref())
}

/// Reads a file as an instance with that `root` does.
fn read_below(root: &Path, path: impl AsRef<Path>) -> Result<Vec<u8>, ProviderError> {
    fetch(table([("root", text(root.to_str().unwrap()))]), path.as_ref())
}

fn fetch(settings: Table, path: &Path) -> Result<Vec<u8>, ProviderError> {
    let instance = Instance::from_settings(&DEFINITION, settings, Outside::default());
    let reference = format!("file:{}", path.display());
    Ok(handfast_testkit::only(handfast_testkit::run(instance.fetch(&reference))?).expose().to_vec())
}

/// Asserts that the file was refused, and the end of the message.
#[track_caller]
fn assert_refused(result: Result<Vec<u8>, ProviderError>, why: &str) {
    assert_fails(result, ErrorKind::Denied, why);
}

#[track_caller]
fn assert_fails(result: Result<Vec<u8>, ProviderError>, kind: ErrorKind, why: &str) {
    match result {
        Ok(value) => panic!("{} bytes were read", value.len()),
        Err(error) => assert!(error.kind == kind && error.message.ends_with(why), "{:?}: {error}", error.kind),
    }
}
