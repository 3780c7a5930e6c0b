//! A secret as it is fetched.
#![forbid(unsafe_code)]

use handfast_core::{SecretRef, Selection};

/// A secret to fetch.
pub struct Secret {
    /// Its name.
    pub name: String,
    /// The store's part of it.
    pub reference: SecretRef,
    /// The provider instance: `Instance::index`.
    pub instance: usize,
    /// Whether it may be missing.
    pub optional: bool,
    /// Whether its locator names several secrets (`kv/web/*`).
    pub is_list: bool,
}

impl Secret {
    /// Whether it is several values, a file each: every field of a value (`#*`), or every secret of a list.
    pub fn is_several(&self) -> bool {
        self.is_list || self.reference.selection == Selection::Every
    }
}
