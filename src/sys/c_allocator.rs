//! `malloc` and its family, for the C library and for what of std asks it: the same memory as everybody's, and wiped likewise. musl's
//! own would make mappings of its own in every worker, for the handle of its thread.
//!
//! C17 7.22.3; <https://man7.org/linux/man-pages/man3/malloc.3.html>.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

use super::allocator::ALLOCATOR;

/// Before each block stands how it was asked for. C's largest types need no other alignment than this.
const HEADER: usize = size_of::<Layout>();
const _: () = assert!(HEADER == 16 && align_of::<Layout>() <= HEADER);

/// A block, or null where there can be none: no memory left ends the process.
fn take(size: usize, align: usize) -> *mut u8 {
    let align = align.max(HEADER);
    let Some(Ok(layout)) = size.checked_add(align).map(|whole| Layout::from_size_align(whole, align)) else {
        return ptr::null_mut();
    };
    // SAFETY: the size is not zero, as the alignment is in it.
    let whole = unsafe { ALLOCATOR.alloc(layout) };
    if whole.is_null() {
        return whole;
    }
    // SAFETY: the block is at least `align` bytes long.
    let block = unsafe { whole.add(align) };
    // SAFETY: `align` is at least the header's length, so the header is inside the block.
    let header = unsafe { block.cast::<Layout>().sub(1) };
    // SAFETY: as above, and aligned: both `block` and the header's length are multiples of 16.
    unsafe { header.write(layout) };
    block
}

/// # Safety
///
/// `take` gave the block, and nobody has given it back.
unsafe fn layout(block: *mut u8) -> Layout {
    // SAFETY: `take` wrote the header before the block.
    let header = unsafe { block.cast::<Layout>().sub(1) };
    // SAFETY: as above; nobody writes before a block of theirs.
    unsafe { header.read() }
}

// SAFETY, of all the names: nothing else that is linked defines them, since the linker takes the C library's own only for names that
// are missing; the signatures are C's.
#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut u8 {
    take(size, HEADER)
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut u8 {
    let Some(size) = count.checked_mul(size) else { return ptr::null_mut() };
    let block = take(size, HEADER);
    if !block.is_null() {
        // SAFETY: the block is `size` bytes long.
        unsafe { block.write_bytes(0, size) };
    }
    block
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut u8 {
    take(size, align)
}

/// # Safety
///
/// The block is null, or came from here and has not been given back.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        return take(size, HEADER);
    }
    // SAFETY: the caller vouches for the block.
    let old = unsafe { layout(block) };
    let new = take(size, HEADER);
    if !new.is_null() {
        // SAFETY: the old block is so long behind its header, the new one `size`, and no block overlaps another.
        unsafe { ptr::copy_nonoverlapping(block, new, size.min(old.size() - old.align())) };
        // SAFETY: the caller vouches for the block.
        unsafe { free(block) };
    }
    new
}

/// # Safety
///
/// The block is null, or came from here and has not been given back.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut u8) {
    if block.is_null() {
        return;
    }
    // SAFETY: the caller vouches for the block.
    let layout = unsafe { layout(block) };
    // SAFETY: it starts so far behind what the allocator gave.
    let whole = unsafe { block.sub(layout.align()) };
    // SAFETY: the allocator gave it for this layout, and the caller gives it up.
    unsafe { ALLOCATOR.dealloc(whole, layout) };
}
