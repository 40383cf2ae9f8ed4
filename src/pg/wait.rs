//! The one place where a process of ours sleeps.
//!
//! A wait ends when the descriptor is ready, the latch is set, the time is up, or the postmaster is gone (then the process exits
//! without returning). Signals are acted upon before a wait returns, so a terminated process never gets to run another job. The set of
//! awaited events is built once: building it for every wait would cost four system calls each time.

use std::os::fd::RawFd;
use std::time::Duration;

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, ffi, inval};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    Readable,
    Writable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The descriptor is ready, or its other end is gone.
    Ready,
    /// The latch was set: a signal, a changed setting, another process.
    Latch,
    TimedOut,
}

/// The process's latch, the postmaster's life, and one descriptor.
pub struct WaitSet {
    set: *mut pg_sys::WaitEventSet,
    position: i32,
    interest: Interest,
}

impl WaitSet {
    /// The descriptor must stay open for as long as the set is waited on.
    pub fn new(_: &Pg, descriptor: RawFd) -> Result<WaitSet, PgError> {
        let mut position = 0;
        // SAFETY: the set lives in TopMemoryContext, for the process's life; the latch is the process's own.
        let set = unsafe {
            attempt(|| {
                #[cfg(any(feature = "pg15", feature = "pg16"))]
                let set = ffi::CreateWaitEventSet(pg_sys::TopMemoryContext, 3);
                // Owned by nobody: it belongs to the process, not to a transaction.
                #[cfg(any(feature = "pg17", feature = "pg18"))]
                let set = ffi::CreateWaitEventSet(std::ptr::null_mut(), 3);
                let none = std::ptr::null_mut();
                let no_latch = std::ptr::null_mut();
                ffi::AddWaitEventToSet(set, pg_sys::WL_LATCH_SET, -1, pg_sys::MyLatch, none);
                ffi::AddWaitEventToSet(set, pg_sys::WL_EXIT_ON_PM_DEATH, -1, no_latch, none);
                position = ffi::AddWaitEventToSet(set, pg_sys::WL_SOCKET_READABLE, descriptor, no_latch, none);
                set
            })
        }?;
        Ok(WaitSet { set, position, interest: Interest::Readable })
    }

    /// Sleeps until something of interest happens. No transaction may be open: nobody holds locks while waiting for a socket.
    pub fn wait(&mut self, pg: &Pg, interest: Interest, limit: Option<Duration>) -> Result<Wake, PgError> {
        // A cancel that comes while nothing runs is meant for a statement that has ended.
        self.sleep(pg, interest, limit, true)
    }

    /// Sleeps in the midst of a call, which a cancel or its time limit ends: that is the error then. Before the caller's first statement only:
    /// the transaction is open and holds no lock but its own number's.
    pub fn wait_in_call(&mut self, pg: &Pg, interest: Interest) -> Result<Wake, PgError> {
        self.sleep(pg, interest, None, false)
    }

    fn sleep(&mut self, _: &Pg, interest: Interest, limit: Option<Duration>, forget_cancel: bool) -> Result<Wake, PgError> {
        let timeout = limit.map_or(-1, |l| i64::try_from(l.as_millis()).unwrap_or(i64::MAX));
        let changed = self.interest != interest;
        self.interest = interest;
        let flag = match interest {
            Interest::Readable => pg_sys::WL_SOCKET_READABLE,
            Interest::Writable => pg_sys::WL_SOCKET_WRITEABLE,
        };
        let mut event = pg_sys::WaitEvent::default();
        // SAFETY: set and event are live; ProcessInterrupts is what CHECK_FOR_INTERRUPTS calls.
        let count = unsafe {
            attempt(|| {
                if changed {
                    ffi::ModifyWaitEvent(self.set, self.position, flag, std::ptr::null_mut());
                }
                let count = ffi::WaitEventSetWait(self.set, timeout, &mut event, 1, pg_sys::PG_WAIT_EXTENSION);
                if count > 0 && event.events & pg_sys::WL_LATCH_SET != 0 {
                    ffi::ResetLatch(pg_sys::MyLatch);
                }
                if (&raw const pg_sys::InterruptPending).read_volatile() != 0 {
                    if forget_cancel {
                        (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
                    }
                    ffi::ProcessInterrupts();
                }
                count
            })
        }?;
        Ok(match count {
            0 => Wake::TimedOut,
            _ if event.events & pg_sys::WL_LATCH_SET != 0 => Wake::Latch,
            _ => Wake::Ready,
        })
    }
}

/// Forgets a cancel that nobody acted on: it was meant for an earlier statement.
pub fn forget_cancel(_: &Pg) {
    // SAFETY: a flag of type sig_atomic_t.
    unsafe { (&raw mut pg_sys::QueryCancelPending).write_volatile(0) }
}

/// Acts on signals that have come: the process ends here, or a cancel becomes an error.
pub fn act_on_signals(_: &Pg) -> Result<(), PgError> {
    // SAFETY: a flag of type sig_atomic_t; ProcessInterrupts is what CHECK_FOR_INTERRUPTS calls.
    unsafe {
        if (&raw const pg_sys::InterruptPending).read_volatile() == 0 {
            return Ok(());
        }
        attempt(|| ffi::ProcessInterrupts())
    }
}

/// Takes in changed settings if a reload was asked for. Between jobs only: a running statement keeps its settings.
pub fn reload_settings(_: &Pg) -> Result<bool, PgError> {
    // SAFETY: a flag of type sig_atomic_t, and Postgres' own reload, outside a transaction.
    unsafe {
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() == 0 {
            return Ok(false);
        }
        (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
        attempt(|| ffi::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP))?;
    }
    inval::note_reload();
    Ok(true)
}
