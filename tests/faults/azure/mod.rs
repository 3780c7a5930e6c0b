//! Azure on bad days: what `shared.rs` holds every store to.

mod line;
