//! AWS on bad days: what `shared.rs` holds every store to, and what only AWS has.

mod batches;
mod line;
mod login;
