//! What each kind of caged process may do, as values.
#![forbid(unsafe_code)]

mod supervisor;
#[cfg(test)]
mod tests;
mod worker;
