//! What the worker has sent, sorted by where it goes.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};

use handfast_core::SecretValue;

use super::generation::NewFile;
use super::{Arrived, files};
use crate::error::{Class, Error, Phase, Result};
use crate::plan::{Plan, Target};

/// The files to write, and the values of descriptors by secret.
pub type Sorted = (Vec<NewFile>, HashMap<usize, SecretValue>);

/// Sorts by kind of target. The names of `#*` come from a provider's data, so they are checked as if hostile.
pub fn sort(plan: &Plan, files: Option<&files::Prepared>, arrived: Vec<Arrived>) -> Result<Sorted> {
    let bug = |what: &str| Error::new(Phase::Deliver, Class::Internal, format!("cannot deliver: {what}"));
    let mut new_files: Vec<NewFile> = Vec::new();
    let mut names = HashSet::new();
    let mut values = HashMap::new();
    for Arrived { secret, field, value } in arrived {
        let planned = plan.secrets.get(secret).ok_or_else(|| bug("a secret arrived that the plan does not have"))?;
        if let Target::Descriptor(_) = planned.target {
            if field.is_some() || values.insert(secret, value).is_some() {
                return Err(bug("a descriptor's secret arrived twice"));
            }
            continue;
        }
        let name = planned.target.file_name(field.as_deref()).unwrap_or_default();
        if !is_component(&name) {
            return Err(malformed(format!(
                "cannot deliver `{}`: one of its fields cannot be a file's name",
                planned.name
            ))
            .hint("names have 1 to 128 of `A-Z a-z 0-9 . _ -` and do not start with a dot"));
        }
        if !names.insert(name.clone()) {
            return Err(malformed(format!("cannot deliver `{}`: the file `{name}` is another's too", planned.name))
                .hint("give `file` of the secret with `#*` a prefix, such as `db-*`"));
        }
        let access = files.and_then(|files| files.access(secret)).ok_or_else(|| bug("a file has no directory"))?;
        new_files.push(NewFile { name, value, access });
    }
    Ok((new_files, values))
}

fn is_component(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}

fn malformed(message: String) -> Error {
    Error::new(Phase::Deliver, Class::Malformed, message)
}
