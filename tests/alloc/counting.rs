//! The system's allocator with counters: what the whole process holds, and what the shards' threads do.
//!
//! Each block is preceded by a note whether a shard's thread took it, so that it is counted off whoever frees it. A thread is a
//! shard's if its name begins with `media-`, which is looked up once, and only while somebody watches: before, a thread may
//! not have its name yet.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

pub(crate) struct Counting;

static WATCHING: AtomicBool = AtomicBool::new(false);
static BY_SHARDS: AtomicU64 = AtomicU64::new(0);
static HEAP: AtomicI64 = AtomicI64::new(0);
static HEAP_OF_SHARDS: AtomicI64 = AtomicI64::new(0);

#[derive(Clone, Copy)]
enum Thread {
    Unknown,
    Shard,
    Other,
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread::Unknown) };
}

/// Counts what shards allocate while `body` runs.
pub(crate) fn watch<T>(body: impl FnOnce() -> T) -> T {
    WATCHING.store(true, Relaxed);
    let result = body();
    WATCHING.store(false, Relaxed);
    result
}

/// Allocations of shards' threads while they were watched; a block that is made larger counts anew.
pub(crate) fn allocations_by_shards() -> u64 {
    BY_SHARDS.load(Relaxed)
}

/// Octets on the heap now.
pub(crate) fn heap_bytes() -> i64 {
    HEAP.load(Relaxed)
}

/// Octets on the heap now that shards' threads took while they were watched.
pub(crate) fn heap_bytes_of_shards() -> i64 {
    HEAP_OF_SHARDS.load(Relaxed)
}

fn is_watched_shard() -> bool {
    if !WATCHING.load(Relaxed) {
        return false;
    }
    let known = THREAD.try_with(Cell::get).unwrap_or(Thread::Other);
    match known {
        Thread::Shard => true,
        Thread::Other => false,
        Thread::Unknown => {
            let mut name = [0_u8; 16];
            // SAFETY: the kernel writes at most 16 octets, and reads none.
            unsafe { nix::libc::prctl(nix::libc::PR_GET_NAME, name.as_mut_ptr()) };
            let is_shard = name.starts_with(b"media-");
            let _ = THREAD.try_with(|thread| thread.set(if is_shard { Thread::Shard } else { Thread::Other })); // Gone: then it allocates no more.
            is_shard
        }
    }
}

/// The layout with room for the note in front, and how much that is.
fn with_note(layout: Layout) -> Option<(Layout, usize)> {
    let room = layout.align().max(16);
    Some((Layout::from_size_align(layout.size().checked_add(room)?, room).ok()?, room))
}

// SAFETY: blocks come from the system's allocator, larger by a note in front that keeps the alignment; the same arithmetic on the
// same layout finds the block's beginning again.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, room)) = with_note(layout) else { return std::ptr::null_mut() };
        // SAFETY: the size is not 0.
        let block = unsafe { System.alloc(whole) };
        if block.is_null() {
            return block;
        }
        let by_shard = is_watched_shard();
        HEAP.fetch_add(layout.size() as i64, Relaxed);
        if by_shard {
            BY_SHARDS.fetch_add(1, Relaxed);
            HEAP_OF_SHARDS.fetch_add(layout.size() as i64, Relaxed);
        }
        // SAFETY: the block has `room` octets before what the caller sees.
        unsafe {
            block.write(u8::from(by_shard));
            block.add(room)
        }
    }

    unsafe fn dealloc(&self, seen: *mut u8, layout: Layout) {
        let Some((whole, room)) = with_note(layout) else { return };
        HEAP.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: `seen` came from `alloc` with this layout.
        unsafe {
            let block = seen.sub(room);
            if block.read() == 1 {
                HEAP_OF_SHARDS.fetch_sub(layout.size() as i64, Relaxed);
            }
            System.dealloc(block, whole);
        }
    }
}
