//! What the test programs share: how they start, and how they look for a value in memory.

pub mod capabilities;
pub mod limits;
pub mod memory;
pub mod needle;
pub mod search;
pub mod start;
pub mod trace;
