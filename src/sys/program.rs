//! The program's own code in memory.

use nix::unistd::{SysconfVar, sysconf};

// The linker's names for the ends of the program's code (end(3)), with what stands before it: all of it is read-only.
unsafe extern "C" {
    static __executable_start: u8;
    static etext: u8;
}

/// Unmaps the pages of the program's code. The kernel maps a page again when its code is used.
///
/// Without this, a process that stays would keep every page that its start has used. A failure costs only memory.
pub fn unmap_code() {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096) as usize;
    let start = &raw const __executable_start;
    let size = ((&raw const etext).addr() & !(page - 1)) - start.addr();
    // SAFETY: these pages are the program's own file, mapped privately, and nobody can write to them, so the file still has what they
    // hold: the kernel maps the same bytes again when they are needed (madvise(2)).
    unsafe { libc::madvise(start.cast_mut().cast(), size, libc::MADV_DONTNEED) };
}
