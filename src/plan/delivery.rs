//! Where the app finds a secret.
#![forbid(unsafe_code)]

use std::os::fd::RawFd;

/// What a name may be, for a hint.
pub const NAMES: &str = "`[A-Za-z0-9._-]`, 1 to 128, not starting with a dot";

/// The app's variable that names its descriptors: `api-key:4,db-password:3`.
pub const DESCRIPTORS_VARIABLE: &str = "HANDFAST_FDS";

/// The app's variable that names the files directory, as systemd has it (systemd.exec(5), "Credentials").
pub const DIRECTORY_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// A secret's way to the app.
pub struct Delivery {
    /// The name that the app knows it by.
    pub name: String,
    /// The secret, as an index into `Plan::secrets`.
    pub secret: usize,
    /// Where it goes.
    pub target: Target,
    /// The app's variables that get its path (`/run/secrets/db` or `/dev/fd/3`).
    pub path_variables: Vec<String>,
    /// The app's variables that get its descriptor's number.
    pub number_variables: Vec<String>,
}

/// Where a secret goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A sealed memfd under this number.
    Descriptor(RawFd),
    /// Files in the files directory.
    File {
        /// The file's name; for `#*` a pattern, whose `*` is the field's name.
        name: String,
        /// Its mode.
        mode: u32,
        /// Its owner; the app's where `None`.
        owner: Option<(u32, u32)>,
    },
}

impl Target {
    /// The name of the file for a field or a secret of a list, where the target is a file.
    pub fn file_name(&self, field: Option<&str>) -> Option<String> {
        match (self, field) {
            (Target::File { name, .. }, Some(field)) => Some(name.replacen('*', field, 1)),
            (Target::File { name, .. }, None) => Some(name.clone()),
            (Target::Descriptor(_), _) => None,
        }
    }

    /// The name of the field or the secret of a list that a file of the target is for, where the target is a pattern.
    pub fn field<'f>(&self, file: &'f str) -> Option<&'f str> {
        let Target::File { name, .. } = self else { return None };
        let (before, after) = name.split_once('*')?;
        file.strip_prefix(before)?.strip_suffix(after)
    }
}

/// Whether a name can be a file's in the files directory: one path component that needs no quoting anywhere.
pub fn valid_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits)
}
