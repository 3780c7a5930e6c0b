//! What the kernel tells of a process.

use std::fs;

use crate::Result;

/// The memory and the descriptors of a process at one moment.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Allocated memory, in KiB.
    pub anonymous: u64,
    /// All memory in use, in KiB: the pages of the binary too.
    pub resident: u64,
    /// The most that was ever in use, in KiB.
    pub peak: u64,
    pub descriptors: u64,
    /// How often it has gone to sleep.
    pub sleeps: u64,
}

impl Sample {
    pub fn of(pid: i32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            Ok(line.ok_or(name)?.trim().trim_end_matches(" kB").parse()?)
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        let [anonymous, resident, peak] = [field("RssAnon")?, field("VmRSS")?, field("VmHWM")?];
        Ok(Self { anonymous, resident, peak, descriptors, sleeps: field("voluntary_ctxt_switches")? })
    }
}

/// The children of a process, each with the name of its program.
pub fn children(pid: i32) -> Result<Vec<(i32, String)>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children: Vec<i32> = children.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let name = |child| fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default().trim_end().to_owned();
    Ok(children.into_iter().map(|child| (child, name(child))).collect())
}
