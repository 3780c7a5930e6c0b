//! A way to start the no-op with a store's secrets.

use std::ffi::CString;
use std::path::Path;

use crate::Result;

/// A command, and its whole environment.
pub struct Contender {
    pub name: String,
    pub command: Vec<CString>,
    pub environment: Vec<CString>,
}

impl Contender {
    pub fn new(name: &str, words: &[String], environment: &[String]) -> Result<Self> {
        let texts =
            |texts: &[String]| texts.iter().map(|text| CString::new(text.as_str())).collect::<Result<Vec<_>, _>>();
        Ok(Self { name: name.to_owned(), command: texts(words)?, environment: texts(environment)? })
    }
}

pub fn show(path: &Path) -> String {
    path.display().to_string()
}
