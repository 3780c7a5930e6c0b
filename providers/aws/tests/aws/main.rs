//! Tests of `aws` in addition to the conformance suite.
#![allow(missing_docs)]

mod batches;
mod cloud;
mod endpoints;
mod keeping;
mod local;
mod log;
mod order;
mod profiles;
mod references;
mod refusals;
mod roles;
mod support;
