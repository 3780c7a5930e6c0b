//! The stage `deliver` (stub until its branch lands).
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::fd::RawFd;

use crate::error::Result;
use crate::plan::Plan;
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
/// x
pub struct Destination;
/// x
pub struct Handover;
/// x
pub fn prepare(_: &Plan) -> Result<Destination> {
    Ok(Destination)
}
/// x
pub fn deliver(_: Destination, _: &Plan, _: Vec<Arrived>) -> Result<Handover> {
    Ok(Handover)
}
impl Handover {
    /// x
    pub fn environment(&self, plan: &Plan) -> Vec<(OsString, OsString)> {
        plan.environment.clone()
    }
    /// x
    pub fn descriptors(&self) -> &[RawFd] {
        &[]
    }
}
