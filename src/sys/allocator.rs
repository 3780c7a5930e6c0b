//! The allocator: wipes memory before it is freed.
//!
//! Values pass through libraries (JSON, HTTP, the stores' SDKs) that keep them in plain strings and buffers. This allocator wipes
//! these too when they are freed, in both processes, so that no library must do it.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Mutex, OnceLock, PoisonError};

use dlmalloc::Dlmalloc;

/// Wipes memory that is freed, and leaves the rest to another allocator.
///
/// `realloc` is the trait's default, which allocates a new block, copies, and frees the old block with the `dealloc` below. The
/// other allocator's own `realloc` might move a block without wiping the old one.
struct Wiping<A>(A);

#[global_allocator]
static ALLOCATOR: Wiping<Heap> = Wiping(Heap(Mutex::new(Dlmalloc::new())));

/// dlmalloc behind a lock of std. The lock in the global allocator of the dlmalloc crate takes a twenty-fifth of a start.
struct Heap(Mutex<Dlmalloc>);

// SAFETY: dlmalloc keeps the contract, and nobody calls it but the holder of the lock.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut heap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { heap.malloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let mut heap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller keeps the contract of `dealloc`: the block was given for this layout.
        unsafe { heap.free(block, layout.size(), layout.align()) }
    }
}

static EXHAUSTED: OnceLock<fn() -> !> = OnceLock::new();

/// Sets the function that ends the process when there is no memory left, instead of an abort that looks like a bug. The function
/// must not allocate.
pub fn on_exhaustion(end: fn() -> !) {
    // Only tests call this twice, with the same function.
    EXHAUSTED.get_or_init(|| end);
}

// SAFETY: every block comes from the inner allocator, whose contract is the same, and is not touched until it is freed.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        let block = unsafe { self.0.alloc(layout) };
        match EXHAUSTED.get() {
            Some(end) if block.is_null() => end(),
            _ => block,
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is `layout.size()` bytes long and nobody uses it any more. The C library ensures that the compiler
        // does not remove the call.
        unsafe { libc::explicit_bzero(block.cast(), layout.size()) };
        // SAFETY: the caller keeps the contract of `dealloc`: the block was given for this layout.
        unsafe { self.0.dealloc(block, layout) };
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;
    use std::cell::RefCell;

    use super::*;

    /// Keeps a copy of each block as it was when it was freed.
    #[derive(Default)]
    struct Recorder(RefCell<Vec<Vec<u8>>>);

    // SAFETY: every block is the system's.
    unsafe impl GlobalAlloc for Recorder {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller keeps the contract.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the block is as long as its layout says, and is written by nobody meanwhile.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            self.0.borrow_mut().push(bytes.to_vec());
            // SAFETY: the caller keeps the contract.
            unsafe { System.dealloc(block, layout) };
        }
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    /// A block full of a secret.
    fn filled(heap: &Wiping<Recorder>, size: usize) -> *mut u8 {
        // SAFETY: the size is not zero.
        let block = unsafe { heap.alloc(layout(size)) };
        // SAFETY: the block is that long.
        unsafe { block.write_bytes(0xa5, size) };
        block
    }

    #[test]
    fn a_freed_block_is_wiped_whatever_its_size() {
        let heap = Wiping(Recorder::default());
        for size in [1, 7, 16, 100, 4096, 1 << 20] {
            let block = filled(&heap, size);
            // SAFETY: the heap gave it for this layout.
            unsafe { heap.dealloc(block, layout(size)) };
            assert_eq!(heap.0.0.take(), [vec![0; size]]);
        }
    }

    #[test]
    fn a_block_that_grows_or_shrinks_keeps_its_content_and_leaves_no_copy() {
        let heap = Wiping(Recorder::default());
        for (size, new) in [(16, 17), (16, 4096), (100, 10), (1 << 20, 1 << 21), (1 << 21, 8)] {
            let block = filled(&heap, size);
            // SAFETY: the heap gave the block for this layout, and the new size is not zero.
            let block = unsafe { heap.realloc(block, layout(size), new) };
            assert_eq!(heap.0.0.take(), [vec![0; size]], "{size} to {new}");
            // SAFETY: the block is `new` bytes long, and at least the smaller of both sizes has been copied into it.
            let kept = unsafe { std::slice::from_raw_parts(block, size.min(new)) };
            assert!(kept.iter().all(|byte| *byte == 0xa5), "{size} to {new}");
            // SAFETY: the heap gave it for this layout.
            unsafe { heap.dealloc(block, layout(new)) };
            heap.0.0.take();
        }
    }
}
