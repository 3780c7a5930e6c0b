//! The values that the worker has sent, sorted by target.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use handfast_core::SecretValue;

use super::failure::refusal;
use super::files::FilesDirectory;
use super::generation::{Content, NewFile};
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

/// The changes of a later set. A secret that is not in it stays as it is.
#[derive(Default)]
pub struct Changes {
    /// New values.
    pub arrived: Vec<Arrived>,
    /// Files that stay, of secrets that are several: the secret and the file's name.
    pub same: Vec<(usize, String)>,
    /// Secrets that are gone.
    pub gone: Vec<usize>,
}

impl Changes {
    /// The secrets in it, sorted, each once.
    pub fn secrets(&self) -> Vec<usize> {
        let arrived = self.arrived.iter().map(|arrived| arrived.secret);
        let mut secrets: Vec<usize> =
            arrived.chain(self.same.iter().map(|(secret, _)| *secret)).chain(self.gone.iter().copied()).collect();
        secrets.sort_unstable();
        secrets.dedup();
        secrets
    }
}

/// Merges these changes with the published set: returns all files of the new set, `None` if no file changes or there is no directory;
/// and the values of descriptors by secret.
pub fn merge(files: Option<&FilesDirectory>, changes: Changes) -> Result<(Option<Vec<NewFile>>, Values)> {
    let changed = changes.secrets();
    let Changes { arrived, mut same, .. } = changes;
    let (mut new_files, values) = sort(files, arrived)?;
    let Some(files) = files.filter(|files| changed.iter().any(|secret| files.access(*secret).is_some())) else {
        return Ok((None, values));
    };
    let others = files.current().filter(|(secret, _)| changed.binary_search(secret).is_err());
    same.extend(others.map(|(secret, name)| (secret, name.to_owned())));
    for (secret, name) in same {
        let access = files.access(secret).ok_or_else(|| bug("a file has no directory"))?;
        new_files.push(NewFile { secret, name, content: Content::Unchanged, access });
    }
    new_files.sort_by(|one, other| one.name.cmp(&other.name));
    match new_files.array_windows().find(|[one, other]| one.name == other.name) {
        Some([twice, _]) => Err(refusal(format!("cannot deliver `{}`: two secrets would be that file", twice.name))),
        None => Ok((Some(new_files), values)),
    }
}

fn bug(what: &str) -> Error {
    Error::new(Phase::Deliver, Class::Internal, format!("cannot deliver: {what}"))
}

/// The values of descriptors by secret.
pub type Values = HashMap<usize, SecretValue>;

/// The files to write, and the values of descriptors.
pub type Sorted = (Vec<NewFile>, Values);

/// Sorts values by kind of target. The receiver has checked that the names are valid and unique.
pub fn sort(files: Option<&FilesDirectory>, arrived: Vec<Arrived>) -> Result<Sorted> {
    let mut new_files: Vec<NewFile> = Vec::new();
    let mut values = HashMap::new();
    for Arrived { secret, file, value } in arrived {
        match file {
            Some(name) => {
                let access =
                    files.and_then(|files| files.access(secret)).ok_or_else(|| bug("a file has no directory"))?;
                new_files.push(NewFile { secret, name, content: Content::Value(value), access });
            }
            None if values.insert(secret, value).is_some() => return Err(bug("a descriptor's secret arrived twice")),
            None => {}
        }
    }
    Ok((new_files, values))
}
