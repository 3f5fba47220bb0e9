//! All of a plugin's memory.

use super::{Blocks, PAGE_BYTES, Source};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};

/// What most runs do with.
const ROOM_BYTES: usize = 64 << 10;

#[global_allocator]
static MEMORY: Memory = Memory::new();

struct Memory {
    room: UnsafeCell<Room>,
    given: Cell<bool>,
    blocks: UnsafeCell<Blocks>,
}

#[repr(align(16))]
struct Room([u8; ROOM_BYTES]);

// SAFETY: a plugin has one thread.
unsafe impl Sync for Memory {}

impl Memory {
    const fn new() -> Memory {
        let room = UnsafeCell::new(Room([0; ROOM_BYTES]));
        Memory { room, given: Cell::new(false), blocks: UnsafeCell::new(Blocks::new()) }
    }
}

/// First the room that is there, then pages.
impl Source for Memory {
    fn more(&self, bytes: usize) -> Option<(usize, usize)> {
        if bytes <= ROOM_BYTES && !self.given.replace(true) {
            let from = self.room.get() as usize;
            return Some((from, from + ROOM_BYTES));
        }
        let pages = bytes.div_ceil(PAGE_BYTES);
        let before = core::arch::wasm32::memory_grow(0, pages);
        (before != usize::MAX).then(|| (before * PAGE_BYTES, (before + pages) * PAGE_BYTES))
    }
}

// SAFETY: blocks do not overlap, are as large and as aligned as asked for, and stay
// where they are until they are freed.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: there is one thread, and nothing of `take` comes here again.
        unsafe { (*self.blocks.get()).take(layout, self) as *mut u8 }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; the caller's word is the same.
        unsafe { (*self.blocks.get()).give(block as usize, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's word is that the size can be aligned so.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as above.
        if unsafe { (*self.blocks.get()).resize(block as usize, layout, wanted) } {
            return block;
        }
        // SAFETY: as above; two blocks do not overlap, and both hold what is copied.
        unsafe {
            let other = self.alloc(wanted);
            if !other.is_null() {
                other.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            other
        }
    }
}
