//! A run's memory.
//!
//! An instance lives for one run, so little is ever given back, and less is asked for
//! than a page: the engine sets up as much as a module begins with in one step, and
//! each growth of it is two system calls, one at once and one to undo it. So there is
//! room from the start, handed out from its beginning to its end; what is freed is
//! used again for what is about as large. That is all: a general allocator is a tenth
//! of a small plugin's code.

#[cfg(target_arch = "wasm32")]
mod plugin;

use core::alloc::Layout;

/// By which a memory grows.
const PAGE_BYTES: usize = 64 << 10;
/// What everything is aligned to, and the least that is handed out.
const GRAIN: usize = 16;
/// Blocks are powers of two; none is as large as a memory can be.
const SIZES: usize = usize::BITS as usize;

/// Where more memory comes from.
trait Source {
    /// At least so many bytes, aligned to [`GRAIN`]: from where to where.
    fn more(&self, bytes: usize) -> Option<(usize, usize)>;
}

struct Blocks {
    /// Of each size the one freed last; in each lies the address of the one before.
    free: [usize; SIZES],
    next: usize,
    end: usize,
}

impl Blocks {
    const fn new() -> Blocks {
        Blocks { free: [0; SIZES], next: 0, end: 0 }
    }

    /// The power of two that holds it.
    fn size_of(layout: Layout) -> Option<usize> {
        layout.size().max(layout.align()).max(GRAIN).checked_next_power_of_two()
    }

    /// Zero where there is no more.
    ///
    /// # Safety
    /// What `source` gives is nobody else's.
    unsafe fn take(&mut self, layout: Layout, source: &impl Source) -> usize {
        let Some(size) = Blocks::size_of(layout) else { return 0 };
        // A freed block may begin anywhere.
        if layout.align() <= GRAIN
            && let Some(first) = self.free.get_mut(size.trailing_zeros() as usize)
            && *first != 0
        {
            let block = *first;
            // SAFETY: a freed block holds the address of the one before, and is nobody's.
            *first = unsafe { *(block as *const usize) };
            return block;
        }
        self.cut(size, layout.align(), source)
    }

    fn cut(&mut self, size: usize, align: usize, source: &impl Source) -> usize {
        let fits = |next: usize, end: usize| {
            let from = next.checked_next_multiple_of(align.max(GRAIN))?;
            let to = from.checked_add(size)?;
            (next != 0 && to <= end).then_some((from, to))
        };
        let place = fits(self.next, self.end).or_else(|| {
            let (from, to) = source.more(size.checked_add(align)?)?;
            // What joins on goes on.
            self.next = if from == self.end { self.next } else { from };
            self.end = to;
            fits(self.next, self.end)
        });
        let Some((from, to)) = place else { return 0 };
        self.next = to;
        from
    }

    /// # Safety
    /// The block was taken by that layout, and is not used any more.
    unsafe fn give(&mut self, block: usize, layout: Layout) {
        let Some(size) = Blocks::size_of(layout) else { return };
        if block + size == self.next {
            self.next = block;
        } else if let Some(first) = self.free.get_mut(size.trailing_zeros() as usize) {
            // SAFETY: a block is nobody's now, and is as large as an address at least.
            unsafe { *(block as *mut usize) = *first };
            *first = block;
        }
    }

