//! The allocator: memory is wiped before it is given back.
//!
//! Values pass through libraries (JSON, HTTP, the stores' SDKs) that keep them in plain strings and buffers. With this, what
//! they free holds nothing, in either process, without trusting each of them to remember.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};

use dlmalloc::Dlmalloc;

/// Small blocks come in multiples of this, and are aligned to it.
const STEP: usize = 16;
/// The largest small block: of more than a thousand that a start takes, all but a few dozen are.
const SMALL: usize = 512;
/// What small blocks are cut from, at a time.
const PIECE: usize = 16 << 10;

/// Wipes what is freed. Small blocks wait, by size, for the next of their size, which makes a start's memory several times
/// cheaper than asking dlmalloc for each; what is larger is dlmalloc's, in one arena: musl's own makes a mapping for each size.
pub struct Wiping {
    /// Held for less than a microsecond, by one thread at a time of the very few that there ever are: no need to sleep.
    busy: AtomicBool,
    heap: UnsafeCell<Heap>,
}

struct Heap {
    /// Freed small blocks, by size: each holds the address of the next in its first bytes, and zeroes.
    freed: [*mut u8; SMALL / STEP],
    /// What is left of the present piece.
    rest: *mut u8,
    left: usize,
    large: Dlmalloc<Source>,
}

// SAFETY: the heap is used by who has set `busy`, alone; its pointers are to memory that no thread owns more of than another.
unsafe impl Sync for Wiping {}

#[global_allocator]
pub(super) static ALLOCATOR: Wiping = Wiping::new(Some(&FIRST));

/// What the heap starts with: part of the program's own data, so that a start needs no mapping for it, and a fork copies none.
static FIRST: First = First(UnsafeCell::new([0; FIRST_SIZE]));
const FIRST_SIZE: usize = 160 << 10;

/// Not aligned to a page, so that what is used of its first and last shares one with what stands around it.
#[repr(C, align(16))]
struct First(UnsafeCell<[u8; FIRST_SIZE]>);

// SAFETY: it is only ever used through the pointer that the first who asks its `Source` gets.
unsafe impl Sync for First {}

/// Where dlmalloc gets its memory: first what is here, then mappings.
struct Source {
    first: Cell<Option<&'static First>>,
}

/// dlmalloc's mark for a segment that it neither frees nor shrinks.
const KEEP: u32 = 1;

// SAFETY: each region is given once, is as long as it says, and stays until dlmalloc frees it; all are zeroed.
unsafe impl dlmalloc::Allocator for Source {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if size <= FIRST_SIZE
            && let Some(First(memory)) = self.first.take()
        {
            return (memory.get().cast(), FIRST_SIZE, KEEP);
        }
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, wherever the kernel likes it, touches no other.
        let mapping = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
        if mapping == libc::MAP_FAILED { (ptr::null_mut(), 0, 0) } else { (mapping.cast(), size, 0) }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, block: *mut u8, old: usize, new: usize) -> bool {
        // SAFETY: dlmalloc owns the region, a mapping, and needs only its first `new` bytes of `old` any more.
        unsafe { libc::munmap(block.wrapping_add(new).cast(), old - new) == 0 }
    }

    fn free(&self, block: *mut u8, size: usize) -> bool {
        // SAFETY: dlmalloc owns the region, a mapping, and needs it no more.
        unsafe { libc::munmap(block.cast(), size) == 0 }
    }

    fn can_release_part(&self, _: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        4096
    }
}

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

/// Which of the small sizes a block has; `None` for a large one. A size of 0 is nobody's: the trait forbids it.
fn class(layout: Layout) -> Option<usize> {
    (layout.size() <= SMALL && layout.align() <= STEP).then(|| layout.size().saturating_sub(1) / STEP)
}

impl Heap {
    fn take(&mut self, layout: Layout) -> *mut u8 {
        let Some(class) = class(layout) else {
            // SAFETY: the layout's alignment is a power of two, which is all that dlmalloc asks for.
            return unsafe { self.large.malloc(layout.size(), layout.align()) };
        };
        let first = self.freed[class];
        if !first.is_null() {
            // SAFETY: a block in the list is ours, at least `STEP` bytes long and aligned to it, and starts with the next one's
            // address, as `give` wrote it.
            self.freed[class] = unsafe { first.cast::<*mut u8>().read() };
            return first;
        }
        let size = (class + 1) * STEP;
        if self.left < size {
            // What was left, less than a small block, stays unused.
            // SAFETY: as above.
            self.rest = unsafe { self.large.malloc(PIECE, STEP) };
            self.left = if self.rest.is_null() { 0 } else { PIECE };
        }
        if self.left < size {
            return ptr::null_mut();
        }
        let block = self.rest;
        self.left -= size;
        // SAFETY: `left` was at least `size`, so this is inside the piece, or its end.
        self.rest = unsafe { block.add(size) };
        block
    }

