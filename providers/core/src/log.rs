//! The level `debug`.

/// The target of events that are handfast's own, of level `debug`.
pub const DEBUG: &str = "handfast::debug";

/// Says something of level `debug`.
///
/// To `tracing` it is of level info: what is below that is where libraries show what they send and receive, and it is left out of a
/// release build at all (the feature `release_max_level_info`), so that no setting can print it.
#[macro_export]
macro_rules! debug {
    ($($said:tt)*) => { $crate::tracing::info!(target: $crate::DEBUG, $($said)*) };
}
