//! The stage `deliver` (stub until its branch lands).
#![forbid(unsafe_code)]

use handfast_core::SecretValue;

/// A value as the worker sent it.
pub struct Arrived {
    /// The secret, as an index into the plan's.
    pub secret: usize,
    /// The field, for `#*`.
    pub field: Option<String>,
    /// The value.
    pub value: SecretValue,
}
