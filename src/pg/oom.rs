//! Rust's memory, and what happens when there is no more: an orderly end of this one process.
//!
//! Rust aborts on a failed allocation, and an abort restarts the whole server; a caller who drives an executor against a limit on memory
//! could do so at will. Postgres' own allocations fail with an error and never come here. The exit frees a reserve first, for it needs
//! memory itself. Runs wherever Rust allocates, on any thread; must not allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use pgrx::pg_sys;

use super::{Pg, session, signals};

/// Given back to the system before the exit. Address space only, until then.
const RESERVE: Layout = match Layout::from_size_align(8 * 1024 * 1024, 4096) {
    Ok(layout) => layout,
    Err(_) => Layout::new::<u8>(),
};

const NOTICE: &[u8] = b"supabase_mcp: out of memory; this process ends\n";

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

static KEPT: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static EXHAUSTED: AtomicBool = AtomicBool::new(false);

struct Allocator;

// SAFETY: the system's allocator, asked once more at the most. It does not unwind: where it gives up the process ends.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { or_end(|| System.alloc(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { or_end(|| System.alloc_zeroed(layout)) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { or_end(|| System.realloc(memory, layout, size)) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Puts the reserve aside. Once, at a worker's start; without it the end may fail for want of memory, no more.
pub fn prepare(_: &Pg) {
    // SAFETY: the layout has a size.
    KEPT.store(unsafe { System.alloc(RESERVE) }, Ordering::Release);
}

/// Whether this is what ends the process.
pub fn exhausted() -> bool {
    EXHAUSTED.load(Ordering::Relaxed)
}

/// # Safety
/// `allocate` may be called twice if its first result was null.
unsafe fn or_end(allocate: impl Fn() -> *mut u8) -> *mut u8 {
    let memory = allocate();
    if !memory.is_null() { memory } else { end(allocate) }
}

#[cold]
fn end(allocate: impl Fn() -> *mut u8) -> *mut u8 {
    // SAFETY: set before any library function runs, and only in children of the postmaster.
    if unsafe { !pg_sys::IsUnderPostmaster } || EXHAUSTED.swap(true, Ordering::AcqRel) {
        return allocate();
    }
    let reserve = KEPT.swap(std::ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: made by `prepare` with this layout; write and kill are plain system calls.
    unsafe {
        if !reserve.is_null() {
            System.dealloc(reserve, RESERVE);
        }
        libc::write(libc::STDERR_FILENO, NOTICE.as_ptr().cast(), NOTICE.len());
        if std::process::id() as i32 != signals::thread_id() {
            // Only the main thread may end a process of Postgres'. The reserve lasts until it has.
            libc::kill(libc::getpid(), libc::SIGTERM);
            return allocate();
        }
    }
    // What a FATAL error does too, from anywhere in a statement: no frame of Rust's is unwound, the transaction is rolled back.
    session::exit(1)
}
