//! The program's allocator: what is as large as a tensor lies on a shelf, by size, when it is freed.
//!
//! Steps ask for tensors of the same sizes again and again, beside others that stay for the whole run.
//! An allocator that cuts both from the same pages is left with holes that no tensor fits into: 500 MiB
//! of 4,400 in a large run. One that gives each block back to the system gets it filled with zeros for
//! the next step, which costs as much as what is then computed in it. So large blocks are the system's
//! own pages each, and a free one waits for the next of its size. Only where a size is missing are others
//! given back, those first that wait longest, once all of them together are more than was ever in use.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mimalloc::MiMalloc;
#[cfg(target_os = "linux")]
use rustix::mm::{Advice, madvise};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Blocks from here on lie on the shelf, all others are mimalloc's. It is also the size of large pages,
/// on which blocks begin, so that their whole ones can be such pages.
const LARGE: usize = 1 << 21;
/// Sizes are rounded up to a multiple of it.
const GRAIN: usize = 1 << 16;
/// What pages begin on.
const PAGE: usize = 1 << 12;
/// What blocks begin on.
const LINE: usize = 64;
/// How many lines a block begins after the one that was mapped before it, modulo a page.
const APART: usize = 17;
/// How much more than was ever in use may be mapped: so many bytes, and a share.
const SPARE: usize = 64 << 20;
const SPARE_SHARE: usize = 32;

/// mimalloc, with a shelf for what is large.
pub(super) struct Allocator {
    small: MiMalloc,
    shelf: Mutex<Shelf>,
}