    /// Whether it is that large now, without having moved.
    fn resize(&mut self, block: usize, layout: Layout, wanted: Layout) -> bool {
        let (Some(size), Some(wanted)) = (Blocks::size_of(layout), Blocks::size_of(wanted)) else { return false };
        let to = block.checked_add(wanted).filter(|to| block + size == self.next && *to <= self.end);
        self.next = to.unwrap_or(self.next);
        // A smaller one may lie in a larger block.
        wanted <= size || to.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    /// Pieces of one area, as a memory grows; sometimes somebody else took one between.
    struct Area {
        bytes: Vec<u128>,
        given: RefCell<(usize, u32)>,
    }

    impl Source for Area {
        fn more(&self, bytes: usize) -> Option<(usize, usize)> {
            let (mut given, times) = *self.given.borrow();
            let pages = bytes.div_ceil(PAGE_BYTES) * PAGE_BYTES;
            given += if times % 3 == 2 { PAGE_BYTES } else { 0 };
            let from = self.bytes.as_ptr() as usize + given;
            *self.given.borrow_mut() = (given + pages, times + 1);
            (given + pages <= self.bytes.len() * 16).then_some((from, from + pages))
        }
    }

    fn area(megabytes: usize) -> Area {
        Area { bytes: vec![0; megabytes << 16], given: RefCell::default() }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    /// Which begin and end where, with what was last written to them.
    type Held = BTreeMap<usize, (Layout, u8)>;

    fn whole(held: &Held) {
        let mut before = 0;
        for (from, (layout, mark)) in held {
            assert!(*from >= before && from % layout.align() == 0, "{from:x} {layout:?}");
            before = from + layout.size();
            let bytes = unsafe { std::slice::from_raw_parts(*from as *const u8, layout.size()) };
            assert!(bytes.iter().all(|byte| byte == mark), "{from:x} {layout:?} was written to");
        }
    }

    fn fill(from: usize, layout: Layout, mark: u8) -> (usize, (Layout, u8)) {
        unsafe { std::slice::from_raw_parts_mut(from as *mut u8, layout.size()) }.fill(mark);
        (from, (layout, mark))
    }

    #[test]
    fn no_two_hold_the_same_bytes() {
        let area = area(64);
        let mut blocks = Blocks::new();
        let mut held = Held::new();
        let mut seed = 1u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for round in 0..4_000 {
            let mark = round as u8;
            let size = [random(40) + 1, random(700) + 1, random(5_000) + 1, random(90_000) + 1][random(4)];
            let asked = layout(size, 1 << [0, 3, 4, 6, 9][random(5)]);
            let one = (!held.is_empty()).then(|| *held.keys().nth(random(held.len())).expect("one"));
            match (random(5), one) {
                (0 | 1, Some(from)) => {
                    let (layout, _) = held.remove(&from).expect("held");
                    unsafe { blocks.give(from, layout) };
                }
                (2, Some(from)) => {
                    let (before, mark) = held[&from];
                    let wanted = layout(size, before.align());
                    if blocks.resize(from, before, wanted) {
                        let kept = before.size().min(size);
                        let bytes = unsafe { std::slice::from_raw_parts(from as *const u8, kept) };
                        assert!(bytes.iter().all(|byte| *byte == mark));
                        held.extend([fill(from, wanted, mark)]);
                    }
                }
                _ => {
                    let from = unsafe { blocks.take(asked, &area) };
                    assert_ne!(from, 0);
                    held.extend([fill(from, asked, mark)]);
                }
            }
            if round % 50 == 0 {
                whole(&held);
            }
        }
        whole(&held);
    }

    #[test]
    fn what_is_freed_is_used_again() {
        let area = area(1);
        let mut blocks = Blocks::new();
        let sizes = [20, 300, 5_000];
        for _ in 0..10_000 {
            let taken = sizes.map(|size| (unsafe { blocks.take(layout(size, 8), &area) }, layout(size, 8)));
            assert!(taken.iter().all(|(from, _)| *from != 0));
            taken.into_iter().for_each(|(from, layout)| unsafe { blocks.give(from, layout) });
        }
        assert_eq!(area.given.borrow().0, PAGE_BYTES);
    }

    #[test]
    fn the_last_one_grows_where_it_lies() {
        let area = area(1);
        let mut blocks = Blocks::new();
        let first = unsafe { blocks.take(layout(16, 1), &area) };
        assert!(blocks.resize(first, layout(16, 1), layout(30_000, 1)));
        assert!(blocks.resize(first, layout(30_000, 1), layout(100, 1)));
        let second = unsafe { blocks.take(layout(16, 1), &area) };
        assert_eq!(second, first + 128);
        assert!(
            blocks.resize(first, layout(100, 1), layout(128, 1))
                && !blocks.resize(first, layout(100, 1), layout(129, 1))
        );
        assert!(!blocks.resize(second, layout(16, 1), layout(1 << 20, 1)), "no room for it there");
    }

    #[test]
    fn there_is_an_end_to_it() {
        let (area, mut blocks) = (area(1), Blocks::new());
        assert_eq!(unsafe { blocks.take(layout(2 << 20, 1), &area) }, 0);
        assert_eq!(unsafe { blocks.take(layout(usize::MAX / 2, 1), &area) }, 0);
    }
}
