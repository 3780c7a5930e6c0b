//! Shared code of the test programs: their start, and the search for a value in memory.

pub mod capabilities;
pub mod limits;
pub mod memory;
pub mod needle;
pub mod search;
pub mod start;
pub mod trace;