    /// # Safety
    ///
    /// `take` gave the block for this layout, and nobody uses it any more.
    unsafe fn give(&mut self, block: *mut u8, layout: Layout) {
        let Some(class) = class(layout) else {
            // SAFETY: the block is `layout.size()` bytes long and ours; `explicit_bzero` is not optimised away.
            unsafe { libc::explicit_bzero(block.cast(), layout.size()) };
            // SAFETY: dlmalloc gave the block for the same size and alignment.
            return unsafe { self.large.free(block, layout.size(), layout.align()) };
        };
        // All of it, also what the layout rounds up to: volatile, so that it is not optimised away.
        for word in 0..class + 1 {
            // SAFETY: a small block has `class + 1` steps.
            let word = unsafe { block.cast::<u128>().add(word) };
            // SAFETY: it is aligned to a step, and ours.
            unsafe { word.write_volatile(0) };
        }
        // SAFETY: as above; an address is shorter than a step.
        unsafe { block.cast::<*mut u8>().write(self.freed[class]) };
        self.freed[class] = block;
    }
}

impl Wiping {
    const fn new(first: Option<&'static First>) -> Self {
        let freed = [ptr::null_mut(); SMALL / STEP];
        let large = Dlmalloc::new_with_allocator(Source { first: Cell::new(first) });
        Self {
            busy: AtomicBool::new(false),
            heap: UnsafeCell::new(Heap { freed, rest: ptr::null_mut(), left: 0, large }),
        }
    }

    fn with<T>(&self, action: impl FnOnce(&mut Heap) -> T) -> T {
        while self.busy.swap(true, Acquire) {
            std::thread::yield_now();
        }
        // SAFETY: whoever sets `busy` has the heap for itself until it is cleared. No action asks for memory, so none comes here
        // again; none panics; and the process forks while it has one thread, so none is left half done.
        let done = action(unsafe { &mut *self.heap.get() });
        self.busy.store(false, Release);
        done
    }
}

// SAFETY: blocks come from `Heap::take`, which gives each to one owner only, as long and as aligned as its layout says, until it
// comes back.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        checked(self.with(|heap| heap.take(layout)))
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, which is that of `give`.
        self.with(|heap| unsafe { heap.give(block, layout) });
    }

    // Large blocks do not grow in place: that might move them and free the old one without wiping it.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that `new_size` is not zero and, rounded up to the alignment, fits an isize.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // Of the same small size, which is wiped as a whole.
        if class(layout).is_some() && class(layout) == class(new_layout) {
            return block;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A heap of its own: no other test takes its blocks.
    fn heap() -> Wiping {
        Wiping::new(None)
    }

    #[test]
    fn blocks_of_every_size_are_aligned_and_apart() {
        let heap = heap();
        let mut blocks = Vec::new();
        for size in (1..600).chain([4096, 100_000]) {
            for align in [1, 8, 16, 64] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the size is not zero.
                let block = unsafe { heap.alloc(layout) };
                assert!(!block.is_null() && (block as usize).is_multiple_of(align), "{layout:?}");
                blocks.push((block as usize, size));
            }
        }
        blocks.sort_unstable();
        assert!(blocks.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 1).unwrap()
    }

    /// A block's bytes, also those that its size is rounded up by.
    fn bytes<'b>(block: *mut u8, size: usize) -> &'b mut [u8] {
        // SAFETY: the tests pass blocks of their own heap, of at least that size, and keep no two slices of one at a time.
        unsafe { std::slice::from_raw_parts_mut(block, size) }
    }

    #[test]
    fn a_freed_small_block_is_wiped_and_used_again() {
        let heap = heap();
        for size in 1..=SMALL {
            let whole = size.next_multiple_of(STEP);
            // SAFETY: the size is not zero.
            let block = unsafe { heap.alloc(layout(size)) };
            bytes(block, whole).fill(0xa5);
            // SAFETY: the heap gave it for this layout.
            unsafe { heap.dealloc(block, layout(size)) };
            let rest = bytes(block, whole);
            assert!(rest.iter().skip(size_of::<usize>()).all(|byte| *byte == 0) && !rest.contains(&0xa5), "{size}");
            // SAFETY: the size is not zero.
            assert_eq!(unsafe { heap.alloc(layout(size)) }, block, "{size}");
        }
    }

    #[test]
    fn a_block_keeps_its_content_as_it_grows_and_shrinks() {
        let heap = heap();
        let mut length = 1;
        // SAFETY: the size is not zero.
        let mut block = unsafe { heap.alloc(layout(length)) };
        bytes(block, length).fill(7);
        for size in [2, 15, 16, 17, 100, 512, 513, 5000, 400, 3] {
            // SAFETY: the heap gave it for a layout of this length, and it is given up for the new one.
            block = unsafe { heap.realloc(block, layout(length), size) };
            assert!(bytes(block, length.min(size)).iter().all(|byte| *byte == 7), "{size}");
            bytes(block, size).fill(7);
            length = size;
        }
    }
}
