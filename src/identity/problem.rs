//! What is wrong with a user or a group.
#![forbid(unsafe_code)]

/// What is wrong with what the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting that it is about.
    pub setting: Setting,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// A setting that names someone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The user, with or without a group.
    User,
    /// One of the supplementary groups, by its index.
    Groups(usize),
}
