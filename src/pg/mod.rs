//! The floor: the only folder of the extension where `unsafe` may be written, and the only one that speaks to Postgres itself.
//!
//! Everything here runs on the main thread of a process that Postgres started. What is offered upwards is safe: a function that may
//! fail returns a `Result`, no Postgres error jumps over a caller's frame, and what needs a connected process or an open transaction asks
//! for the token that proves it (`Pg`, `Tx`). Neither token can leave the thread.
//! Nothing here knows what a tool is, nor imports anything above itself.
#![allow(unsafe_code)]

pub mod backend;
pub mod bgw;
pub mod durability;
pub mod effects;
pub mod encoding;
pub mod error;
mod ffi;
mod ffi_rows;
mod ffi_spi;
pub mod guc;
pub mod hook;
pub mod identity;
pub mod inval;
pub mod lexer;
pub mod locked;
mod memory;
pub mod oom;
pub mod prepared;
pub mod privilege;
pub mod query;
pub mod quit;
pub mod receiver;
mod render;
pub mod report;
pub mod rows;
pub mod server;
pub mod session;
pub mod settings;
pub mod signals;
pub mod timeout;
pub mod trigger;
pub mod txn;
pub mod wait;

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

pub use error::PgError;
pub use txn::{Mode, Tx};

/// Proof of being on the main thread of a background worker. One exists per process.
pub struct Pg {
    // A raw pointer is neither Send nor Sync, so no thread, closure or future that may move can hold the token.
    _stays_here: PhantomData<*const ()>,
}

impl Pg {
    /// Takes the process's only token. `None` when it is taken already, outside a background worker, or on another thread.
    pub fn claim() -> Option<Pg> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        // SAFETY: reads a pointer that the postmaster's child sets before any library function runs.
        let is_worker = unsafe { !pgrx::pg_sys::MyBgworkerEntry.is_null() };
        let on_main_thread = std::process::id() as i32 == signals::thread_id();
        // The flag is inherited by a fork, but the postmaster never takes the token.
        if !is_worker || !on_main_thread || TAKEN.swap(true, Ordering::AcqRel) {
            return None;
        }
        // pgrx takes a backtrace for every error that it turns into a panic: hundreds of milliseconds and tens of megabytes.
        #[expect(clippy::disallowed_methods, reason = "the process has one thread, and nothing has read the environment yet")]
        // SAFETY: no other thread exists: a worker starts with one, and `signals::with_all_blocked` starts others later.
        unsafe {
            std::env::set_var("RUST_LIB_BACKTRACE", "0");
        }
        let pg = Pg { _stays_here: PhantomData };
        oom::prepare(&pg);
        Some(pg)
    }
}