impl Allocator {
    pub(super) const fn new() -> Self {
        Self { small: MiMalloc, shelf: Mutex::new(Shelf::new()) }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // The shelf's own lists are small: asking for their memory doesn't come back here.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= LINE
}

fn rounded(size: usize) -> usize {
    size.saturating_add(GRAIN - 1) / GRAIN * GRAIN
}

#[expect(unsafe_code, reason = "an allocator hands out memory")]
// SAFETY: a large block is a mapping of its own, at least as long as asked for, and is handed out once
// until it is freed. Which of the two allocators a block belongs to is seen from its layout, or it is one
// of the shelf's strays.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: passed on from the caller.
            return unsafe { self.small.alloc(layout) };
        }
        let mut shelf = self.shelf();
        let (block, _) = shelf.take(rounded(layout.size()));
        if !block.is_null() {
            return block;
        }
        // Where addresses are scarce, mimalloc has most of them.
        // SAFETY: passed on from the caller.
        let stray = unsafe { self.small.alloc(layout) };
        if !stray.is_null() {
            shelf.strays.insert(stray.addr());
        }
        stray
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: passed on from the caller.
            return unsafe { self.small.alloc_zeroed(layout) };
        }
        let (block, is_new) = self.shelf().take(rounded(layout.size()));
        if is_new {
            return block;
        }
        // SAFETY: passed on from the caller; the block is as long as asked for, and nobody else's.
        unsafe {
            let block = if block.is_null() { self.alloc(layout) } else { block };
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout) {
            let mut shelf = self.shelf();
            if !shelf.strays.remove(&block.addr()) {
                return shelf.put_back(block, rounded(layout.size()));
            }
        }
        // SAFETY: passed on from the caller.
        unsafe { self.small.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's word is that the size makes a layout, and that the block is of the old one.
        unsafe {
            let new = Layout::from_size_align_unchecked(size, layout.align());
            match (is_large(layout), is_large(new)) {
                (false, false) => self.small.realloc(block, layout, size),
                (true, true) if rounded(layout.size()) == rounded(size) => block,
                _ => {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

/// Large blocks that are free.
struct Shelf {
    /// By size; the newest last.
    free: BTreeMap<usize, VecDeque<Free>>,
    /// Blocks that were ever freed, and mapped.
    n_freed: u64,
    n_mapped: usize,
    /// Addresses of large blocks that are mimalloc's.
    strays: BTreeSet<usize>,
    free_bytes: usize,
    used_bytes: usize,
    most_used: usize,
}

/// A block's address, and how many were freed before.
struct Free {
    address: usize,
    at: u64,
}

impl Shelf {
    const fn new() -> Self {
        Self {
            free: BTreeMap::new(),
            n_freed: 0,
            n_mapped: 0,
            strays: BTreeSet::new(),
            free_bytes: 0,
            used_bytes: 0,
            most_used: 0,
        }
    }

    /// A block of this size, and whether it is new, filled with zeros; null if the system has none.
    fn take(&mut self, size: usize) -> (*mut u8, bool) {
        if let Some(free) = self.free.get_mut(&size).and_then(VecDeque::pop_back) {
            self.free_bytes -= size;
            self.use_more(size);
            return (free.address as *mut u8, false);
        }
        while self.free_bytes > 0 && self.free_bytes + self.used_bytes + size > self.limit(size) {
            self.give_back_oldest();
        }
        // Tensors are read side by side: from the same place within a page, all of them would ask for the
        // same lines of the cache, which took half as long again for AdamW.
        let place = self.n_mapped * APART * LINE % PAGE;
        let mut block = map(size, place);
        while block.is_null() && self.free_bytes > 0 {
            self.give_back_oldest();
            block = map(size, place);
        }
        let is_new = !block.is_null();
        if is_new {
            self.n_mapped += 1;
            self.use_more(size);
        }
        (block, is_new)
    }

    fn use_more(&mut self, size: usize) {
        self.used_bytes += size;
        self.most_used = self.most_used.max(self.used_bytes);
    }

    /// Bytes that may be mapped, with `more` of them in use.
    fn limit(&self, more: usize) -> usize {
        let most_used = self.most_used.max(self.used_bytes + more);
        most_used + most_used / SPARE_SHARE + SPARE
    }

    fn put_back(&mut self, block: *mut u8, size: usize) {
        let free = Free { address: block as usize, at: self.n_freed };
        self.n_freed += 1;
        self.free.entry(size).or_default().push_back(free);
        self.free_bytes += size;
        self.used_bytes -= size;
    }

    fn give_back_oldest(&mut self) {
        let fronts = self.free.iter_mut().filter(|(_, blocks)| !blocks.is_empty());
        let oldest = fronts.min_by_key(|(_, blocks)| blocks[0].at);
        let Some((size, blocks)) = oldest else { return };
        if let Some(Free { address, .. }) = blocks.pop_front() {
            self.free_bytes -= size;
            unmap(address as *mut u8, *size);
        }
    }
}

/// Addresses that a block takes, wherever it begins in its first page: Linux lets mappings begin on a
/// large page where they end on one. What lies behind the block is never touched, and takes no memory.
fn reserved(size: usize) -> usize {
    (size + PAGE).next_multiple_of(LARGE)
}

/// Pages of the system's, filled with zeros, from a place in the first one on; null if it has none.
#[expect(unsafe_code, reason = "asks the system for memory")]
fn map(size: usize, place: usize) -> *mut u8 {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping, which nobody knows yet.
    unsafe {
        let Ok(pages) = mmap_anonymous(null_mut(), reserved(size), protection, flags) else {
            return null_mut();
        };
        // Only advice: small pages do as well.
        #[cfg(target_os = "linux")]
        let _ = madvise(pages, (size + place) / LARGE * LARGE, Advice::LinuxHugepage);
        pages.cast::<u8>().add(place)
    }
}

#[expect(unsafe_code, reason = "gives memory back to the system")]
fn unmap(block: *mut u8, size: usize) {
    let pages = block.map_addr(|address| address / PAGE * PAGE);
    // SAFETY: the mapping is the shelf's own, and nobody knows it any more. If it can't be taken down, it
    // stays, unused.
    let _ = unsafe { munmap(pages.cast(), reserved(size)) };
}

#[cfg(test)]
#[expect(unsafe_code, reason = "asks an allocator of its own")]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 64).expect("is a layout")
    }

    #[test]
    fn a_block_waits_for_the_next_of_its_size_and_is_zeroed_if_asked() {
        let allocator = Allocator::new();
        // SAFETY: blocks are written within their layouts, and each is freed with its own.
        unsafe {
            let first = allocator.alloc(layout(3 * MIB));
            first.write_bytes(7, 3 * MIB);
            allocator.dealloc(first, layout(3 * MIB));
            let other = allocator.alloc(layout(5 * MIB));
            let second = allocator.alloc_zeroed(layout(3 * MIB - 5));
            assert_eq!(first, second, "as large when rounded");
            let bytes = std::slice::from_raw_parts(second, 3 * MIB - 5);
            assert!(bytes.iter().all(|byte| *byte == 0));
            assert_ne!(other.addr() % PAGE, second.addr() % PAGE, "on other lines");
            allocator.dealloc(second, layout(3 * MIB - 5));
            allocator.dealloc(other, layout(5 * MIB));
        }
    }

    #[test]
    fn blocks_move_between_the_two_allocators_with_what_is_in_them() {
        let allocator = Allocator::new();
        let mut size = MIB;
        // SAFETY: as above.
        unsafe {
            let mut block = allocator.alloc(layout(size));
            (0..MIB).for_each(|at| block.add(at).write(at as u8));
            for new in [3 * MIB, 3 * MIB + 5, 9 * MIB, 2 * MIB, MIB] {
                block = allocator.realloc(block, layout(size), new);
                assert!((0..MIB).all(|at| block.add(at).read() == at as u8), "{size} to {new}");
                size = new;
            }
            allocator.dealloc(block, layout(size));
        }
    }

    #[test]
    fn sizes_that_are_asked_for_no_more_are_given_back() {
        let allocator = Allocator::new();
        for size in (2..200).map(|n| n * MIB) {
            // SAFETY: as above.
            unsafe {
                let block = allocator.alloc(layout(size));
                allocator.dealloc(block, layout(size));
            }
            let shelf = allocator.shelf();
            assert_eq!((shelf.used_bytes, shelf.most_used), (0, size));
            assert!(shelf.free_bytes <= shelf.limit(0), "{size}");
        }
        let shelf = allocator.shelf();
        let kept = shelf.free.iter().flat_map(|(size, blocks)| blocks.iter().map(move |_| size));
        assert_eq!(kept.sum::<usize>(), shelf.free_bytes);
        assert!(shelf.free[&(199 * MIB)].len() == 1 && shelf.free[&(2 * MIB)].is_empty());
    }
}
