//! The level `debug`.

/// The target of handfast's own events of level `debug`.
pub const DEBUG: &str = "handfast::debug";

/// Logs a line of level `debug`.
///
/// For `tracing`, the event has the level info. At lower levels, libraries log the data that they send and receive; a release
/// build removes those events (the feature `release_max_level_info`), so that no setting can print them.
#[macro_export]
macro_rules! debug {
    ($($line:tt)*) => { $crate::tracing::info!(target: $crate::DEBUG, $($line)*) };
}
