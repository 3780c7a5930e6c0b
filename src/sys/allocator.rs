//! The allocator: memory is wiped before it is given back.
//!
//! Values pass through libraries (JSON, HTTP, the stores' SDKs) that keep them in plain strings and buffers. With this, what
//! they free holds nothing, in either process, without trusting each of them to remember.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;
use std::sync::OnceLock;

use dlmalloc::GlobalDlmalloc;

/// dlmalloc, wiping what is freed. It serves from one arena: musl's own makes a mapping for each size, which costs more than all
/// the rest of a start's memory.
pub struct Wiping;

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

static EXHAUSTED: OnceLock<fn() -> !> = OnceLock::new();

/// What to do when there is no memory left, instead of an abort that looks like a bug. The function must not allocate.
pub fn on_exhaustion(end: fn() -> !) {
    // Only tests come here twice, and mean the same.
    EXHAUSTED.get_or_init(|| end);
}

/// The block, unless there is none.
fn checked(block: *mut u8) -> *mut u8 {
    match EXHAUSTED.get() {
        Some(end) if block.is_null() => end(),
        _ => block,
    }
}

// SAFETY: every call is passed on to `GlobalDlmalloc` with its own layout; wiping writes only inside the block that is being freed.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc`'s contract, which is `GlobalDlmalloc`'s.
        checked(unsafe { GlobalDlmalloc.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc_zeroed`'s contract, which is `GlobalDlmalloc`'s.
        checked(unsafe { GlobalDlmalloc.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is `layout.size()` bytes long and still ours; `explicit_bzero` is not optimised away.
        unsafe { libc::explicit_bzero(block.cast(), layout.size()) };
        // SAFETY: the caller keeps `dealloc`'s contract, which is `GlobalDlmalloc`'s.
        unsafe { GlobalDlmalloc.dealloc(block, layout) }
    }

    // Growing in place is given up: `realloc` may move the block and free the old one without wiping it.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that `new_size` is not zero and, rounded up to the alignment, fits an isize.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: `new_layout` has a size that is not zero.
        let new_block = unsafe { self.alloc(new_layout) };
        if !new_block.is_null() {
            // SAFETY: both blocks are at least this long, and a fresh block overlaps no other.
            unsafe { ptr::copy_nonoverlapping(block, new_block, layout.size().min(new_size)) };
            // SAFETY: `block` was allocated by this allocator with `layout`, and is not used after this.
            unsafe { self.dealloc(block, layout) };
        }
        new_block
    }
}
