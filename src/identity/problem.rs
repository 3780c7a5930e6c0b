//! Problems with a user or a group.
#![forbid(unsafe_code)]

/// A problem with a setting about the app's user or groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting.
    pub setting: Setting,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// A setting that names a user or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The user, with or without a group.
    User,
    /// One of the supplementary groups, by its index.
    Groups(usize),
}
