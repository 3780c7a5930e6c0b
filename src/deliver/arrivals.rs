//! What the worker has sent, sorted by where it goes.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use handfast_core::SecretValue;

use super::files;
use super::generation::NewFile;
use crate::error::{Class, Error, Phase, Result};

/// A secret that the worker has fetched.
pub struct Arrived {
    /// The secret, as an index into `Plan::secrets`.
    pub secret: usize,
    /// The name of its file, checked; `None` where it goes into a descriptor.
    pub file: Option<String>,
    /// Its value.
    pub value: SecretValue,
}

/// The files to write, and the values of descriptors by secret.
pub type Sorted = (Vec<NewFile>, HashMap<usize, SecretValue>);

/// Sorts by kind of target. That the names are files' names, each once, was checked where they came in.
pub fn sort(files: Option<&files::FilesDirectory>, arrived: Vec<Arrived>) -> Result<Sorted> {
    let bug = |what: &str| Error::new(Phase::Deliver, Class::Internal, format!("cannot deliver: {what}"));
    let mut new_files: Vec<NewFile> = Vec::new();
    let mut values = HashMap::new();
    for Arrived { secret, file, value } in arrived {
        match file {
            Some(name) => {
                let access =
                    files.and_then(|files| files.access(secret)).ok_or_else(|| bug("a file has no directory"))?;
                new_files.push(NewFile { name, value, access });
            }
            None if values.insert(secret, value).is_some() => return Err(bug("a descriptor's secret arrived twice")),
            None => {}
        }
    }
    Ok((new_files, values))
}
