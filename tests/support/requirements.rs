//! What a test needs from the machine, in a word where it ends without it.

pub use handfast_testservers::{find_program, is_root, require};

/// Ends the test here unless it runs as root.
macro_rules! needs_root {
    () => {
        if !$crate::support::require($crate::support::is_root(), "root") {
            return;
        }
    };
}

/// The path of a program of the machine's; ends the test here where there is none.
macro_rules! needs_program {
    ($name:expr) => {{
        let found = $crate::support::find_program($name);
        if !$crate::support::require(found.is_some(), $name) {
            return;
        }
        found.expect("it was found")
    }};
}

pub(crate) use {needs_program, needs_root};
