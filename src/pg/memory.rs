//! Memory contexts with a known life: one per job, one per statement, one per row.
//!
//! What Postgres allocates while it parses, plans and prints goes into one of these and is given back by a reset, never piece by piece.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, ffi};

/// Makes the C library give large blocks back to the operating system as soon as they are freed. By default it learns from large
/// allocations to keep them, so that one heavy query would leave an idle process tens of megabytes large.
pub fn keep_small(_: &Pg) {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two numbers of the allocator; before the process allocates much.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 20);
    }
}

/// A memory context that lives as long as the process. Reset often, never deleted.
#[derive(Clone, Copy)]
pub struct Context(pg_sys::MemoryContext);

impl Context {
    /// A child of TopMemoryContext. The name shows in pg_log_backend_memory_contexts.
    pub fn create(name: &'static CStr) -> Result<Context, PgError> {
        // SAFETY: plain allocation; the name is a static, as Postgres keeps the pointer.
        let context = unsafe {
            attempt(|| {
                ffi::AllocSetContextCreateInternal(
                    pg_sys::TopMemoryContext,
                    name.as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                )
            })
        }?;
        Ok(Context(context))
    }

    /// Postgres' own for what lives as long as one message of a client does: here, one job.
    pub fn of_message(_: &Pg) -> Context {
        // SAFETY: a plain variable of this process, set when the workspace was made.
        Context(unsafe { pg_sys::MessageContext })
    }

    pub fn raw(self) -> pg_sys::MemoryContext {
        self.0
    }

    /// Gives back everything in it. Nothing allocated there may be used after.
    ///
    /// # Safety
    /// No pointer into the context is used afterwards, and it is not the current context of an open portal.
    pub unsafe fn reset(self) {
        // SAFETY: the context is live; a reset frees only what was allocated in it.
        unsafe { ffi::MemoryContextReset(self.0) }
    }

    /// Makes it the current context until the guard is dropped.
    pub fn enter(self) -> Entered {
        // SAFETY: a plain swap of Postgres' variable on its own thread.
        unsafe {
            let previous = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.0;
            Entered { previous }
        }
    }
}

pub struct Entered {
    previous: pg_sys::MemoryContext,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // SAFETY: as in `enter`. The previous context outlives the guard: guards nest.
        unsafe { pg_sys::CurrentMemoryContext = self.previous }
    }
}
