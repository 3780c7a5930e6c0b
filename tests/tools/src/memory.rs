//! Everything that can be read of a process: its memory, its initial environment, its command line.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use serde_json::{Value, json};

use crate::search::{Hit, Search};

const PIECE: usize = 1 << 20;

/// The result of a scan, and how much memory it covered.
#[derive(Default)]
pub struct Report {
    /// One entry for each hit: needle, encoding, part, place, and for memory the address and the mapping.
    pub hits: Vec<Value>,
    /// The number of searched bytes.
    pub scanned: u64,
    /// The bytes of readable mappings that nevertheless could not be read (such as memory of a device).
    pub unreadable: u64,
}

impl Report {
    fn add(&mut self, place: &str, hits: Vec<Hit>, details: impl Fn(&Hit) -> (u64, String)) {
        for hit in hits {
            let (address, mapping) = details(&hit);
            self.hits.push(json!({
                "needle": hit.needle, "encoding": hit.encoding, "part": hit.part.name(),
                "where": place, "address": format!("{address:#x}"), "mapping": mapping,
            }));
        }
    }
}

/// The peak memory of process `process` so far, in KiB (`VmHWM`).
///
/// # Errors
///
/// If the process is gone, or has no memory any more.
pub fn peak_kib(process: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    peak.ok_or_else(|| io::Error::other("no line `VmHWM`"))
}

struct Mapping {
    start: u64,
    end: u64,
    name: String,
}

/// Searches everything that can be read of process `process` (a number, or `self`).
///
/// # Errors
///
/// If the process is gone, or may not be read.
pub fn scan(process: &str, search: &Search) -> io::Result<Report> {
    let mut report = Report::default();
    for place in ["environ", "cmdline"] {
        let bytes = fs::read(format!("/proc/{process}/{place}"))?;
        report.scanned += bytes.len() as u64;
        report.add(place, search.hits(&bytes), |hit| (hit.offset as u64, String::new()));
    }
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mappings = fs::read_to_string(format!("/proc/{process}/maps"))?;
    // Use one buffer for all pieces, so that a process that scans itself finds its buffer in one place only.
    let mut piece = vec![0; PIECE + search.overlap()];
    for mapping in mappings.lines().filter_map(readable) {
        scan_mapping(&memory, &mapping, search, &mut piece, &mut report);
    }
    Ok(report)
}

fn scan_mapping(memory: &File, mapping: &Mapping, search: &Search, piece: &mut [u8], report: &mut Report) {
    let own = piece.as_ptr_range();
    let own = own.start as u64..own.end as u64;
    let mut kept = 0;
    let mut at = mapping.start;
    while at < mapping.end {
        let wanted = usize::try_from(mapping.end - at).unwrap_or(PIECE).min(PIECE);
        let Ok(length @ 1..) = memory.read_at(&mut piece[kept..kept + wanted], at) else {
            report.unreadable += wanted as u64;
            (at, kept) = (at + wanted as u64, 0);
            continue;
        };
        let base = at - kept as u64;
        let mut hits = search.hits(&piece[..kept + length]);
        // A hit that lies completely in the kept part was reported with the piece before. Hits in this process' own buffer only
        // repeat others.
        hits.retain(|hit| hit.end > kept && !own.contains(&(base + hit.offset as u64)));
        report.add("memory", hits, |hit| (base + hit.offset as u64, mapping.name.clone()));
        report.scanned += length as u64;
        at += length as u64;
        let next = search.overlap().min(kept + length);
        piece.copy_within(kept + length - next..kept + length, 0);
        kept = next;
    }
}

/// Parses a line of /proc/PID/maps, if its pages can be read.
fn readable(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let readable = words.next()?.starts_with('r');
    let name = words.skip(3).collect::<Vec<_>>().join(" ");
    let address = |text| u64::from_str_radix(text, 16).ok();
    // Skip the kernel's own pages: they are the same in each process, and some of them cannot be read this way.
    let ours = !matches!(name.as_str(), "[vvar]" | "[vvar_vclock]" | "[vdso]" | "[vsyscall]");
    (readable && ours).then_some(Mapping { start: address(start)?, end: address(end)?, name })
}
