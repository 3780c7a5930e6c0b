//! What `aws` does besides the conformance suite, against moto.
#![allow(missing_docs)]

mod batches;
mod log;
mod refusals;
mod support;
