//! A secret as it is fetched.
#![forbid(unsafe_code)]

use std::time::Duration;

use handfast_core::{SecretRef, Selection};

use super::watching::OnChange;

/// A secret to fetch.
pub struct Secret {
    /// Its name.
    pub name: String,
    /// The reference to it.
    pub reference: SecretRef,
    /// The provider instance, as an index into [`Instances`](super::Instances).
    pub instance: usize,
    /// Whether it may be missing.
    pub optional: bool,
    /// Whether its locator names several secrets (`kv/web/*`).
    pub is_list: bool,
    /// How often it is read again; `None` if it never changes for the app: the reference names a version, or the app keeps its descriptor.
    pub refresh: Option<Duration>,
    /// Whether its store may issue it for a time, so that it is renewed or issued anew in place of `refresh`.
    pub may_issue: bool,
    /// Whether it may have an end, before which it is read again earlier.
    pub may_end: bool,
    /// The action of a change.
    pub on_change: OnChange,
}

impl Secret {
    /// Whether it is several values, a file each: every field of a value (`#*`), or every secret of a list.
    pub fn is_several(&self) -> bool {
        self.is_list || self.reference.selection == Selection::Every
    }
}
